// The training dashboard: curves over steps, the experts' loads at a step and over all, and how the run stands.

const OUTCOMES = { ready: "not begun", running: "running", stopped: "stopped", finished: "finished", failed: "failed", open: "no end in its log" };

class TrainingDashboard extends View {
  constructor(model, el) {
    super(model);
    Object.assign(this, { curves: {}, frames: [], layers: [], experts: 0, charts: new Map(), hovered: null, panels: [], turned: new Set(), log: false });
    this.start(el, ["_selection"]);
  }
  close() {
    clearTimeout(this.later);
    super.close();
  }

  // What there is on the page.

  build(el) {
    const { parts } = this;
    for (const name of ["progress", "options", "charts", "samples", "loads"]) parts[name] = h("div", { className: `gp-${name}` });
    this.outcome = h("span", { className: "gp-outcome", role: "status" });
    this.goOn = this.button("Start", () => this.channel.ask({ kind: "start" }), { className: "gp-primary" });
    this.fill = h("span", { className: "gp-fill" });
    this.note = h("span", {});
    parts.progress.append(this.outcome, h("span", { className: "gp-track" }, this.fill), this.note);
    this.chips = h("span", { className: "gp-chips" });
    this.logButton = this.button("Log scale", () => { this.log = !this.log; this.refresh(); });
    this.smooth = h("input", { type: "range", min: 0, max: 6, step: 1, value: 3, "aria-label": "Steps of the running mean", oninput: () => this.refresh() });
    this.smoothWords = h("output", {});
    parts.options.append(this.chips, this.logButton, h("label", {}, "running mean", this.smooth, this.smoothWords));
    parts.charts.tabIndex = 0;
    parts.charts.setAttribute("role", "group");
    parts.charts.setAttribute("aria-label", "Curves. Left and right move between steps, page up and down ten at a time, Escape picks none.");
    parts.charts.addEventListener("keydown", event => this.key(event));
    this.map = new ExpertMap(cell => this.pickExpert(cell), (cell, place) => this.tell(cell, place));
    this.film = new LoadFilm((step, expert) => this.pick({ step, layer: this.layer, expert }));
    this.expertChart = new LineChart("", "", (step, click) => this.touch(step, click));
    this.samples = new SampleView(sample => this.pick({ sample }));
    parts.samples.append(this.samples.node);
    this.mapHead = h("div", { className: "gp-map-head" });
    this.filmHead = h("div", { className: "gp-map-head" });
    this.tip = h("div", { className: "gp-tip" });
    this.mapPart = h("section", {}, this.mapHead, this.map.node, this.expertChart.node);
    parts.loads.append(this.mapPart, h("section", {}, this.filmHead, this.film.node));
    this.root = h("div", { className: "gp gp-training" },
      h("header", {}, h("strong", {}, "Training"), parts.name, h("span", { className: "gp-space" }), this.copy, this.goOn),
      parts.status, parts.banner, this.code, parts.progress, parts.options, parts.charts, parts.samples, parts.loads, this.tip);
    el.replaceChildren(this.root);
  }

  // What is heard.

  heardAbout(content) {
    this.about = content;
    this.asked = null;  // what it was told of samples may be among what was missed
    this.parts.name.textContent = content.model;
    this.parts.name.title = content.data;
    this.refresh();
  }
  heardRun(content) {
    this.run = content;
    this.refresh();
  }
  heardState(content) {
    super.heardState(content);
    if (content.error && this.run?.outcome === "failed") this.banner(this.run.note, true);
  }
  heardSteps(content, buffers) {
    const arrays = unpack(content, buffers), { layers, experts, stride, frames } = content;
    if (content.whole) Object.assign(this, { curves: {}, frames: [] });
    for (const [key, values] of Object.entries(arrays)) {
      if (key === "loads") continue;
      const curve = (this.curves[key.slice(2)] ??= { x: new Numbers(), y: new Numbers() });
      curve[key[0]].add(values);
    }
    const known = content.panels.map(panel => ({ ...panel, names: panel.names.filter(name => this.curves[name]) }));  // others come later
    Object.assign(this, { layers, experts, panels: known.filter(panel => panel.names.length), sampled: content.sampled });
    const size = layers.length * experts;
    frames.forEach(([step, index], number) => {
      const cells = Float32Array.from(arrays.loads.subarray(number * size, (number + 1) * size), value => value * arrays.loads.scale);
      if (this.frames.length && this.frames.at(-1).index % stride) this.frames.pop();
      this.frames.push({ step, index, cells });
    });
    this.frames = this.frames.filter(({ index }, place) => index % stride === 0 || place === this.frames.length - 1);
    this.refresh();
  }

  heardSamples(content, buffers) {
    this.samples.show(content, unpack(content, buffers));
    this.refresh();
  }

  // What is picked.

