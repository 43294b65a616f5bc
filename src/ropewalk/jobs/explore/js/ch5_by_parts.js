// Chapter 5: the ramp between kept and stretched, its two ends to drag, paper against released code.
(function (R) {
  "use strict";
  const { line, circle, rect, text, path, mark } = R.svg;

  const M = { left: 46, right: 16, top: 46, bottom: 74 };
  const FAMILY = ["ntk_by_parts", "yarn", "llama3"];

  // The ramp's options, whatever method is chosen: its own if it has a ramp, else those of ntk_by_parts.
  function ramp() {
    const { method } = R.parseMethod(R.state.method);
    const name = FAMILY.includes(method) ? method : "ntk_by_parts";
    const o = { ...R.data.methods[name].defaults, ...R.options(name) };
    if (name === "llama3") Object.assign(o, { ramp: "turns", truncate: true });
    return o;
  }

  // Moving a handle chooses a method that has one, so that the configuration follows.
  function put(options) {
    const { method } = R.parseMethod(R.state.method);
    let name = FAMILY.includes(method) ? R.state.method : "ntk_by_parts";
    let all = { ...(FAMILY.includes(method) ? R.state.options : {}), ...options };
    if (method === "llama3" && ("ramp" in options || "truncate" in options)) {
      name = "ntk_by_parts";
      all = { ...ramp(), ...options };
    }
    R.set({ method: name, options: all });
  }

  const tidyBeta = (v) => (v >= 10 ? Math.round(v) : Math.round(v * 10) / 10);
  function setBeta(which, value) {
    const o = ramp();
    value = R.clamp(tidyBeta(value), which === "beta_fast" ? o.beta_slow : 0.1, which === "beta_fast" ? 512 : o.beta_fast);
    put({ [which]: value });
  }

  function facts() {
    const rope = R.rope(), o = ramp();
    const gammas = (kind) => R.interpolated(rope, { ...o, ramp: kind }).map((share) => 1 - share);
    const index = gammas("index"), turns = gammas("turns");
    const speed = (gamma) => gamma + (1 - gamma) / R.state.factor;
    const ratio = index.map((gamma, i) => speed(gamma) / speed(turns[i]));
    const worst = ratio.reduce((best, v, i) => (Math.abs(Math.log(v)) > Math.abs(Math.log(ratio[best])) ? i : best), 0);
    const active = o.ramp === "turns" ? turns : index;
    const kind = active.map((gamma) => (gamma === 1 ? R.KEPT : gamma === 0 ? R.STRETCHED : R.RAMPED));
    return { rope, o, index, turns, active, kind, worst, ratio: ratio[worst] };
  }

  // x of a number of turns: on the turns axis directly, on the index axis at the (fractional) pair that makes them.
  function axis(width, rope) {
    const pairs = rope.rotary_dim / 2, r = R.turns(rope);
    const byIndex = R.linear(-0.5, pairs - 0.5, M.left, width - M.right);
    if (R.state.axis === "index") {
      const back = (px) => {
        const i = ((px - M.left) / (width - M.left - M.right)) * pairs - 0.5;
        return r[0] * Math.pow(rope.rope_theta, (-2 * i) / rope.rotary_dim);
      };
      return { pair: byIndex, turns: (n) => byIndex(R.pairTurning(rope, n)), back, pairs, r };
    }
    const low = Math.min(...r) / 1.3, high = r[0] * 1.3;
    const x = R.log(high, low, M.left, width - M.right);
    const back = (px) => high * Math.pow(low / high, (px - M.left) / (width - M.left - M.right));
    return { pair: (i) => x(r[i]), turns: x, back, pairs, r, low, high };
  }

  function ticks(a, width, tall) {
    const y = tall - M.bottom + 44;
    const title = (words) => text((M.left + width - M.right) / 2, tall - 8, words, "axis", "middle");
    if (R.state.axis === "index")
      return R.evenTicks(a.pairs, width < 500 ? 5 : 9).map((i) => text(a.pair(i), y, i, "tick", "middle")).join("") + title("pair, fastest first");
    const shown = R.decades(a.low, a.high, width < 500 ? 5 : 8);
    return shown.map((v) => text(a.turns(v), y, R.short(v), "tick", "middle")).join("") + title("turns within L, most first");
  }

  function handle(a, width, turns, name, low) {
    const x = R.clamp(a.turns(turns), M.left, width - M.right), y = low ? M.bottomY - 4 : M.top;
    const anchor = x > width - 90 ? "end" : "start", dx = anchor === "end" ? -13 : 13;
    return line(x, M.top - 8, x, M.bottomY, "handle-line") + circle(x, y, 9, "handle") + circle(x, y, 3, "handle-dot") +
      text(x + dx, low ? y - 8 : M.top - 14, `${name} = ${R.trim(turns)}`, "label halo", anchor);
  }

  function render(width, tall, put_) {
    const { rope, o, index, turns, active, kind } = facts(), a = axis(width, rope);
    M.bottomY = tall - M.bottom;
    const y = R.linear(0, 1, tall - M.bottom, M.top), step = (width - M.left - M.right) / a.pairs;
    const bands = R.runs(kind).map(([k, first, last]) => {
      const x0 = first === 0 ? M.left : (a.pair(first - 1) + a.pair(first)) / 2;
      const x1 = last === a.pairs - 1 ? width - M.right : (a.pair(last) + a.pair(last + 1)) / 2;
      const name = x1 - x0 > 78 ? `${last - first + 1} ${R.KIND[k]}` : x1 - x0 > 22 ? `${last - first + 1}` : "";
      return rect(x0, M.top, x1 - x0, tall - M.top - M.bottom, `band ${R.KIND[k]}`) + text((x0 + x1) / 2, 14, name, "badge", "middle");
    });
    const cells = kind.map((k, i) => rect(a.pair(i) - Math.max(step * 0.42, 1), tall - M.bottom + 10, Math.max(step * 0.84, 2), 16, `cell ${R.KIND[k]}`, 2));
    const curve = (gammas, cls) => path(gammas.map((gamma, i) => [a.pair(i), y(gamma)]), `ramp-curve ${cls}`);
    const paper = o.ramp === "turns";
    const dots = active.map((gamma, i) => mark(a.pair(i), y(gamma), kind[i], R.clamp(step * 0.42, 1.7, 4))).join("");
    const levels = [0, 0.5, 1].map((g) => line(M.left, y(g), width - M.right, y(g), "grid") + text(M.left - 8, y(g) + 4, g, "tick", "end"));
    put_(
      bands.join("") + levels.join("") + text(4, M.top - 14, "γ kept", "axis") + ticks(a, width, tall) +
        curve(paper ? index : turns, "other") + curve(active, "active") + cells.join("") + dots +
        handle(a, width, o.beta_fast, "β", false) + handle(a, width, o.beta_slow, "α", true),
    );
  }

  let held = null;
  function drag(x, y, phase, width) {
    const rope = R.rope(), o = ramp(), a = axis(width, rope);
    if (phase === "start") {
      const gap = { beta_fast: Math.abs(a.turns(o.beta_fast) - x), beta_slow: Math.abs(a.turns(o.beta_slow) - x) };
      held = gap.beta_fast <= gap.beta_slow ? "beta_fast" : "beta_slow";
      if (gap[held] > 40) return false;
    }
    setBeta(held, a.back(x));
    return true;
  }

  function say() {
    const { o, kind, worst, ratio } = facts();
    const parts = R.runs(kind).map(([k, first, last]) => `<b>${last - first + 1} ${R.KIND[k]}</b> (pairs ${R.span(first, last)})`);
    const differ = Math.abs(Math.log(ratio)) < 1e-6 ? "Here both ramps agree." : `The two ramps differ most at pair ${worst}, which turns <b>${R.trim(ratio)}×</b> as fast by the code’s as by the paper’s.`;
    return `${R.model().name} at ${R.trim(R.state.factor)}×, ramp in ${o.ramp === "turns" ? "turns (paper)" : "pair index (code)"}: ${parts.join(", ")}. ${differ}`;
  }

  R.chapters.push(() => {
    const { figure, controls, under } = R.chapter("by-parts");
    R.picture(figure, {
      height: (w) => (w < 500 ? 350 : 400), render,
      label: () => say().replace(/<[^>]+>/g, ""),
      drag: (x, y, phase) => drag(x, y, phase, figure.querySelector("svg").clientWidth),
    });
    const beta = (which, label, low, high) =>
      R.slider(controls, {
        key: which, label, min: Math.log2(low), max: Math.log2(high), step: 0.01,
        get: () => Math.log2(ramp()[which]), put: (v) => setBeta(which, 2 ** v), say: () => `${R.trim(ramp()[which])} turn${ramp()[which] === 1 ? "" : "s"}`,
      });
    beta("beta_fast", "β, beta_fast: kept from", 1, 512);
    beta("beta_slow", "α, beta_slow: stretched up to", 0.1, 32);
    R.factorSlider(controls);
    R.choice(controls, { key: "ramp", label: "Ramp straight in", choices: [["index", "pair index (code)"], ["turns", "turns (paper)"]], get: () => ramp().ramp, put: (v) => put({ ramp: v }) });
    R.choice(controls, { key: "axis", label: "Axis", choices: [["index", "pairs"], ["turns", "turns"]] });
    R.checkbox(controls, { label: "round the ends to whole pairs (truncate)", get: () => ramp().truncate, put: (v) => put({ truncate: v }) });
    R.use(controls, "ntk_by_parts", "Use NTK-by-parts");
    R.reading(under, say);
  });
})(window.ropewalk);
