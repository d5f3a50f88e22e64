// Beside and below the map: the page of an expert, what changes did, and an expert's load while it was trained.

const visible = text => (text === "" ? "·" : text.replaceAll("\n", "↵").replaceAll(" ", "␣"));

// What the run says of one expert of one layer.
function expertFacts(run, ids, row, expert, shown) {
  const [count, layers, k] = ids.shape, phases = run.phases.map(() => [0, 0]), words = new Map();
  const beside = new Float32Array(run.experts);
  let chosen = 0, chosenShown = 0, tokens = 0;
  for (let t = 0; t < count; t++) {
    const at = (t * layers + row) * k, experts = ids.subarray(at, at + k), has = experts.includes(expert);
    phases[run.phase[t]][1] += 1;
    tokens += shown(t);
    if (!has) continue;
    chosen += 1;
    chosenShown += shown(t);
    phases[run.phase[t]][0] += 1;
    words.set(run.text[t], (words.get(run.text[t]) ?? 0) + 1);
    for (const other of experts) if (other !== expert) beside[other] += 1;
  }
  const top = [...words].sort((a, b) => b[1] - a[1]).slice(0, 12);
  const others = [...beside.keys()].filter(e => beside[e]).sort((a, b) => beside[b] - beside[a]).slice(0, 5);
  return { chosen, count, share: tokens ? chosenShown / tokens : 0, phases, top, others: others.map(e => [e, beside[e] / chosen]) };
}

function bar(label, value, words, name = "") {
  const fill = h("span", { className: `gp-fill ${name}` });
  fill.style.width = `${Math.min(100, value * 100)}%`;
  return h("div", { className: "gp-bar" }, h("span", { className: "gp-bar-label" }, label),
    h("span", { className: "gp-track" }, fill), h("span", { className: "gp-number" }, words));
}

function expertPage(run, ids, [row, expert], shown) {
  const facts = expertFacts(run, ids, row, expert, shown);
  const phases = run.phases.map((name, index) => [name, ...facts.phases[index]]).filter(([, , all]) => all);
  return [
    h("p", { className: "gp-lead" }, h("b", {}, percent(facts.share)), " of the brushed tokens, ",
      h("b", {}, String(facts.chosen)), ` of all ${facts.count}`),
    h("h4", {}, "Load by phase"),
    ...phases.map(([name, of, all]) => bar(name, of / all, percent(of / all), `gp-fill-${name}`)),
    h("h4", {}, "Top tokens"),
    facts.top.length
      ? h("div", { className: "gp-words" }, ...facts.top.map(([text, times]) =>
          h("span", { className: "gp-word" }, h("code", {}, visible(text)), h("small", {}, `×${times}`))))
      : h("p", { className: "gp-faint" }, "No token of this run chose it."),
    facts.others.length ? h("h4", {}, "Chosen together with") : null,
    ...facts.others.map(([other, share]) => bar(`expert ${other}`, share, percent(share))),
  ].filter(Boolean);
}

