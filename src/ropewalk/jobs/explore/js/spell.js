// Dialects are data: a list of rules, first match wins. Here they are evaluated and printed as Python prints them.
(function (R) {
  "use strict";

  // A number that the config must hold as a float: transformers complains about `"factor": 4`.
  class Float {
    constructor(value) {
      this.value = value;
    }
  }

  // What rules may ask about one stretch.
  function facts(stretch, nested, kind, layer = {}) {
    const { rope, method, factor, dynamic } = stretch;
    const o = { ...R.data.methods[method].defaults, ...stretch.options };
    const scaled = R.compute(rope, method, factor, stretch.options);
    const slowed = R.invFreq(rope).map((theta, i) => theta / scaled.inv_freq[i]);
    const pick = (list) => (list ? list.map((x) => new Float(x)) : slowed.map(() => new Float(1)));
    const semantics = dynamic === true ? "causal" : dynamic;
    return {
      method, dynamic: Boolean(dynamic), kind, nested,
      own: kind === "your own numbers",
      layer_type: layer.layer_type,
      rotary_dim: rope.rotary_dim,
      head_dim: layer.head_dim,
      partial: layer.head_dim !== undefined && layer.head_dim !== rope.rotary_dim,
      softmax: Boolean(o.softmax_mscale),
      semantics, // which meaning of dynamic: the page's own "dynamic" is causal, as on the command line
      name: semantics ? (method === "ntk" ? "dynamic" : `dynamic-${method}`) + (semantics === "causal" ? "" : `-${semantics}`) : method,
      ramp: method === "llama3" ? "turns" : o.beta_growth ? "growing" : o.ramp, // which no config can name
      truncate: o.truncate,
      no_stretch: factor === 1,
      no_temperature: scaled.attention_factor === 1,
      no_ramp: o.beta_fast === o.beta_slow,
      stops_pairs: scaled.inv_freq.some((theta) => theta === 0),
      factor: new Float(factor),
      one: new Float(1),
      rope_theta: new Float(rope.rope_theta),
      new_theta: new Float(method === "ntk" ? R.stretchedTheta(rope, factor) : o.rope_theta),
      original_length: rope.original_length,
      attention_factor: new Float(scaled.attention_factor),
      beta_fast: new Float(o.beta_fast),
      beta_slow: new Float(o.beta_slow),
      proportion: new Float(o.proportion),
      softmax_mscale: new Float(o.softmax_mscale),
      long_factor: method === "longrope" && factor > 1 ? pick(o.long_factor) : slowed.map((x) => new Float(x)),
      short_factor: method === "longrope" ? pick(o.short_factor) : slowed.map((x) => new Float(x)),
    };
  }

  const matches = (when, known) => Object.entries(when).every(([name, values]) => values.includes(known[name]));

  const fill = (text, known) => text.replace(/\{(\w+)\}/g, (_, name) => known[name]);

  // One value of a rule: "$factor" is a quantity, anything else stands for itself.
  const value = (v, known) => (typeof v === "string" && v[0] === "$" ? known[v.slice(1)] : v);

  function spell(dialect, stretch, { nested = false, kind = "", layer } = {}) {
    const known = facts(stretch, nested, kind, layer);
    const rule = dialect.rules.find((r) => matches(r.when, known));
    if (rule.refuse) throw new Error(fill(rule.refuse, known));
    return Object.fromEntries(Object.entries(rule.write).map(([key, v]) => [key, value(v, known)]));
  }

  // What to paste for a whole model: every rotating layer type, and the window.
  function writeConfig(dialect, model, plan) {
    const spelled = {};
    for (const layer of model.ropes) {
      const stretch = plan.stretches[layer.layer_type] || { rope: layer, ...layer.shipped };
      const own = spell(dialect, stretch, { nested: model.nested, kind: model.kind, layer });
      spelled[layer.layer_type] = { ...asFloats(layer.carried), ...own };
      if (layer.latent && own.rope_type === "yarn" && stretch.factor > 1) Object.assign(spelled[layer.layer_type], deepseekWords(stretch));
    }
    const reached = Object.values(plan.stretches).map((s) => R.roundHalfEven(s.rope.original_length * s.factor));
    const originals = Object.values(plan.stretches).map((s) => s.rope.original_length);
    const dynamic = Object.values(plan.stretches).some((s) => s.dynamic);
    // A longer window stays where it is not the old stretch that reached it.
    const replaced = model.ropes.some((layer) => plan.stretches[layer.layer_type] && layer.shipped && layer.shipped.factor > 1);
    const longest = Math.max(replaced ? 0 : model.max_length, ...reached);
    return {
      rope_parameters: model.nested ? spelled : Object.values(spelled)[0],
      max_position_embeddings: dynamic ? Math.max(...originals) : longest,
    };
  }

  // m as m(s, mscale) / m(s, mscale_all_dim), m(s, x) = 0.1 x ln s + 1: DeepSeek's own code reads no attention_factor.
  function deepseekWords({ rope, method, factor, options }) {
    const m = (x) => 0.1 * x * Math.log(factor) + 1;
    const softmax = options.softmax_mscale || 0;
    const slope = (R.compute(rope, method, factor, options).attention_factor * m(softmax) - 1) / (m(1) - 1);
    const is_softmax = Math.abs(slope - softmax) <= 1e-9 * Math.max(Math.abs(slope), Math.abs(softmax));
    return { mscale: new Float(is_softmax ? softmax : slope), mscale_all_dim: new Float(softmax) };
  }

  // Keys carried over keep the type they had; only fractions are floats in JSON anyway.
  function asFloats(carried) {
    const floats = ["partial_rotary_factor", "llama_4_scaling_beta"];
    return Object.fromEntries(Object.entries(carried).map(([k, v]) => [k, floats.includes(k) ? new Float(v) : v]));
  }

  // Python's repr of a float: 10000.0, 1e-05, 1e+16.
  function float(x) {
    const size = Math.abs(x);
    if (x !== 0 && (size < 1e-4 || size >= 1e16)) {
      const [digits, power] = x.toExponential().split("e");
      return `${digits}e${power[0]}${power.slice(1).padStart(2, "0")}`;
    }
    return Number.isInteger(x) ? `${x}.0` : String(x);
  }

  // As json.dumps(data, indent=2), except that lists of numbers stay on one line.
  function toJson(data, indent = "") {
    const inner = indent + "  ";
    if (data instanceof Float) return float(data.value);
    if (Array.isArray(data)) return `[${data.map((item) => toJson(item, inner)).join(", ")}]`;
    if (data === null || typeof data !== "object") return JSON.stringify(data);
    const lines = Object.entries(data).map(([key, item]) => `${inner}${JSON.stringify(key)}: ${toJson(item, inner)}`);
    return lines.length ? `{\n${lines.join(",\n")}\n${indent}}` : "{}";
  }

  // A command line: words with {quantity} in them; a word list may have a condition of its own.
  function writeCommand(dialect, model, plan) {
    const stretch = Object.values(plan.stretches)[0];
    const options = Object.entries(stretch.options).map(([k, v]) => ` --option ${k}=${v}`).join("");
    const known = {
      ...facts(stretch, model.nested, model.kind), model: model.command, options, factor: stretch.factor,
    };
    const rule = dialect.rules.find((r) => matches(r.when, known));
    if (rule.refuse) throw new Error(fill(rule.refuse, known));
    return fill(rule.command, known);
  }

  // Pairs that stand still in a model (Gemma 4) are not to be turned.
  function checkStill(model, plan) {
    for (const { layer_type, shipped } of model.ropes) {
      const stretch = plan.stretches[layer_type];
      const still = shipped && shipped.method === "proportional" && shipped.options.proportion < 1;
      if (still && stretch && stretch.method !== "proportional")
        throw new Error(`${layer_type} lets pairs stand still (proportional), and ${stretch.method} would turn them. Take proportional.`);
    }
  }

  // {text} or {refused}: what the drawer shows for one dialect.
  function paste(dialect, model, plan) {
    try {
      checkStill(model, plan);
      if (dialect.format === "command") return { text: writeCommand(dialect, model, plan) };
      return { text: toJson(writeConfig(dialect, model, plan)) };
    } catch (error) {
      return { refused: error.message };
    }
  }

  Object.assign(R, { spell, paste, toJson });
})(window.ropewalk);
