// Everything the page shows follows from one flat state, kept in the address so that a link shows the same.
(function (R) {
  "use strict";

  const OWN = "own", PASTED = "pasted";
  const inRange = (low, high) => (x) => Number.isFinite(x) && x >= low && x <= high;
  const oneOf = (...words) => (x) => words.includes(x);

  // name: [default, is it right?]; numbers are parsed by the type of the default.
  const KEYS = {
    model: ["", (id) => id === OWN || id === PASTED || R.data.models.some((m) => m.id === id)],
    dim: [128, (x) => Number.isInteger(x) && x % 2 === 0 && x >= 4 && x <= 1024],
    theta: [10000, inRange(1.5, 1e12)],
    length: [4096, (x) => Number.isInteger(x) && x >= 16 && x <= 2 ** 30],
    method: ["yarn", (name) => methodNames().includes(name)],
    factor: [4, inRange(1, 1024)],
    pair: [0, (x) => Number.isInteger(x) && x >= 0 && x < 512],
    word: [0, inRange(0, 40)],
    other: [3, inRange(0, 40)],
    prefix: [0, inRange(0, 40)],
    axis: ["index", oneOf("index", "turns")],
    at: [0.6, inRange(0, 1)],
    watch: [-1, (x) => Number.isInteger(x) && x >= -1 && x < 512],
    over: ["ntk", oneOf("linear", "ntk", "ntk_by_parts", "yarn")],
    cache: ["stale", oneOf("stale", "request", "rotate", "recompute", "causal")],
    sharpen: ["m2", oneOf("m2", "m", "off")],
    hide: ["ntk_by_parts,llama3,resonance", (x) => /^[\w,-]*$/.test(x)],
    band: [4, inRange(0.5, 40)],
    near: [50, (x) => Number.isInteger(x) && x >= 1 && x <= 99],
    far: ["linear", oneOf("linear", "yarn", "rerope", "self_extend")],
    law: ["causal", oneOf("causal", "static")],
    query: [3, inRange(0.1, 1024)],
    nearpair: [-1, (x) => Number.isInteger(x) && x >= -1 && x < 512],
    dialect: ["transformers", (name) => R.data.dialects.some((d) => d.name === name)],
  };

  const listeners = [];
  let pasted = null; // {config, model}: the last good pasted config
  const state = {};

  function methodNames() {
    const over = ["linear", "yarn"];
    const has = (name) => name !== "longrope" || longFactors() !== null;
    return [...Object.keys(R.data.methods).filter(has), "dynamic", "dynamic-request", ...over.map((name) => `dynamic-${name}`)];
  }

  // longrope needs its lists: offered only where the model's own config has them.
  function longFactors() {
    const current = model();
    const layer = current && current.ropes.find((rope) => rope.shipped.method === "longrope");
    return layer ? layer.shipped.options : null;
  }

  function model() {
    if (state.model === PASTED && pasted) return pasted.model;
    if (state.model === OWN) return ownModel();
    return R.data.models.find((m) => m.id === state.model) || R.data.models[0];
  }

  function ownModel() {
    const rope = { rotary_dim: state.dim, rope_theta: state.theta, original_length: state.length };
    const shipped = { method: "none", dynamic: false, factor: 1, options: {} };
    const layer = { layer_type: "all", ...rope, local: false, carried: {}, shipped };
    return {
      id: OWN, name: "Your own numbers", command: "", source: "typed in", kind: "your own numbers",
      nested: false, max_length: state.length, ropes: [layer],
    };
  }

  // The layer that the pictures show: the first that looks at the whole window.
  function layer() {
    const { ropes } = model();
    return ropes.find((rope) => !rope.local) || ropes[0];
  }

  function rope() {
    const { rotary_dim, rope_theta, original_length } = layer();
    return { rotary_dim, rope_theta, original_length };
  }

  // Options that the method has and that differ from its defaults, in name order.
  function options(method = R.parseMethod(state.method).method) {
    const given = { ...(method === "longrope" ? longFactors() : {}), ...state.options };
    if (method === "rope_theta" && given.rope_theta == null) given.rope_theta = 50 * rope().rope_theta;
    return R.differing(method, given);
  }

  function stretch(of = rope()) {
    const { method, dynamic } = R.parseMethod(state.method);
    return { rope: of, method, dynamic, factor: state.factor, options: options(method) };
  }

  function plan() {
    const { ropes } = model();
    const chosen = ropes.filter((r) => !r.local);
    const bare = ({ rotary_dim, rope_theta, original_length }) => ({ rotary_dim, rope_theta, original_length });
    return { stretches: Object.fromEntries((chosen.length ? chosen : ropes).map((r) => [r.layer_type, stretch(bare(r))])) };
  }

  function scaled(name = state.method, factor = state.factor) {
    const { method } = R.parseMethod(name);
    return R.compute(rope(), method, factor, options(method));
  }

  // A model is opened on the stretch that it ships with, or on one worth trying.
  function opening(current) {
    const { shipped } = current.ropes.find((r) => !r.local) || current.ropes[0];
    if (shipped.method === "none") return { method: "yarn", factor: 4, ...current.try, options: {} };
    if (shipped.dynamic) return { method: "dynamic-request", factor: 4, options: {} }; // its own factor has no end
    return { method: shipped.method, factor: shipped.factor, options: { ...shipped.options } };
  }

  function defaults() {
    const fresh = Object.fromEntries(Object.entries(KEYS).map(([key, [value]]) => [key, value]));
    return { ...fresh, model: R.data.models[0].id, options: {} };
  }

  function tidy() {
    state.pair = Math.min(state.pair, rope().rotary_dim / 2 - 1);
    if (!methodNames().includes(state.method)) state.method = "yarn";
  }

  function set(changes) {
    const before = state.method;
    Object.assign(state, changes);
    if ("model" in changes && !("method" in changes)) Object.assign(state, opening(model()));
    else if ("method" in changes && !("options" in changes)) forgetBands(before, state.method);
    tidy();
    remember();
    listeners.forEach((listener) => listener(state));
  }

  // llama3's betas have other defaults: what was chosen for one family means nothing in the other.
  function forgetBands(before, after) {
    if ((R.parseMethod(before).method === "llama3") === (R.parseMethod(after).method === "llama3")) return;
    const { beta_fast, beta_slow, ...rest } = state.options;
    state.options = rest;
  }

  function setOption(name, value) {
    set({ options: { ...state.options, [name]: value } });
  }

  // ---- the address

  function toHash() {
    const parts = [];
    const base = { ...defaults(), ...opening(model()) };
    if (state.model === PASTED && pasted) parts.push(["config", JSON.stringify(pasted.config)]);
    for (const key of Object.keys(KEYS)) {
      if (key === "model" ? state.model !== PASTED : state[key] !== base[key]) parts.push([key, state[key]]);
    }
    const all = options();
    for (const [key, value] of Object.entries(all)) if (!Array.isArray(value)) parts.push([`o.${key}`, value]);
    return "#" + parts.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
  }

  function fromHash(hash) {
    const found = Object.fromEntries(
      hash.replace(/^#/, "").split("&").filter(Boolean).map((part) => {
        const [key, value = ""] = part.split("=");
        try {
          return [key, decodeURIComponent(value)];
        } catch (error) {
          return [key, ""];
        }
      }),
    );
    Object.assign(state, defaults());
    if (found.config) readPasted(found.config);
    take(found, ["model", "dim", "theta", "length"]);
    Object.assign(state, opening(model()));
    take(found, Object.keys(KEYS).filter((key) => key !== "model"));
    takeOptions(found);
    tidy();
  }

  function take(found, keys) {
    for (const key of keys) {
      if (!(key in found)) continue;
      const [fallback, right] = KEYS[key];
      const value = typeof fallback === "number" ? Number(found[key]) : found[key];
      if (right(value)) state[key] = value;
    }
  }

  // An option from the address is taken only if the method can be computed with it.
  function takeOptions(found) {
    const { method } = R.parseMethod(state.method);
    const before = state.options;
    const given = {};
    for (const [key, text] of Object.entries(found)) {
      if (!key.startsWith("o.")) continue;
      const value = text === "true" ? true : text === "false" ? false : isNaN(Number(text)) ? text : Number(text);
      given[key.slice(2)] = value;
    }
    if (Object.keys(given).length) state.options = given;
    try {
      R.compute(rope(), method, state.factor, options(method));
    } catch (error) {
      state.options = before;
    }
  }

  function readPasted(text) {
    try {
      const config = R.slimConfig(R.parseConfig(text));
      pasted = { config, model: pastedModel(config) };
      state.model = PASTED;
    } catch (error) {
      state.model = R.data.models[0].id;
    }
  }

  function pastedModel(config) {
    const source = "the config you pasted";
    return { id: PASTED, name: `Pasted: ${config.model_type || "model"}`, command: "config.json", source, ...R.readConfig(config) };
  }

  // Throws a sentence and changes nothing if the text is not a config with RoPE.
  function paste(text) {
    const config = R.parseConfig(text);
    const model = pastedModel(config);
    pasted = { config: R.slimConfig(config), model };
    set({ model: PASTED });
  }

  let pending = 0;
  function remember() {
    clearTimeout(pending);
    pending = setTimeout(() => history.replaceState(null, "", toHash()), 120);
  }

  function start() {
    fromHash(location.hash);
    window.addEventListener("hashchange", () => {
      if (location.hash === toHash() || document.getElementById(location.hash.slice(1))) return;
      fromHash(location.hash);
      listeners.forEach((listener) => listener(state));
    });
  }

  Object.assign(R, {
    state, set, setOption, model, layer, rope, stretch, plan, scaled, options, methodNames, pasteConfig: paste, toHash,
    startState: start, subscribe: (listener) => listeners.push(listener), pastedModel: () => pasted && pasted.model,
  });
})(window.ropewalk);