// Two token lists beside each other, those that differ marked: common beginning and end are found, the rest is other.
function comparedTexts(run, effect) {
  const before = run.text.filter((_, t) => run.phases[run.phase[t]] !== "prompt");
  const after = effect.text.filter((_, t) => effect.phase[t] !== "prompt");
  let start = 0, end = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  while (end < Math.min(before.length, after.length) - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  const column = (title, tokens) => h("section", {}, h("h4", {}, title), h("div", { className: "gp-text" },
    tokens.slice(0, start).join(""), h("mark", {}, tokens.slice(start, tokens.length - end).join("")),
    tokens.slice(tokens.length - end).join("") || (tokens.length ? "" : "(nothing)")));
  if (!before.length && !after.length) return null;
  const same = start === before.length && start === after.length;
  return h("div", { className: "gp-two" }, column(`Baseline, ${before.length} tokens`, before),
    column(`Changed, ${after.length} tokens${same ? ", the same" : ""}`, after));
}

// What becomes of all skills without the experts of one: bars are what is still right, ticks what was.
function knockoutPanel({ skill, experts, rows, excess, control, controls }) {
  const said = name => name.replaceAll("_", " "), signed = value => `${value < 0 ? "−" : "+"}${nats(Math.abs(value))}`;
  const number = (value, label) => h("div", { className: "gp-figure" }, h("b", {}, value), h("span", {}, label));
  const tick = (value, name, title) => {
    const node = h("span", { className: `gp-tick ${name}`, title });
    node.style.left = `calc(${value * 100}% - 1px)`;
    return node;
  };
  const row = ({ name, whole, without, lost }) => {
    const own = name === skill, node = bar(said(name), without, `${percent(whole)} → ${percent(without)}, ${signed(lost)} nats`, own ? "gp-fill-own" : "gp-fill-other");
    node.classList.add("gp-bar-wide");
    if (own) node.classList.add("gp-bar-own");
    node.querySelector(".gp-track").append(tick(whole, "", `right before: ${percent(whole)}`), ...(own ? [tick(control, "gp-tick-control", `control: ${percent(control)}`)] : []));
    return node;
  };
  return [
    h("div", { className: "gp-effect-head" }, h("b", {}, `Without the experts that ${said(skill)} needs beyond the others`), h("code", {}, experts.map(([layer, expert]) => `${layer}:${expert}`).join(" "))),
    h("div", { className: "gp-figures" }, number(`${signed(excess.own)} nats`, `of loss for ${said(skill)}`),
      number(`${signed(excess.control)} nats`, `control: ${controls} draws of others, as busy`),
      number(excess.low === null ? "too few" : `${signed(excess.low)} to ${signed(excess.high)}`, "beyond the control, 95%")),
    h("h4", {}, "Answers that are right ", h("span", { className: "gp-key gp-key-before" }), "before ", h("span", { className: "gp-key gp-key-control" }), "control"),
    ...rows.map(row),
  ];
}

const mean = values => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

const largest = values => values.reduce((most, value) => Math.max(most, value), 0);  // of more than a call has arguments

// Bars of KL for each token of the baseline, the control as a line over them.
class DivergenceChart {
  constructor(hovered) {
    this.canvas = h("canvas", { className: "gp-chart", role: "img" });
    this.node = h("div", {}, this.canvas);
    this.canvas.addEventListener("pointermove", event => {
      if (!this.kl) return;
      const index = Math.floor((event.offsetX - 40) / ((this.canvas.clientWidth - 44) / this.kl.length));
      hovered(index >= 0 && index < this.kl.length ? index : null, event.offsetX);
    });
    this.canvas.addEventListener("pointerleave", () => hovered(null));
    new ResizeObserver(() => this.draw()).observe(this.node);
  }
  show(kl, control) {
    Object.assign(this, { kl, control });
    this.canvas.setAttribute("aria-label", `KL after each token, mean ${nats(mean(kl))} nats; control ${nats(mean(control))}`);
    this.draw();
  }
  draw() {
    if (!this.kl || !this.node.clientWidth) return;
    const { kl, control, canvas } = this, width = this.node.clientWidth, height = 96, left = 40, base = height - 6;
    const at = prepared(canvas, width, height), style = getComputedStyle(this.node);
    const most = Math.max(1e-6, largest(kl), largest(control)), step = (width - left - 4) / kl.length;
    const y = value => base - (value / most) * (base - 8);
    at.fillStyle = style.getPropertyValue("--gp-faint");
    at.font = "11px system-ui, sans-serif";
    at.textAlign = "right";
    at.textBaseline = "middle";
    at.fillText(most.toPrecision(2), left - 6, 9);
    at.fillText("0", left - 6, base - 3);
    at.fillRect(left, base, width - left - 4, 1);
    at.fillStyle = style.getPropertyValue("--gp-accent");
    kl.forEach((value, t) => at.fillRect(left + t * step, y(value), Math.max(1, step - (step > 4 ? 1 : 0)), base - y(value)));
    at.strokeStyle = style.getPropertyValue("--gp-warm");
    at.lineWidth = 1.5;
    at.beginPath();
    control.forEach((value, t) => at.lineTo(left + (t + 0.5) * step, y(value)));
    at.stroke();
  }
}

// An expert's share of its layer over the steps of training, a line for the family shown among all.
function loadChart(film, family, [row, expert], step, style) {
  const [steps, families, layers, experts] = film.load.shape, width = 280, height = 120, left = 34;
  const canvas = h("canvas", { className: "gp-chart", role: "img", "aria-label": "Load over the steps of training" });
  const at = prepared(canvas, width, height), value = (s, f) => film.load[((s * families + f) * layers + row) * experts + expert] * film.load.scale;
  let most = 0;
  for (let s = 0; s < steps; s++) for (let f = 0; f < families; f++) most = Math.max(most, value(s, f));
  const x = s => left + (s / (steps - 1)) * (width - left - 6), y = share => height - 8 - (share / most) * (height - 18);
  const line = (f, colour, wide) => {
    at.strokeStyle = colour;
    at.lineWidth = wide;
    at.beginPath();
    for (let s = 0; s < steps; s++) at.lineTo(x(s), y(value(s, f)));
    at.stroke();
  };
  for (let f = 0; f < families; f++) line(f, style.getPropertyValue("--gp-line"), 1);
  line(family, style.getPropertyValue("--gp-accent"), 2.5);
  at.fillStyle = style.getPropertyValue("--gp-warm");
  at.fillRect(x(step) - 0.75, 6, 1.5, height - 14);
  at.fillStyle = style.getPropertyValue("--gp-faint");
  at.font = "11px system-ui, sans-serif";
  at.textAlign = "right";
  at.fillText(percent(most), left - 5, 14);
  at.fillText("0", left - 5, height - 6);
  return canvas;
}
