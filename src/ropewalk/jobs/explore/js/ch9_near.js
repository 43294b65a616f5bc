// Chapter 9: the last w distances as trained, what lies beyond them stretched; against one stretch for all, and none.
(function (R) {
  "use strict";
  const { line, circle, rect, text, path, mark } = R.svg;

  const M = { left: 50, right: 16, top: 44 };
  const BOTTOM = 272, ZOOM = 196; // the foot of the chart; pixels of the closer look beside it
  const ROOM = 1.6; // the chart is so much higher than the range of training
  const BEFORE = 8, AFTER = 16; // tokens on either side of w in the closer look
  const FAR = ["linear", "yarn", "rerope", "self_extend"];

  const isWide = (width) => width >= 560;
  const split = (width) => (isWide(width) ? width - ZOOM - 34 : width);
  const degrees = (x) => `${R.tokens(R.degrees(x))}°`;
  // In turns for a pair that made more than two in training.
  const angle = (x, f) => (f.inTurns ? `${R.tokens(x / R.TAU)} turns` : degrees(x));

  // The pair watched: by default the first that never came round in training.
  const watched = () => R.clamp(R.state.nearpair < 0 ? R.firstSlow() : R.state.nearpair, 0, R.rope().rotary_dim / 2 - 1);
  const width = () => R.clamp(Math.floor(R.rope().original_length * (R.state.near / 100)), 1, R.rope().original_length - 1);
  const query = () => Math.round(R.rope().original_length * R.clamp(R.state.query, 0.1, R.state.factor)) - 1;

  // The same rule for every distance; what is a rule for far distances alone comes closest to Position Interpolation.
  const plainName = () => (R.state.far === "yarn" ? "yarn" : "linear");
  const options = (name) => (R.parseMethod(R.state.method).method === name ? R.options(name) : {});

  function facts() {
    const rope = R.rope(), factor = R.state.factor, L = rope.original_length, w = width(), p = query(), i = watched();
    const isStatic = R.state.law === "static";
    const s = isStatic ? R.farthestScale(rope, factor, w) : R.nearScale(rope, factor, w, p);
    const plainScale = isStatic ? factor : R.scaleAt(rope, factor, p + 1);
    const rule = R.farRule(rope, R.state.far, s, options(R.state.far));
    const plain = R.compute(rope, plainName(), plainScale, options(plainName())).inv_freq;
    const theta = R.invFreq(rope), seen = theta.map((x) => x * L);
    const at = (d, pair = i) => R.nearAngle(rope, rule, w, p, d, pair);
    const leave = leaving(theta, seen, at, p), inTurns = seen[i] > 2 * R.TAU;
    return { rope, L, w, p, i, s, plainScale, rule, plain: plain[i], theta: theta[i], seen: seen[i], at, leave, inTurns };
  }

  // Pairs that never came round in training and turn further now: [as the plan has it, unstretched]. The others know every direction.
  function leaving(theta, seen, at, p) {
    const leaves = (x, i) => seen[i] < R.TAU && x > seen[i] * (1 + 1e-9);
    return [theta.filter((x, i) => leaves(at(p, i), i)).length, theta.filter((x, i) => leaves(x * p, i)).length];
  }

  // How the plan is written on the command line.
  function planName() {
    const share = R.state.near === 50 ? "" : `-${R.state.near / 100}`;
    return `near${share}-${R.state.far}${R.state.law === "static" ? "-static" : ""}`;
  }

  // A rising line, cut where it leaves the chart.
  function below(points, high) {
    const out = points.findIndex(([, y]) => y > high);
    if (out < 1) return points;
    const [[x0, y0], [x1, y1]] = [points[out - 1], points[out]];
    return [...points.slice(0, out), [x0 + ((x1 - x0) * (high - y0)) / (y1 - y0), high]];
  }

  // Every token where there are few, else whole tokens evenly spread.
  function distances(first, last, most = 200) {
    const count = Math.min(most, last - first);
    return Array.from({ length: count + 1 }, (_, k) => (count ? Math.round(first + ((last - first) * k) / count) : first));
  }

  const STEPS = [1, 2, 5, 10, 15, 30, 45, 60, 90, 180];
  function levels(high, inTurns) {
    const top = inTurns ? high / R.TAU : R.degrees(high);
    const decade = 10 ** Math.floor(Math.log10(top / 4));
    const steps = inTurns || top < 4 ? [1, 2, 5, 10].map((x) => x * decade) : STEPS;
    const step = steps.find((x) => top / x <= 5) || steps[steps.length - 1];
    return Array.from({ length: Math.floor(top / step) + 1 }, (_, k) => {
      const v = k * step;
      return [inTurns ? v * R.TAU : (v * Math.PI) / 180, inTurns ? R.short(v) : `${R.trim(v)}°`];
    });
  }

  function chart(f, right) {
    const reach = Math.max(f.p + 1, f.L), high = ROOM * f.theta * f.L;
    const x = R.linear(0, reach, M.left, right), y = R.linear(0, high, BOTTOM, M.top);
    const draw = (points, cls) => path(below(points, high).map(([d, v]) => [x(d), y(v)]), cls);
    const far = f.p >= f.w ? distances(f.w, f.p).map((d) => [d, f.at(d)]) : [], edge = Math.min(f.w, f.p);
    const end = f.at(f.p), low = x(f.w) > right - 100;
    return (
      text(4, 14, `${f.inTurns ? "turns" : "angle"} from query to key, pair ${f.i}`, "axis") +
      rect(M.left, y(f.seen), right - M.left, BOTTOM - y(f.seen), "band kept") + line(M.left, y(f.seen), right, y(f.seen), "limit-seen") +
      levels(high, f.inTurns).map(([v, label]) => line(M.left, y(v), right, y(v), "grid") + text(M.left - 8, y(v) + 4, label, "tick", "end")).join("") +
      lengths(f.L, reach, x) + line(M.left, BOTTOM, right, BOTTOM, "axis-line") + line(x(f.L), M.top, x(f.L), BOTTOM, "cursor") +
      draw([[0, 0], [f.p, f.theta * f.p]], "line-none") + draw([[0, 0], [f.p, f.plain * f.p]], "line-plain") +
      draw(far, "line-far") + draw([[0, 0], [edge, f.theta * edge]], "line-near") +
      (f.p >= f.L ? circle(x(f.L), y(f.seen), 4, "hollow big") : "") + // where the unstretched model leaves what it has seen
      text(right, y(f.seen) - 7, `training: up to ${angle(f.seen, f)}`, "label halo", "end") +
      (end <= high ? mark(x(f.p), y(end), f.p < f.w ? R.KEPT : R.STRETCHED, 4.5) : "") +
      line(x(f.w), M.top - 4, x(f.w), BOTTOM, "handle-line") + circle(x(f.w), y(f.theta * f.w), 9, "handle") + circle(x(f.w), y(f.theta * f.w), 3, "handle-dot") +
      text(x(f.w) + (low ? -6 : 6), M.top - 8, `w = ${R.whole(f.w)}`, "label halo", low ? "end" : "start") +
      text((M.left + right) / 2, BOTTOM + 38, "distance to the key, tokens", "axis", "middle")
    );
  }

  const NAMED = [[0, "0"], [0.25, "¼L"], [0.5, "½L"], [1, "L"], ...[2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024].map((k) => [k, `${k}L`])];
  // L is always named; the others where they are clear of it and of each other.
  function lengths(L, reach, x) {
    let last = -Infinity;
    const named = NAMED.filter(([k]) => k * L <= reach && (k === 1 || Math.abs(x(k * L) - x(L)) > (k ? 30 : 14)));
    const clear = named.filter(([k]) => {
      const room = k === 1 || x(k * L) - last > 30;
      if (room) last = x(k * L);
      return room;
    });
    return clear.map(([k, label]) => text(x(k * L), BOTTOM + 18, label, "tick", "middle")).join("");
  }

  // Token by token around w: one step as trained, then the steps of the rule.
  function closer(f, left, right, top, bottom) {
    const edge = Math.min(f.w, f.p), first = Math.max(0, edge - BEFORE);
    const last = Math.min(f.p, f.w + Math.min(96, Math.max(AFTER, 3 * f.rule.group)));
    const shown = distances(first, last).map((d) => [d, f.at(d)]), all = [...shown.map(([, v]) => v), f.theta * last];
    const x = R.linear(first, Math.max(last, first + 1), left + 8, right - 8), y = R.linear(Math.min(...all), Math.max(...all), bottom - 12, top + 10);
    const dots = shown.map(([d, v]) => mark(x(d), y(v), d < f.w ? R.KEPT : R.STRETCHED, R.clamp((right - left) / shown.length / 3, 1.4, 3)));
    const tick = (d, words, anchor) => text(x(d), bottom + 18, words, "tick", anchor);
    return (
      text(left, top - 10, "token by token around w", "axis") + rect(left, top, right - left, bottom - top, "frame", 6) +
      (f.p >= f.w ? line(x(f.w), top, x(f.w), bottom, "handle-line") + tick(f.w, "w", "middle") : "") +
      path([[x(first), y(f.theta * first)], [x(last), y(f.theta * last)]], "line-none") + dots.join("") +
      (last > f.w + BEFORE ? tick(last, `w + ${last - f.w}`, "end") : "")
    );
  }

  function render(across, tall, put) {
    const f = facts(), right = split(across) - M.right;
    const look = isWide(across) ? closer(f, across - ZOOM, across - 4, M.top, BOTTOM) : closer(f, M.left, right, BOTTOM + 78, BOTTOM + 208);
    put(chart(f, right) + look);
  }

  function say() {
    const f = facts(), turns = R.turns(f.rope)[f.i];
    const given = Object.entries(options(R.state.far)).map(([k, v]) => ` --option ${k}=${v}`).join("");
    const written = `Written <code class="whole">${planName()}${R.svg.escape(given)}</code>.`;
    const first = `The query at p = ${R.whole(f.p)} reads what is farther than w = ${R.whole(f.w)} at s = <b>${R.tokens(f.s)}</b>.`;
    if (f.p < f.L && f.s <= 1) return `${first} Inside L near and far are one line, that of the unstretched model. ${written}`;
    const known = turns >= 1 ? `went round ${R.tokens(turns)} times in training, so no direction is new to it` : `turned up to ${angle(f.seen, f)} in training`;
    const pair = `Pair <b>${f.i}</b> ${known}; its farthest key stands at <b>${angle(f.at(f.p), f)}</b>, unstretched at ${angle(f.theta * f.p, f)}.`;
    const [leave, bare] = f.leave, half = f.rope.rotary_dim / 2;
    const others = bare === leave ? "" : `; unstretched ${bare} would, from distance L on`;
    const count = `Of ${half} pairs <b>${leave || "none"}</b> ${leave === 1 ? "meets" : "meet"} angles never seen in training${others}.`;
    const same = Math.abs(f.plain - f.theta) < 1e-9 * f.theta, step = same ? `${degrees(f.theta)}, as trained` : `${degrees(f.plain)} instead of ${degrees(f.theta)}`;
    const next = `${R.methodTitle(plainName())} for every distance (s = ${R.trim(f.plainScale)}) would turn the next token by ${step}.`;
    return `${first} ${pair} ${count} ${next} ${written}`;
  }

  const LEGEND = [["near", "near, as trained"], ["far", "far"], ["plain", "one stretch for every distance"], ["none", "unstretched"]];

  R.chapters.push(() => {
    const { figure, controls, under } = R.chapter("near");
    const svg = () => figure.querySelector("svg");
    const move = (x) => {
      const reach = Math.max(query() + 1, R.rope().original_length), right = split(svg().clientWidth) - M.right;
      R.set({ near: R.clamp(Math.round((100 * reach * (x - M.left)) / ((right - M.left) * R.rope().original_length)), 1, 99) });
    };
    R.picture(figure, {
      height: (w) => (isWide(w) ? BOTTOM + 46 : BOTTOM + 232), render, label: () => say().replace(/<[^>]+>/g, ""),
      drag: (x, y, phase) => (phase === "start" && (y > BOTTOM + 10 || x > split(svg().clientWidth)) ? false : move(x)),
    });
    const legend = R.el("p", { className: "legend" });
    legend.innerHTML = LEGEND.map(([cls, words]) => `<span><i class="key-line ${cls}"></i>${words}</span>`).join("");
    figure.append(legend);
    R.slider(controls, { key: "near", label: "Near distances w", min: 1, max: 99, say: () => `${R.whole(width())} tokens · ${R.state.near} % of L` });
    R.slider(controls, {
      key: "query", label: "Position p of the query", min: 0.1, max: () => R.state.factor, step: 0.1, get: () => (query() + 1) / R.rope().original_length,
      say: () => `${R.whole(query())} · ${R.trim((query() + 1) / R.rope().original_length)} L`,
    });
    R.slider(controls, {
      key: "nearpair", label: "Pair watched", min: 0, max: () => R.rope().rotary_dim / 2 - 1, get: watched, put: (i) => R.set({ nearpair: i }),
      say: () => `${watched()} · ${R.trim(R.turns(R.rope())[watched()])} turns in L`,
    });
    R.factorSlider(controls);
    R.choice(controls, { key: "far", label: "Far distances turn by", choices: FAR.map((name) => [name, R.methodTitle(name)]) });
    R.choice(controls, { key: "law", label: "Scale s", choices: [["causal", "of p (causal)"], ["static", "of L′ (static)"]] });
    R.reading(under, say);
  });
  Object.assign(R, { nearFacts: facts, nearPlanName: planName });
})(window.ropewalk);
