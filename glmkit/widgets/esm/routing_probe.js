// The routing probe: tokens, map, page of an expert, changes and what they do, and the film of training.

class RoutingProbe extends View {
  constructor(model, el) {
    super(model);
    this.film = null;
    this.mode = "run";
    this.closeOn = true;
    this.start(el, ["_selection", "_changes"]);
  }
  close() {
    super.close();
    clearInterval(this.playing);
  }

  useTheme(theme) {
    this.themeRead = false;
    super.useTheme(theme);
  }

  // Whether there are colours, which there are none of before it is in the page.
  readTheme() {
    if (!this.themeRead && this.root.isConnected) {
      this.map.useTheme(this.root.dataset.theme);
      this.themeRead = true;
      this.chart.draw();
    }
    return this.themeRead;
  }

  // What there is on the page.

  build(el) {
    this.tip = h("div", { className: "gp-tip", role: "status" });
    this.strip = new TokenStrip(brush => this.pick({ brush }), (index, span) => this.hoverToken(index, span));
    this.map = new ExpertMap(
      cell => this.pick(cell ? { layer: this.layers[cell[0]], expert: cell[1] } : { layer: null, expert: null }),
      (cell, place) => this.hoverCell(cell, place),
    );
    this.chart = new DivergenceChart((index, x) => this.hoverDivergence(index, x));
    const { parts } = this;
    for (const name of ["filters", "legend", "page", "changes", "effect", "knockout", "stream", "filmBar"]) parts[name] = h("div", { className: `gp-${name}` });
    this.tabs = h("div", { className: "gp-switch", role: "group", "aria-label": "What the map shows" },
      this.button("This run", () => this.setMode("run")), this.button("Training film", () => this.setMode("film")));
    this.exporter = this.button("Export HTML", () => this.channel.ask({ kind: "export" }));
    this.question = h("input", { type: "text", className: "gp-question", placeholder: "Ask the model something", "aria-label": "Prompt", onkeydown: event => { if (event.key === "Enter") this.ask(); } });
    this.thinking = h("select", { "aria-label": "Thinking" }, ...["enabled", "disabled", "forced"].map(mode => h("option", { value: mode }, `thinking ${mode}`)));
    this.limit = h("input", { type: "number", min: 0, max: 100000, title: "Tokens at most; 0 only reads the prompt", "aria-label": "Tokens at most" });
    this.runButton = this.button("Run", () => this.ask(), { className: "gp-primary" });
    this.asking = h("div", { className: "gp-ask" }, this.question, this.thinking, this.limit, h("span", { className: "gp-faint" }, "tokens"), this.runButton);
    parts.stream.hidden = true;
    this.side = h("aside", { className: "gp-side" }, parts.page);
    this.body = h("div", { className: "gp-body" },
      h("div", { className: "gp-main" }, h("div", { className: "gp-map-head" }, h("span", { className: "gp-map-title" }), parts.legend), this.map.node), this.side);
    this.root = h("div", { className: "gp" },
      h("header", {}, h("strong", {}, "Routing probe"), parts.name, this.tabs, h("span", { className: "gp-space" }), this.copy, this.exporter),
      this.asking, parts.status, parts.banner, this.code, parts.stream, parts.filters, this.strip.node, parts.filmBar,
      this.body, parts.changes, parts.knockout, parts.effect, this.tip);
    el.replaceChildren(this.root);
  }

  // What is heard.

