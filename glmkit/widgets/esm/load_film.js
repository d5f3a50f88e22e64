// One layer's loads over the steps of training: a row for each expert, a column for each step that is kept.

const FILM = { left: 30, right: 6, top: 8, bottom: 20 };

class LoadFilm {
  // `picked(step, expert)` is told what is clicked.
  constructor(picked) {
    this.canvas = h("canvas", { className: "gp-film-canvas", role: "img" });
    this.node = h("div", {}, this.canvas);
    this.canvas.addEventListener("click", event => { const place = this.placeAt(event); if (place) picked(...place); });
    this.observer = new ResizeObserver(() => this.shown && this.draw());
    this.observer.observe(this.node);
  }
  // shown: {frames: [{step, cells}], row, experts, most, from, to, step, expert, theme, style}; cells lie layer by layer.
  show(shown) {
    this.shown = shown;
    this.canvas.setAttribute("aria-label", `Loads of ${shown.experts} experts over steps ${shown.from} to ${shown.to}`);
    this.draw();
  }
  size() {
    const { experts } = this.shown, high = Math.min(22, Math.max(2, Math.floor(300 / experts)));
    return { width: this.node.clientWidth, high, height: FILM.top + high * experts + FILM.bottom };
  }
  placeAt(event) {
    if (!this.shown) return null;
    const { width, high } = this.size(), { frames, experts, from, to } = this.shown;
    const expert = Math.floor((event.offsetY - FILM.top) / high);
    const step = from + ((event.offsetX - FILM.left) / (width - FILM.left - FILM.right)) * (to - from);
    if (expert < 0 || expert >= experts || !frames.length) return null;
    return [frames.reduce((best, { step: at }) => (Math.abs(at - step) < Math.abs(best - step) ? at : best), frames[0].step), expert];
  }
  draw() {
    const { shown } = this, { width, high, height } = this.size();
    if (!width) return;
    const { frames, row, experts, most, from, to, theme, style } = shown, at = prepared(this.canvas, width, height);
    const wide = width - FILM.left - FILM.right, x = step => FILM.left + ((step - from) / Math.max(1, to - from)) * wide;
    const ramp = Array.from({ length: 256 }, (_, i) => colourOf(theme, i / 255)), image = new ImageData(frames.length, experts);
    frames.forEach(({ cells }, column) => {
      for (let expert = 0; expert < experts; expert++) {
        const value = Math.min(255, Math.round((cells[row * experts + expert] / most) * 255));
        image.data.set([...ramp[value], 255], (expert * frames.length + column) * 4);
      }
    });
    const small = (this.small ??= document.createElement("canvas"));
    [small.width, small.height] = [frames.length, experts];
    small.getContext("2d").putImageData(image, 0, 0);
    at.imageSmoothingEnabled = false;
    frames.forEach(({ step }, column) => {  // each up to the next: steps need not be evenly spaced
      const left = column ? x(step) : FILM.left, right = column + 1 < frames.length ? x(frames[column + 1].step) : width - FILM.right;
      at.drawImage(small, column, 0, 1, experts, left, FILM.top, Math.max(1, right - left + 0.5), high * experts);
    });
    this.words(at, { width, high, height, x });
  }
  words(at, { width, high, height, x }) {
    const { experts, from, to, step, expert, style } = this.shown;
    Object.assign(at, { fillStyle: style.faint, font: "11px system-ui, sans-serif", textBaseline: "middle", textAlign: "right" });
    for (let e = 0, every = Math.ceil(13 / high); e < experts; e += every) at.fillText(String(e), FILM.left - 6, FILM.top + (e + 0.5) * high);
    at.fillText(`step ${short(to)}`, width - FILM.right, height - 8);
    at.textAlign = "left";
    at.fillText(short(from), FILM.left, height - 8);
    at.lineWidth = 2;
    if (expert !== null) {
      at.strokeStyle = style.accent;
      at.strokeRect(FILM.left, FILM.top + expert * high, width - FILM.left - FILM.right, high);
    }
    if (step !== null) {
      at.fillStyle = style.warm;
      at.fillRect(Math.min(x(step), width - FILM.right) - 1, FILM.top, 2, high * experts);
    }
  }
}