  get picked() { return { step: null, layer: null, expert: null, sample: null, ...this.model.get("_selection") }; }
  pick(part) { this.set("_selection", { ...this.picked, ...part }); }
  pickExpert(cell) { this.pick(cell ? { layer: this.layers[cell[0]], expert: cell[1] } : { layer: null, expert: null }); }
  get layer() { return this.picked.layer ?? this.layers[0]; }
  get steps() {
    let longest = null;
    for (const { x } of Object.values(this.curves)) if (!longest || x.length > longest.length) longest = x;
    return longest;
  }
  nearest(step) {
    const { steps } = this;
    if (step === null || !steps?.length) return null;
    const place = Math.min(steps.place(step), steps.length - 1);
    return place && step - steps.at(place - 1) < steps.at(place) - step ? steps.at(place - 1) : steps.at(place);
  }
  touch(step, click) {
    const near = this.nearest(step);
    if (click) this.pick({ step: near === this.picked.step ? null : near, sample: null });
    else if (near !== this.hovered) { this.hovered = near; this.refresh(); }
  }
  key(event) {
    const { steps } = this, move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") this.pick({ step: null, sample: null });
    else if (move && steps?.length) {
      const place = this.picked.step === null ? (move < 0 ? steps.length : -1) : steps.place(this.picked.step);
      this.pick({ step: steps.at(Math.min(steps.length - 1, Math.max(0, place + move))), sample: null });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
  tell(cell, place) {
    this.tip.classList.toggle("gp-on", Boolean(cell && this.shownLoad));
    if (!cell || !this.shownLoad) return;
    const share = this.shownLoad.cells[cell[0] * this.experts + cell[1]];
    this.tip.textContent = `layer ${this.layers[cell[0]]}, expert ${cell[1]}\n${percent(share)} of the layer's choices; even is ${percent(1 / this.experts)}`;
    const map = this.map.node, left = map.offsetLeft + place.x;
    this.tip.style.left = `${Math.min(left, this.root.clientWidth - 230)}px`;
    this.tip.style.top = `${map.offsetTop + place.y - 46}px`;
  }

  // How it is drawn.

  useTheme(theme) {
    this.style = null;
    super.useTheme(theme);
  }
  // Whether the colours are known, as they are once the widget and its styles are in the page.
  readStyle() {
    if (!this.root.isConnected) return false;
    const style = getComputedStyle(this.root);
    this.style = Object.fromEntries(["accent", "ink", "warm", "faint", "line", "think"].map(name => [name, style.getPropertyValue(`--gp-${name}`)]));
    this.map.useTheme(this.root.dataset.theme);
    return this.style.accent !== "";
  }
  paint() {
    if (!this.style?.accent && !this.readStyle()) return this.refresh();
    this.paintRun();
    this.paintCharts();
    this.paintSamples();
    this.paintLoads();
  }
  paintRun() {
    const { run } = this, outcome = run?.outcome ?? "ready", { steps } = this;
    const number = steps?.length ? steps.at(steps.length - 1) : 0, total = run?.steps;
    this.outcome.dataset.outcome = this.dead && outcome === "running" ? "stopped" : outcome;
    this.outcome.textContent = this.dead && outcome === "running" ? "kernel gone" : OUTCOMES[outcome];
    this.fill.parentElement.hidden = !total;
    this.fill.style.width = `${total ? Math.min(100, (100 * number) / total) : 0}%`;
    const speed = this.curves.seconds, left = outcome === "running" && total && speed?.y.length ? timeLeft(speed.y, total - number) : "";
    this.note.textContent = outcome === "running" ? `step ${grouped(number)}${total ? ` of ${grouped(total)}` : ""}${left}` : outcome === "failed" && this.state?.error ? "" : run?.note ?? "";
    this.copy.disabled = Boolean(this.dead);
    this.goOn.hidden = !["ready", "stopped", "open"].includes(outcome);
    this.goOn.textContent = { ready: "Start", stopped: "Go on", open: "Read on" }[outcome] ?? "";
    if (this.about?.logged && outcome === "stopped") this.goOn.textContent = "Read on";
    this.goOn.disabled = !this.live || this.busy;
  }
  isShown({ title, quiet }) { return quiet === this.turned.has(title); }
  paintCharts() {
    const { panels, steps } = this, shown = panels.filter(panel => this.isShown(panel)), span = 2 ** Number(this.smooth.value);
    this.parts.options.hidden = !panels.length;
    this.smoothWords.textContent = span === 1 ? "none" : `${span} steps`;
    this.logButton.setAttribute("aria-pressed", String(this.log));
    this.paintChips(panels);
    if (!steps?.length) {
      this.parts.charts.replaceChildren(h("p", { className: "gp-faint" }, this.run?.outcome === "running" ? "The first step compiles the program, which takes a while." : "No step yet."));
      this.drawn = "";
      return;
    }
    const nodes = shown.map(({ title, about }) => {
      if (!this.charts.has(title)) this.charts.set(title, new LineChart(title, about, (step, click) => this.touch(step, click)));
      return this.charts.get(title).node;
    });
    const drawn = shown.map(({ title }) => title).join();
    if (drawn !== this.drawn) this.parts.charts.replaceChildren(...nodes);
    this.drawn = drawn;
    for (const { title, names, level } of shown) this.charts.get(title).show({ ...this.range, curves: Object.fromEntries(names.map(name => [name, this.curves[name]])), log: this.log, span, level });
  }
  get range() {
    const told = Object.values(this.curves).map(({ x }) => x).filter(x => x.length);
    const from = Math.min(...told.map(x => x.at(0))), to = Math.max(...told.map(x => x.at(x.length - 1)));
    return { from, to, marked: this.hovered, picked: this.picked.step, style: this.style };
  }
  paintChips(panels) {
    const key = panels.map(panel => `${panel.title}${this.isShown(panel)}`).join();
    if (key === this.chipKey) return;
    this.chipKey = key;
    keepFocus(this.chips, panels.map(panel => this.button(panel.title.split(",")[0], () => {
      if (!this.turned.delete(panel.title)) this.turned.add(panel.title);
      this.refresh();
    }, { "aria-pressed": String(this.isShown(panel)), className: "gp-chip" })));
  }
  // Asks for the samples of the step that is picked, or of the last, at most twice a second.
  paintSamples() {
    const { step, sample } = this.picked, wanted = `${step ?? this.sampled}/${sample}`;
    this.parts.samples.hidden = !this.samples.shown;
    if ((this.sampled ?? null) === null || wanted === this.asked || !this.live) return;
    const wait = 500 - (Date.now() - (this.askedAt ?? 0));
    clearTimeout(this.later);
    if (wait > 0) { this.later = setTimeout(() => this.refresh(), wait); return; }
    Object.assign(this, { asked: wanted, askedAt: Date.now() });
    this.channel.ask({ kind: "samples", step, sample });
  }
  paintLoads() {
    const { frames, layers, experts, picked, steps } = this;
    this.parts.loads.hidden = !frames.length;
    if (!frames.length || !steps?.length) return;
    const step = this.hovered ?? picked.step;
    this.shownLoad = step === null ? frames.at(-1) : frames.findLast(frame => frame.step <= step) ?? frames[0];
    const row = Math.max(0, layers.indexOf(this.layer)), most = this.shownLoad.cells.reduce((a, b) => Math.max(a, b), 1e-9);
    this.map.show({ cells: this.shownLoad.cells, layers, experts, most }, picked.layer === null || picked.expert === null ? null : [row, picked.expert], {});
    this.mapHead.replaceChildren(h("span", { className: "gp-map-title" }, `Experts' load at step ${grouped(this.shownLoad.step)}`), this.legend(most));
    const peak = frames.reduce((top, { cells }) => cells.subarray(row * experts, (row + 1) * experts).reduce((a, b) => Math.max(a, b), top), 1e-9);
    this.filmHead.replaceChildren(h("span", { className: "gp-map-title" }, `Layer ${layers[row]} over steps`), this.legend(peak));
    this.film.show({ ...this.range, frames, row, experts, most: peak, step: this.shownLoad.step, expert: picked.expert, theme: this.root.dataset.theme });
    this.expertChart.node.hidden = picked.expert === null;
    if (picked.expert === null) return;
    const curve = { x: new Numbers(), y: new Numbers() };
    curve.x.add(frames.map(frame => frame.step));
    curve.y.add(frames.map(frame => 100 * frame.cells[row * experts + picked.expert]));
    this.expertChart.title = `Expert ${picked.expert} of layer ${layers[row]}, % of choices`;
    this.expertChart.show({ ...this.range, marked: null, picked: this.shownLoad.step, curves: { share: curve }, span: 1, log: false, level: 100 / experts });
  }
  legend(most) {
    const ramp = h("span", { className: "gp-ramp" }), stops = [0, 0.25, 0.5, 0.75, 1].map(part => rgb(colourOf(this.root.dataset.theme, part)));
    ramp.style.background = `linear-gradient(90deg,${stops.join(",")})`;
    return h("span", { className: "gp-legend" }, "0", ramp, `${percent(most)}, even ${percent(1 / this.experts)}`);
  }
}

const grouped = number => number.toLocaleString("en-US");

// By the mean of the last steps.
function timeLeft(seconds, steps) {
  const from = Math.max(seconds.length > 1 ? 1 : 0, seconds.length - 20);  // the first compiles
  let sum = 0;
  for (let i = from; i < seconds.length; i++) sum += seconds.at(i);
  const left = (steps * sum) / (seconds.length - from);
  return seconds.length < 2 ? "" : left < 90 ? `, ${Math.ceil(left)} s left` : left < 5400 ? `, ${Math.round(left / 60)} min left` : `, ${(left / 3600).toFixed(1)} h left`;
}

function render({ model, el }) {
  const dashboard = new TrainingDashboard(model, el);
  return () => dashboard.close();
}

export default { render };