  heardAbout(content) {
    this.about = content;
    this.parts.name.textContent = content.model;
    this.asking.hidden = !content.live;
    this.tabs.hidden = !content.film;
    if (content.live && !this.question.value) {
      this.question.value = content.asked;
      this.limit.value = content.max_tokens;
      if (typeof content.thinking === "string") this.thinking.value = content.thinking;
    }
    if (content.note) this.banner(content.note);
    this.refresh();
  }
  heardRun(content, buffers) {
    const arrays = unpack(content, buffers);
    this.run = { ...content, ...arrays };
    this.effect = null;
    this.body.hidden = this.mode === "film" && Boolean(this.film);
    this.readTheme();  // before there are thousands of tokens to be laid out for it
    this.strip.show(this.run);
    if (this.run.margins) this.closest();
    this.parts.stream.hidden = true;
    this.refresh();
  }
  // The least margin of each token over the layers, where it was, and its place among those of all tokens.
  closest() {
    const { margins, layers } = this.run, [count, rows] = margins.shape;
    this.run.least = Array.from({ length: count }, (_, t) => {
      let least = t * rows;
      for (let at = least + 1; at < (t + 1) * rows; at++) if (margins[at] < margins[least]) least = at;
      return { value: margins[least] * margins.scale, layer: layers[least - t * rows] };
    });
    const order = [...this.run.least.keys()].sort((a, b) => this.run.least[a].value - this.run.least[b].value);
    order.forEach((t, place) => (this.run.least[t].rank = place / count));
  }
  heardEffect(content, buffers) {
    this.effect = { ...content, ...unpack(content, buffers) };
    this.parts.stream.hidden = true;
    this.refresh();
  }
  heardKnockout(content) {
    this.knockout = content;
    this.parts.knockout.replaceChildren(...knockoutPanel(content));
    this.refresh();
  }
  // What is new of an answer, or all of it so far, from token 0 on.
  heardStream({ at, text, count }) {
    const { stream } = this.parts;
    stream.hidden = false;
    if (at === 0) stream.textContent = "";
    stream.append(text);
    stream.scrollTop = stream.scrollHeight;
    this.doing(`${this.state?.doing || "running"}: ${count} tokens`);
  }
  heardState(content) {
    super.heardState(content);
    if (!content.doing) this.parts.stream.hidden = true;
  }
  heardFilm(content, buffers) {
    this.film = { ...content, ...unpack(content, buffers) };
    this.step = this.film.steps.length - 1;
    this.family = 0;
    this.setMode("film");
  }
  heardPage(content, buffers) {
    const link = h("a", { href: URL.createObjectURL(new Blob([buffers[0]], { type: "text/html" })), download: content.name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // What is picked.

  get picked() { return { brush: null, phases: [], layer: null, expert: null, by: "share", ...this.model.get("_selection") }; }
  get changes() { return this.model.get("_changes") ?? []; }
  get layers() { return this.mode === "film" ? this.film.layers : this.run.layers; }
  pick(part) { this.set("_selection", { ...this.picked, ...part }); }
  setChanges(changes) { this.set("_changes", changes); }
  setMode(mode) {
    if (mode === "film" && !this.film) return this.channel.ask({ kind: "film" });
    this.mode = mode;
    clearInterval(this.playing);
    this.playing = null;
    this.refresh();
  }
  ask() {
    if (!this.live || this.busy) return;
    this.channel.ask({ kind: "ask", text: this.question.value, thinking: this.thinking.value, max_tokens: Number(this.limit.value) });
  }

  // What is shown.

  paint() {
    const { run, parts } = this, film = this.mode === "film" && this.film;
    if (!this.readTheme()) return this.refresh();
    [...this.tabs.children].forEach((tab, index) => tab.setAttribute("aria-pressed", String(index === (film ? 1 : 0))));
    for (const part of [parts.filters, this.strip.node]) part.hidden = !run || Boolean(film);
    parts.effect.hidden = Boolean(film) || !this.effect;
    parts.knockout.hidden = Boolean(film) || !this.knockout;
    parts.changes.hidden = Boolean(film) || !run || !this.about?.live;
    parts.filmBar.hidden = !film;
    this.body.hidden = !run && !film;
    this.runButton.disabled = this.busy || this.dead;
    this.exporter.disabled = Boolean(this.dead);
    const hasCode = Boolean(this.model.get("_code"));  // not of a saved page whose state is another now
    this.copy.disabled = Boolean(this.dead) || !hasCode;
    if (!hasCode) this.code.hidden = true;
    this.exporter.hidden = !this.about || this.about.saved || !run;
    if (film) this.paintFilm();
    else if (run) this.paintRun();
  }
  shown() {
    const { brush, phases } = this.picked, { run } = this, wanted = new Set(phases.map(name => run.phases.indexOf(name)));
    return t => (!brush || (t >= brush[0] && t < brush[1])) && (!wanted.size || wanted.has(run.phase[t]));
  }
  paintRun() {
    const { run, picked } = this, shown = this.shown(), wanted = new Set(picked.phases);
    const ids = this.useChanged && this.effect ? this.effect.ids : run.ids;
    const by = run.weights && ids === run.ids ? picked.by : "share", { cells, tokens } = sharesOf(run, ids, shown, by);
    const chosen = picked.layer === null ? null : [run.layers.indexOf(picked.layer), picked.expert];
    const marks = Object.fromEntries(this.changes.map(c => [`${run.layers.indexOf(c.layer)},${c.expert}`, c.kind]));
    this.shares = { cells, by };
    this.strip.mark(picked.brush, t => !wanted.size || wanted.has(run.phases[run.phase[t]]), this.closeOn && run.least ? t => 1 - run.least[t].rank : null);
    const most = cells.reduce((a, b) => Math.max(a, b), 0);
    this.map.show({ cells, layers: run.layers, experts: run.experts, most }, chosen?.[0] >= 0 ? chosen : null, marks);
    this.root.querySelector(".gp-map-title").textContent = `${by === "mass" ? "Share of each layer’s weight" : "Share of tokens"}, ${tokens} of ${run.text.length} tokens`;
    this.legend(most, by === "mass" ? 1 / run.experts : run.ids.shape[2] / run.experts);
    this.paintFilters();
    this.paintPage(chosen, ids, shown);
    this.paintChanges();
    this.paintEffect();
  }
  legend(most, even) {
    const stops = [0, 0.25, 0.5, 0.75, 1].map(v => rgb(colourOf(this.map.theme, v))).join(",");
    const ramp = h("span", { className: "gp-ramp" });
    ramp.style.background = `linear-gradient(90deg,${stops})`;
    this.parts.legend.replaceChildren("0", ramp, percent(most), h("span", { className: "gp-faint" }, `even: ${percent(even)}`));
  }
  paintFilters() {
    const { run, picked } = this, counts = run.phases.map((_, index) => run.phase.filter(p => p === index).length);
    const toggle = (text, on, onclick, name = "") => h("button", { type: "button", className: name, "aria-pressed": String(on), onclick }, text);
    const phases = run.phases.map((name, index) => counts[index] ? toggle(`${name} ${counts[index]}`, picked.phases.includes(name),
      () => this.pick({ phases: picked.phases.includes(name) ? picked.phases.filter(p => p !== name) : [...picked.phases, name] }), `gp-chip gp-chip-${name}`) : null);
    const by = h("div", { className: "gp-switch", role: "group", "aria-label": "What colour shows: share of the tokens that chose an expert, or of the weight it had" },
      toggle("Selection", picked.by === "share", () => this.pick({ by: "share" })), toggle("Weight", picked.by === "mass", () => this.pick({ by: "mass" })));
    keepFocus(this.parts.filters, [
      h("span", { className: "gp-faint" }, "Show"), ...phases,
      picked.brush ? toggle(`tokens ${picked.brush[0]}–${picked.brush[1] - 1} ×`, true, () => this.pick({ brush: null }), "gp-chip") : h("span", { className: "gp-hint" }, "drag over tokens to brush"),
      h("span", { className: "gp-space" }),
      run.least ? toggle("Close choices", this.closeOn, () => { this.closeOn = !this.closeOn; this.refresh(); }, "gp-chip gp-chip-close") : null,
      run.weights ? by : null,
    ].filter(Boolean));
  }
  paintPage(chosen, ids, shown) {
    const { page } = this.parts;
    if (!chosen || chosen[0] < 0) {
      page.replaceChildren(h("h3", {}, "Expert"), h("p", { className: "gp-faint" }, "Click a cell of the map for the page of its expert: its tokens, its load by phase, what it is chosen with."));
      return;
    }
    const { layer, expert } = this.picked, set = (change, by = 0) => this.setChanges([
      ...this.changes.filter(c => c.layer !== layer || c.expert !== expert), { kind: change, layer, expert, by }]);
    this.bias ??= "1";
    const strength = h("input", { type: "number", step: 0.1, value: this.bias, "aria-label": "Bias of the selection score", oninput: e => (this.bias = e.target.value) });
    const button = (text, title, onclick) => this.button(text, onclick, { title });
    const actions = this.live ? h("div", { className: "gp-actions" },
      button("Ablate", "Rule it out: others take its place", () => set("ablate")), button("Force", "Have every token choose it", () => set("force")),
      h("span", { className: "gp-join" }, button("Bias", "Add to its selection score", () => Number(this.bias) && set("bias", Number(this.bias))), strength)) : null;
    keepFocus(page, [h("h3", {}, `Layer ${layer}, expert ${expert}`), actions, ...expertPage(this.run, ids, chosen, shown)].filter(Boolean));
  }
  paintChanges() {
    const chips = this.changes.map(c => h("span", { className: "gp-change" }, `${c.kind} ${c.layer}:${c.expert}${c.kind === "bias" ? ` by ${c.by}` : ""}`,
      h("button", { type: "button", "aria-label": `Take back ${c.kind} of layer ${c.layer}, expert ${c.expert}`, onclick: () => this.setChanges(this.changes.filter(o => o !== c)) }, "×")));
    const go = h("button", { type: "button", className: "gp-primary gp-regenerate", textContent: "Regenerate", disabled: !chips.length || !this.live || this.busy, onclick: () => this.channel.ask({ kind: "regenerate" }) });
    keepFocus(this.parts.changes, [h("b", {}, "Changes"), ...(chips.length ? chips : [h("span", { className: "gp-faint" }, "none yet: pick an expert, then ablate, force or bias it")]), h("span", { className: "gp-space" }), this.skillPicker(), go].filter(Boolean));
  }
  skillPicker() {
    const skills = this.about?.skills ?? [];
    if (!skills.length || !this.live) return null;
    const options = skills.map(name => h("option", { value: name, selected: name === this.skill }, name.replaceAll("_", " ")));
    const select = h("select", { "aria-label": "Skill", onchange: event => (this.skill = event.target.value) }, ...options);
    const title = "Ablate the experts that this skill needs most beyond the others, which takes a while to find, and test all skills without them";
    const take = () => this.channel.ask({ kind: "knock_out", skill: this.skill ?? skills[0] });
    return h("span", { className: "gp-join gp-join-select" }, select, this.button("Take its experts away", take, { title, disabled: this.busy }));
  }
  paintEffect() {
    const { effect, run, parts } = this;
    if (!effect || parts.effect.shown === effect) return;
    parts.effect.shown = effect;
    const kl = mean(effect.kl), control = mean(effect.controls), count = effect.controls.length;
    const number = (value, label) => h("div", { className: "gp-figure" }, h("b", {}, value), h("span", {}, label));
    const which = h("div", { className: "gp-switch", role: "group", "aria-label": "Routes on the map" }, ...[["Baseline", false], ["Changed", true]].map(([text, changed]) =>
      h("button", { type: "button", "aria-pressed": String(changed === Boolean(this.useChanged)), onclick: event => {
        this.useChanged = changed;
        [...event.target.parentNode.children].forEach(b => b.setAttribute("aria-pressed", String(b === event.target)));
        this.refresh();
      } }, text)));
    parts.effect.replaceChildren(
      h("div", { className: "gp-effect-head" }, h("b", {}, "With "), h("code", {}, effect.changed), h("span", { className: "gp-space" }), h("span", { className: "gp-faint" }, "routes on the map"), which),
      h("div", { className: "gp-figures" }, number(`${nats(kl)} nats`, "mean KL per token"),
        number(count ? `${nats(control)} nats` : "none", count ? `control: ${count} draws of random experts` : "control: no other experts"),
        number(percent(effect.changed_routes), "of routes changed")),
      h("h4", {}, "KL after each token of the baseline ", h("span", { className: "gp-key gp-key-kl" }), "changed ", h("span", { className: "gp-key gp-key-control" }), "random control"),
      this.chart.node, comparedTexts(run, effect) ?? "");
    this.chart.show([...effect.kl], [...effect.control].map(value => (Number.isFinite(value) ? value : 0)));
  }
  paintFilm() {
    const { film } = this, [, families, layers, experts] = film.load.shape, from = (this.step * families + this.family) * layers * experts;
    const cells = Float32Array.from(film.load.subarray(from, from + layers * experts), value => value * film.load.scale);
    const { layer, expert } = this.picked, row = film.layers.indexOf(layer), chosen = row >= 0 && expert !== null ? [row, expert] : null;
    this.shares = { cells, by: "film" };
    this.map.show({ cells, layers: film.layers, experts, most: this.filmMost ??= film.load.reduce((a, b) => Math.max(a, b), 0) * film.load.scale }, chosen, {});
    this.root.querySelector(".gp-map-title").textContent = `Share of choices, ${film.families[this.family]}, step ${film.steps[this.step]}`;
    this.legend(this.filmMost, 1 / experts);
    this.parts.page.replaceChildren(...(chosen
      ? [h("h3", {}, `Layer ${layer}, expert ${expert}`), h("h4", {}, `Load in training, ${film.families[this.family]} among all`), loadChart(film, this.family, chosen, this.step, getComputedStyle(this.root))]
      : [h("h3", {}, "Expert"), h("p", { className: "gp-faint" }, "Click a cell for its load over training.")]));
    this.paintFilmBar();
  }
  paintFilmBar() {
    const { film, parts } = this;
    if (!parts.filmBar.firstChild) {
      this.slider = h("input", { type: "range", min: 0, max: film.steps.length - 1, "aria-label": "Step of training", oninput: e => { this.step = Number(e.target.value); this.refresh(); } });
      this.playButton = h("button", { type: "button", onclick: () => this.play() });
      const families = h("select", { "aria-label": "Task family", onchange: e => { this.family = Number(e.target.value); this.refresh(); } }, ...film.families.map((name, index) => h("option", { value: index }, name)));
      this.stepText = h("output", {});
      parts.filmBar.append(this.playButton, this.slider, this.stepText, families);
    }
    this.slider.value = this.step;
    this.stepText.textContent = `step ${film.steps[this.step]} of ${film.steps.at(-1)}`;
    this.playButton.textContent = this.playing ? "Pause" : "Play";
  }
  play() {
    if (this.playing) { clearInterval(this.playing); this.playing = null; return this.refresh(); }
    if (this.step === this.film.steps.length - 1) this.step = 0;
    this.playing = setInterval(() => {
      this.step += 1;
      if (this.step >= this.film.steps.length - 1) { clearInterval(this.playing); this.playing = null; }
      this.refresh();
    }, 120);
    this.refresh();
  }

  // What hovering tells.

  tell(node, x, y, lines) {
    this.tip.replaceChildren(...lines.map(line => h("div", {}, line)));
    this.tip.classList.add("gp-on");
    const box = node.getBoundingClientRect(), root = this.root.getBoundingClientRect();
    const left = box.left - root.left + x - this.tip.offsetWidth / 2;
    this.tip.style.left = `${Math.max(4, Math.min(root.width - this.tip.offsetWidth - 4, left))}px`;
    this.tip.style.top = `${box.top - root.top + y - this.tip.offsetHeight - 6}px`;
  }
  hide() { this.tip.classList.remove("gp-on"); }
  hoverCell(cell, place) {
    if (!cell || !place) return this.hide();
    const experts = this.map.data.experts, share = this.shares.cells[cell[0] * experts + cell[1]];
    const of = { share: "of the tokens", mass: "of the layer’s weight", film: "of the layer’s choices" }[this.shares.by];
    this.tell(this.map.canvas, place.x, place.y, [`Layer ${this.layers[cell[0]]}, expert ${cell[1]}`, `${percent(share)} ${of}`]);
  }
  hoverToken(index, span) {
    if (index === null) return this.hide();
    const { run } = this, logprob = run.logprobs[index], least = run.least?.[index];
    const lines = [`${index}  ${visible(run.text[index])}  ${run.phases[run.phase[index]]}`];
    if (Number.isFinite(logprob)) lines.push(`probability ${percent(Math.exp(logprob))}`);
    if (least) lines.push(`least margin ${least.value.toPrecision(2)}, layer ${least.layer}`);
    this.tell(span, span.offsetWidth / 2, 0, lines);
  }
  hoverDivergence(index, x) {
    if (index === null) return this.hide();
    const { effect, run } = this;
    this.tell(this.chart.canvas, x, 6, [`after ${index}  ${visible(run.text[index])}`, `KL ${nats(effect.kl[index])}, control ${nats(effect.control[index])}`]);
  }
}

function render({ model, el }) {
  const probe = new RoutingProbe(model, el);
  return () => probe.close();
}

export default { render };
