// The chat: what was said, the model's turns, what to say next, and a probe of one of the turns.

class ChatView extends View {
  constructor(model, el) {
    super(model);
    this.turns = new Map();
    this.start(el, ["_selection"]);
    this.clock = setInterval(() => this.turns.forEach(turn => turn.state?.thinking && turn.tick()), 100);
  }
  close() {
    super.close();
    clearInterval(this.clock);
    this.shownProbe = null;
    this.probeView?.remove();
  }

  // What there is on the page.

  build(el) {
    const ask = content => this.channel.ask(content);
    const number = (title, more) => h("input", { type: "number", title, "aria-label": title, ...more });
    this.log = h("div", { className: "gp-log", role: "log", tabIndex: 0, "aria-label": "Conversation" });
    this.words = h("textarea", { className: "gp-say", rows: 2, placeholder: "Say something; Enter sends, Shift and Enter begin a new line", "aria-label": "Message", onkeydown: event => this.type(event) });
    this.thinking = h("select", { "aria-label": "Thinking" }, ...["enabled", "disabled", "forced"].map(mode => h("option", { value: mode }, `thinking ${mode}`)));
    this.limit = number("Tokens at most", { min: 1, max: 100000 });
    this.heat = number("Temperature; the model's own if empty", { min: 0, max: 5, step: 0.1, placeholder: "own" });
    this.approves = h("input", { type: "checkbox", onchange: () => ask({ kind: "approves", on: this.approves.checked }) });
    this.approving = h("label", { className: "gp-check" }, this.approves, "ask before calling tools");
    this.send = this.button("Send", () => this.say(), { className: "gp-primary" });
    this.again = this.button("Go on", () => ask({ kind: "go_on" }), { title: "Have the model answer once more" });
    this.back = this.button("Take back", () => ask({ kind: "take_back" }), { title: "Forget the last message, and what came after it" });
    this.copy.textContent = "Copy as Python";
    this.clients = ["zai", "openai", "anthropic"].map(name => this.button(name, () => ask({ kind: "client", client: name }), { title: `Copy as code of the ${name} client` }));
    this.tools = h("div", { className: "gp-tools gp-faint" });
    this.opened = h("div", { className: "gp-opened", hidden: true });
    this.saying = h("div", { className: "gp-saying" }, this.words,
      h("div", { className: "gp-ask" }, this.thinking, h("label", {}, "tokens ", this.limit), h("label", {}, "temperature ", this.heat), this.approving, h("span", { className: "gp-buttons" }, this.back, this.again, this.send)));
    this.root = h("div", { className: "gp gp-chat" },
      h("header", {}, h("strong", {}, "Chat"), this.parts.name, this.tools, h("span", { className: "gp-space" }), this.copy, h("div", { className: "gp-switch", role: "group", "aria-label": "Copy as code of a client" }, ...this.clients)),
      this.code, this.log, this.parts.status, this.parts.banner, this.saying, this.opened);
    el.replaceChildren(this.root);
  }
  copyCode() { this.channel.ask({ kind: "client", client: "glmkit" }); }

  // What is heard.

  heardAbout(content) {
    this.about = content;
    this.parts.name.textContent = content.model;
    this.tools.textContent = content.tools.length ? `tools: ${content.tools.join(", ")}` : "";
    this.approving.hidden = !content.tools.length;
    this.approves.checked = content.approve;
    if (!this.limit.value) {
      this.limit.value = content.max_tokens;
      this.heat.value = content.temperature ?? "";
      this.thinking.value = content.thinking;
    }
    this.refresh();
  }
  heardConversation({ items, turns }) {
    this.items = items;
    for (const number of [...this.turns.keys()]) if (number >= turns.length) this.turns.delete(number);
    turns.forEach(told => this.turnOf(told.turn).take(told));
    this.keepEnd(() => this.log.replaceChildren(...items.map(item => ("turn" in item ? this.turnOf(item.turn).node : this.said(item)))));
    this.refresh();
  }
  heardTurn(told) {
    this.keepEnd(() => this.turnOf(told.turn).take(told));
    if (this.busy) this.doing(this.turnOf(told.turn).asks ? "a call waits for you" : this.state.doing);
    this.refresh();
  }
  heardStream(told) {
    this.heardTurn(told);
    this.doing(`${this.state?.doing || "answering"}: ${told.count} tokens`);
  }
  heardPrompt({ turn, text }) { this.turns.get(turn)?.showPrompt(text); }
  heardApproves({ on }) { this.approves.checked = on; }
  heardClient({ client, code }) {
    this.showCode(code, this.clients.find(button => button.textContent === client) ?? this.copy);
  }
  async heardProbe({ model }) {
    if (this.shownProbe === model) return;
    this.shownProbe = model;
    const manager = this.model.widget_manager, child = await manager.get_model(model);
    const view = await manager.create_view(child);
    if (this.shownProbe !== model) return view.remove();
    this.probeView?.remove();
    this.probeView = view;
    this.opened.replaceChildren(h("h4", {}, "Opened in the routing probe"), view.el);
    this.opened.hidden = false;
    view.trigger?.("displayed");
  }
  heardState(content) {
    super.heardState(content);
    if (!content.doing && this.wanted) { // typed while it answered
      this.words.focus({ preventScroll: true });
      this.wanted = false;
    }
  }

  // What is done.

  turnOf(number) {
    if (!this.turns.has(number)) this.turns.set(number, new TurnView(number, content => this.channel.ask(content), picked => this.pick(picked)));
    return this.turns.get(number);
  }
  get picked() { return this.model.get("_selection")?.turn ?? null; }
  pick(turn) { this.set("_selection", { turn: this.picked === turn ? null : turn }); }
  type(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.say();
  }
  say() {
    const text = this.words.value;
    if (!text.trim() || this.busy || !this.live) return;
    const temperature = this.heat.value === "" ? null : Number(this.heat.value);
    this.channel.ask({ kind: "ask", text, thinking: this.thinking.value, max_tokens: Number(this.limit.value), temperature });
    this.words.value = "";
    this.wanted = true;
  }

  // What is shown.

  said({ role, text, reasoning }) {
    const thought = reasoning ? h("details", { className: "gp-thought" }, h("summary", {}, "Thought"), h("div", { className: "gp-thought-text" }, reasoning)) : null;
    return h("article", { className: `gp-item gp-by-${role}` }, h("span", { className: "gp-role" }, role), thought, h("div", { className: "gp-said" }, text));
  }
  // The log stays at its end if that is where one reads.
  keepEnd(change) {
    const { log } = this, atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    change();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }
  paint() {
    const { live, busy } = this, last = this.items?.at(-1);
    this.send.disabled = this.back.disabled = busy || !live;
    this.back.disabled ||= !this.items?.some(item => item.role === "user");
    const unanswered = last && (last.role === "user" || (this.turns.get(last.turn)?.state?.cards ?? []).length > 0 || this.turns.get(last.turn)?.state?.error);
    this.again.disabled = busy || !live || !unanswered;
    for (const button of [this.copy, ...this.clients]) button.disabled = !live;
    this.turns.forEach((turn, number) => turn.state && turn.paintAbout(live, busy, this.picked === number));
    this.log.hidden = !this.items?.length;
  }
}

function render({ model, el }) {
  const chat = new ChatView(model, el);
  return () => chat.close();
}

export default { render };
