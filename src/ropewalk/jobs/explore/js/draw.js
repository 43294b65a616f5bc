// Small helpers for hand-made SVG: one picture is one function of (width, state), drawn anew when either changes.
(function (R) {
  "use strict";

  const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
  const f = (x) => Math.round(x * 100) / 100;

  const line = (x1, y1, x2, y2, cls = "") => `<line class="${cls}" x1="${f(x1)}" y1="${f(y1)}" x2="${f(x2)}" y2="${f(y2)}"/>`;
  const circle = (x, y, r, cls = "") => `<circle class="${cls}" cx="${f(x)}" cy="${f(y)}" r="${f(r)}"/>`;
  const rect = (x, y, w, h, cls = "", rx = 0) =>
    `<rect class="${cls}" x="${f(x)}" y="${f(y)}" width="${f(Math.max(w, 0))}" height="${f(Math.max(h, 0))}" rx="${rx}"/>`;
  const text = (x, y, words, cls = "", anchor = "start") =>
    `<text class="${cls}" x="${f(x)}" y="${f(y)}" text-anchor="${anchor}">${escape(words)}</text>`;
  const path = (points, cls = "", close = false) =>
    `<path class="${cls}" d="${points.map(([x, y], i) => `${i ? "L" : "M"}${f(x)} ${f(y)}`).join("")}${close ? "Z" : ""}"/>`;

  // A mark for a pair: its shape says what its colour says.
  const KIND = ["kept", "ramped", "stretched"];
  function mark(x, y, kind, r = 3.4) {
    const cls = `mark ${KIND[kind]}`;
    if (kind === R.KEPT) return circle(x, y, r, cls);
    if (kind === R.STRETCHED) return rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8, cls);
    const q = r * 1.25;
    return path([[x, y - q], [x + q, y], [x, y + q], [x - q, y]], cls, true);
  }

  const linear = (d0, d1, r0, r1) => (x) => r0 + ((x - d0) / (d1 - d0)) * (r1 - r0);
  const log = (d0, d1, r0, r1) => {
    const inner = linear(Math.log(d0), Math.log(d1), r0, r1);
    return (x) => inner(Math.log(x));
  };

  // Powers of ten within [low, high], thinned to fit.
  function decades(low, high, most = 8) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const step = Math.max(1, Math.ceil((last - first + 1) / most));
    return Array.from({ length: Math.max(0, Math.floor((last - first) / step) + 1) }, (_, i) => 10 ** (first + i * step));
  }

  // Whole steps of 1, 2, 4, 8, 16, … so that at most `most` of them fit in n.
  function evenTicks(n, most) {
    let step = 1;
    while (n / step > most) step *= 2;
    return Array.from({ length: Math.floor((n - 1) / step) + 1 }, (_, i) => i * step);
  }

  const UNITS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  function short(x) {
    for (const [size, unit] of UNITS) if (Math.abs(x) >= size) return trim(x / size) + unit;
    return Math.abs(x) >= 0.01 || x === 0 ? trim(x) : x.toExponential(0);
  }
  const trim = (x) => String(Number(x.toPrecision(3)));
  const whole = (x) => Math.round(x).toLocaleString("en-US");
  const degrees = (radians) => (radians * 180) / Math.PI;
  const tokens = (x) => (x < 1000 ? trim(x) : x < 1e7 ? whole(x) : short(x));

  // The angle between -180 and 180 degrees.
  const wrapDegrees = (radians) => ((((degrees(radians) + 180) % 360) + 360) % 360) - 180;

  const wantsCalm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

  // Numbers that glide to their new values; at once for those who ask for less motion.
  function glider(draw) {
    let shown = null, frame = 0;
    return (target) => {
      cancelAnimationFrame(frame);
      if (!shown || shown.length !== target.length || wantsCalm() || document.hidden) {
        shown = target.slice();
        return draw(shown);
      }
      const from = shown.slice(), begin = performance.now();
      const step = (now) => {
        const t = R.clamp((now - begin) / 260);
        const ease = 1 - (1 - t) ** 3;
        shown = target.map((x, i) => (t === 1 ? x : from[i] + (x - from[i]) * ease));
        draw(shown);
        if (t < 1) frame = requestAnimationFrame(step);
      };
      frame = requestAnimationFrame(step);
    };
  }

  const PRINTED = "printed";

  // A picture in a figure: redrawn on state changes and resizes, but only while it can be seen.
  function picture(figure, { height, render, drag, label }) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("role", "img");
    figure.append(svg);
    let visible = false, stale = true;
    function draw(now) {
      stale = !visible && now !== PRINTED;
      if (stale) return;
      const width = Math.max(280, Math.floor(svg.clientWidth || figure.clientWidth));
      const tall = typeof height === "function" ? height(width) : height;
      svg.setAttribute("viewBox", `0 0 ${width} ${tall}`);
      svg.setAttribute("height", tall);
      render(width, tall, (markup) => {
        svg.innerHTML = markup;
      });
      svg.setAttribute("aria-label", label());
    }
    new IntersectionObserver(
      (entries) => {
        visible = entries[entries.length - 1].isIntersecting;
        if (visible && stale) draw();
      },
      { rootMargin: "200px" },
    ).observe(svg);
    let last = 0;
    new ResizeObserver(() => {
      if (svg.clientWidth !== last) draw();
      last = svg.clientWidth;
    }).observe(svg);
    R.subscribe(draw);
    window.addEventListener("beforeprint", () => draw(PRINTED)); // paper shows them all
    if (drag) draggable(svg, drag);
    return { draw };
  }

  // drag(x, y, phase) in the picture's own pixels; the page still scrolls up and down under a finger.
  function draggable(svg, drag) {
    let held = false;
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    svg.classList.add("draggable");
    svg.addEventListener("pointerdown", (event) => {
      held = drag(...point(event), "start") !== false;
      if (held) svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      if (held) drag(...point(event), "move");
    });
    for (const end of ["pointerup", "pointercancel"]) {
      svg.addEventListener(end, () => {
        held = false;
      });
    }
  }

  R.svg = { line, circle, rect, text, path, mark, escape };
  Object.assign(R, {
    KIND, linear, log, decades, evenTicks, short, trim, whole, degrees, wrapDegrees, tokens, glider, picture, wantsCalm,
  });
})(window.ropewalk);
