// One answer of several: its thought token by token, to be cut or edited, how long it took, what the model was shown.

const THINK = PHASE_NAMES.indexOf("think");
const seconds = value => `${value.toFixed(value < 10 ? 2 : 1)} s`;

class AttemptCard {
  // `view` has pick(attempt, token), ask(content), and whether it is `live` and `busy`.
  constructor(view, told) {
    this.view = view;
    this.strip = new TokenStrip(brush => this.cutAt(brush), () => {});
    this.strip.node.setAttribute("aria-label",
      "Thought. Click a token to cut after it; or arrow keys to move, Escape to take it back.");
    this.strip.node.title = "Click a token to cut after it";
    this.title = h("b", {});
    this.numberText = h("span", { className: "gp-faint" });
    this.from = h("span", { className: "gp-origin" });
    this.timer = h("span", { className: "gp-timer" });
    this.finish = h("span", { className: "gp-finish" });
    this.pickButton = view.button("Pick", () => view.pick(this.number, null), { title: "Have the next cell's .run and .selection, and the code, be of this answer" });
    this.editButton = view.button("Edit thought", () => this.openEditor());
    this.promptButton = view.button("Prompt", () => this.togglePrompt(), { title: "What the model was shown, to the letter" });
    this.prompt = h("pre", { className: "gp-code gp-shown", hidden: true, tabIndex: 0 });
    this.text = h("textarea", { className: "gp-edit", rows: 6, spellcheck: false, "aria-label": "Thought, edited", onkeydown: event => this.key(event) });
    this.editor = h("div", { hidden: true }, this.text, h("div", { className: "gp-row" },
      view.button("Go on", () => this.sendEdit(false), { className: "gp-primary", title: "The model thinks on from here (Ctrl+Enter)" }),
      view.button("Answer now", () => this.sendEdit(true), { title: "The thought ends here" }),
      view.button("Cancel", () => this.closeEditor())));
    this.cutText = h("span", { className: "gp-faint" });
    this.cutRow = h("div", { className: "gp-row gp-cut", hidden: true }, this.cutText,
      view.button("Go on", () => this.sendCut(false), { className: "gp-primary", title: "The model thinks on after this token" }),
      view.button("Answer now", () => this.sendCut(true), { title: "The thought ends after this token" }));
    this.none = h("p", { className: "gp-faint gp-none" }, "no thought");
    this.answer = h("div", { className: "gp-answer-text", "aria-live": "off" });
    this.note = h("span", { className: "gp-faint" });
    this.buttons = h("div", { className: "gp-row" }, this.pickButton, this.editButton, this.promptButton, h("span", { className: "gp-space" }), this.note);
    this.node = h("article", { className: "gp-card", onclick: event => { if (!event.target.closest("button,textarea,.gp-tokens,pre")) view.pick(this.told.number, null); } },
      h("div", { className: "gp-row" }, this.title, this.numberText, this.from, h("span", { className: "gp-space" }), this.finish),
      this.timer, this.none, this.strip.node, this.editor, this.cutRow, this.answer, this.buttons, this.prompt);
    this.show(told);
  }
  get number() { return this.told.number; }

  // All of it anew, as it stands in Python.
  show(told) {
    this.told = { ...told, at: performance.now() };
    this.strip.show({ text: told.thought, phase: told.phase });
    this.title.textContent = `${told.mode}, seed ${told.seed}`;
    this.numberText.textContent = `#${told.number}`;
    this.node.setAttribute("aria-label", `${told.mode}, seed ${told.seed}${told.origin ? `, ${told.origin}` : ""}`);
    this.from.textContent = told.origin ? `${told.origin} ${told.closed ? "and closed, " : ""}from #${told.source}` : "";
    this.prompt.textContent = told.prompt;
    this.paint();
  }
  // What came since. A piece of what is here already, as a view that has just asked for all may hear, adds nothing.
  append(piece) {
    const { told } = this;
    if (piece.thought_at > told.thought.length || piece.rest_at > told.rest.length) return;
    const thought = piece.thought.slice(told.thought.length - piece.thought_at), rest = piece.rest.slice(told.rest.length - piece.rest_at);
    told.thought.push(...thought);
    told.rest.push(...rest);
    this.strip.append({ text: thought, phase: thought.map(() => THINK) });
    for (const name of ["first", "thinking", "seconds", "count"]) told[name] = piece[name];
    told.at = performance.now();
    this.strip.node.scrollTop = this.strip.node.scrollHeight;
    this.paint();
  }
  get hasThought() { return this.told.thought.length > 0; }
  get thinks() { return this.told.thinking && !this.told.over; }

