// The thinking explorer: a column for each mode, a card for each answer, and below a card what goes on from its thought.

const MODE_WORDS = {
  enabled: "the model decides whether to think",
  disabled: "told not to think",
  forced: "the thought is opened for it",
};
const BUDGETS = [0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192, 16384, 32768];

class ThinkingExplorer extends View {
  constructor(model, el) {
    super(model);
    this.cards = [];
    this.budgets = BUDGETS;
    this.start(el, ["_selection"]);
    this.clock = setInterval(() => { for (const card of this.cards) if (card.thinks) card.tick(); }, 100);
  }
  close() {
    super.close();
    clearInterval(this.clock);
  }

  // What there is on the page.

  build(el) {
    const { parts } = this;
    const enter = event => { if (event.key === "Enter") this.ask(); };
    for (const name of ["settings", "columns"]) parts[name] = h("div", { className: `gp-${name}` });
    this.examples = h("select", { "aria-label": "Examples", onchange: () => this.useExample() });
    this.system = h("input", { type: "text", className: "gp-question", placeholder: "System prompt", "aria-label": "System prompt", onkeydown: enter });
    this.systemRow = h("div", { className: "gp-ask", hidden: true }, h("span", { className: "gp-faint" }, "system"), this.system);
    this.question = h("input", { type: "text", className: "gp-question", placeholder: "Ask the model something", "aria-label": "Prompt", onkeydown: enter });
    this.runButton = this.button("Run", () => this.ask(), { className: "gp-primary" });
    this.modes = h("div", { className: "gp-row gp-modes", role: "group", "aria-label": "Modes" });
    this.seeds = h("input", { type: "text", className: "gp-short", "aria-label": "Seeds", title: "Several, with commas between", onkeydown: enter });
    this.temperature = h("input", { type: "number", min: 0, step: 0.1, "aria-label": "Temperature", onkeydown: enter });
    this.limit = h("input", { type: "number", min: 1, max: 100000, "aria-label": "Tokens at most", onkeydown: enter });
    this.budget = h("input", { type: "range", min: 0, "aria-label": "Thinking budget", oninput: () => this.tellBudget() });
    this.budgetText = h("output", {});
    const named = (words, ...nodes) => h("label", { className: "gp-named" }, h("span", { className: "gp-faint" }, words), ...nodes);
    parts.settings.append(this.modes, named("seeds", this.seeds), named("temperature", this.temperature), named("tokens", this.limit),
      h("label", { className: "gp-named gp-budget" }, h("span", { className: "gp-faint" }, "budget"), this.budget, this.budgetText));
    this.asking = h("div", {}, this.systemRow, h("div", { className: "gp-ask" }, this.examples, this.question, this.runButton), parts.settings);
    this.root = h("div", { className: "gp gp-thinking" },
      h("header", {}, h("strong", {}, "Thinking explorer"), parts.name, h("span", { className: "gp-space" }), this.copy),
      this.asking, parts.status, parts.banner, this.code, parts.columns);
    el.replaceChildren(this.root);
  }

  // What is heard.

  heardAbout(content) {
    const first = !this.about;
    this.about = content;
    this.parts.name.textContent = content.model;
    if (first) {
      this.fillExamples(content.examples);
      this.question.value = content.asked;
      this.system.value = content.system;
      this.systemRow.hidden = !content.system;
      this.seeds.value = content.seeds.join(", ");
      this.limit.value = content.max_tokens;
      this.temperature.value = content.temperature ?? "";
      this.temperature.placeholder = content.own_temperature;
      this.wanted = new Set(content.picked);
      this.budgets = [...new Set([...BUDGETS, content.budget ?? 0])].sort((a, b) => a - b);
      this.budget.max = this.budgets.length; // the last place is no budget
      this.budget.value = content.budget === null ? this.budgets.length : this.budgets.indexOf(content.budget);
      this.tellBudget();
    }
    this.refresh();
  }
  heardAttempts(content) {
    this.cards = content.attempts.map(told => {
      const card = this.cards[told.number], same = card && card.told.prompt === told.prompt && card.told.seed === told.seed;
      if (!same) return new AttemptCard(this, told);
      card.show(told);
      return card;
    });
    this.arrange();
    this.refresh();
  }
  heardStream(content) {
    for (const piece of content.pieces) this.cards[piece.number]?.append(piece);
    for (const told of content.over) this.cards[told.number]?.show(told);
    const going = this.cards.filter(card => !card.told.over), count = going.reduce((sum, card) => sum + card.told.count, 0);
    if (this.busy && going.length) this.doing(`${this.state.doing}: ${going.length} of ${this.cards.length} answers, ${count} tokens`);
    if (content.over.length) this.refresh();
  }

