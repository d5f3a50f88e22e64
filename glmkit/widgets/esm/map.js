// The map: a row for each layer, a column for each expert, and how much of what is brushed went there.

// Shares [layer, expert]: of tokens that chose the expert, or of the layer's weight that it had.
function sharesOf(run, ids, shown, by) {
  const [count, layers, k] = ids.shape, out = new Float32Array(layers * run.experts), { weights } = run;
  let tokens = 0;
  for (let t = 0; t < count; t++) {
    if (!shown(t)) continue;
    tokens += 1;
    for (let row = 0, at = t * layers * k; row < layers; row++)
      for (let rank = 0; rank < k; rank++, at++) out[row * run.experts + ids[at]] += by === "mass" ? weights[at] : 1;
  }
  for (let row = 0; row < layers; row++) {
    const cells = out.subarray(row * run.experts, (row + 1) * run.experts);
    const whole = by === "mass" ? cells.reduce((sum, value) => sum + value, 0) : tokens;
    if (whole) for (let e = 0; e < cells.length; e++) cells[e] /= whole;
  }
  return { cells: out, tokens };
}

class ExpertMap {
  constructor(picked, hovered) {
    this.picked = picked;
    this.hovered = hovered;
    this.style = {};
    this.data = null;
    this.canvas = h("canvas", {
      className: "gp-map", tabIndex: 0, role: "application",
      "aria-label": "Map of layers and experts. Arrow keys move, Enter picks the expert, Escape picks none.",
    });
    this.node = h("div", { className: "gp-map-box" }, this.canvas);
    this.canvas.addEventListener("pointermove", event => this.hover(this.cellAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
    this.canvas.addEventListener("click", event => { const cell = this.cellAt(event); if (cell) this.pick(cell); });
    this.canvas.addEventListener("keydown", event => this.key(event));
    this.canvas.addEventListener("focus", () => this.hover(this.cursor ?? this.chosen ?? [0, 0]));
    this.canvas.addEventListener("blur", () => { this.cursor = null; this.hover(null); });
    this.width = 320;
    this.observer = new ResizeObserver(([entry]) => {
      this.width = Math.max(320, Math.floor(entry.contentRect.width));
      this.draw();
    });
    this.observer.observe(this.node);
  }
  // Read once: it takes the browser long while the styles of thousands of tokens change.
  useTheme(theme) {
    const style = getComputedStyle(this.node);
    this.theme = theme;
    this.style = Object.fromEntries(["accent", "ink", "warm", "faint"].map(name => [name, style.getPropertyValue(`--gp-${name}`)]));
  }
  // data: {cells, layers, experts}; chosen: [row, expert] or null; marks: by "row,expert", what is changed there.
  show(data, chosen, marks) {
    Object.assign(this, { data, chosen, marks });
    this.draw();
  }
  hover(cell) {
    this.over = cell;
    this.draw();
    const box = cell && this.data && this.box(cell);
    this.hovered(cell, box ? { x: box.x + box.w / 2, y: box.y } : null);
  }
  pick(cell) {
    this.cursor = cell;
    const same = this.chosen && this.chosen[0] === cell[0] && this.chosen[1] === cell[1];
    this.picked(same ? null : cell);
  }
  key(event) {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!this.data) return;
    if (event.key === "Escape") this.picked(null);
    else if (event.key === "Enter" || event.key === " ") this.pick(this.cursor ?? this.over ?? [0, 0]);
    else if (move) {
      const [row, expert] = this.cursor ?? this.chosen ?? [0, 0], { layers, experts } = this.data;
      this.cursor = [(row + move[0] + layers.length) % layers.length, (expert + move[1] + experts) % experts];
      this.hover(this.cursor);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
  layout() {
    const { layers, experts } = this.data, { width } = this;
    const left = 48, top = 4, wide = (width - left - 4) / experts, cell = wide >= 4 ? Math.floor(wide) : wide;
    const high = Math.min(52, Math.max(4, Math.floor(480 / layers.length)));
    return { left, top, cell, high, width, height: top + high * layers.length + 36 };
  }
  box([row, expert]) {
    const { left, top, cell, high } = this.layout();
    return { x: left + expert * cell, y: top + row * high, w: cell, h: high };
  }
  cellAt(event) {
    if (!this.data) return null;
    const { left, top, cell, high } = this.layout(), { layers, experts } = this.data;
    const expert = Math.floor((event.offsetX - left) / cell), row = Math.floor((event.offsetY - top) / high);
    return expert >= 0 && expert < experts && row >= 0 && row < layers.length ? [row, expert] : null;
  }
  draw() {
    if (!this.data || !this.theme || !this.node.isConnected) return;
    const { left, top, cell, high, width, height } = this.layout();
    const scale = window.devicePixelRatio || 1, { canvas } = this, at = canvas.getContext("2d");
    const pixels = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    at.setTransform(scale, 0, 0, scale, 0, 0);
    at.clearRect(0, 0, width, height);
    const { style } = this, { faint } = style;
    const gap = cell >= 8 && high >= 8 ? 1 : 0, words = cell >= 24 && high >= 16;
    const most = Math.max(this.data.most, 1e-9);
    at.textBaseline = "middle";
    at.textAlign = "center";
    if (gap) this.drawCells(at, most, words);
    else this.drawPixels(at, most);
    this.axes(at, { left, top, cell, high, height, faint });
    this.outlines(at, style);
  }
  // Small cells, all at once: a pixel for each, made larger.
  drawPixels(at, most) {
    const { left, top, cell, high } = this.layout(), { cells, layers, experts } = this.data;
    const image = new ImageData(experts, layers.length), small = (this.small ??= document.createElement("canvas"));
    const ramp = Array.from({ length: 256 }, (_, i) => colourOf(this.theme, i / 255));
    for (let i = 0; i < cells.length; i++) {
      const [red, green, blue] = ramp[Math.round((cells[i] / most) * 255)];
      image.data.set([red, green, blue, 255], i * 4);
    }
    [small.width, small.height] = [experts, layers.length];
    small.getContext("2d").putImageData(image, 0, 0);
    at.imageSmoothingEnabled = false;
    at.drawImage(small, left, top, cell * experts, high * layers.length);
  }
  drawCells(at, most, words) {
    const { left, top, cell, high } = this.layout(), { cells, layers, experts } = this.data, gap = 1;
    for (let row = 0; row < layers.length; row++)
      for (let expert = 0; expert < experts; expert++) {
        const value = cells[row * experts + expert], colour = colourOf(this.theme, value / most);
        const x = left + expert * cell, y = top + row * high;
        at.fillStyle = rgb(colour);
        at.fillRect(x, y, cell - gap, high - gap);
        if (words && value >= 0.005) {
          at.fillStyle = inkOn(colour);
          at.font = "11px system-ui, sans-serif";
          at.fillText(String(Math.round(value * 100)), x + (cell - gap) / 2, y + (high - gap) / 2 + 0.5);
        }
      }
  }
  axes(at, { left, top, cell, high, height, faint }) {
    const { layers, experts } = this.data;
    at.fillStyle = faint;
    at.font = "11px system-ui, sans-serif";
    at.textAlign = "right";
    for (let row = 0, step = Math.ceil(13 / high); row < layers.length; row += step)
      at.fillText(String(layers[row]), left - 6, top + (row + 0.5) * high);
    at.textAlign = "center";
    const step = [1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 64].find(n => n * cell >= 26) ?? 100;
    for (let expert = 0; expert < experts; expert += step)
      at.fillText(String(expert), left + (expert + 0.5) * cell, height - 24);
    at.fillText("expert", left + (experts * cell) / 2, height - 8);
    at.save();
    at.translate(9, top + (high * layers.length) / 2);
    at.rotate(-Math.PI / 2);
    at.fillText("layer", 0, 0);
    at.restore();
  }
  outlines(at, style) {
    const { accent, ink, warm } = style;
    for (const [place, kind] of Object.entries(this.marks ?? {})) {
      const { x, y, w, h: high } = this.box(place.split(",").map(Number)), size = Math.max(5, Math.min(11, w * 0.4));
      at.fillStyle = warm;
      at.beginPath();
      at.moveTo(x + w - 1, y);
      at.lineTo(x + w - 1 - size, y);
      at.lineTo(x + w - 1, y + size);
      at.fill();
      at.lineWidth = 2;
      at.strokeStyle = warm;
      at.setLineDash(kind === "force" ? [] : [4, 3]);
      at.strokeRect(x, y, w - 1, high - 1);
      at.setLineDash([]);
    }
    for (const [cell, colour, wide] of [[this.chosen, accent, 3], [this.over, ink, 1.5]]) {
      if (!cell) continue;
      const { x, y, w, h: high } = this.box(cell);
      at.lineWidth = wide;
      at.strokeStyle = colour;
      at.strokeRect(x - 0.5, y - 0.5, w, high);
    }
  }
}
