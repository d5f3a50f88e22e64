// What the widgets share: elements, colours, the theme, and numbered messages with binary data.

function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
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

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };

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

// Messages come numbered. Whoever misses one asks for everything anew, and heeds nothing until that begins.
class Channel {
  constructor(model, heard) {
    this.model = model;
    this.next = null;
    this.heard = heard;
    this.receive = (content, buffers) => this.take(content, buffers ?? []);
    model.on("msg:custom", this.receive);
    this.ask({ kind: "hello" });
  }
  take(content, buffers) {
    clearTimeout(this.silence);
    if (content.kind === "begin") this.next = content.number;
    if (this.next === null) return;
    if (content.number !== this.next) {
      this.next = null;
      this.ask({ kind: "hello" });
      return;
    }
    this.next += 1;
    this.heard(content, buffers);
  }
  ask(content) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.heard({ kind: "silence" }, []), 5000);
    try { this.model.send(content); } catch { this.heard({ kind: "silence" }, []); }
  }
  close() {
    clearTimeout(this.silence);
    this.model.off("msg:custom", this.receive);
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
  set(name, value) { this.traits[name] = value; }
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
