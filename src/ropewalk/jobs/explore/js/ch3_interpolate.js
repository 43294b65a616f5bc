// Chapter 3: Position Interpolation on the complex circle: what it gives slow pairs, and what it takes from fast ones.
(function (R) {
  "use strict";
  const { line, circle, text, arc } = R.svg;

  const NEIGHBOURS = 9;

  function neighbours(cx, cy, r, theta, s) {
    const dot = (k, by, radius, cls) => circle(...R.polar(cx, cy, radius, (k * theta) / by), cls === "pi" ? 4.6 : 5.2, cls);
    const range = Array.from({ length: NEIGHBOURS }, (_, k) => k);
    const spokes = [0, 1].map((k) => line(cx, cy, ...R.polar(cx, cy, r - 20, (k * theta) / s), "spoke pi")).join("");
    const plainSpoke = line(cx, cy, ...R.polar(cx, cy, r, theta), "spoke plain");
    return (
      circle(cx, cy, r, "dial") + circle(cx, cy, r - 20, "dial faint") + plainSpoke + spokes +
      arc(cx, cy, r * 0.36, 0, theta, "step plain") + arc(cx, cy, r * 0.3, 0, theta / s, "step pi") +
      range.map((k) => dot(k, 1, r, "plain")).join("") + range.map((k) => dot(k, s, r - 20, "pi")).join("")
    );
  }

  // Three rings: the arc seen in training, what L' tokens ask for, and what they ask for after interpolation.
  function window_(cx, cy, r, theta, L, s) {
    const seen = Math.min(L * theta, R.TAU), asked = Math.min(L * s * theta, R.TAU);
    const ring = (radius, to, cls) => circle(cx, cy, radius, "ring empty") + arc(cx, cy, radius, 0, to, `ring ${cls}`);
    const beyond = asked > seen + 1e-9 ? arc(cx, cy, r - 24, seen, asked, "ring unseen") : "";
    return (
      ring(r - 48, seen, "seen") + ring(r - 24, Math.min(asked, seen), "plain") + beyond + ring(r, seen, "pi") +
      line(cx, cy, ...R.polar(cx, cy, r + 10, 0), "axis-line")
    );
  }

  function render(width, tall, put) {
    const rope = R.rope(), s = R.state.factor, theta = R.invFreq(rope)[R.state.pair];
    const wide = width >= 560, half = wide ? width / 2 : width;
    const r = Math.min(132, half / 2 - 34), cy = r + 52, down = wide ? 0 : 2 * r + 136;
    const title = (x, y, words) => text(x, y, words, "heading", "middle");
    const key = (x, y, cls, words) => line(x, y - 4, x + 20, y - 4, `key ${cls}`) + text(x + 27, y, words, "tick");
    const cx1 = half / 2, cx2 = wide ? width * 0.75 : width / 2;
    const note = (cx, y, items) => items.map(([cls, words], i) => key(cx - r + 8, y + 20 * i, cls, words)).join("");
    put(
      title(cx1, 18, "Neighbours: positions 0 to 8") + neighbours(cx1, cy, r, theta, s) +
        note(cx1, cy + r + 32, [["plain", `plain: ${deg(theta)} a token`], ["pi", `interpolated: ${deg(theta / s)}`]]) +
        title(cx2, 18 + down, `The window: 0 to L′ = ${R.whole(rope.original_length * s)}`) +
        window_(cx2, cy + down, r, theta, rope.original_length, s) +
        note(cx2, cy + down + r + 32, [["seen", "seen in training"], ["plain", "asked, plain (dashed: never seen)"], ["pi", "asked, interpolated"]]),
    );
  }
  const deg = (x) => `${R.trim(R.degrees(x))}°`;

  function say() {
    const rope = R.rope(), s = R.state.factor, i = R.state.pair, theta = R.invFreq(rope)[i], r = R.turns(rope)[i];
    const cos = (x) => Math.cos(x).toFixed(x < 0.02 ? 6 : 3);
    if (r >= 1)
      return `Pair <b>${i}</b> made ${R.tokens(r)} turns in training: <b>no angle is new to it</b>, at any length. Interpolation only
        shrinks the step between neighbours from ${deg(theta)} to <b>${deg(theta / s)}</b> (cosine ${cos(theta)} → ${cos(theta / s)}): they look more alike.`;
    return `Pair <b>${i}</b> made ${R.trim(r)} of a turn in training. At L′ it would reach ${R.trim(r * s)} of a turn, angles the model has
      <b>never seen</b>; interpolated it stays at ${R.trim(r)}. This is where Position Interpolation is right.`;
  }

  R.chapters.push(() => {
    const { figure, controls, under } = R.chapter("interpolate");
    R.picture(figure, {
      height: (w) => {
        const half = w >= 560 ? w / 2 : w, r = Math.min(132, half / 2 - 34);
        return (w >= 560 ? 0 : 2 * r + 136) + 2 * r + 142;
      },
      render, label: () => say().replace(/<[^>]+>/g, "").replace(/\s+/g, " "),
    });
    const row = R.el("div", { className: "buttons" });
    controls.append(row);
    R.button(row, "Fastest pair", () => R.set({ pair: 0 }));
    R.button(row, "First that never came round", () => R.set({ pair: firstSlow() }));
    R.button(row, "Slowest pair", () => R.set({ pair: R.rope().rotary_dim / 2 - 1 }));
    R.pairSlider(controls);
    R.factorSlider(controls);
    R.use(controls, "linear", "Use Position Interpolation");
    R.reading(under, say);
  });

  function firstSlow() {
    const r = R.turns(R.rope()), found = r.findIndex((turns) => turns < 1);
    return found < 0 ? r.length - 1 : found;
  }
  R.firstSlow = firstSlow;
})(window.ropewalk);
