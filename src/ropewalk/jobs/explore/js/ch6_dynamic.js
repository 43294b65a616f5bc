// Chapter 6: s follows the length; what happens to keys that were cached at an older s.
(function (R) {
  "use strict";
  const { line, circle, text, path } = R.svg;

  const M = { left: 46, right: 16 };

  const length = () => Math.max(1, Math.round(R.state.at * R.rope().original_length * Math.max(R.state.factor, 1.5)));
  const longest = () => R.rope().original_length * Math.max(R.state.factor, 1.5);
  const scaleAt = (l) => Math.max(1, l / R.rope().original_length);
  const options = () => R.options(R.state.over);
  const speed = (s, i) => R.compute(R.rope(), R.state.over, s, R.state.over === R.parseMethod(R.state.method).method ? options() : {}).inv_freq[i];

  // The pair watched: by default one that made about four turns in training.
  function watched() {
    const pairs = R.rope().rotary_dim / 2;
    const auto = Math.round(R.pairTurning(R.rope(), 4));
    return R.clamp(R.state.watch < 0 ? auto : R.state.watch, 0, pairs - 1);
  }

  // Degrees by which a key cached at position p stands wrong now; 0 for the honest ways.
  function wrong(p, now, i) {
    if (R.state.cache !== "stale") return 0;
    return R.degrees(p * (speed(scaleAt(p + 1), i) - now));
  }

  function panelS(x, top, bottom, l) {
    const L = R.rope().original_length, high = Math.max(R.state.factor, 1.5), y = R.linear(1, high, bottom, top);
    const follow = [[x(0), y(1)], [x(L), y(1)], [x(longest()), y(longest() / L)]];
    const s = scaleAt(l), fixed = R.state.cache === "request";
    const used = fixed ? [[x(0), y(s)], [x(l), y(s)]] : l <= L ? [[x(0), y(1)], [x(l), y(1)]] : [[x(0), y(1)], [x(L), y(1)], [x(l), y(s)]];
    const levels = [1, s].map((v) => text(M.left - 8, y(v) + 4, R.trim(v), "tick", "end"));
    return (
      text(4, top - 12, "scale s", "axis") + line(x(0), bottom, x(longest()), bottom, "axis-line") + (s < 1.12 ? levels[0] : levels.join("")) +
      path(follow, "curve faint") + path(used, "curve") + line(x(L), top, x(L), bottom, "cursor") + text(x(L) + 5, top + 4, "L", "label") +
      line(x(l), top - 6, x(l), bottom, "handle-line") + circle(x(l), y(s), 9, "handle") + circle(x(l), y(s), 3, "handle-dot") +
      text(x(l) + (x(l) > x(longest()) - 110 ? -14 : 14), y(s) - (x(l) > x(longest()) - 110 ? 14 : 10), `l = ${R.whole(l)}`, "label halo", x(l) > x(longest()) - 110 ? "end" : "start")
    );
  }

  function panelError(x, top, bottom, l) {
    const i = watched(), now = speed(scaleAt(l), i), count = 420;
    const errors = Array.from({ length: count }, (_, k) => {
      const p = Math.floor((k * l) / count);
      return [p, wrong(p, now, i)];
    });
    const high = Math.max(30, ...errors.map(([, e]) => Math.abs(e)));
    const limit = high > 180 ? 180 : high > 90 ? 180 : high > 30 ? 90 : 30;
    const y = R.linear(-limit, limit, bottom, top);
    const wrap = (e) => (((e + 180) % 360) + 360) % 360 - 180;
    const dots = errors.map(([p, e]) => circle(x(p), y(wrap(e)), 1.7, R.state.cache === "stale" ? "stale" : "right")).join("");
    const grid = [-limit, 0, limit].map((v) => line(x(0), y(v), x(longest()), y(v), "grid") + text(M.left - 8, y(v) + 4, `${v < 0 ? "−" : ""}${Math.abs(v)}°`, "tick", "end"));
    return text(4, top - 12, `wrong angle of the cached keys, pair ${i}`, "axis") + grid.join("") + dots;
  }

  function clock(cx, cy, r, l) {
    const i = watched(), p = Math.floor(l / 2), now = speed(scaleAt(l), i), e = (wrong(p, now, i) * Math.PI) / 180;
    const hand = (angle, cls) => {
      const [x, y] = R.polar(cx, cy, r, angle);
      return line(cx, cy, x, y, `hand ${cls}`) + circle(x, y, 5, `tip ${cls}`);
    };
    const away = Math.abs(R.wrapDegrees(e)) > 0.5;
    return (
      circle(cx, cy, r, "dial") + hand(p * now, "should") + (away ? hand(p * now + e, "stands") : "") +
      text(cx, cy + r + 24, `key at ${R.whole(p)}`, "tick", "middle") +
      text(cx, cy + r + 42, away ? `stands ${R.trim(Math.abs(R.wrapDegrees(e)))}° wrong` : "stands right", "label", "middle")
    );
  }

  const split = (width) => (width >= 560 ? width - 170 : width);

  function render(width, tall, put) {
    const l = length(), wide = width >= 560, right = split(width) - M.right;
    const x = R.linear(0, longest(), M.left, right);
    const ticks = [0, 1, 2, 3, 4, 8, 16, 32, 64].filter((k) => k * R.rope().original_length <= longest() * 1.001);
    const thin = ticks.filter((k, i) => i === 0 || i === ticks.length - 1 || x(k * R.rope().original_length) - x(ticks[i - 1] * R.rope().original_length) > 20);
    const axisY = 330;
    const axis = thin.map((k) => text(x(k * R.rope().original_length), axisY, k ? `${k}L` : "0", "tick", "middle")).join("");
    put(
      panelS(x, 30, 150, l) + panelError(x, 200, 312, l) + axis + text((M.left + right) / 2, axisY + 20, "position", "axis", "middle") +
        (wide ? clock(width - 78, 130, 62, l) : clock(width / 2, 430, 54, l)),
    );
  }

  const COST = {
    stale: (s) => `Old keys keep the angle of the s they met, while the query uses s = ${s}. <b>No run of the model at any single s gives this</b>; it is what naive caching does.`,
    request: (s) => `<b>Request</b>: s = ${s} is chosen once, from prompt and longest answer, and used from the first token. Cache and logits equal a fresh run exactly; a longer follow-up needs a new s and a new cache.`,
    rotate: (s) => `<b>Rotate</b>: keys are cached unturned and turned at s = ${s} now. Angles are right and layer 1 is exact; deeper keys were made by attention at older s and carry that history.`,
    recompute: (s) => `<b>Recompute</b>: all ${R.whole(length())} tokens are read again at s = ${s} for the next one. Exact at every step, and the price is the whole cache.`,
    causal: (s) => `<b>Causal</b>: every token reads at the scale of its own position, from keys cached unturned; the newest at s = ${s}, and tokens within L at 1 for ever. One pass and a cache give the same numbers, token by token.`,
  };

  R.chapters.push(() => {
    const { figure, controls, under } = R.chapter("dynamic");
    const move = (x) => R.set({ at: R.clamp((x - M.left) / (split(figure.querySelector("svg").clientWidth) - M.right - M.left), 0.01, 1) });
    const say = () => COST[R.state.cache](R.trim(scaleAt(length())));
    R.picture(figure, {
      height: (w) => (w >= 560 ? 360 : 544), render, label: () => say().replace(/<[^>]+>/g, ""),
      drag: (x, y) => (y > 330 ? false : move(x)),
    });
    R.choice(controls, { key: "cache", label: "Cached keys", choices: [["stale", "keep old keys rotated"], ["request", "request"], ["rotate", "rotate"], ["recompute", "recompute"], ["causal", "causal"]] });
    R.slider(controls, { key: "at", label: "Current length l", min: 0.01, max: 1, step: 0.005, say: () => `${R.whole(length())} tokens · s = ${R.trim(scaleAt(length()))}` });
    R.slider(controls, {
      key: "watch", label: "Pair watched", min: 0, max: () => R.rope().rotary_dim / 2 - 1, get: watched, put: (i) => R.set({ watch: i }),
      say: () => `${watched()} · ${R.trim(R.turns(R.rope())[watched()])} turns in L`,
    });
    R.select(controls, { key: "over", label: "Dynamic over", choices: () => ["ntk", "linear", "ntk_by_parts", "yarn"].map((m) => [m, R.methodTitle(m)]) });
    R.factorSlider(controls);
    R.use(controls, "dynamic", "Use dynamic NTK");
    R.reading(under, say);
  });
})(window.ropewalk);