  paint() {
    const { told } = this, content = told.over ? told.content : told.rest.join("").trim();
    this.none.hidden = this.hasThought || !told.over;
    this.strip.node.hidden = !this.hasThought || !this.editor.hidden;
    this.answer.textContent = content || (told.error ? told.error : told.over ? "(no answer)" : "");
    this.answer.classList.toggle("gp-faint", !content);
    this.finish.textContent = told.over ? { stop: "", length: "cut off at the most tokens", interrupted: "stopped" }[told.finish] ?? told.finish : "…";
    this.note.textContent = [told.budgeted ? `closed by the budget of ${told.budget}` : "", told.changed].filter(Boolean).join(", ");
    this.node.classList.toggle("gp-going", !told.over);
    this.tick();
    this.mark();
  }
  // Between messages the clock runs on by itself.
  tick() {
    const { told } = this, running = this.thinks && told.count > 0 ? (performance.now() - told.at) / 1000 : 0;
    const rest = told.rest.length ? `, answer ${told.rest.length}` : "";
    this.timer.textContent = this.hasThought || told.thinking
      ? `thought ${seconds(told.seconds + running)}, ${told.thought.length} tokens${rest}`
      : rest ? `${rest.slice(2)} tokens` : told.over ? "" : "waiting";
    this.timer.classList.toggle("gp-ticking", this.thinks);
  }
  // What of it is picked; the thought after the cut is pale.
  mark() {
    const { attempt, token } = this.view.picked, own = attempt === this.number, cut = own && token !== null && this.told.first !== null;
    this.node.classList.toggle("gp-picked", own);
    this.pickButton.setAttribute("aria-pressed", String(own));
    const kept = cut ? token - this.told.first + 1 : null;
    this.strip.mark(cut ? [0, kept] : null, () => true, null);
    this.cutRow.hidden = !cut || !this.told.over || !this.editor.hidden;
    this.cutText.textContent = cut ? `after token ${kept} of ${this.told.thought.length}:` : "";
    const able = this.view.live && !this.view.busy;
    for (const button of [this.editButton, ...this.cutRow.querySelectorAll("button"), ...this.editor.querySelectorAll("button")]) button.disabled = !able;
    this.editButton.textContent = this.hasThought || !this.told.over ? "Edit thought" : "Write a thought";
  }
  cutAt(brush) {
    if (!this.told.over) return;
    this.view.pick(this.number, brush ? this.told.first + brush[1] - 1 : null);
  }
  openEditor() {
    const { attempt, token } = this.view.picked;
    const kept = attempt === this.number && token !== null ? token - this.told.first + 1 : undefined;
    this.text.value = this.told.thought.slice(0, kept).join("");
    this.editor.hidden = false;
    this.paint();
    this.text.focus();
  }
  closeEditor() {
    this.editor.hidden = true;
    this.paint();
    this.editButton.focus({ preventScroll: true });
  }
  key(event) {
    if (event.key === "Escape") this.closeEditor();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.sendEdit(false);
    else return;
    event.preventDefault();
  }
  sendEdit(close) {
    if (this.view.busy) return;
    this.view.channel.ask({ kind: "edit", attempt: this.number, thought: this.text.value, close });
    this.closeEditor();
  }
  sendCut(close) {
    this.view.channel.ask({ kind: "cut", attempt: this.number, token: this.view.picked.token, close });
  }
  togglePrompt() {
    this.prompt.hidden = !this.prompt.hidden;
    this.promptButton.setAttribute("aria-expanded", String(!this.prompt.hidden));
  }
}
