// Samples of a step of RL: which there are, and of one the tokens, with how likely each was, its routes and advantage.

const SHADES = {
  "unlikely": ({ sampled, learned }) => index => (learned[index] ? 1 - Math.exp(sampled[index]) : 0),
  "entropy": ({ entropy }) => scaled(entropy),
  "advantage": ({ advantages }) => scaled(advantages),
};
const scaled = values => {
  const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
  return index => Math.abs(values[index]) / most;
};
const signed = value => `${value >= 0 ? "+" : "−"}${Math.abs(value).toPrecision(3)}`;

// `picked(sample)` is told of the sample that is chosen.
class SampleView {
  constructor(picked) {
    Object.assign(this, { picked, shade: "unlikely", token: null, hovered: null });
    this.title = h("span", { className: "gp-map-title" });
    this.shades = h("span", { className: "gp-switch", role: "group", "aria-label": "What shades the tokens" });
    this.choices = h("div", { className: "gp-choices", role: "group", "aria-label": "Samples, by reward" });
    this.strip = new TokenStrip(brush => this.pin(brush), index => this.hover(index));
    this.facts = h("div", { className: "gp-side" });
    const head = h("div", { className: "gp-samples-head" }, this.title, h("span", { className: "gp-space" }), h("span", { className: "gp-faint" }, "shaded where"), this.shades);
    this.node = h("section", {}, head, this.choices, h("div", { className: "gp-body" }, this.strip.node, this.facts));
    this.paintShades();
  }
  show(content, arrays) {
    const same = this.shown && this.shown.step === content.step && this.shown.sample === content.sample;
    this.shown = { ...content, ...arrays };
    if (!same) {
      Object.assign(this, { token: null, hovered: null });
      this.strip.show(content);
    }
    this.title.textContent = `Samples of step ${content.step.toLocaleString("en-US")}, the best first`;
    keepFocus(this.choices, content.samples.map(one => h("button", {
      type: "button", className: "gp-chip", "aria-pressed": String(one.sample === content.sample), onclick: () => this.picked(one.sample),
      textContent: `${one.sample}: reward ${one.reward.toPrecision(3)}, advantage ${signed(one.advantage)}`, title: `sample ${one.sample}, of problem ${one.group}`,
    })));
    this.mark();
  }
  paintShades() {
    keepFocus(this.shades, Object.keys(SHADES).map(name => h("button", {
      type: "button", textContent: name, "aria-pressed": String(name === this.shade),
      onclick: () => { this.shade = name; this.paintShades(); this.mark(); },
    })));
  }
  pin(brush) {
    this.token = brush && brush[0];
    this.mark();
  }
  hover(index) {
    this.hovered = index;
    this.paintFacts();
  }
  mark() {
    if (!this.shown) return;
    this.strip.closeness = null;  // another shade is drawn anew
    this.strip.mark(this.token === null ? null : [this.token, this.token + 1], () => true, SHADES[this.shade](this.shown));
    this.strip.spans.forEach(span => span.classList.remove("gp-out"));  // a pinned token leaves the others as they are
    this.paintFacts();
  }
  paintFacts() {
    const index = this.hovered ?? this.token, { shown } = this;
    if (!shown || index === null) {
      this.facts.replaceChildren(h("p", { className: "gp-hint" }, "Point at a token, or click it: how likely it was, which experts it went to, what it earned."));
      return;
    }
    const probability = values => `${percent(Math.exp(values[index]))} (${values[index].toFixed(4)} nats)`;
    const learned = Boolean(shown.learned[index]), rows = [["token", JSON.stringify(shown.text[index])], ["span", PHASE_NAMES[shown.phase[index]]]];
    if (learned) rows.push(["drawn with", probability(shown.sampled)], ["scored", probability(shown.scored)], ["entropy", `${shown.entropy[index].toFixed(3)} nats`], ["advantage", signed(shown.advantages[index])]);
    else rows.push(["learned", "no: the policy did not draw it"]);
    const list = h("dl", {}, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    this.facts.replaceChildren(h("h3", {}, `Token ${index}`), list, ...this.routes(index));
  }
  routes(index) {
    const { routes, layers } = this.shown;
    if (!routes) return [];
    const [, rows, chosen] = routes.shape, lines = [];
    for (let row = 0; row < rows; row++) {
      const at = (index * rows + row) * chosen, experts = [...routes.subarray(at, at + chosen)].map(number => number - 1);
      lines.push(`layer ${layers[row]}: ${experts[0] < 0 ? "not known" : experts.sort((a, b) => a - b).join(" ")}`);
    }
    return [h("h4", {}, "Experts"), h("div", { className: "gp-routes" }, lines.join("\n"))];
  }
}
