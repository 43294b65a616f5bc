// The ground floor in JavaScript: Rope, every method, pairs. A test holds it to scaling/ in Python, to 1e-6 and better.
(function (R) {
  "use strict";

  const TAU = 2 * Math.PI;

  // rope: {rotary_dim: d, rope_theta: b, original_length: L}
  function invFreq(rope) {
    const d = rope.rotary_dim;
    return Array.from({ length: d / 2 }, (_, i) => Math.pow(rope.rope_theta, (-2 * i) / d));
  }

  function turns(rope) {
    return invFreq(rope).map((theta) => rope.original_length / (TAU / theta));
  }

  // The (fractional) pair that makes so many turns within the original length.
  function pairTurning(rope, count) {
    const { rotary_dim: d, rope_theta: b, original_length: L } = rope;
    return (d * Math.log(L / (count * TAU))) / (2 * Math.log(b));
  }

  const clamp = (x, low = 0, high = 1) => Math.min(Math.max(x, low), high);

  // Where the ramp begins and ends, in pairs ("index" only).
  function rampEnds(rope, o) {
    let start = pairTurning(rope, o.beta_fast);
    let end = pairTurning(rope, o.beta_slow);
    if (o.truncate) [start, end] = [Math.floor(start), Math.ceil(end)];
    return [Math.max(start, 0), Math.min(end, rope.rotary_dim - 1)];
  }

  // 1 - gamma for each pair: 0 where it keeps its speed, 1 where it is slowed by the whole factor.
  function interpolated(rope, o) {
    check(o.beta_fast > 0 && o.beta_slow > 0, "beta_fast and beta_slow must be above 0.");
    check(o.beta_fast >= o.beta_slow, "beta_fast must be the larger: pairs that turn often are kept.");
    if (o.ramp === "turns") {
      const width = o.beta_fast - o.beta_slow;
      return turns(rope).map((r) => (width === 0 ? Number(r < o.beta_slow) : clamp((o.beta_fast - r) / width)));
    }
    const [start, end] = rampEnds(rope, o);
    const width = start === end ? 0.001 : end - start; // a ramp of no width is a step
    return Array.from({ length: rope.rotary_dim / 2 }, (_, i) => clamp((i - start) / width));
  }

  // yarn's beta_growth: the fast end of the ramp may move with the scale.
  function grown(o, s) {
    return o.beta_growth ? { ...o, beta_fast: Math.max(o.beta_fast * Math.pow(s, o.beta_growth), o.beta_slow) } : o;
  }

  function blend(rope, s, shares) {
    return invFreq(rope).map((theta, i) => (1 - shares[i]) * theta + (shares[i] * theta) / s);
  }

  // b' = b s^(d / (d - 2)): the first pair keeps its speed, the last is slowed by exactly s.
  function stretchedTheta(rope, s) {
    check(rope.rotary_dim > 2, "ntk cannot stretch a rotary_dim of 2.");
    return rope.rope_theta * Math.pow(s, rope.rotary_dim / (rope.rotary_dim - 2));
  }

  function withTheta(rope, theta) {
    check(theta > 1 && theta < 1e300, "rope_theta must be a finite number greater than 1.");
    return { inv_freq: invFreq({ ...rope, rope_theta: theta }), attention_factor: 1 };
  }

  function banded(rope, s, o) {
    check(o.beta_fast > 0 && o.beta_slow > 0, "beta_fast and beta_slow must be above 0.");
    check(o.beta_fast >= o.beta_slow, "beta_fast must be the larger.");
    const L = rope.original_length;
    return invFreq(rope).map((theta) => {
      const wavelength = TAU / theta;
      if (wavelength < L / o.beta_fast) return theta;
      if (wavelength > L / o.beta_slow || o.beta_fast === o.beta_slow) return theta / s;
      const kept = (L / wavelength - o.beta_slow) / (o.beta_fast - o.beta_slow);
      return ((1 - kept) * theta) / s + kept * theta;
    });
  }

  function listed(rope, s, o) {
    const pairs = rope.rotary_dim / 2;
    const chosen = (s > 1 ? o.long_factor : o.short_factor) || new Array(pairs).fill(1);
    check(chosen.length === pairs, `longrope was given ${chosen.length} factors for ${pairs} pairs.`);
    check(chosen.every((f) => f > 0), "longrope's factors must be above 0.");
    let m = o.attention_factor;
    if (m == null) m = s > 1 ? Math.sqrt(1 + Math.log(s) / Math.log(rope.original_length)) : 1;
    return { inv_freq: invFreq(rope).map((theta, i) => theta / chosen[i]), attention_factor: m };
  }

  function roundHalfEven(x) {
    const down = Math.floor(x);
    if (x - down !== 0.5) return Math.round(x);
    return down % 2 === 0 ? down : down + 1;
  }

  const rules = {
    none: (rope) => ({ inv_freq: invFreq(rope), attention_factor: 1 }),
    linear: (rope, s) => ({ inv_freq: invFreq(rope).map((theta) => theta / s), attention_factor: 1 }),
    ntk: (rope, s) => withTheta(rope, stretchedTheta(rope, s)),
    ntk_by_parts: (rope, s, o) => ({ inv_freq: blend(rope, s, interpolated(rope, o)), attention_factor: 1 }),
    yarn: (rope, s, o) => ({
      inv_freq: blend(rope, s, interpolated(rope, grown(o, s))),
      attention_factor: o.attention_factor == null ? o.temperature_slope * Math.log(s) + 1 : o.attention_factor,
    }),
    llama3: (rope, s, o) => ({ inv_freq: banded(rope, s, o), attention_factor: 1 }),
    longrope: listed,
    rope_theta: (rope, s, o) => withTheta(rope, o.rope_theta),
    proportional: (rope, s, o) => {
      check(o.proportion > 0 && o.proportion <= 1, "proportion must be above 0 and at most 1.");
      const rotated = Math.floor((o.proportion * rope.rotary_dim) / 2);
      return { inv_freq: invFreq(rope).map((theta, i) => (i < rotated ? theta / s : 0)), attention_factor: 1 };
    },
    resonance: (rope, s, o) => {
      const { inv_freq, attention_factor } = compute(rope, o.over, s, {});
      const resonant = (theta) => (theta > 0 ? TAU / roundHalfEven(TAU / theta) : 0);
      return { inv_freq: inv_freq.map(resonant), attention_factor };
    },
  };

  function check(right, message) {
    if (!right) throw new Error(message);
  }

  // compute(rope, "yarn", 4, {beta_fast: 16}) -> {inv_freq, attention_factor}; "dynamic-yarn" at its whole factor.
  function compute(rope, name, factor, options = {}) {
    const { method } = parseMethod(name);
    const all = { ...R.data.methods[method].defaults, ...options };
    for (const need of R.data.methods[method].required) check(all[need] != null, `${method} needs the option ${need}.`);
    check(factor >= 1 && factor <= 1e9, "factor must be from 1 to 1,000,000,000: Ropewalk only stretches windows.");
    const scaled = rules[method](rope, factor, all), m = scaled.attention_factor;
    check(Number.isFinite(m) && m > 0, `attention_factor is ${m}; it must be a finite number above 0.`);
    check(scaled.inv_freq.every((theta) => Number.isFinite(theta) && theta >= 0), "the options lead to a frequency that is negative or not finite.");
    return scaled;
  }

  // "dynamic" is dynamic over ntk, the classic; "dynamic-yarn" is dynamic over yarn.
  function parseMethod(name) {
    if (name === "dynamic") return { method: "ntk", dynamic: true };
    if (name === "dynamic-request") return { method: "ntk", dynamic: "request" }; // rope_type dynamic of configs
    const dynamic = name.startsWith("dynamic-");
    return { method: dynamic ? name.slice(8) : name, dynamic };
  }

  // s = max(1, l / L), never above the whole factor.
  function scaleAt(rope, factor, length) {
    return Math.min(Math.max(1, length / rope.original_length), factor);
  }

  // ---- near distances as trained, far ones stretched: docs/near.md

  // (L' - w) / (L - w): the largest scale of what lies beyond w.
  function farthestScale(rope, factor, w) {
    return (roundHalfEven(rope.original_length * factor) - w) / (rope.original_length - w);
  }

  // s(p) = max(1, (p + 1 - w) / (L - w)) of the query at p, not rounded to a grid, never above the largest.
  function nearScale(rope, factor, w, position) {
    return Math.min(Math.max(1, (position + 1 - w) / (rope.original_length - w)), farthestScale(rope, factor, w));
  }

  // Rules for far distances alone, which no method of a whole model is.
  const FAR_ALONE = {
    rerope: (rope) => ({ inv_freq: invFreq(rope).map(() => 0), attention_factor: 1, group: 1 }),
    self_extend: (rope, s) => {
      const group = Math.ceil(s - 1e-9);
      return { inv_freq: invFreq(rope).map((theta) => theta / group), attention_factor: 1, group };
    },
  };

  // How far distances turn at scale s: {inv_freq, attention_factor, group}. At 1 they turn as trained, whatever the rule.
  function farRule(rope, name, s, options = {}) {
    if (s <= 1) return { inv_freq: invFreq(rope), attention_factor: 1, group: 1 };
    return name in FAR_ALONE ? FAR_ALONE[name](rope, s) : { ...compute(rope, name, s, options), group: 1 };
  }

  // The angle of pair i between the query at p and the key d tokens before it. Positions count in whole groups where the rule has them.
  function nearAngle(rope, rule, w, position, d, i) {
    const theta = invFreq(rope)[i], whole = (x) => Math.floor(x / rule.group) * rule.group;
    return d < w ? theta * d : theta * w + rule.inv_freq[i] * (whole(position) - whole(position - d) - w);
  }

  const KEPT = 0, RAMPED = 1, STRETCHED = 2;

  // How much each pair is slowed, and whether that makes it kept, ramped or stretched: as `ropewalk plan` counts.
  function pairs(rope, scaled, factor) {
    const slowed = invFreq(rope).map((theta, i) => (scaled.inv_freq[i] ? theta / scaled.inv_freq[i] : Infinity));
    const kind = slowed.map((s) => {
      if (Math.abs(s - 1) < 1e-9) return KEPT;
      return factor > 1 && s >= factor * (1 - 1e-9) ? STRETCHED : RAMPED;
    });
    const count = (k) => kind.filter((other) => other === k).length;
    return { slowed, kind, kept: count(KEPT), ramped: count(RAMPED), stretched: count(STRETCHED) };
  }

  // Pairs that had not been all the way round when training ended meet new angles if slowed by less than s.
  function leavesRange(rope, scaled, factor) {
    const L = rope.original_length;
    return invFreq(rope).map((theta, i) => L * theta < TAU && L * factor * scaled.inv_freq[i] > L * theta * (1 + 1e-9));
  }

  // sum over pairs of cos(theta_i delta), divided by the number of pairs.
  function kernel(frequencies, delta) {
    let sum = 0;
    for (const theta of frequencies) sum += Math.cos(theta * delta);
    return sum / frequencies.length;
  }

  function softmax(logits) {
    const top = Math.max(...logits);
    const powers = logits.map((x) => Math.exp(x - top));
    const total = powers.reduce((a, b) => a + b, 0);
    return powers.map((p) => p / total);
  }

  function entropyBits(p) {
    return p.reduce((sum, x) => (x > 0 ? sum - x * Math.log2(x) : sum), 0);
  }

  // Solve A x = y for a symmetric positive definite A (Cholesky); A is overwritten.
  function solve(A, y) {
    const n = y.length;
    for (let j = 0; j < n; j++) {
      for (let k = 0; k < j; k++) for (let i = j; i < n; i++) A[i][j] -= A[i][k] * A[j][k];
      const root = Math.sqrt(A[j][j]);
      for (let i = j; i < n; i++) A[i][j] /= root;
    }
    const x = y.slice();
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < i; k++) x[i] -= A[i][k] * x[k];
      x[i] /= A[i][i];
    }
    for (let i = n - 1; i >= 0; i--) {
      for (let k = i + 1; k < n; k++) x[i] -= A[k][i] * x[k];
      x[i] /= A[i][i];
    }
    return x;
  }

  // The smooth curve through (x, y) that a kernel of the difference gives.
  function kernelRegression(x, y, k, ridge) {
    const gram = x.map((a, i) => x.map((b, j) => k(a - b) + (i === j ? ridge : 0)));
    const weights = solve(gram, y);
    return (at) => x.reduce((sum, a, i) => sum + weights[i] * k(at - a), 0);
  }

  Object.assign(R, {
    TAU, KEPT, RAMPED, STRETCHED, clamp, invFreq, turns, pairTurning, rampEnds, interpolated, stretchedTheta, compute,
    parseMethod, scaleAt, farthestScale, nearScale, farRule, nearAngle, pairs, leavesRange, kernel, softmax, entropyBits, kernelRegression, roundHalfEven,
  });
})(window.ropewalk);
