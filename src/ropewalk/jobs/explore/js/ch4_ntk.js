// Chapter 4: the base moves; how far each pair can be read before it leaves the range it was trained on.
(function (R) {
  "use strict";
  const { line, circle, rect, text, path } = R.svg;

  const M = { left: 46, right: 14, top: 110, bottom: 42 };

  function facts() {
    const rope = R.rope(), s = R.state.factor, scaled = R.compute(rope, "ntk", s);
    const { slowed } = R.pairs(rope, scaled, s), leaves = R.leavesRange(rope, scaled, s);
    const first = leaves.indexOf(true);
    return { rope, s, slowed, leaves, count: leaves.filter(Boolean).length, first, reach: first < 0 ? s : slowed[first] };
  }

  // The base on a ruler of its own.
  function ruler(width, rope, moved) {
    const x = R.log(1e3, 1e10, M.left, width - M.right), y = 46;
    const ticks = R.decades(1e3, 1e10, 8).map((v) => line(x(v), y - 3, x(v), y + 3, "axis-line") + text(x(v), y + 18, R.short(v), "tick", "middle"));
    const at = (v) => R.clamp(x(v), M.left, width - M.right);
    const near = Math.abs(at(moved) - at(rope.rope_theta)) < 46;
    return (
      text(M.left, 14, "base (rope_theta)", "axis") + line(M.left, y, width - M.right, y, "axis-line") + ticks.join("") +
      line(at(rope.rope_theta), y, at(moved), y, "base-move") + circle(at(rope.rope_theta), y, 6, "hollow big") + circle(at(moved), y, 6, "base-dot") +
      text(at(rope.rope_theta) - (near ? 5 : 0), y - 12, "b", "label", near ? "end" : "middle") +
      text(at(moved) + (near ? 5 : 0), y - 12, `b′ = ${R.short(moved)}`, "label", near || at(moved) < width - 60 ? "start" : "end")
    );
  }

  function draw(width, tall, put, slowed) {
    const { rope, s, leaves } = facts(), pairs = slowed.length, r = R.turns(rope);
    const x = R.linear(-0.5, pairs - 0.5, M.left, width - M.right), top = Math.max(s, 1.25);
    const y = R.log(1, top, tall - M.bottom, M.top), step = (width - M.left - M.right) / pairs;
    const limit = r.findIndex((turns) => turns < 1), edge = limit < 0 ? pairs : limit;
    const ticks = [1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64].filter((v) => v <= top * 1.001 && y(1) - y(v) >= 0);
    const thin = ticks.filter((v, i) => i === 0 || Math.abs(y(v) - y(ticks[i - 1])) > 14);
    const grid = thin.map((v) => line(M.left, y(v), width - M.right, y(v), "grid") + text(M.left - 8, y(v) + 4, `${v}×`, "tick", "end")).join("");
    const bars = slowed
      .map((v, i) => {
        if (i < edge) return "";
        const gap = leaves[i] ? rect(x(i) - step * 0.4, y(top), step * 0.8, y(v) - y(top), "missing") : "";
        return gap + rect(x(i) - step * 0.4, y(v), step * 0.8, y(1) - y(v), leaves[i] ? "bar short" : "bar");
      })
      .join("");
    const curve = path(slowed.map((v, i) => [x(i), y(v)]), "curve");
    const split = x(edge - 0.5);
    const names =
      (split - M.left > 200 ? text((M.left + split) / 2, tall - M.bottom - 12, "came round: every angle seen", "label", "middle") : "") +
      (width - split > 120 ? text((split + width - M.right) / 2, M.top - 8, "never came round", "label", "middle") : "");
    const ticksX = R.evenTicks(pairs, width < 500 ? 5 : 9).map((i) => text(x(i), tall - 24, i, "tick", "middle")).join("");
    put(
      '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" class="hatch-back"/><rect width="2.4" height="6" class="hatch-line"/></pattern></defs>' +
        ruler(width, rope, R.stretchedTheta(rope, s)) + rect(M.left, M.top, split - M.left, tall - M.top - M.bottom, "band quiet") +
        grid + bars + line(split, M.top - 4, split, tall - M.bottom, "cursor") + curve + names + ticksX +
        text(4, M.top - 8, "slowed by", "axis") + text((M.left + width - M.right) / 2, tall - 6, "pair, fastest first", "axis", "middle"),
    );
  }

  function say() {
    const { rope, s, count, first, reach, slowed } = facts(), L = rope.original_length;
    const ends = `Pair 0 is slowed ${R.trim(slowed[0])}×, the last exactly <b>${R.trim(slowed[slowed.length - 1])}×</b>.`;
    if (!count) return `${ends} Every pair stays in the range it was trained on.`;
    const last = first + count - 1;
    return `${ends} <b>${count} pairs</b> (${R.span(first, last)}) leave their trained range, pair ${first} first, at ${R.trim(reach)} L = <b>${R.whole(reach * L)}</b>
      tokens instead of ${R.whole(s * L)}. To really reach s = ${R.trim(s)} one has to ask for more.`;
  }

  R.chapters.push(() => {
    const { figure, controls, under } = R.chapter("ntk");
    let latest = null;
    const glide = R.glider((slowed) => latest && draw(...latest, slowed));
    R.picture(figure, {
      height: (w) => (w < 500 ? 380 : 430),
      render: (width, tall, put) => {
        latest = [width, tall, put];
        glide(facts().slowed);
      },
      label: () => say().replace(/<[^>]+>/g, "").replace(/\s+/g, " "),
    });
    R.factorSlider(controls);
    R.use(controls, "ntk", "Use NTK-aware");
    R.reading(under, say);
    const legend = R.el("p", { className: "legend" });
    legend.innerHTML = '<span><i class="key-bar"></i>stays in range up to L′</span><span><i class="key-short"></i>leaves its range early</span><span><i class="key-hatch"></i>what is missing</span>';
    figure.append(legend);
  });
})(window.ropewalk);
