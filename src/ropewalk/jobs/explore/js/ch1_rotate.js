// Chapter 1: two words on a circle. A prefix moves both; the angle between them stays.
(function (R) {
  "use strict";
  const { line, circle, rect, text, path } = R.svg;

  const PREFIX = "Every day after work and before dinner".split(" ");
  const SENTENCE = "I walk my dog in the park when the sun goes down".split(" ");
  const LAST = SENTENCE.length - 1;

  const clampWords = () => ({
    prefix: R.clamp(Math.round(R.state.prefix), 0, PREFIX.length),
    word: R.clamp(Math.round(R.state.word), 0, LAST),
    other: R.clamp(Math.round(R.state.other), 0, LAST),
  });

  // Words flow over as many lines as they need: [{word, x, y, w, index}], index < 0 for the prefix.
  function layOut(width) {
    const { prefix } = clampWords();
    const words = [...PREFIX.slice(PREFIX.length - prefix).map((w, i) => [w, i - prefix]), ...SENTENCE.map((w, i) => [w, i])];
    let x = 0, row = 0;
    return words.map(([word, index]) => {
      const w = word.length * 8 + 18;
      if (x + w > width) [x, row] = [0, row + 1];
      const box = { word, index, x, y: row * 50, w, position: index + prefix };
      x += w + 5;
      return box;
    });
  }

  const rows = (boxes) => boxes[boxes.length - 1].y / 50 + 1;
  const polar = (cx, cy, r, angle) => [cx + r * Math.cos(angle), cy - r * Math.sin(angle)];

  function strip(boxes) {
    const { word, other } = clampWords();
    return boxes
      .map((b) => {
        const cls = b.index === word ? "one" : b.index === other ? "two" : b.index < 0 ? "before" : "";
        return (
          rect(b.x + 0.5, b.y + 0.5, b.w - 1, 29, `word ${cls}`, 7) +
          text(b.x + b.w / 2, b.y + 20, b.word, `word-text ${cls}`, "middle") +
          text(b.x + b.w / 2, b.y + 43, b.position, "tick", "middle")
        );
      })
      .join("");
  }

  // An arc along the circle from angle a to angle b (b - a may be more than a turn: drawn as one turn at most).
  function arc(cx, cy, r, a, b, cls) {
    const span = R.clamp(b - a, -R.TAU, R.TAU);
    const steps = Math.max(8, Math.ceil(Math.abs(span) * 24));
    return path(Array.from({ length: steps + 1 }, (_, k) => polar(cx, cy, r, a + (span * k) / steps)), cls);
  }

  function hand(cx, cy, r, angle, cls) {
    const [x, y] = polar(cx, cy, r, angle);
    return line(cx, cy, x, y, `hand ${cls}`) + circle(x, y, 5, `tip ${cls}`);
  }

  function dial(cx, cy, r, theta, from, to, big) {
    const dots = big
      ? Array.from({ length: SENTENCE.length + PREFIX.length }, (_, m) => circle(...polar(cx, cy, r, m * theta), 2, "dot")).join("")
      : "";
    const between = arc(cx, cy, r * (big ? 0.42 : 0.5), from * theta, to * theta, "between");
    return circle(cx, cy, r, "dial") + dots + between + hand(cx, cy, r, from * theta, "one") + hand(cx, cy, r, to * theta, "two");
  }

  function clockPairs() {
    const pairs = R.rope().rotary_dim / 2;
    return Array.from({ length: 8 }, (_, k) => Math.round((k * (pairs - 1)) / 7));
  }

  // Where the small clocks stand, given the picture's width and where the strip ended.
  function clockGrid(width, top) {
    const wide = width >= 600;
    const across = 4, cell = wide ? (width * 0.54) / across : width / across;
    const left = wide ? width * 0.46 : 0, y0 = wide ? top + 14 : top + 300;
    return clockPairs().map((pair, k) => ({
      pair, x: left + cell * ((k % across) + 0.5), y: y0 + 46 + Math.floor(k / across) * 132, r: Math.min(36, cell * 0.4),
    }));
  }

  function render(width, tall, put) {
    const boxes = layOut(width), top = rows(boxes) * 50 + 6;
    const { word, other, prefix } = clampWords();
    const from = word + prefix, to = other + prefix;
    const frequencies = R.invFreq(R.rope()), theta = frequencies[R.state.pair];
    const wide = width >= 600;
    const r = wide ? Math.min(126, width * 0.17) : 118;
    const cx = wide ? width * 0.2 : width / 2, cy = top + 152;
    const label = (angle, words, cls) => {
      const [x, y] = polar(cx, cy, r + 15, angle);
      return text(x, y + 4, words, `label ${cls}`, x > cx + 20 ? "start" : x < cx - 20 ? "end" : "middle");
    };
    const clocks = clockGrid(width, top)
      .map(({ pair, x, y, r: small }) => {
        const chosen = pair === R.state.pair ? circle(x, y, small + 7, "chosen") : "";
        return chosen + dial(x, y, small, frequencies[pair], from, to, false) + text(x, y + small + 22, `pair ${pair}`, "tick", "middle");
      })
      .join("");
    const same = word === other ? "" : label(from * theta, SENTENCE[word], "one");
    put(strip(boxes) + dial(cx, cy, r, theta, from, to, true) + same + label(to * theta, SENTENCE[other], "two") + clocks);
  }

  function height(width) {
    const top = rows(layOut(width)) * 50 + 6;
    return width >= 600 ? top + 300 : top + 580;
  }

  let held = null;
  function drag(x, y, phase, width) {
    const boxes = layOut(width), top = rows(boxes) * 50;
    if (phase === "start") {
      const clock = clockGrid(width, top + 6).find((c) => Math.hypot(c.x - x, c.y - y) < c.r + 14);
      if (clock) {
        R.set({ pair: clock.pair });
        return false;
      }
      if (y > top) return false;
    }
    const near = boxes.filter((b) => b.index >= 0).reduce((best, b) => (distance(b, x, y) < distance(best, x, y) ? b : best));
    const { word, other } = clampWords();
    if (phase === "start") held = Math.abs(near.index - word) <= Math.abs(near.index - other) ? "word" : "other";
    R.set({ [held]: near.index });
    return true;
  }
  const distance = (b, x, y) => Math.hypot(b.x + b.w / 2 - x, 3 * (b.y + 15 - y));

  function say() {
    const { word, other, prefix } = clampWords();
    const theta = R.invFreq(R.rope())[R.state.pair], gap = other - word;
    const angle = R.degrees(gap * theta);
    const first = `“${SENTENCE[word]}” stands at ${word + prefix}, “${SENTENCE[other]}” at ${other + prefix}: ${gap} apart.`;
    const turn = R.tokens(R.TAU / theta);
    return `${first} Pair ${R.state.pair} turns once in ${turn} tokens, so the angle between them is ${gap} θ = <b>${R.trim(angle)}°</b>, whatever comes before.`;
  }

  R.chapters = R.chapters || [];
  R.chapters.push(() => {
    const { figure, controls, under } = R.chapter("rotate");
    const svg = () => figure.querySelector("svg");
    R.picture(figure, {
      height, render, label: () => say().replace(/<[^>]+>/g, ""),
      drag: (x, y, phase) => drag(x, y, phase, svg().clientWidth),
    });
    const words = (i) => `${SENTENCE[R.clamp(Math.round(i), 0, LAST)]} · place ${R.clamp(Math.round(i), 0, LAST)}`;
    R.slider(controls, { key: "prefix", label: "Words put before", min: 0, max: PREFIX.length, say: (n) => `${n}` });
    R.pairSlider(controls);
    R.slider(controls, { key: "word", label: "First word", min: 0, max: LAST, say: words });
    R.slider(controls, { key: "other", label: "Second word", min: 0, max: LAST, say: words });
    R.reading(under, say);
  });
  R.polar = polar;
  R.svg.arc = arc;
})(window.ropewalk);
