// Chapter 2: the wavelength of every pair against L and L', before and after.
(function (R) {
  "use strict";
  const { line, rect, text, mark, circle } = R.svg;

  const M = { left: 50, right: 14, top: 40, bottom: 40 };

  const current = () => {
    const rope = R.rope(), scaled = R.scaled();
    return { rope, scaled, counted: R.pairs(rope, scaled, R.state.factor) };
  };

  // Runs of pairs of one kind: [[kind, first, last], …].
  function runs(kind) {
    const found = [];
    kind.forEach((k, i) => {
      if (i && found[found.length - 1][0] === k) found[found.length - 1][2] = i;
      else found.push([k, i, i]);
    });
    return found;
  }

  const span = (first, last) => (first === last ? `${first}` : `${first}–${last}`);

  function axes(rope, width, tall, slowed) {
    const pairs = rope.rotary_dim / 2, waves = R.invFreq(rope).map((theta) => R.TAU / theta);
    const reach = waves.map((w, i) => w * (Number.isFinite(slowed[i]) ? slowed[i] : 1));
    const high = 2 * Math.max(...reach, ...waves, rope.original_length * R.state.factor);
    return {
      waves, pairs, high,
      x: R.linear(-0.5, pairs - 0.5, M.left, width - M.right),
      y: R.log(3, high, tall - M.bottom, M.top),
      step: (width - M.left - M.right) / pairs,
    };
  }

  const AXIS_TITLE = 92; // pixels that "tokens a turn" takes on the same line

  function background(a, counted, width, tall) {
    return runs(counted.kind)
      .map(([kind, first, last]) => {
        const x0 = a.x(first - 0.5), x1 = a.x(last + 0.5), wide = x1 - x0;
        const name = `${last - first + 1} ${R.KIND[kind]}`;
        const title = wide > 74 ? name : wide > 26 ? `${last - first + 1}` : "";
        const clear = (x0 + x1) / 2 - 4 * span(first, last).length > AXIS_TITLE;
        const below = wide > 40 && clear ? text((x0 + x1) / 2, 29, span(first, last), "tick", "middle") : "";
        return (
          rect(x0, M.top, wide, tall - M.top - M.bottom, `band ${R.KIND[kind]}`) +
          rect(x0 + 1, M.top - 4, wide - 2, 4, `cap ${R.KIND[kind]}`, 2) +
          text((x0 + x1) / 2, 15, title, "badge", "middle") + below
        );
      })
      .join("");
  }

  function grid(a, width, tall) {
    const rows = R.decades(4, a.high, 7).map((v) => line(M.left, a.y(v), width - M.right, a.y(v), "grid") + text(M.left - 8, a.y(v) + 4, R.short(v), "tick", "end"));
    const columns = R.evenTicks(a.pairs, width < 500 ? 5 : 9).map((i) => text(a.x(i), tall - 22, i, "tick", "middle"));
    return rows.join("") + columns.join("") + text((M.left + width - M.right) / 2, tall - 4, "pair, fastest first", "axis", "middle") +
      text(4, M.top - 12, "tokens a turn", "axis");
  }

  function limit(a, length, words, cls, width) {
    const y = a.y(length);
    return line(M.left, y, width - M.right, y, `limit ${cls}`) + text(M.left + 6, y - 6, words, "label limit-text");
  }

  function draw(width, tall, put, slowed) {
    const { rope, counted } = current(), a = axes(rope, width, tall, slowed);
    const L = rope.original_length, r = R.clamp(a.step * 0.42, 1.6, 4);
    const bars = a.waves
      .map((wave, i) => {
        const x = a.x(i), y0 = a.y(wave);
        if (!Number.isFinite(slowed[i])) return circle(x, y0, r, "hollow") + text(x, M.top + 12, "∞", "tick", "middle");
        const y1 = a.y(wave * slowed[i]);
        return line(x, y0, x, y1, `stem ${R.KIND[counted.kind[i]]}`) + circle(x, y0, r * 0.9, "hollow") + mark(x, y1, counted.kind[i], r);
      })
      .join("");
    const px = a.x(R.state.pair);
    const stretch = R.state.factor > 1 ? limit(a, L * R.state.factor, `L′ = ${R.whole(L * R.state.factor)}`, "far", width) : "";
    put(background(a, counted, width, tall) + grid(a, width, tall) + line(px, M.top, px, tall - M.bottom, "cursor") +
      limit(a, L, `L = ${R.whole(L)}`, "near", width) + stretch + bars);
  }

  function say() {
    const { rope, counted } = current(), i = R.state.pair;
    const r = R.turns(rope)[i], slowed = counted.slowed[i];
    const how = slowed === Infinity ? "stopped" : counted.kind[i] === R.KEPT ? "kept" : `slowed ${R.trim(slowed)}× (${R.KIND[counted.kind[i]]})`;
    const turns = r >= 1 ? `made <b>${R.tokens(r)}</b> turns` : `made only <b>${R.trim(r)}</b> of a turn`;
    return `Pair <b>${i}</b>: ${R.tokens(R.TAU / R.invFreq(rope)[i])} tokens a turn; ${turns} within L. ${R.methodTitle(R.state.method)} at ${R.trim(R.state.factor)}×: <b>${how}</b>.`;
  }

  // "24 kept (0–23), 16 ramped (24–39), 24 stretched (40–63)"
  function tally() {
    return runs(current().counted.kind).map(([kind, a, b]) => `${b - a + 1} ${R.KIND[kind]} (${span(a, b)})`).join(", ");
  }

  R.chapters.push(() => {
    const { figure, controls, under } = R.chapter("spectrum");
    let latest = null;
    const glide = R.glider((slowed) => latest && draw(...latest, slowed));
    R.picture(figure, {
      height: (w) => (w < 500 ? 340 : 400),
      render: (width, tall, put) => {
        latest = [width, tall, put];
        glide(current().counted.slowed);
      },
      label: () => `Wavelength of each pair. ${R.methodTitle(R.state.method)}: ${tally()}.`,
      drag: (x) => {
        const pairs = R.rope().rotary_dim / 2, width = figure.querySelector("svg").clientWidth;
        R.set({ pair: R.clamp(Math.round(((x - M.left) / (width - M.left - M.right)) * pairs - 0.5), 0, pairs - 1) });
      },
    });
    R.factorSlider(controls);
    R.pairSlider(controls);
    R.select(controls, { key: "method", label: "Method", choices: () => R.methodNames().map((name) => [name, R.methodTitle(name)]) });
    R.reading(under, say);
    const legend = R.el("p", { className: "legend" });
    legend.innerHTML = '<span><i class="mark-hollow"></i>as trained</span><span><i class="mark-kept"></i>kept</span><span><i class="mark-ramped"></i>ramped</span><span><i class="mark-stretched"></i>stretched</span>';
    figure.append(legend);
  });
  Object.assign(R, { runs, tally, span });
})(window.ropewalk);