  // What is picked and asked.

  get picked() { return { attempt: null, token: null, ...this.model.get("_selection") }; }
  pick(attempt, token) { this.set("_selection", { attempt, token }); }
  get budgetValue() { return this.budgets[Number(this.budget.value)] ?? null; }
  tellBudget() {
    const value = this.budgetValue, words = value === null ? "none" : `${value} tokens`;
    this.budgetText.textContent = words;
    this.budget.setAttribute("aria-valuetext", words);
  }
  ask() {
    if (!this.live || this.busy) return;
    const seeds = this.seeds.value.split(/[\s,]+/).filter(Boolean).map(Number);
    this.channel.ask({
      kind: "ask", text: this.question.value, system: this.system.value, modes: this.about.modes.filter(mode => this.wanted.has(mode)), seeds,
      budget: this.budgetValue, max_tokens: Number(this.limit.value), temperature: this.temperature.value === "" ? null : Number(this.temperature.value),
    });
  }
  fillExamples(examples) {
    const groups = new Map([["glm-nano can do", []]]);
    examples.forEach((example, index) => {
      const option = () => h("option", { value: index }, example.title);
      if (example.nano) groups.get("glm-nano can do").push(option());
      groups.set(example.category, [...(groups.get(example.category) ?? []), option()]);
    });
    this.examples.replaceChildren(h("option", { value: "" }, "Examples"),
      ...[...groups].map(([label, options]) => h("optgroup", { label }, ...options)));
  }
  useExample() {
    const example = this.about.examples[Number(this.examples.value)];
    if (this.examples.value === "" || !example) return;
    this.question.value = example.prompt;
    this.system.value = example.system;
    this.systemRow.hidden = !example.system;
    this.examples.value = "";
    this.question.focus({ preventScroll: true });
  }

  // What is shown.

  // Each attempt stands below the one it goes on from.
  arrange() {
    const told = this.cards.map(card => card.told), below = new Map();
    for (const one of told) if (one.source !== null) below.set(one.source, [...(below.get(one.source) ?? []), one.number]);
    const family = number => [number, ...(below.get(number) ?? []).flatMap(family)];
    const roots = told.filter(one => one.source === null), modes = [...new Set(roots.map(one => one.mode))];
    this.parts.columns.style.setProperty("--columns", modes.length || 1);
    this.columns = modes.map(mode => {
      const cards = roots.filter(one => one.mode === mode).flatMap(one => family(one.number)).map(number => this.cards[number]);
      const tally = h("span", { className: "gp-tally" });
      return { mode, tally, node: h("section", { "aria-label": `Mode ${mode}` }, h("h3", {}, mode), h("p", { className: "gp-faint" }, MODE_WORDS[mode]), tally, ...cards.map(card => card.node)) };
    });
    this.cards.forEach(card => card.node.classList.toggle("gp-child", card.told.source !== null));
    this.parts.columns.replaceChildren(...this.columns.map(column => column.node));
  }
  // How many answers to the prompt itself are alike.
  tallies() {
    for (const { mode, tally } of this.columns ?? []) {
      const done = this.cards.map(card => card.told).filter(one => one.mode === mode && one.source === null && one.over && one.content);
      const counts = new Map();
      for (const { content } of done) counts.set(content, (counts.get(content) ?? 0) + 1);
      const [text, most] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [];
      tally.textContent = done.length > 1 ? (most > 1 ? `${most} of ${done.length} say ${text.length > 24 ? `${text.slice(0, 24)}…` : text}` : `${done.length} different answers`) : "";
    }
  }
  paint() {
    const { about } = this;
    this.asking.hidden = !about;
    this.runButton.disabled = this.busy || !this.live || !this.wanted?.size;
    this.copy.disabled = Boolean(this.dead);
    if (about) {
      keepFocus(this.modes, about.modes.map(mode => this.button(mode, () => {
        if (!this.wanted.delete(mode)) this.wanted.add(mode);
        this.refresh();
      }, { "aria-pressed": String(this.wanted.has(mode)), title: MODE_WORDS[mode] })));
    }
    this.tallies();
    for (const card of this.cards) card.mark();
  }
}

function render({ model, el }) {
  const explorer = new ThinkingExplorer(model, el);
  return () => explorer.close();
}

export default { render };
