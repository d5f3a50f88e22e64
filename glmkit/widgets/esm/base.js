// What the widgets share: elements, colours, the theme, numbered messages with binary data, and what views do.

// Controls that keys are for, which JupyterLab would take for commands.
const KEYED = ["input", "select", "textarea"];

function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  if (KEYED.includes(tag)) node.addEventListener("keydown", event => event.stopPropagation());
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

// Replaces what is in a part, and leaves the focus on the control in the same place.
function keepFocus(part, children) {
  const before = [...part.querySelectorAll("button,input,select")], place = before.indexOf(document.activeElement);
  const value = place >= 0 ? document.activeElement.value : null;
  part.replaceChildren(...children);
  if (place < 0) return;
  const after = part.querySelectorAll("button,input,select")[place];
  if (after?.tagName === "INPUT") after.value = value;
  after?.focus({ preventScroll: true });
}

// Sequential, told apart by lightness alone: from the paper towards the ink of each theme.
const RAMPS = {
  light: [[247, 249, 252], [209, 226, 243], [133, 184, 221], [44, 123, 182], [8, 48, 107]],
  dark: [[28, 33, 41], [34, 66, 104], [50, 121, 170], [126, 192, 208], [250, 243, 200]],
};

function colourOf(theme, value) {
  const ramp = RAMPS[theme], at = Math.min(1, Math.max(0, value)) * (ramp.length - 1);
  const low = Math.min(ramp.length - 2, Math.floor(at)), part = at - low;
  return ramp[low].map((channel, i) => Math.round(channel + part * (ramp[low + 1][i] - channel)));
}

const rgb = ([r, g, b]) => `rgb(${r},${g},${b})`;
const inkOn = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#14181f" : "#ffffff");
const percent = value => (value >= 0.0995 || value === 0 ? `${Math.round(value * 100)}%` : `${(value * 100).toFixed(1)}%`);
const nats = value => (value === 0 || value >= 0.001 ? value.toFixed(3) : value.toExponential(1));

function isDark() {
  const lab = document.body.dataset.jpThemeLight;
  if (lab !== undefined) return lab === "false";
  if (document.body.classList.contains("vscode-dark")) return true;
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

// Calls back at once and whenever light becomes dark; returns how to stop that.
function watchTheme(changed) {
  const tell = () => changed(isDark() ? "dark" : "light");
  const observer = new MutationObserver(tell), media = window.matchMedia("(prefers-color-scheme: dark)");
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  media.addEventListener("change", tell);
  tell();
  return () => { observer.disconnect(); media.removeEventListener("change", tell); };
}

// A canvas of so many CSS pixels, emptied, as sharp as the screen.
function prepared(canvas, width, height) {
  const scale = window.devicePixelRatio || 1, at = canvas.getContext("2d");
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  at.setTransform(scale, 0, 0, scale, 0, 0);
  return at;
}

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };

// The first characters of a text as Python counts them: JavaScript takes those beyond the first plane for two.
const firstOf = (text, count) => (text.length === count ? text : [...text].slice(0, count).join(""));

// The arrays of a message by name, each with its shape and what one of its integers stands for.
function unpack(content, buffers) {
  const out = {};
  (content.arrays ?? []).forEach(({ name, dtype, shape, scale }, index) => {
    const view = buffers[index];
    const bytes = view.buffer ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : view.slice(0);
    out[name] = Object.assign(new ARRAYS[dtype](bytes), { shape, scale });
  });
  return out;
}

const PATIENCE = 5000;  // milliseconds after which what was asked is taken for unheard; twice as many each time after

// Messages come numbered. Whoever misses one asks for everything anew, and heeds nothing until that begins; and asks
// again where nothing comes that can be heeded. What is for another view by name is passed over.
class Channel {
  constructor(model, heard) {
    this.model = model;
    this.heard = heard;
    this.name = Math.random().toString(36).slice(2);
    this.patience = PATIENCE;
    this.receive = (content, buffers) => this.take(content, buffers ?? []);
    model.on("msg:custom", this.receive);
    this.hello();
  }
  take(content, buffers) {
    if (content.kind === "begin") this.next = content.number;
    if (this.next === null) return;
    if (content.number !== this.next) return this.hello();
    this.next += 1;
    clearTimeout(this.silence);
    [this.silence, this.patience] = [null, PATIENCE];
    if ((content.view ?? this.name) === this.name) this.heard(content, buffers);
  }
  hello() {
    this.next = null;
    this.ask({ kind: "hello" });
  }
  // Every request is answered, if only by the state.
  ask(content) {
    this.silence ??= setTimeout(() => this.unheard(), this.patience);
    this.tell({ ...content, view: this.name });
  }
  tell(content) {
    try { this.model.send(content); } catch { this.heard({ kind: "silence" }, []); }
  }
  unheard() {
    [this.silence, this.patience] = [null, 2 * this.patience];
    this.heard({ kind: "silence" }, []);
    this.ask({ kind: "hello" });
  }
  close() {
    clearTimeout(this.silence);
    this.model.off("msg:custom", this.receive);
  }
}

const SILENCE = 10000;  // milliseconds after which whoever does something is asked whether it is there
const GONE = ["dead", "terminating", "autorestarting", "restarting"];  // of what a kernel is said to be

