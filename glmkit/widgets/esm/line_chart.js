// Curves over steps, one chart beside the other with the same steps: raw points pale, their running mean strong.

const STROKES = [["accent", []], ["warm", [5, 3]], ["think", [1.5, 3]]];  // of the curves of a chart, in their order
const short = (value, digits = 3) => (!Number.isFinite(value) ? "–" : value === 0 ? "0" : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : Math.abs(value) < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(digits))));

// A list of numbers that grows, without a copy for each that comes.
class Numbers {
  constructor() { this.all = new Float32Array(1024); this.length = 0; }
  add(more) {
    if (this.length + more.length > this.all.length) {
      const wider = new Float32Array(2 * (this.length + more.length));
      wider.set(this.all);
      this.all = wider;
    }
    this.all.set(more, this.length);
    this.length += more.length;
  }
  at(index) { return this.all[index]; }
  // The first place whose number is at least this.
  place(number) {
    let low = 0, high = this.length;
    while (low < high) { const middle = (low + high) >> 1; if (this.all[middle] < number) low = middle + 1; else high = middle; }
    return low;
  }
}

// The exponential running mean over about `span` points, started without a bias; 1 is the points themselves.
function smoothed({ y }, span) {
  const out = new Float32Array(y.length), keep = 1 - 1 / span;
  for (let i = 0, sum = 0, weight = 0; i < y.length; i++) {
    const value = y.at(i);
    if (Number.isFinite(value)) { sum = keep * sum + value; weight = keep * weight + 1; }
    out[i] = Number.isFinite(value) && weight ? sum / weight : NaN;
  }
  return out;
}

