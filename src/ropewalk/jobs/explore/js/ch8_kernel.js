// Chapter 8: Fourier features. The band of frequencies decides whether kernel regression blurs, fits or rings.
(function (R) {
  "use strict";
  const { line, circle, rect, text, path } = R.svg;

  const M = { left: 46, right: 16 };
  const MOST = 64; // turns in the window; the band's weights have vanished long before

  const signal = (x) => 0.55 * Math.sin(R.TAU * x) + 0.3 * Math.sin(R.TAU * 3 * x + 0.7) + (x > 0.55 && x < 0.72 ? 0.5 : 0);
  // Fixed sample points, a little off an even grid, as data are.
  const X = Array.from({ length: 26 }, (_, i) => (i + 0.5 + 0.36 * Math.sin(7.3 * i + 1)) / 26);
  const Y = X.map(signal);

  // a_j^2: flat up to the band's edge, then gone.
  const weight = (j, band) => Math.exp(-((j / band) ** 4));

  let cache = { band: 0 };
  function fit(band) {
    if (cache.band === band) return cache.curve;
    const weights = Array.from({ length: MOST + 1 }, (_, j) => weight(j, band));
    const total = weights.reduce((a, b) => a + b, 0);
    const kernel = (d) => weights.reduce((sum, a, j) => sum + a * Math.cos(R.TAU * j * d), 0) / total;
    const f = R.kernelRegression(X, Y, kernel, 1e-3);
    const curve = Array.from({ length: 401 }, (_, k) => [k / 400, f(k / 400)]);
    cache = { band, curve };
    return curve;
  }

  const error = (curve) => Math.sqrt(curve.reduce((sum, [x, y]) => sum + (y - signal(x)) ** 2, 0) / curve.length);

  function axis(width) {
    const r = R.turns(R.rope());
    const low = Math.min(0.01, r[r.length - 1] / R.state.factor), high = Math.max(100, r[0] * 1.4);
    return { x: R.log(low, high, M.left, width - M.right), low, high };
  }

  const BOTTOM = 232, LANE = 300;

  function render(width, tall, put) {
    const curve = fit(R.state.band), fx = R.linear(0, 1, M.left, width - M.right), fy = R.linear(-1.1, 1.15, BOTTOM - 16, 26);
    const truth = Array.from({ length: 401 }, (_, k) => [fx(k / 400), fy(signal(k / 400))]);
    const fitted = curve.map(([x, y]) => [fx(x), fy(R.clamp(y, -1.1, 1.15))]);
    put(
      text(4, 12, "a signal, known at 26 points", "axis") + line(M.left, fy(0), width - M.right, fy(0), "grid") + path(truth, "truth") +
        path(fitted, "curve") + X.map((x, i) => circle(fx(x), fy(Y[i]), 3.6, "sample")).join("") + spectrum(width),
    );
  }

  function spectrum(width) {
    const { x, low, high } = axis(width), band = R.state.band, top = LANE - 34;
    const points = Array.from({ length: 121 }, (_, k) => low * Math.pow(Math.min(high, 4 * band) / low, k / 120));
    const shape = [[x(low), LANE], ...points.map((v) => [x(v), LANE - 30 * weight(v, band)]), [x(points[120]), LANE]];
    const rope = R.rope(), scaled = R.scaled(), { kind } = R.pairs(rope, scaled, R.state.factor);
    const before = R.turns(rope), after = scaled.inv_freq.map((theta) => (theta * rope.original_length) / R.TAU);
    const dots = (list, y, cls) => list.map((v, i) => (v > 0 ? R.svg.mark(x(v), y, cls ? kind[i] : R.KEPT, 2.6).replace('class="mark', cls ? 'class="mark' : 'class="hollow mark') : "")).join("");
    const ticks = R.decades(low, high, width < 500 ? 4 : 8).map((v) => line(x(v), top, x(v), LANE + 66, "grid") + text(x(v), LANE + 84, R.short(v), "tick", "middle"));
    return (
      ticks.join("") + text(4, top - 10, "the band of b", "axis") + path(shape, "band-shape", true) + line(M.left, LANE, width - M.right, LANE, "axis-line") +
      line(x(band), top - 2, x(band), LANE, "handle-line") + circle(x(band), top + 4, 9, "handle") + circle(x(band), top + 4, 3, "handle-dot") +
      text(M.left, LANE + 20, "RoPE’s θ, as trained", "label halo") + dots(before, LANE + 32, false) +
      text(M.left, LANE + 52, `after ${R.methodTitle(R.state.method)} ${R.trim(R.state.factor)}×`, "label halo") + dots(after, LANE + 64, true) +
      text((M.left + width - M.right) / 2, LANE + 104, "turns within the window (for RoPE: within L)", "axis", "middle")
    );
  }

  function say() {
    const curve = fit(R.state.band), band = R.state.band, e = error(curve);
    const verdict = band < 3 ? "<b>too narrow</b>: the fit cannot turn fast enough, and blurs" : band > 14 ? "<b>too wide</b>: between its points the fit is free to ring" : "about <b>right</b> for 26 points";
    return `Up to ${R.trim(band)} turns in the window: ${verdict}. Error ${e.toFixed(3)}. Switch the method to Position Interpolation and every θ moves left by ${R.trim(R.state.factor)}×; NTK-aware leaves the right end where it is.`;
  }

  R.chapters.push(() => {
    const { figure, controls, under } = R.chapter("why-ntk");
    R.picture(figure, {
      height: LANE + 112, render, label: () => say().replace(/<[^>]+>/g, ""),
      drag: (px, py) => {
        if (py < BOTTOM) return false;
        const width = figure.querySelector("svg").clientWidth, { low, high } = axis(width);
        const v = low * Math.pow(high / low, (px - M.left) / (width - M.left - M.right));
        R.set({ band: R.clamp(Math.round(v * 10) / 10, 0.5, 40) });
        return true;
      },
    });
    R.slider(controls, {
      key: "band", label: "Bandwidth", min: Math.log2(0.5), max: Math.log2(40), step: 0.02, get: () => Math.log2(R.state.band),
      put: (v) => R.set({ band: Math.round(10 * 2 ** v) / 10 }), say: () => `up to ${R.trim(R.state.band)} turns`,
    });
    R.select(controls, { key: "method", label: "Method", choices: () => R.methodNames().map((name) => [name, R.methodTitle(name)]) });
    R.factorSlider(controls);
    R.reading(under, say);
  });
})(window.ropewalk);
