// The token strip: the run's text token by token, coloured by phase, brushed by dragging or with the arrow keys.

const PHASE_NAMES = ["prompt", "think", "answer", "tool", "forced"];

class TokenStrip {
  constructor(changed, hovered) {
    this.changed = changed;
    this.hovered = hovered;
    this.brush = null;
    this.cursor = 0;
    this.spans = [];
    this.places = new WeakMap();  // of tokens
    this.node = h("div", {
      className: "gp-tokens", tabIndex: 0, role: "application",
      "aria-label": "Tokens. Drag to brush; or arrow keys to move, with shift to brush, Escape to take it back.",
    });
    this.node.addEventListener("pointerdown", event => this.press(event));
    this.node.addEventListener("pointermove", event => this.move(event));
    this.node.addEventListener("pointerup", () => (this.from = null));
    this.node.addEventListener("pointercancel", () => (this.from = null));
    this.node.addEventListener("pointerleave", () => this.hovered(null));
    this.node.addEventListener("keydown", event => this.key(event));
  }
  // `run` has the texts of tokens and, as numbers into PHASE_NAMES, their phases.
  show(run) {
    this.cursor = 0;
    this.brush = null;
    this.closeness = null;
    this.spans = [];
    this.states = [];
    this.places = new WeakMap();
    this.node.replaceChildren();
    this.append(run);
  }
  append({ text, phase }) {
    const added = text.map((words, index) => { // plainly: there may be thousands
      const span = document.createElement("span");
      span.className = `gp-token gp-${PHASE_NAMES[phase[index]]}`;
      span.textContent = words === "" ? "·" : words.replaceAll("\n", "↵\n").replaceAll("\t", "⇥");
      this.places.set(span, this.spans.length + index);
      return span;
    });
    this.spans.push(...added);
    this.states.push(...added.map(() => -1));
    this.node.append(...added);
  }
  // Which tokens are brushed, which are of the phases shown, and how close the choice of each was (0 to 1, or null).
  mark(brush, shown, closeness) {
    this.brush = brush;
    this.spans.forEach((span, index) => {
      const inside = !brush || (index >= brush[0] && index < brush[1]);
      const state = (shown(index) && inside ? 0 : 1) + (brush && inside ? 2 : 0) + (index === this.cursor ? 4 : 0);
      if (state !== this.states[index]) { // thousands of tokens, of which few change while one brushes
        this.states[index] = state;
        span.classList.toggle("gp-out", Boolean(state & 1));
        span.classList.toggle("gp-in", Boolean(state & 2));
        span.classList.toggle("gp-cursor", Boolean(state & 4));
      }
    });
    if (Boolean(closeness) === this.closeness) return;
    this.closeness = Boolean(closeness);
    this.spans.forEach((span, index) => span.style.setProperty("--close", closeness ? closeness(index).toFixed(3) : "0"));
  }
  at(event) {
    const found = document.elementFromPoint(event.clientX, event.clientY)?.closest?.(".gp-token");
    return this.places.get(found) ?? null;
  }
  press(event) {
    if (event.button !== 0) return;
    const index = this.at(event);
    if (index === null) {
      if (event.offsetX < this.node.clientWidth) this.set(null);
      return;
    }
    event.preventDefault();
    this.node.focus({ preventScroll: true });
    this.node.setPointerCapture(event.pointerId);
    this.from = this.cursor = index;
    const alone = this.brush && this.brush[0] === index && this.brush[1] === index + 1;
    this.set(alone ? null : [index, index + 1]);
  }
  move(event) {
    const index = this.at(event);
    this.hovered(index, index === null ? null : this.spans[index]);
    if (this.from == null || index === null) return;
    this.cursor = index;
    this.set([Math.min(this.from, index), Math.max(this.from, index) + 1]);
  }
  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10, Home: -1e9, End: 1e9 }[event.key];
    if (event.key === "Escape") this.set(null);
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) this.set([0, this.spans.length]);
    else if (step === undefined || !this.spans.length) return;
    else {
      const before = this.cursor;
      this.cursor = Math.min(this.spans.length - 1, Math.max(0, before + step));
      const anchor = event.shiftKey ? (this.anchor ??= before) : this.cursor;
      if (!event.shiftKey) this.anchor = null;
      this.set([Math.min(anchor, this.cursor), Math.max(anchor, this.cursor) + 1]);
      this.spans[this.cursor].scrollIntoView({ block: "nearest" });
      this.hovered(this.cursor, this.spans[this.cursor]);
    }
    event.preventDefault();
    event.stopPropagation();
  }
  set(brush) {
    if (brush?.[0] !== this.brush?.[0] || brush?.[1] !== this.brush?.[1]) this.changed(brush);
  }
}