// `touched(step, picked)` is told of the step under the pointer, or null, and of the one that is clicked.
class LineChart {
  constructor(title, about, touched) {
    Object.assign(this, { title, about });
    this.canvas = h("canvas", { className: "gp-chart", role: "img" });
    this.head = h("div", { className: "gp-chart-head" });
    this.box = h("div", {}, this.canvas);
    this.node = h("section", { className: "gp-panel-chart" }, this.head, this.box);
    const step = event => this.stepAt(event.offsetX);
    this.canvas.addEventListener("pointermove", event => touched(step(event), false));
    this.canvas.addEventListener("pointerleave", () => touched(null, false));
    this.canvas.addEventListener("click", event => touched(step(event), true));
    this.observer = new ResizeObserver(() => this.shown && this.draw());
    this.observer.observe(this.box);
  }
  // shown: {curves: {name: {x, y}}, from, to, marked, picked, log, span, level, style}; level: a line to compare with.
  show(shown) {
    this.shown = shown;
    this.draw();
  }
  stepAt(offset) {
    if (!this.shown) return null;
    const { from, to } = this.shown, part = (offset - CHART.left) / (this.box.clientWidth - CHART.left - CHART.right);
    return part < -0.02 || part > 1.02 ? null : Math.round(from + Math.min(1, Math.max(0, part)) * (to - from));
  }
  draw() {
    const width = this.box.clientWidth, { shown } = this;
    if (!width) return;
    const at = prepared(this.canvas, width, CHART.height), names = Object.keys(shown.curves);
    const steps = Math.max(...names.map(name => shown.curves[name].x.length));  // what is measured seldom has a shorter mean
    const lines = names.map(name => ({ name, ...shown.curves[name], mean: smoothed(shown.curves[name], Math.max(1, (shown.span * shown.curves[name].x.length) / steps)) }));
    const axis = this.axis(lines);
    this.drawAxis(at, axis, width);
    const x = step => CHART.left + ((step - shown.from) / Math.max(1, shown.to - shown.from)) * (width - CHART.left - CHART.right);
    const y = value => CHART.height - CHART.bottom - axis.part(value) * (CHART.height - CHART.bottom - CHART.top);
    if (shown.level !== null) this.drawMark(at, [CHART.left, y(shown.level), width - CHART.right, y(shown.level)], [2, 4], "faint");
    for (const [place, line] of lines.entries()) {
      const [colour, dashes] = STROKES[place % STROKES.length];
      Object.assign(at, { strokeStyle: shown.style[colour], lineWidth: 1, globalAlpha: 0.35 });
      if (shown.span > 1) this.trace(at, line.x, index => line.y.at(index), x, y, width);
      Object.assign(at, { lineWidth: 2, globalAlpha: 1 });
      at.setLineDash(dashes);
      this.trace(at, line.x, index => line.mean[index], x, y, width);
      at.setLineDash([]);
    }
    if (shown.picked !== null) this.drawMark(at, [x(shown.picked), CHART.top, x(shown.picked), CHART.height - CHART.bottom], [], "warm");
    if (shown.marked !== null && shown.marked !== shown.picked) this.drawMark(at, [x(shown.marked), CHART.top, x(shown.marked), CHART.height - CHART.bottom], [3, 3], "ink");
    this.drawHead(lines);
  }
  axis(lines) {
    let low = this.shown.level ?? Infinity, high = this.shown.level ?? -Infinity;
    const { log } = this.shown, fits = value => Number.isFinite(value) && (!log || value > 0);
    for (const { y } of lines)
      for (let i = 0; i < y.length; i++) if (fits(y.at(i))) { low = Math.min(low, y.at(i)); high = Math.max(high, y.at(i)); }
    if (low > high) [low, high] = log ? [0.1, 1] : [0, 1];
    const form = log ? Math.log : value => value, wide = form(high) - form(low) || Math.abs(form(high)) * 0.1 || 1;
    const bottom = form(low) - 0.04 * wide, all = 1.08 * wide;
    return { low, high, part: value => (fits(value) ? (form(value) - bottom) / all : NaN) };
  }
  drawAxis(at, { low, high }, width) {
    const { style, from, to } = this.shown, base = CHART.height - CHART.bottom;
    at.strokeStyle = style.line;
    at.strokeRect(CHART.left - 0.5, CHART.top - 0.5, width - CHART.left - CHART.right + 1, base - CHART.top + 1);
    Object.assign(at, { fillStyle: style.faint, font: "11px system-ui, sans-serif", textBaseline: "middle", textAlign: "right" });
    let digits = 3;  // as many as tell the two ends apart
    while (digits < 6 && low !== high && short(low, digits) === short(high, digits)) digits++;
    at.fillText(short(high, digits), CHART.left - 6, CHART.top + 6);
    at.fillText(short(low, digits), CHART.left - 6, base - 6);
    at.textAlign = "left";
    at.fillText(short(from), CHART.left, base + 10);
    at.textAlign = "right";
    at.fillText(`step ${short(to)}`, width - CHART.right, base + 10);
  }
  drawMark(at, [x0, y0, x1, y1], dashes, colour) {
    Object.assign(at, { strokeStyle: this.shown.style[colour], lineWidth: 1.5 });
    at.setLineDash(dashes);
    at.beginPath();
    at.moveTo(x0, y0);
    at.lineTo(x1, y1);
    at.stroke();
    at.setLineDash([]);
  }
  // Of the many points of a pixel, the lowest and the highest.
  trace(at, steps, value, x, y, width) {
    const size = Math.max(1, Math.floor(steps.length / (2 * width)));
    let pen = false;
    at.beginPath();
    for (let start = 0; start < steps.length; start += size) {
      let low = NaN, high = NaN;
      for (let i = start; i < Math.min(start + size, steps.length); i++) {
        const place = y(value(i));
        if (Number.isFinite(place)) { low = place < low ? low : Number.isNaN(low) ? place : Math.min(low, place); high = Number.isNaN(high) ? place : Math.max(high, place); }
      }
      if (Number.isNaN(low)) { pen = false; continue; }
      const across = x(steps.at(start));
      if (pen) at.lineTo(across, low); else at.moveTo(across, low);
      at.lineTo(across, size > 1 ? high : low + (steps.length === 1 ? 0.1 : 0));
      pen = true;
    }
    at.lineCap = at.lineJoin = "round";
    at.stroke();
  }
  // The title and, at the step that is looked at or else the last, the values.
  drawHead(lines) {
    const { marked, picked } = this.shown, step = marked ?? picked, said = [];
    const values = lines.map(({ name, x, y }, number) => {
      const place = step === null ? y.length - 1 : x.place(step), there = place < x.length && (step === null || x.at(place) === step);
      const key = h("span", { className: "gp-line-key" }), [colour, dashes] = STROKES[number % STROKES.length];
      key.style.borderTop = `2px ${dashes.length ? (dashes[0] > 2 ? "dashed" : "dotted") : "solid"} ${this.shown.style[colour]}`;
      said.push(`${name.replaceAll("_", " ")} ${there ? short(y.at(place)) : "–"}`);
      return h("span", { className: "gp-line-value" }, lines.length > 1 ? key : null, lines.length > 1 ? `${name.replaceAll("_", " ")} ` : null, h("b", {}, there ? short(y.at(place)) : "–"));
    });
    this.head.replaceChildren(h("span", { className: "gp-chart-title", title: this.about }, this.title), ...values);
    this.canvas.setAttribute("aria-label", `${this.title}${step === null ? "" : ` at step ${step}`}: ${said.join(", ")}`);
  }
}

const CHART = { left: 52, right: 6, top: 6, bottom: 20, height: 132 };
