// The panel: which model, which stretch, and the exact configuration for it. A sidebar, or a sheet on small screens.
(function (R) {
  "use strict";
  const { el } = R;

  function head(panel) {
    const summary = el("span", { className: "summary" });
    const toggle = el("button", { type: "button", className: "sheet-toggle", "aria-expanded": "false", "aria-controls": "panel-body" });
    toggle.append(summary, el("span", { className: "chevron", "aria-hidden": "true" }));
    toggle.addEventListener("click", () => {
      const open = panel.classList.toggle("open");
      toggle.setAttribute("aria-expanded", String(open));
    });
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && panel.classList.contains("open")) {
        toggle.click();
        toggle.focus();
      }
    });
    panel.append(toggle);
    const refresh = () => {
      const { kept, ramped, stretched } = R.pairs(R.rope(), R.scaled(), R.state.factor);
      summary.innerHTML = `<b>${R.svg.escape(R.model().name)}</b> · ${R.methodTitle(R.state.method)} ${R.trim(R.state.factor)}×
        <span class="chips"><i class="kept">${kept}</i><i class="ramped">${ramped}</i><i class="stretched">${stretched}</i></span>
        <span class="sheet-word">configuration</span>`;
    };
    R.subscribe(refresh);
    refresh();
  }

  function models() {
    const list = R.data.models.map((m) => [m.id, m.name]);
    if (R.pastedModel()) list.push(["pasted", R.pastedModel().name]);
    return [...list, ["own", "Your own numbers"]];
  }

  function numberField(parent, key, label, min, step) {
    const id = `own-${key}`;
    const input = el("input", { type: "number", id, min, step, inputMode: "decimal" });
    parent.append(el("span", {}, el("label", { for: id }, label), input));
    input.addEventListener("change", () => {
      const before = R.state[key], value = Number(input.value);
      const right = { dim: value % 2 === 0 && value >= 4 && value <= 1024, theta: value >= 1.5 && value <= 1e12, length: Number.isInteger(value) && value >= 16 && value <= 2 ** 30 };
      if (right[key]) R.set({ [key]: value });
      else input.value = before;
    });
    const refresh = () => document.activeElement !== input && (input.value = R.state[key]);
    R.subscribe(refresh);
    refresh();
  }

  function pasteBox(parent) {
    const area = el("textarea", { id: "paste", rows: 5, spellcheck: false, placeholder: '{ "model_type": "qwen3", … }' });
    const message = el("p", { className: "message", id: "paste-message" });
    message.setAttribute("role", "alert");
    area.setAttribute("aria-describedby", "paste-message");
    const act = () => {
      try {
        R.pasteConfig(area.value);
        message.textContent = `Read: ${R.pastedModel().kind || "a model"}, ${R.pastedModel().ropes.length} rotary table${R.pastedModel().ropes.length > 1 ? "s" : ""}.`;
        message.classList.remove("bad");
        area.removeAttribute("aria-invalid");
      } catch (error) {
        message.textContent = `${error.message} What was shown before stays.`;
        message.classList.add("bad");
        area.setAttribute("aria-invalid", "true");
      }
    };
    const details = el("details", { className: "paste" }, el("summary", {}, "Paste a config.json"), el("label", { for: "paste" }, "The text of config.json"), area);
    R.button(details, "Read it", act);
    details.append(message);
    area.addEventListener("paste", () => setTimeout(act, 0));
    parent.append(details);
  }

  // Options that only some methods have.
  function extraOptions(parent) {
    const box = el("div", { className: "extra" });
    parent.append(box);
    let shown = "";
    const make = {
      rope_theta: () => R.slider(box, {
        key: "new-theta", label: "New base b′", min: 2, max: 9, step: 0.05, get: () => Math.log10(value("rope_theta")),
        put: (v) => R.setOption("rope_theta", Math.round(10 ** v)), say: () => R.short(value("rope_theta")),
      }),
      proportion: () => R.slider(box, {
        key: "proportion", label: "Share of pairs that turn", min: 0.05, max: 1, step: 0.05, get: () => value("proportion"),
        put: (v) => R.setOption("proportion", Math.round(v * 100) / 100), say: () => `${Math.round(100 * value("proportion"))} %`,
      }),
      over: () => R.select(box, {
        key: "resonance-over", label: "Rounds the wavelengths of", choices: () => ["none", "linear", "ntk", "ntk_by_parts", "yarn", "llama3"].map((m) => [m, R.methodTitle(m)]),
        get: () => value("over"), put: (v) => R.setOption("over", v),
      }),
    };
    const value = (name) => {
      const { method } = R.parseMethod(R.state.method);
      const o = { ...R.data.methods[method].defaults, ...R.options() };
      return o[name] == null ? { rope_theta: 1e6, proportion: 1, over: "yarn" }[name] : o[name];
    };
    const built = {};
    const refresh = () => {
      const { method } = R.parseMethod(R.state.method);
      const wanted = Object.keys(make).filter((name) => name in R.data.methods[method].defaults).join();
      if (wanted === shown) return;
      shown = wanted;
      for (const name of Object.keys(built)) built[name].hidden = true;
      for (const name of wanted.split(",").filter(Boolean)) {
        if (!built[name]) built[name] = make[name]().closest(".control");
        built[name].hidden = false;
      }
    };
    R.subscribe(refresh);
    refresh();
  }

  function numbers(parent) {
    const box = el("dl", { className: "numbers" });
    parent.append(box);
    const refresh = () => {
      const rope = R.rope(), scaled = R.scaled();
      const rows = [
        ["L → L′", `${R.whole(rope.original_length)} → ${R.whole(rope.original_length * R.state.factor)}`],
        ["base b", R.short(rope.rope_theta)], ["rotary dim d", rope.rotary_dim], ["attention factor m", scaled.attention_factor.toFixed(4)],
      ];
      box.innerHTML = rows.map(([name, v]) => `<div><dt>${name}</dt><dd>${v}</dd></div>`).join("");
    };
    R.subscribe(refresh);
    refresh();
  }

  function configuration(parent) {
    const row = el("div", { className: "buttons" });
    parent.append(el("div", { className: "panel-row" }, el("h2", { className: "panel-title" }, "Configuration"), row));
    R.choice(parent, { key: "dialect", label: "Written for", choices: R.data.dialects.map((d) => [d.name, d.title]) });
    const code = el("pre", { id: "configuration", tabIndex: 0 });
    code.setAttribute("aria-label", "Exact configuration");
    const refused = el("p", { className: "message bad", id: "refused", hidden: true });
    parent.append(code, refused);
    const copied = el("span", { className: "copied" });
    copied.setAttribute("role", "status");
    const copy = R.button(row, "Copy", () => copyText(code.textContent, copied, "Copied."));
    R.button(row, "Copy link", () => copyText(location.href.split("#")[0] + R.toHash(), copied, "Link copied."));
    parent.append(copied);
    const refresh = () => {
      const dialect = R.data.dialects.find((d) => d.name === R.state.dialect);
      const { text, refused: why } = R.paste(dialect, R.model(), R.plan());
      code.textContent = text || "";
      code.hidden = !text;
      copy.disabled = !text;
      refused.hidden = !why;
      refused.textContent = why || "";
    };
    R.subscribe(refresh);
    refresh();
  }

  // The clipboard interface is missing on some file pages: then a hidden text field does it.
  async function copyText(words, status, done) {
    try {
      await navigator.clipboard.writeText(words);
    } catch (error) {
      const area = el("textarea", { value: words, "aria-hidden": "true", className: "off-screen" });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    status.textContent = done;
    setTimeout(() => (status.textContent = ""), 2000);
  }

  R.buildPanel = () => {
    const panel = document.getElementById("panel"), body = el("div", { id: "panel-body", className: "panel-body" });
    head(panel);
    panel.append(body);
    R.select(body, { key: "model", label: "Model", choices: models });
    const source = el("p", { className: "source" });
    const own = el("div", { className: "own" });
    body.append(source, own);
    numberField(own, "dim", "d", 4, 2);
    numberField(own, "theta", "base b", 1.5, "any");
    numberField(own, "length", "L", 16, 1);
    R.select(body, { key: "method", label: "Method", choices: () => R.methodNames().map((name) => [name, `${R.methodTitle(name)} · ${name}`]) });
    const rule = el("p", { className: "source" });
    body.append(rule);
    R.factorSlider(body);
    extraOptions(body);
    numbers(body);
    configuration(body);
    pasteBox(body);
    const refresh = () => {
      const m = R.model(), { method, dynamic } = R.parseMethod(R.state.method);
      const layer = m.nested ? ` Shown: ${R.layer().layer_type.replace("_", " ")} layers.` : "";
      source.textContent = `From ${m.source}.${layer}`;
      own.hidden = m.id !== "own";
      rule.textContent = ({ true: "s = max(1, l / L) chosen from the current length, over: ", request: "s = max(1, l / L) of the whole request, over: " }[dynamic] || "") + R.data.methods[method].summary;
    };
    R.subscribe(refresh);
    refresh();
  };
})(window.ropewalk);
