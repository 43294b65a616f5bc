// A pasted config.json, read as engines/transformers/read.py reads it; a test compares the two.
(function (R) {
  "use strict";

  const FULL = "full_attention", SLIDING = "sliding_attention", CHUNKED = "chunked_attention", ALL = "all";

  class BadConfig extends Error {}

  const fail = (message) => {
    throw new BadConfig(message);
  };
  const isObject = (x) => x !== null && typeof x === "object" && !Array.isArray(x);
  const show = (x) => JSON.stringify(x);

  function parse(text) {
    if (!text.trim()) fail("Nothing was pasted. Paste the whole config.json of a model.");
    let config;
    try {
      config = JSON.parse(text);
    } catch (error) {
      const odd = text.match(/"([^"]*)"\s*:\s*(-?Infinity|NaN)\b/);
      if (odd) fail(`${odd[1]} is ${odd[2]}: not a number that a model can use, nor valid JSON. Write the real value.`);
      fail(`This is not valid JSON: ${error.message}. Paste the whole file, from the first { to the last }.`);
    }
    if (!isObject(config)) fail("This is JSON, but a config is an object with keys: { … }.");
    return config;
  }

  function number(part, key, path = "") {
    const value = part[key];
    if (value == null) return null;
    if (typeof value !== "number" || !Number.isFinite(value)) fail(`${path}${key} is ${show(value)}; it must be a finite number.`);
    return value;
  }

  function whole(part, key, path = "") {
    const value = part[key];
    if (value == null) return null;
    if (!Number.isInteger(value) || value < 0 || value > 2 ** 40) fail(`${path}${key} is ${show(value)}; it must be a whole number.`);
    return value;
  }

  function object(part, key) {
    const value = part[key] == null ? {} : part[key];
    if (!isObject(value)) fail(`${key} is ${show(value)}; it must be an object with keys.`);
    return value;
  }

  const K = () => R.data.known;

  // The class that reads a model of this type; of a wrapper, the one of its text model.
  const classOf = (kind) => K().classes[kind] || K().classes[(K().wrappers[kind] || {}).kind];

  // The keys under which a config holds its language model.
  function textPath(config) {
    for (const key of K().text_parts) object(config, key);
    const key = K().text_parts.find((name) => isObject(config[name]));
    return key ? [key, ...textPath(config[key])] : [];
  }

  // With the part that its class would make for it, where that holds the language model and is left out.
  function opened(config) {
    const wrapper = K().wrappers[config.model_type];
    if (!wrapper || wrapper.flat || (textPath(config).length && !(wrapper.part in config))) return config;
    const part = config[wrapper.part], made = part == null || wrapper.always ? wrapper.empty || {} : {};
    return { ...config, [wrapper.part]: opened({ model_type: wrapper.kind, ...made, ...part }) };
  }

  const OF_TEXT = ["rope_theta", "rope_parameters", "rope_scaling", "max_position_embeddings", "num_attention_heads", "num_hidden_layers",
    "head_dim"];

  // Where transformers looks elsewhere: a language model at the top of a wrapper without its part; an encoder and a decoder.
  function checkTop(config) {
    const kind = config.model_type || "", wrapper = K().wrappers[kind] || { part: "" }, bare = !textPath(config).length;
    if (wrapper.part === "decoder" || (bare && isObject(config.encoder) && isObject(config.decoder)))
      fail(`${kind || "this model"} is an encoder beside a decoder: a plan is for one language model, and none is made for two.`);
    const found = OF_TEXT.filter((key) => config[key] != null);
    if (wrapper.part && !wrapper.flat && bare && config[wrapper.part] == null && found.length)
      fail(`${found.slice(0, 3).join(", ")}: this ${kind} config has them at the top, where transformers 5.23 reads none of it. The language ` +
        `model is in ${wrapper.part}.\n  Where another program reads the top, as LLaVA's own does, copy the config with model_type ` +
        `${wrapper.kind} and look at that.\n  Else move them into ${wrapper.part}.`);
  }

  // The language model's own keys, with the model_type that decides.
  function textPart(config) {
    checkTop(config);
    config = opened(config);
    let part = config, kind = config.model_type || "";
    const path = textPath(config);
    for (const key of path) {
      part = part[key];
      const stated = part.model_type || "", wrapper = K().wrappers[kind];
      const unknown = !stated || !(classOf(stated) || K().own_code.includes(stated) || stated in K().without_rope);
      kind = wrapper && (wrapper.fixed || unknown) ? wrapper.kind : stated;
    }
    return path.length ? { ...part, model_type: kind } : part;
  }

  // Absent keys as the class of transformers fills them in.
  function completed(config, kind) {
    const row = classOf(kind);
    if (!row) return config;
    const unread = [...(row.unread || []), ...K().latent.filter((key) => !(row.widths || []).includes(key))];
    const merged = Object.fromEntries(Object.entries(config).filter(([key]) => !unread.includes(key)));
    merged.statedKeys = Object.keys(config).filter((key) => config[key] != null);
    for (const [key, own] of Object.entries(row.alias || {})) if (merged[key] == null && merged[own] != null) merged[key] = merged[own];
    for (const [key, v] of Object.entries(row.fields || {})) if (!(key in merged) && !unread.includes(key)) merged[key] = v;
    const old = config.rope_scaling;
    const bare = config.rope_parameters == null && !(old && (!isObject(old) || Object.keys(old).length));
    if (row.rope && bare) Object.assign(merged, { rope_parameters: row.rope, ropeOfClass: true });
    return merged;
  }

  const isLayer = ([key, v]) => isObject(v) && !K().rope_keys.includes(key);
  const nested = (part) => Object.entries(part).some(isLayer);

  // The keys that say something, with the type under one name.
  const meaning = (part, path) => ({
    ...Object.fromEntries(Object.entries(part).filter(([key, v]) => v != null && key !== "type")), rope_type: ropeType(part, path),
  });

  // What transformers 4 has beside rope_scaling, and where a dict that leaves it out finds it.
  const OF_THE_MODEL = ["rope_theta", "partial_rotary_factor"], SHARES = ["partial_rotary_factor", "rotary_pct"];
  function beside(config, kind, key, layer) {
    const row = classOf(kind) || {}, keys = key === "rope_theta" ? baseKeys(row, layer) : SHARES;
    const stated = keys.map((name) => number(config, name)).find((value) => value !== null);
    if (stated || !classOf(kind)) return stated;
    return key === "rope_theta" ? (isObject(row.theta) ? row.theta[layer] : row.theta) : row.partial || 1;
  }

  // Where both spellings are written they must say the same.
  function checkSpellings(config, kind, fresh, old, path, layer) {
    const ours = meaning(fresh, "rope_parameters."), theirs = meaning(old, "rope_scaling.");
    for (const key of OF_THE_MODEL) {
      if (!(key in ours) && key in theirs) ours[key] = beside(config, kind, key, layer) || theirs[key];
      else if (key in ours && !(key in theirs)) theirs[key] = beside(config, kind, key, layer) || ours[key];
    }
    for (const key of Object.keys({ ...ours, ...theirs }).sort())
      if (show(ours[key]) !== show(theirs[key]))
        fail(`${path}${key} is ${show(ours[key])} but rope_scaling makes it ${show(theirs[key])}. Remove the wrong one.`);
  }

  // The v5 or the v4 dict, and where it was found; a flat v4 one beside one per layer type is of the full-attention layers.
  function ropeDict(config, kind) {
    const fresh = object(config, "rope_parameters"), old = object(config, "rope_scaling"), name = "rope_parameters.";
    const row = classOf(kind);
    if (row && isObject(row.theta) && !row.states_theta && nested(old))
      fail(`rope_scaling has a dict per layer type, which ${kind} reads in rope_parameters alone. Call it rope_parameters.`);
    if (!Object.keys(fresh).length) return [old, "rope_scaling."];
    if (Object.keys(old).length && !nested(fresh)) checkSpellings(config, kind, fresh, old, name, ALL);
    else if (Object.keys(old).length)
      for (const [layer, part] of Object.entries(fresh)) {
        const theirs = nested(old) ? old[layer] : layer === FULL || !(FULL in fresh) ? old : null;
        if (isObject(part) && isObject(theirs) && Object.keys(theirs).length) checkSpellings(config, kind, part, theirs, `${name}${layer}.`, layer);
      }
    return [fresh, name];
  }

  // Whether transformers 5 has one dict per layer type, also where a flat one was written.
  const byLayerType = (config, kind) => nested(ropeDict(config, kind)[0]) || K().per_layer_type.includes(kind);

  // The rotary settings of each layer type that rotates: {layer type: [keys, where they were found]}.
  function ropeParts(config, kind) {
    const fresh = object(config, "rope_parameters"), old = object(config, "rope_scaling");
    let [part, path] = ropeDict(config, kind);
    if (nested(part))
      return Object.fromEntries(Object.entries(part).filter(isLayer).map(([k, v]) => [k, [v, `${path}${k}.`]]));
    const row = classOf(kind);
    if (Object.keys(part).length && row && isObject(row.theta) && (row.states_theta || !K().per_layer_type.includes(kind)))
      fail(`${path.slice(0, -1)} is flat, but ${kind} has one dict per layer type (${Object.keys(row.rope || {}).join(", ")}).`);
    const plain = { [FULL]: [{}, ""], [SLIDING]: [{}, ""] };
    const ignored = Object.keys(fresh).length && !Object.keys(old).length; // transformers 5.23 skips flat rope_parameters there
    if (R.data.known.per_layer_type.includes(kind) && ignored) return plain;
    const oldWord = part.type && part.type !== "default" && !part.rope_type && !("rope_parameters" in config);
    if (R.data.known.per_layer_type.includes(kind) && oldWord) // such classes read rope_type alone
      part = "rope_theta" in part ? { rope_theta: part.rope_theta } : {};
    if (K().scaled_everywhere.includes(kind)) return { [FULL]: [part, path], [SLIDING]: [part, path] };
    if (R.data.known.per_layer_type.includes(kind)) return { [FULL]: [part, path], [SLIDING]: [{}, ""] };
    return { [rotatingLayers(config, kind)]: [part, path] };
  }

  // What the one rotary table of a model serves: everything, or its local layers alone.
  function rotatingLayers(config, kind) {
    const key = R.data.known.rotate_locally[kind];
    if (key === undefined || (key in config && config[key] === null)) return ALL;
    return key === "attention_chunk_size" ? CHUNKED : SLIDING;
  }

  function checkHasRope(config, kind) {
    const inner = config.model_config;
    if (isObject(inner) && ["context_window_size", "hidden_size"].some((key) => key in inner || key in config))
      fail("this is an mlc-chat-config.json. Give the config.json of the model that it was compiled from.");
    const instead = R.data.known.without_rope[kind];
    if (instead) fail(`${kind} has no rotary embedding: it uses ${instead}. There is nothing to stretch.`);
    if (kind === "falcon" && config.alibi) fail("This falcon model uses ALiBi, not a rotary embedding. There is nothing to stretch.");
    const [key, needed] = K().rotates_if[kind] || [];
    if (key && config[key] !== needed) fail(`This ${kind} model has no rotary embedding: it rotates only where ${key} is ${JSON.stringify(needed)}.`);
    const names = ["rope_parameters", ...R.data.known.v4_keys, "rotary_dim", "rotary_pct"];
    if (K().own_code.includes(kind))
      fail(`${kind} is no model of transformers: its own code decides. The command line knows it: ropewalk plan config.json.`);
    if (!classOf(kind) && !(kind in K().fixed_theta) && names.every((name) => config[name] == null))
      fail(`No rotary embedding found: the config of ${kind || "this model"} has none of ${names.join(", ")}.`);
  }

  function first(config, keys, what) {
    const found = keys.filter((key) => number(config, key) !== null);
    for (const key of found.slice(1))
      if (config[key] !== config[found[0]])
        fail(`${found[0]} is ${config[found[0]]} but ${key} is ${config[key]}, and both mean ${what}. Remove the wrong one.`);
    return found.length ? config[found[0]] : null;
  }

  function baseKeys(row, layer) {
    return (isObject(row.base) ? row.base[layer] : row.base) || ["rope_theta", "global_rope_theta", "rotary_emb_base"];
  }

  function readTheta(config, part, path, layer, kind) {
    const inside = number(part, "rope_theta", path);
    const row = classOf(kind) || {};
    if (inside !== null) {
      const outside = layer === ALL ? number(config, "rope_theta") : null;
      if (outside !== null && outside !== inside && config.ropeOfClass)
        fail(`rope_theta is ${outside}, and the config has no rope_parameters: transformers 5 takes those of its class, with base ${inside}.`);
      if (outside !== null && outside !== inside)
        fail(`${path}rope_theta is ${inside} but rope_theta is ${outside}. Engines differ in which they read. Remove the wrong one.`);
      return inside;
    }
    if (row.states_theta && !config.ropeOfClass && nested(ropeDict(config, kind)[0]))
      fail(`${path}rope_theta is missing: ${kind} has a base for each layer type, and transformers 5.23 fills in none of them, or another.`);
    const keys = baseKeys(row, layer), found = first(config, keys, "rope_theta");
    const ofLayer = isObject(row.theta) ? row.theta[layer] : row.theta;
    if (found !== null && classOf(kind) && path && !config.ropeOfClass && nested(ropeDict(config, kind)[0]) && found !== ofLayer)
      fail(`${path}rope_theta is missing, and a base of ${found} is stated beside the dicts of the layer types. Write it into the dict.`);
    if (found !== null && "rope_theta" in part) fail(`${path}rope_theta is null, beside a base of ${found}: transformers stops at it.`);
    if (found !== null) return found;
    const theta = isObject(row.theta) ? row.theta[layer] || row.theta[FULL] : row.theta;
    const fallback = theta || K().fixed_theta[kind];
    const missing = "rope_theta" in part || keys.some((key) => key in config); // a null is no omission
    return (!missing && fallback) || fail(`rope_theta is missing or null, and ${kind || "this architecture"} cannot be built without one.`);
  }

  function headDim(config, layer) {
    const types = config.layer_types || [], parts = config.per_layer_config || {}, index = types.indexOf(layer);
    const own = Object.entries(parts).find(([name]) => Number(name) === index); // what differs by layer, such as "05"
    if (own && isObject(own[1]) && whole(own[1], "head_dim")) return whole(own[1], "head_dim");
    const stated = (layer === FULL && whole(config, "global_head_dim")) || whole(config, "head_dim");
    if (stated) return stated;
    const hidden = whole(config, "hidden_size") || whole(config, "n_embd");
    const heads = whole(config, "num_attention_heads") || whole(config, "n_head");
    if (!hidden || !heads) fail("Neither head_dim nor hidden_size and num_attention_heads are given: the head size is unknown.");
    return Math.floor((hidden * (K().head_scale[config.model_type] || 1)) / heads);
  }

  function readRotaryDim(config, part, path, layer, kind) {
    const head = headDim(config, layer), latent = whole(config, "qk_rope_head_dim"), row = classOf(kind);
    const proportional = ropeType(part, path) === "proportional", inside = number(part, "partial_rotary_factor", path);
    if (latent) {
      const stated = config.statedKeys && !config.statedKeys.includes("partial_rotary_factor") ? null : number(config, "partial_rotary_factor");
      for (const share of proportional ? [] : [config.ropeOfClass ? null : inside, stated])
        if (share !== null && Math.trunc(head * share) !== latent && (share !== ((row || {}).partial || 1) || config.head_dim != null))
          fail(`partial_rotary_factor is ${share}, beside qk_rope_head_dim ${latent}: latent attention rotates all of that.`);
      return latent;
    }
    if (proportional) return head;
    const reads = (key) => !row || (row.widths || []).includes(key), INSIDE = "rope_parameters.partial_rotary_factor";
    const shares = SHARES.filter(reads);
    let share = reads(INSIDE) ? inside : null;
    if (share === null) share = first(config, shares, "partial rotation");
    const absolute = reads("rotary_dim") ? whole(config, "rotary_dim") : null;
    if (absolute !== null && share !== null && Math.trunc(head * share) !== absolute)
      fail(`rotary_dim is ${absolute} but the rotated share is ${share} of ${head}. Remove the wrong one.`);
    if (absolute !== null) return absolute;
    if (share === null) share = shares.some((key) => key in config) ? 1 : (row || {}).partial || 1; // a null is all of the head
    if (!(share > 0 && share <= 1)) fail(`The rotated share of a head is ${share}; it must be above 0 and at most 1.`);
    const rotated = Math.trunc(head * share);
    if (row) checkWidths(config, part, path, head, rotated, reads, INSIDE);
    return rotated;
  }

  // A width that this class does not read, while other engines do.
  function checkWidths(config, part, path, head, rotated, reads, INSIDE) {
    const stated = config.statedKeys.filter((key) => [...SHARES, "rotary_dim"].includes(key)).map((key) => [key, key, number(config, key)]);
    const within = config.ropeOfClass ? null : number(part, "partial_rotary_factor", path);
    if (within !== null) stated.push([INSIDE, `${path}partial_rotary_factor`, within]);
    for (const [key, where, value] of stated) {
      const width = key === "rotary_dim" ? value : Math.trunc(head * value);
      if (!reads(key) && width !== rotated)
        fail(`${where} is ${value}, which transformers 5.23 does not read for this model: ${rotated} of ${head} channels rotate there, ` +
          `where other engines rotate ${width}. Take it out, or write what the weights were trained with where every engine reads it.`);
    }
  }

  // Original lengths that configs do not state, or state wrongly; recognised by their numbers (known.py has the sources).
  function publishedLength(kind, theta, longest, config) {
    if (["qwen3", "qwen3_moe", "qwen2"].includes(kind) && longest === 40960 && theta === 1e6) return 32768;
    if (kind === "mistral" && longest === 32768 && config.sliding_window === 4096 && theta === 10000) return 8192;
    if (["qwen2_5_vl", "qwen2_5_vl_text"].includes(kind) && longest === 128000) return 32768;
    const dual = config.dual_chunk_attention_config;
    if (isObject(dual) && Number.isInteger(dual.original_max_position_embeddings)) return dual.original_max_position_embeddings;
    if (kind === "gemma3_text" && longest === 131072) return 32768;
    return null;
  }

  function readOriginal(config, part, path, kind, theta, longest) {
    const key = "original_max_position_embeddings";
    const ramped = ["yarn", "llama3", "longrope", "su"].includes(ropeType(part, path)), alone = ramped && byLayerType(config, kind);
    const inside = whole(part, key, path), outside = alone ? null : whole(config, key); // read beside a flat dict alone
    if (inside && outside && inside !== outside) fail(`${path}${key} is ${inside} but ${key} is ${outside}. Remove the wrong one.`);
    if (inside === null && outside === null && key in part && ramped) fail(`${path}${key} is null, at which transformers stops. Take it out.`);
    if (inside || outside) return inside || outside;
    const published = publishedLength(kind, theta, longest, config);
    if (published) return published;
    const factor = number(part, "factor", path) || 1, unstretched = whole(config, "max_position_embeddings");
    const linear = ropeType(part, path) === "linear" && factor > 1;
    if (linear && unstretched && longest === R.roundHalfEven(unstretched * factor)) return unstretched;
    if (linear) return Math.max(R.roundHalfEven(longest / factor), 1);
    return longest;
  }

  function ropeType(part, path) {
    const { rope_type: fresh, type: old } = part;
    for (const word of [fresh, old]) if (word != null && typeof word !== "string") fail(`${path}rope_type is ${show(word)}; it must be a word.`);
    const pair = [fresh, old].sort().join();
    if (fresh && old && fresh !== old && !["default,mrope", "dynamic,xdrope"].includes(pair))
      fail(`${path}rope_type is ${show(fresh)} but ${path}type is ${show(old)}. Remove the wrong one.`);
    const chosen = fresh || old || "default";
    return { mrope: "default", xdrope: "dynamic" }[chosen] || chosen;
  }

  const mscale = (factor, slope) => (factor > 1 ? 0.1 * slope * Math.log(factor) + 1 : 1);

  function yarnOptions(part, path, factor) {
    const get = (key) => number(part, key, path);
    const o = { beta_fast: get("beta_fast") || 32, beta_slow: get("beta_slow") || 1, truncate: part.truncate !== false && part.truncate !== null };
    if (get("attention_factor") !== null) o.attention_factor = get("attention_factor");
    else if (get("mscale") && get("mscale_all_dim"))
      o.attention_factor = mscale(factor, get("mscale")) / mscale(factor, get("mscale_all_dim"));
    return o;
  }

  function longropeOptions(part, path) {
    for (const key of ["long_factor", "short_factor"])
      if (!Array.isArray(part[key]) || !part[key].every(Number.isFinite)) fail(`${path}${key} must be a list of finite numbers.`);
    const { long_factor, short_factor } = part;
    const stated = number(part, "attention_factor", path), beyond = number(part, "long_mscale", path); // Phi-3.5-MoE
    return { long_factor, short_factor, attention_factor: beyond === null ? stated : beyond };
  }

  // The stretch that the config already asks for.
  function readShipped(part, path, rope, longest, byType) {
    const odd = Object.keys(part).find((key) => !R.data.known.rope_keys.includes(key));
    if (odd) fail(`${path}${odd} is not a key that transformers reads. Is it misspelt?`);
    const type = ropeType(part, path);
    if (type === "default") return { method: "none", dynamic: false, factor: 1, options: {} };
    let factor = number(part, "factor", path);
    if (factor === null && ["linear", "llama3"].includes(type))
      fail(`${path}factor is missing: rope_type ${type} says that the window was stretched, not how far.`);
    if (factor === null) factor = ["yarn", "longrope", "su", "dynamic"].includes(type) ? longest / rope.original_length : 1;
    const made = (method, options, dynamic = false) => ({ method, dynamic, factor, options: differing(method, options) });
    if (type === "linear") return made("linear", {});
    const alpha = type === "dynamic" ? number(part, "alpha", path) : null; // HunYuan: ntk with a base fixed once
    if (alpha) return { ...made("rope_theta", { rope_theta: R.stretchedTheta(rope, alpha) }), factor: 1 };
    if (type === "dynamic") return { ...made("ntk", {}, "request"), factor: Math.min(2 ** 40 / rope.original_length, 1e9) };
    if (type === "yarn") return made("yarn", { ...yarnOptions(part, path, factor), ...(byType ? { truncate: true } : {}) }); // it is not read there
    if (type === "llama3")
      return made("llama3", { beta_slow: number(part, "low_freq_factor", path) || 1, beta_fast: number(part, "high_freq_factor", path) || 4 });
    if (type === "longrope" || type === "su") return made("longrope", longropeOptions(part, path));
    if (type === "proportional") return made("proportional", { proportion: number(part, "partial_rotary_factor", path) || 1 });
    return fail(`No rope_type is called ${show(type)}.`);
  }

  // Options as a plan holds them: those that differ from the defaults, by name.
  function differing(method, options) {
    const { defaults } = R.data.methods[method];
    const kept = Object.entries(options).filter(([key, v]) => key in defaults && v !== defaults[key]);
    return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  function checkRope({ rotary_dim: d, rope_theta: b, original_length: L }) {
    if (d % 2 || d < 2 || d > 65536) fail(`rotary_dim is ${d}; it must be an even number of channels, 2 to 65536.`);
    if (!(b > 1 && b < 1e300)) fail(`rope_theta is ${b}; it must be a finite number greater than 1.`);
    if (!(L >= 1)) fail(`original_length is ${L}; it must be a whole number of tokens.`);
  }

  // The window, which may be what a linear factor makes of max_position_embeddings, where another key says so.
  function windowOf(config, kind) {
    const stated = whole(config, "max_position_embeddings") || whole(config, "n_positions");
    const other = K().other_windows.map((key) => config[key]);
    if (!stated) return other.find((value) => Number.isInteger(value) && value > 0);
    const [part, path] = Object.values(ropeParts(config, kind))[0];
    const factor = number(part, "factor", path) || 1, key = "original_max_position_embeddings";
    const wide = ropeType(part, path) === "linear" && factor > 1 && !part[key] && other.includes(stated * factor);
    return wide ? R.roundHalfEven(stated * factor) : stated;
  }

  // What Python's presets.describe() makes of a config: see there.
  function readConfig(config) {
    config = textPart(config);
    const kind = config.model_type || "";
    if (typeof kind !== "string") fail(`model_type is ${show(kind)}; it must be a word.`);
    config = completed(config, kind);
    checkHasRope(config, kind);
    const longest = windowOf(config, kind);
    if (!longest) fail("max_position_embeddings is missing: the config does not say how far the model reads.");
    const ropes = Object.entries(ropeParts(config, kind)).map(([layer_type, [part, path]]) => {
      const rope_theta = readTheta(config, part, path, layer_type, kind);
      const rotary_dim = readRotaryDim(config, part, path, layer_type, kind);
      const rope = { rotary_dim, rope_theta, original_length: readOriginal(config, part, path, kind, rope_theta, longest) };
      checkRope(rope);
      const shipped = readShipped(part, path, rope, longest, byLayerType(config, kind));
      R.compute(rope, shipped.method, shipped.factor, shipped.options);
      // Ministral 3 sharpens queries by position / the original length, whatever the rope_type.
      const kept = [...K().carried, ...(part.llama_4_scaling_beta == null ? [] : ["original_max_position_embeddings"])];
      const carried = Object.fromEntries(kept.filter((k) => part[k] != null).map((k) => [k, part[k]]));
      const latent = R.data.known.latent.some((key) => config[key]);
      if (latent && shipped.method === "yarn" && part.mscale_all_dim)
        shipped.options.softmax_mscale = number(part, "mscale_all_dim", path);
      const head_dim = whole(config, "qk_rope_head_dim") || headDim(config, layer_type);
      return { layer_type, ...rope, head_dim, latent, local: /^(sliding|chunked|local)/.test(layer_type), carried, shipped };
    });
    return { kind, nested: ropes.length > 1, max_length: longest, ropes };
  }

  // The keys that matter, so that a permalink stays short. A null stays: it says something else than a key that is left out.
  function slim(config) {
    const text = textPart(config);
    return Object.fromEntries(Object.entries(text).filter(([key]) => R.data.known.read_keys.includes(key)));
  }

  Object.assign(R, { parseConfig: parse, readConfig, slimConfig: slim, differing });
})(window.ropewalk);
