// Labelled controls bound to the state. Every input has a label that can be seen, and a value in words.
(function (R) {
  "use strict";

  let count = 0;
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in node && key !== "for" && key !== "list") node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  };

  // A slider for state[key]; min, max and step may be functions, `say` puts the value in words.
  function slider(parent, { key, label, min, max, step = 1, say, get, put }) {
    const id = `c${++count}-${key}`;
    const read = get || (() => R.state[key]);
    const write = put || ((value) => R.set({ [key]: value }));
    const output = el("output", { for: id });
    const input = el("input", { type: "range", id });
    parent.append(el("div", { className: "control" }, el("label", { for: id }, label), output, input));
    const call = (x) => (typeof x === "function" ? x() : x);
    function refresh() {
      Object.assign(input, { min: call(min), max: call(max), step: call(step) });
      input.value = read();
      const words = say(read());
      output.textContent = words;
      input.setAttribute("aria-valuetext", words);
      const share = (Number(input.value) - Number(input.min)) / (Number(input.max) - Number(input.min) || 1);
      input.style.setProperty("--share", `${100 * share}%`);
    }
    input.addEventListener("input", () => write(Number(input.value)));
    R.subscribe(refresh);
    refresh();
    return input;
  }

  // Stops that are easy to hit: every factor people use, closer together where it matters.
  const STOPS = [];
  for (let x = 1; x < 64; x += x < 2 ? 0.1 : x < 4 ? 0.25 : x < 8 ? 0.5 : x < 16 ? 1 : x < 32 ? 2 : 4) {
    x = Math.round(x * 100) / 100;
    STOPS.push(x);
  }
  STOPS.push(64);
  const nearest = (s) => STOPS.reduce((best, x, i) => (Math.abs(Math.log(x / s)) < Math.abs(Math.log(STOPS[best] / s)) ? i : best), 0);

  function factor(parent) {
    return slider(parent, {
      key: "factor", label: "Factor s", min: 0, max: STOPS.length - 1,
      get: () => nearest(R.state.factor), put: (i) => R.set({ factor: STOPS[i] }),
      say: () => `${R.trim(R.state.factor)}×`,
    });
  }

  function pair(parent) {
    return slider(parent, {
      key: "pair", label: "Pair i", min: 0, max: () => R.rope().rotary_dim / 2 - 1,
      say: (i) => `${i} · ${R.tokens(R.TAU / R.invFreq(R.rope())[i])} tokens a turn`,
    });
  }

  function select(parent, { key, label, choices, get, put }) {
    const id = `c${++count}-${key}`;
    const input = el("select", { id });
    parent.append(el("div", { className: "control" }, el("label", { for: id }, label), input));
    let before = "";
    function refresh() {
      const wanted = choices();
      const now = JSON.stringify(wanted);
      if (now !== before) input.replaceChildren(...wanted.map(([value, words]) => el("option", { value }, words)));
      before = now;
      input.value = get ? get() : R.state[key];
    }
    input.addEventListener("change", () => (put ? put(input.value) : R.set({ [key]: input.value })));
    R.subscribe(refresh);
    refresh();
    return input;
  }

  // A few exclusive choices side by side; real radio buttons underneath, so arrow keys work.
  function choice(parent, { key, label, choices, get, put }) {
    const name = `c${++count}-${key}`;
    const set = el("fieldset", { className: choices.length > 3 ? "choice wide" : "choice" }, el("legend", {}, label));
    const row = el("div", { className: "choice-row" });
    const inputs = choices.map(([value, words]) => {
      const input = el("input", { type: "radio", name, value, id: `${name}-${value}` });
      input.addEventListener("change", () => (put ? put(value) : R.set({ [key]: value })));
      row.append(el("span", {}, input, el("label", { for: input.id }, words)));
      return input;
    });
    set.append(row);
    parent.append(set);
    const refresh = () => inputs.forEach((input) => (input.checked = input.value === String(get ? get() : R.state[key])));
    R.subscribe(refresh);
    refresh();
  }

  function checkbox(parent, { label, get, put, cls = "" }) {
    const id = `c${++count}-check`;
    const input = el("input", { type: "checkbox", id });
    const box = el("span", { className: `check ${cls}` }, input, el("label", { for: id }, label));
    input.addEventListener("change", () => put(input.checked));
    parent.append(box);
    const refresh = () => (input.checked = get());
    R.subscribe(refresh);
    refresh();
    return box;
  }

  function button(parent, words, act) {
    const node = el("button", { type: "button", className: "small" }, words);
    node.addEventListener("click", act);
    parent.append(node);
    return node;
  }

  // A sentence under a picture that follows the state; HTML of our own making.
  function reading(parent, words) {
    const node = el("p", { className: "reading" });
    parent.append(node);
    const refresh = () => (node.innerHTML = words());
    R.subscribe(refresh);
    refresh();
  }

  // Puts the chapter's own method into the drawer.
  function use(parent, name, words) {
    const node = button(parent, words, () => R.set({ method: name }));
    const refresh = () => {
      const on = R.state.method === name;
      node.disabled = on;
      node.textContent = on ? "Shown in the configuration" : words;
    };
    R.subscribe(refresh);
    refresh();
  }

  function chapter(id) {
    const figure = document.querySelector(`#${id} figure`);
    const box = el("div", { className: "picture" }), under = el("figcaption", { className: "under" });
    const controls = el("div", { className: "controls" });
    figure.append(box, under);
    under.append(controls);
    return { figure: box, controls, under };
  }

  // What to call a method in running text.
  const NAMES = {
    none: "plain RoPE", linear: "Position Interpolation", ntk: "NTK-aware", ntk_by_parts: "NTK-by-parts", yarn: "YaRN",
    llama3: "Llama 3", longrope: "LongRoPE", rope_theta: "larger base (ABF)", proportional: "p-RoPE", resonance: "Resonance",
    rerope: "ReRoPE", self_extend: "Self-Extend", dynamic: "dynamic NTK", "dynamic-request": "dynamic NTK, one scale a request",
    "dynamic-linear": "dynamic PI", "dynamic-yarn": "dynamic YaRN",
  };
  const methodTitle = (name) => NAMES[name] || name;

  Object.assign(R, { el, slider, factorSlider: factor, pairSlider: pair, select, choice, checkbox, button, reading, use, chapter, methodTitle });
})(window.ropewalk);
