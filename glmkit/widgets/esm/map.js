// The map: a row for each layer, a column for each expert, and how much of what is brushed went there.

const CELL_FONT = "11px system-ui, sans-serif", LEAST_WIDTH = 320;

// Shares [layer, expert]: of tokens that chose the expert, or of the layer's weight that it had.
function sharesOf(run, ids, shown, by) {
  const { weights, experts } = run, [count, layers, k] = ids.shape, out = new Float32Array(layers * experts);
  const mass = by === "mass";
  let tokens = 0;
  for (let t = 0; t < count; t++) {
    if (!shown(t)) continue;
    tokens += 1;
    for (let row = 0, at = t * layers * k, cell = 0; row < layers; row++, cell += experts)
      if (mass) for (const end = at + k; at < end; at++) out[cell + ids[at]] += weights[at];
      else for (const end = at + k; at < end; at++) out[cell + ids[at]] += 1;
  }
  for (let row = 0; row < layers; row++) {
    const cells = out.subarray(row * experts, (row + 1) * experts);
    const whole = mass ? cells.reduce((sum, value) => sum + value, 0) : tokens;
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
    this.width = LEAST_WIDTH;
    this.observer = new ResizeObserver(([entry]) => {
      const width = Math.max(LEAST_WIDTH, Math.floor(entry.contentRect.width));
      if (width === this.width) return;
      this.width = width;
      this.draw();
    });
    this.observer.observe(this.node);
  }
  // Read once: it takes the browser long while the styles of thousands of tokens change.
  useTheme(theme) {
    const style = getComputedStyle(this.node);
    if (this.node.clientWidth) this.width = Math.max(LEAST_WIDTH, this.node.clientWidth);
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
    const { cell, high, width, height } = this.layout();
    const scale = window.devicePixelRatio || 1, { canvas } = this, at = canvas.getContext("2d");
    const pixels = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) {
      [canvas.width, canvas.height] = pixels;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    at.setTransform(scale, 0, 0, scale, 0, 0);
    at.clearRect(0, 0, width, height);
    const gap = cell >= 8 && high >= 8 ? 1 : 0, words = cell >= 24 && high >= 16;
    const most = Math.max(this.data.most, 1e-9);
    if (gap) this.drawCells(at, most, words);
    else this.drawPixels(at, most);
    at.drawImage(this.axes(scale), 0, 0, width, height);
    this.outlines(at, this.style);
  }
  // Small cells, all at once: a pixel for each, made larger.
  drawPixels(at, most) {
    const { left, top, cell, high } = this.layout(), { cells, layers, experts } = this.data;
    const small = (this.small ??= document.createElement("canvas"));
    [small.width, small.height] = [experts, layers.length];
    const image = new ImageData(experts, layers.length), pixels = new Uint32Array(image.data.buffer);
    const ramp = Uint32Array.from({ length: 256 }, (_, i) => {
      const [red, green, blue] = colourOf(this.theme, i / 255);
      return new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0];
    });
    for (let i = 0; i < cells.length; i++) pixels[i] = ramp[Math.round((cells[i] / most) * 255)];
    small.getContext("2d", { willReadFrequently: true }).putImageData(image, 0, 0);
    at.imageSmoothingEnabled = false;
    at.drawImage(small, left, top, cell * experts, high * layers.length);
  }
  drawCells(at, most, words) {
    const { left, top, cell, high } = this.layout(), { cells, layers, experts } = this.data, gap = 1;
    at.textBaseline = "middle";
    at.textAlign = "center";
    if (words) at.font = CELL_FONT;
    for (let row = 0; row < layers.length; row++)
      for (let expert = 0; expert < experts; expert++) {
        const value = cells[row * experts + expert], colour = colourOf(this.theme, value / most);
        const x = left + expert * cell, y = top + row * high;
        at.fillStyle = rgb(colour);
        at.fillRect(x, y, cell - gap, high - gap);
        if (words && value >= 0.005) {
          at.fillStyle = inkOn(colour);
          at.fillText(String(Math.round(value * 100)), x + (cell - gap) / 2, y + (high - gap) / 2 + 0.5);
        }
      }
  }
  // A picture of what stands beside the cells, kept while it is the same; and apart from the page, which a font that is
  // set in it would have laid out anew.
  axes(scale) {
    const { layers, experts } = this.data, { left, top, cell, high, width, height } = this.layout();
    const drawn = [layers, experts, width, scale, this.theme].join();
    if (this.drawnAxes === drawn) return this.axesPicture;
    this.drawnAxes = drawn;
    this.axesPicture = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
    const at = this.axesPicture.getContext("2d");
    at.scale(scale, scale);
    at.textBaseline = "middle";
    at.fillStyle = this.style.faint;
    at.font = CELL_FONT;
    at.textAlign = "right";
    for (let row = 0, step = Math.ceil(13 / high); row < layers.length; row += step)
      at.fillText(String(layers[row]), left - 6, top + (row + 0.5) * high);
    at.textAlign = "center";
    const step = [1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 64].find(n => n * cell >= 26) ?? 100;
    for (let expert = 0; expert < experts; expert += step)
      at.fillText(String(expert), left + (expert + 0.5) * cell, height - 24);
    at.fillText("expert", left + (experts * cell) / 2, height - 8);
    at.translate(9, top + (high * layers.length) / 2);
    at.rotate(-Math.PI / 2);
    at.fillText("layer", 0, 0);
    return this.axesPicture;
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
