// What a chat shows of one turn of the model: the thought, folded away with its time, the answer, and cards of calls.

const STATES = {
  written: "", asks: "waits for you", runs: "runs", done: "called", mocked: "result made up", declined: "declined",
  failed: "failed", stopped: "stopped",
};

class TurnView {
  // `ask` sends a message to the kernel; `act` says which buttons there are.
  constructor(number, ask, pick) {
    this.number = number;
    this.ask = ask;
    this.cards = [];
    this.summary = h("summary", {});
    this.thought = h("div", { className: "gp-thought-text" });
    this.details = h("details", { className: "gp-thought" }, this.summary, this.thought);
    this.content = h("div", { className: "gp-said" });
    this.calls = h("div", { className: "gp-calls" });
    this.about = h("span", { className: "gp-faint" });
    this.failure = h("div", { className: "gp-banner gp-failed", role: "alert" });
    this.prompt = h("pre", { className: "gp-code gp-prompt-text", hidden: true, tabIndex: 0 });
    const button = (text, title, onclick) => h("button", { type: "button", textContent: text, title, onclick });
    this.picker = button("Pick", "Have the next cell's .run and the code be of this turn", () => pick(number));
    this.shower = button("Prompt", "The text that the model was shown", () => this.togglePrompt());
    this.opener = button("Open in probe", "Its routes, in the routing probe", () => ask({ kind: "probe", turn: number }));
    this.row = h("div", { className: "gp-turn-row" }, this.about, h("span", { className: "gp-space" }), this.picker, this.shower, this.opener);
    this.node = h("article", { className: "gp-item gp-turn", "aria-label": `Turn ${number} of the model` },
      this.details, this.content, this.calls, this.failure, this.row, this.prompt);
  }
  togglePrompt() {
    if (this.prompt.textContent) this.prompt.hidden = !this.prompt.hidden;
    else this.ask({ kind: "prompt", turn: this.number });
  }
  showPrompt(text) {
    this.prompt.textContent = text;
    this.prompt.hidden = false;
  }
  // All of the turn, or what is new of it with where that begins.
  take(told) {
    const before = this.state ?? { reasoning: "", content: "" };
    const joined = (name, at) => (told[at] === undefined ? told[name] : firstOf(before[name], told[at]) + told[name]);
    this.state = { ...before, ...told, reasoning: joined("reasoning", "reasoning_at"), content: joined("content", "content_at") };
    this.heard = performance.now();
    const { state } = this;
    this.details.hidden = !state.reasoning.trim();
    if (this.thought.textContent !== state.reasoning) this.thought.textContent = state.reasoning;
    if (this.content.textContent !== state.content) this.content.textContent = state.content;
    this.content.hidden = !state.content;
    this.failure.textContent = state.error ?? "";
    this.failure.hidden = !state.error;
    this.tick();
    this.paintCards();
  }
  // The live clock of a thought.
  tick() {
    const { state } = this, since = state.thinking ? (performance.now() - this.heard) / 1000 : 0;
    const tokens = state.thought_tokens ? `, ${state.thought_tokens} tokens` : "";
    this.summary.textContent = `${state.thinking ? "Thinking" : "Thought"} ${(state.seconds + since).toFixed(1)} s${tokens}`;
    this.details.classList.toggle("gp-live-thought", Boolean(state.thinking));
  }
  paintAbout(live, busy, picked) {
    const { state } = this, over = Boolean(state.finish);
    const parts = [state.mode && `thinking ${state.mode}`, `${state.count ?? 0} tokens`];
    if (over) parts.push(`prompt ${state.prompt_tokens}, ${state.cached_tokens} of it cached`, state.finish.replace("_", " "), `seed ${state.seed}`);
    if (state.changed) parts.push(`with ${state.changed}`);
    this.about.textContent = parts.filter(Boolean).join(" · ");
    this.picker.setAttribute("aria-pressed", String(picked));
    this.node.classList.toggle("gp-chosen", picked);
    this.picker.disabled = this.shower.disabled = !over || !live;
    this.opener.disabled = !over || !live || busy;
  }
  get asks() { return (this.state?.cards ?? []).some(card => card.state === "asks"); }
  paintCards() {
    const told = this.state.cards ?? [];
    while (this.cards.length > told.length) this.cards.pop().node.remove();
    told.forEach((card, index) => {
      if (!this.cards[index]) {
        this.cards[index] = new CardView(this.ask);
        this.calls.append(this.cards[index].node);
      }
      this.cards[index].take(card);
    });
  }
}

// A tool call: while it waits, its arguments can be edited, and it is approved, its result made up, or declined.
class CardView {
  constructor(ask) {
    const button = (text, title, name, onclick) => h("button", { type: "button", textContent: text, title, className: name, onclick });
    this.decide = (how, value) => ask({ kind: "decide", call: this.id, how, value });
    this.name = h("code", {});
    this.chip = h("span", { className: "gp-call-state" });
    this.shown = h("pre", { className: "gp-call-arguments" });
    this.editor = h("textarea", { className: "gp-call-editor", rows: 3, spellcheck: false, "aria-label": "Arguments, to be edited" });
    this.mock = h("textarea", { className: "gp-call-editor", rows: 1, placeholder: "What it is to have given", "aria-label": "Made-up result" });
    this.buttons = h("div", { className: "gp-call-buttons" },
      button("Approve", "Call it, with the arguments as they stand", "gp-primary", () => this.approve()), button("Decline", "Tell the model that it is not called", "", () => this.decide("decline", "")),
      h("span", { className: "gp-space" }), this.mock, button("Mock", "Tell the model this result, and call nothing", "", () => this.decide("mock", this.mock.value)));
    this.result = h("div", { className: "gp-call-result" });
    this.node = h("section", { className: "gp-call", "aria-label": "Tool call" },
      h("div", { className: "gp-call-head" }, this.name, this.chip), this.shown, this.editor, this.buttons, this.result);
  }
  approve() {
    this.decide("approve", this.editor.value === this.given ? null : this.editor.value);
  }
  take(card) {
    const asks = card.state === "asks", begins = asks && this.state !== "asks";
    this.state = card.state;
    this.id = card.id;
    this.name.textContent = card.name;
    this.chip.textContent = [STATES[card.state], card.edited ? "arguments edited" : ""].filter(Boolean).join(", ");
    this.chip.hidden = !this.chip.textContent;
    this.node.classList.toggle("gp-asks", asks);
    this.shown.textContent = card.arguments;
    this.shown.hidden = asks;
    this.editor.hidden = this.buttons.hidden = !asks;
    if (begins) {
      this.given = this.editor.value = card.arguments;
      this.editor.rows = Math.min(10, card.arguments.split("\n").length);
    }
    this.result.textContent = card.result ? `→ ${card.result}` : "";
    this.result.hidden = !card.result;
  }
}
