"""What the views do in parts that need no browser: their scripts in Node, with as much of a document as they need."""

import json
import shutil
import subprocess

import pytest

from glmkit.widgets.base import assets

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node; browsers run the scripts whole")

DOCUMENT = """
class Element {
  constructor(tag) { Object.assign(this, { tagName: tag.toUpperCase(), children: [], style: {}, textContent: "" }); }
  addEventListener() {}
  setAttribute(name, value) { this[name] = value; }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) {
    if (this.children.includes(document.activeElement)) document.activeElement = null;
    this.children = children;
  }
  querySelectorAll() { return this.children.filter(child => child.tagName === "BUTTON"); }
  focus() { document.activeElement = this; }
}
const document = { createElement: tag => new Element(tag), activeElement: null };
const window = {}, getComputedStyle = () => ({ getPropertyValue: () => "" });
const drawn = [];
const context = new Proxy({}, { get: (_, name) => (...given) => drawn.push([name, ...given]), set: () => true });
"""


def result(script: str, *names: str):
    """What a script returns, after files of `esm/`."""
    whole = f"{DOCUMENT}\n{assets(*names)}\nconsole.log(JSON.stringify((() => {{{script}}})()));"
    done = subprocess.run(["node", "--input-type=module", "-e", whole], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_code_of_a_saved_page_is_gone_once_its_state_is_another():
    script = """
    const model = new SavedModel({ traits: { _selection: { brush: null }, _code: "run" }, messages: [] });
    model.set("_selection", { brush: null });
    const same = model.get("_code");
    model.set("_selection", { brush: [1, 2] });
    return [same, model.get("_code")];
    """
    assert result(script, "base.js") == ["run", ""]


def test_the_focus_stays_where_samples_and_shades_are_drawn_anew():
    script = """
    const view = Object.create(SampleView.prototype), part = () => new Element("div");
    const quiet = { strip: { show() {} }, mark() {} };
    Object.assign(view, quiet, { shade: "unlikely", title: part(), shades: part(), choices: part() });
    const sample = number => ({ sample: number, group: 0, reward: 1, advantage: 0 });
    const content = { step: 1, sample: 0, samples: [sample(0), sample(1)] };
    view.show(content, {});
    view.paintShades();
    const parts = [[view.choices, () => view.show(content, {})], [view.shades, () => view.paintShades()]];
    return parts.map(([own, again]) => {
      own.children[1].focus();
      again();
      return own.children.indexOf(document.activeElement);
    });
    """
    assert result(script, "base.js", "tokens.js", "samples.js") == [1, 1]


def test_a_divergence_of_many_tokens_is_drawn():
    """More than a call of a function takes arguments."""
    script = """
    const chart = Object.create(DivergenceChart.prototype), kl = new Float32Array(300000).fill(0.5);
    kl[7] = 2;
    const canvas = { style: {}, getContext: () => context };
    Object.assign(chart, { kl, control: kl, canvas, node: { clientWidth: 400 } });
    chart.draw();
    return drawn.filter(([name]) => name === "fillText").map(([, text]) => text);
    """
    assert result(script, "base.js", "panels.js") == ["2.0", "0"]
