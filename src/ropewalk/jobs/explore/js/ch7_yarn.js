// Chapter 7: the temperature on a real softmax row, and what distance alone does to attention under every method.
(function (R) {
  "use strict";
  const { line, rect, text, path } = R.svg;

  const SHOWN = ["none", "linear", "ntk", "ntk_by_parts", "yarn", "llama3", "resonance"];
  const M = { left: 46, right: 16 };
  const isYarn = () => R.parseMethod(R.state.method).method === "yarn";

  const yarnOptions = () => (isYarn() ? R.options() : R.options("yarn"));
  const factor = () => R.compute(R.rope(), "yarn", R.state.factor, yarnOptions()).attention_factor;
  const slope = () => ({ ...R.data.methods.yarn.defaults, ...yarnOptions() }).temperature_slope;
  const setSlope = (value) => {
    const { attention_factor, ...rest } = R.state.options;
    R.set({ method: isYarn() ? R.state.method : "yarn", options: { ...rest, temperature_slope: Math.round(value * 100) / 100 } });
  };

  const power = () => ({ m2: factor() ** 2, m: factor(), off: 1 })[R.state.sharpen];
  const plain = R.softmax(R.data.row.logits);
  const sharp = () => R.softmax(R.data.row.logits.map((x) => x * power()));

  function renderRow(width, tall, put) {
    const tokens = R.data.row.tokens, p = sharp(), n = tokens.length;
    const high = Math.max(...p, ...plain) * 1.08, bottom = tall - 58;
    const x = R.linear(0, n, M.left, width - M.right), y = R.linear(0, high, bottom, 26), w = (width - M.left - M.right) / n;
    const levels = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9].filter((v) => v < high);
    const grid = levels.map((v) => line(M.left, y(v), width - M.right, y(v), "grid") + text(M.left - 8, y(v) + 4, `${Math.round(v * 100)} %`, "tick", "end"));
    const bars = tokens.map((token, i) => {
      const name = `<text class="tick token" text-anchor="end" transform="translate(${x(i) + w / 2 + 4} ${bottom + 12}) rotate(-50)">${R.svg.escape(token.trim() || "·")}</text>`;
      return rect(x(i) + w * 0.16, y(p[i]), w * 0.68, bottom - y(p[i]), "bar", 2) + rect(x(i) + w * 0.1, y(plain[i]), w * 0.8, bottom - y(plain[i]), "outline", 2) + name;
    });
    put(text(4, 12, "attention of the last token", "axis") + grid.join("") + bars.join(""));
  }

  const hidden = () => R.state.hide.split(",").filter(Boolean);

  // Whole distances, evenly spaced on the logarithm; far out each stands for a bin of tokens, [[first, last], …].
  function bins(width) {
    const far = R.rope().original_length * R.state.factor, count = Math.min(260, Math.floor(width / 2));
    const starts = [...new Set(Array.from({ length: count + 1 }, (_, k) => Math.round(Math.pow(far, k / count))))];
    return starts.map((first, k) => [first, Math.max(first, (starts[k + 1] || first + 1) - 1)]);
  }

  // The kernel averaged over a bin: its fast ripples would only alias on this axis.
  function mean(frequencies, [first, last]) {
    const samples = Math.min(8, last - first + 1);
    let sum = 0;
    for (let k = 0; k < samples; k++) sum += R.kernel(frequencies, Math.round(first + ((last - first) * k) / samples));
    return sum / samples;
  }

  let cache = { key: "" };
  function curves(width) {
    const key = JSON.stringify([R.rope(), R.state.factor, R.state.options, R.state.method, Math.round(width)]);
    if (cache.key === key) return cache;
    const all = bins(width), delta = all.map(([first]) => first);
    const lines = SHOWN.map((name) => {
      const own = R.parseMethod(R.state.method).method === name ? R.options(name) : name === "yarn" ? yarnOptions() : {};
      const { inv_freq, attention_factor: m } = R.compute(R.rope(), name, R.state.factor, own);
      return { name, values: all.map((bin) => m * m * mean(inv_freq, bin)) };
    });
    cache = { key, delta, lines };
    return cache;
  }

  function renderKernel(width, tall, put) {
    const { delta, lines } = curves(width), L = R.rope().original_length, far = L * R.state.factor;
    const seen = lines.filter(({ name }) => !hidden().includes(name));
    const values = seen.flatMap(({ values: v }) => v), low = Math.min(-0.2, ...values), high = Math.max(1, ...values);
    const x = R.log(1, far, M.left, width - M.right), y = R.linear(low, high * 1.04, tall - 42, 26);
    const levels = [-0.5, 0, 0.5, 1, 1.5, 2].filter((v) => v >= low && v <= high * 1.04);
    const grid = levels.map((v) => line(M.left, y(v), width - M.right, y(v), v === 0 ? "axis-line" : "grid") + text(M.left - 8, y(v) + 4, v, "tick", "end"));
    const ticks = R.decades(1, far, width < 500 ? 4 : 8).map((v) => text(x(v), tall - 24, R.short(v), "tick", "middle"));
    const drawn = seen.map(({ name, values: v }) => path(v.map((k, i) => [x(delta[i]), y(k)]), `series series-${name}`));
    put(
      text(4, 12, "Σ cos(θ δ) · m² ÷ pairs, averaged over nearby distances", "axis") + grid.join("") + ticks.join("") + text((M.left + width - M.right) / 2, tall - 4, "distance δ, tokens", "axis", "middle") +
        line(x(L), 26, x(L), tall - 42, "cursor") + text(x(L) - 5, 36, "L", "label", "end") + drawn.join(""),
    );
  }

  function say() {
    const m = factor(), before = R.entropyBits(plain), after = R.entropyBits(sharp());
    const applied = { m2: `logits × m² = <b>${R.trim(m * m)}</b>`, m: `logits × m = ${R.trim(m)} only (as if one side were scaled)`, off: "logits as they are" }[R.state.sharpen];
    return `s = ${R.trim(R.state.factor)} gives m = <b>${m.toFixed(4)}</b>; ${applied}. Entropy of the row: ${before.toFixed(2)} → <b>${after.toFixed(2)} bits</b>, as if it looked at ${R.trim(2 ** before)} → ${R.trim(2 ** after)} tokens.`;
  }

  R.chapters.push(() => {
    const { figure, controls, under } = R.chapter("yarn");
    R.picture(figure, { height: (w) => (w < 500 ? 240 : 270), render: renderRow, label: () => say().replace(/<[^>]+>/g, "") });
    const source = R.el("p", { className: "source" }, `A real row: ${R.data.row.source}. Outline: as trained.`);
    figure.append(source);
    R.picture(figure, { height: (w) => (w < 500 ? 260 : 300), render: renderKernel, label: () => "Attention by distance alone, for every method." });
    const keys = R.el("div", { className: "series-keys" });
    figure.append(keys);
    for (const name of SHOWN) {
      R.checkbox(keys, {
        label: R.methodTitle(name), cls: `series-key series-${name}`, get: () => !hidden().includes(name),
        put: (on) => R.set({ hide: (on ? hidden().filter((other) => other !== name) : [...hidden(), name]).join(",") }),
      });
    }
    R.factorSlider(controls);
    R.slider(controls, { key: "slope", label: "Temperature slope", min: 0, max: 0.3, step: 0.01, get: slope, put: setSlope, say: () => `m = ${R.trim(slope())} ln s + 1` });
    R.choice(controls, { key: "sharpen", label: "Applied to the logits as", choices: [["m2", "m² (what happens)"], ["m", "m"], ["off", "off"]] });
    R.use(controls, "yarn", "Use YaRN");
    R.reading(under, say);
  });
})(window.ropewalk);