// What the views of all widgets do: follow the theme and the traits, hear messages, say what is being done and what
// went wrong, copy the state as code. A widget's own calls `start` last, has `build`, `paint`, and a `heardKind` for
// each kind of message.
class View {
  constructor(model) {
    this.model = model;
    this.parts = Object.fromEntries(["name", "status", "banner"].map(name => [name, h("div", { className: `gp-${name}` })]));
    this.stopButton = this.button("Stop", () => this.channel.ask({ kind: "stop" }));
    this.copy = this.button("Copy as Python", () => this.copyCode());
    this.code = h("pre", { className: "gp-code", hidden: true, tabIndex: 0 });
    this.parts.status.append(h("span", { className: "gp-doing" }), this.stopButton);
    this.parts.status.hidden = this.parts.banner.hidden = true;
  }
  start(el, traits) {
    this.build(el);
    this.stopTheme = watchTheme(theme => this.useTheme(theme));
    this.onTraits = () => this.refresh();
    this.heeded = traits.map(name => `change:${name}`);
    for (const event of this.heeded) this.model.on(event, this.onTraits);
    this.onGone = () => this.lost("The kernel has stopped. What is shown stays; run the cell again to go on.");
    this.model.on("comm_live_update", this.onGone);
    this.kernel = this.model.widget_manager?.kernel;  // JupyterLab's; elsewhere silence tells
    this.onStatus = (_, status) => { if (GONE.includes(status)) this.onGone(); };
    this.kernel?.statusChanged?.connect(this.onStatus);
    this.kernel?.disposed?.connect(this.onGone);  // shut down from the menu
    this.channel = new Channel(this.model, (content, buffers) => this.hear(content, buffers));
    this.watch = setInterval(() => this.lookAfter(), SILENCE / 4);
  }
  close() {
    clearInterval(this.watch);
    cancelAnimationFrame(this.frame);
    this.channel.close();
    this.stopTheme();
    for (const event of this.heeded) this.model.off(event, this.onTraits);
    this.model.off("comm_live_update", this.onGone);
    this.kernel?.statusChanged?.disconnect(this.onStatus);
    this.kernel?.disposed?.disconnect(this.onGone);
  }
  button(text, onclick, more = {}) { return h("button", { type: "button", textContent: text, onclick, ...more }); }
  useTheme(theme) {
    this.root.dataset.theme = theme;
    this.refresh();
  }
  refresh() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.paint());
  }

  // The end of what is done may be what was missed.
  lookAfter() {
    if (this.busy && !this.dead && !this.waiting && Date.now() - this.heardAt > SILENCE) this.channel.ask({ kind: "ping" });
  }
  hear(content, buffers) {
    this.heardAt = Date.now();
    if (content.kind === "silence") {
      if (!this.dead) this.lost("The kernel does not answer: it is busy with a cell, or gone.", true);
      return;
    }
    if (this.waiting) this.lost("");
    this.root.classList.add("gp-live");
    this[`heard${content.kind[0].toUpperCase()}${content.kind.slice(1)}`]?.(content, buffers);
  }
  heardState(content) {
    this.state = content;
    this.doing(content.doing);
    this.banner(content.error, content.error !== "");
    this.refresh();
  }
  doing(text) {
    this.parts.status.hidden = !text;
    this.parts.status.firstChild.textContent = text ? `${text} …` : "";
  }
  banner(text, failed = false) {
    this.parts.banner.textContent = text;
    this.parts.banner.hidden = !text;
    this.parts.banner.classList.toggle("gp-failed", failed);
    this.parts.banner.setAttribute("role", failed ? "alert" : "status");
  }
  lost(text, waiting = false) {
    this.waiting = waiting;
    this.banner(text, text !== "");
    if (!waiting && text) { this.dead = true; this.doing(""); this.refresh(); }
  }

  get live() { return Boolean(this.about?.live) && !this.dead; }
  get busy() { return Boolean(this.state?.doing); }
  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
    this.refresh();
  }
  copyCode() { return this.showCode(this.model.get("_code"), this.copy); }
  async showCode(text, button) {
    const name = button.textContent;
    this.code.hidden = !this.code.hidden && this.code.textContent === text;
    this.code.textContent = text;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = name === "Copied" ? button.textContent : name), 1500);
    } catch { /* it stands below, to be copied by hand */ }
  }
}

// A model whose messages lie in the page, for one without a kernel.
class SavedModel {
  constructor(saved) {
    this.saved = saved;
    this.traits = saved.traits;
    this.listeners = [];
    this.number = 0;
  }
  get(name) { return this.traits[name]; }
  set(name, value) {
    if (JSON.stringify(value) !== JSON.stringify(this.traits[name])) this.traits._code = "";  // it is of what was saved
    this.traits[name] = value;
  }
  save_changes() {}
  on(name, heard) { this.listeners.push([name, heard]); }
  off() {}
  async send({ kind }) {
    const said = kind === "hello" ? [{ kind: "begin" }, ...this.saved.messages] : kind === "film" ? [this.saved.film] : [];
    for (const { buffers = [], ...content } of said) {
      const opened = await Promise.all(buffers.map(inflated));
      for (const [name, heard] of this.listeners)
        if (name === "msg:custom") heard({ ...content, number: this.number }, opened);
      this.number += 1;
    }
  }
}

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

function showSaved(saved, el) {
  return render({ model: new SavedModel(saved), el });
}
