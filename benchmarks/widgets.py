"""How quick the routing probe is in a real JupyterLab in Chromium: `python benchmarks/widgets.py`.

A run of 4,096 tokens, 92 layers of 160 experts, 8 of them chosen, with random routes, which nothing compresses. "load"
is from the widget's place in the page to a map with all of it, "redraw" what drawing takes after a key that changes
what is brushed (the script's time within the frame, and from the key until the frame is over), "stop" from the button
to the end of what glm-nano thinks, all in milliseconds. "stream" is a thought of 20,000 tokens of which 5,000 come a
second: the seconds from its first token on the page to its last, when all are there in order or the command fails, and
the longest frame between. The last line is a JSON object. Needs what `make test-browser` does.
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser.lab_page import LabPage
from browser.lab_server import blank_page, serving
from browser.test_notebooks import write_notebook
from browser.widget_page import milliseconds_to_stop

TOKENS = 4096
BIG_RUN = f"""
import sys
sys.path.insert(0, {sys.path[0]!r})
from made import big_run
import glmkit as gk
big = big_run({TOKENS}, 92, 160, 8)
"""
SHOW = "probe = gk.widgets.RoutingProbe(run=big)\nprobe"
THINK = """
lm = gk.load("nano", max_len=8192)
lm.chat("What is 345 + 678?", thinking="forced")  # compiles
explorer = gk.widgets.ThinkingExplorer(lm, "Work out (84 - 37) * 6 + 158 - 49.", modes=["forced"], seeds=[0])
explorer.wait()
explorer
"""
RATE, STREAMED = 5000, 20_000
STREAM = f"""
import time
lm = gk.load("nano", max_len=512)
text = " ".join(map(str, range({STREAMED})))
thought = lm.tokenizer.encode(text)[:{STREAMED}]

def steadily(x, *, watch, **settings):
    hear, began = watch.beside(lambda token: None), time.perf_counter()
    for place, token in enumerate(thought):
        time.sleep(max(0.0, began + place / {RATE} - time.perf_counter()))
        hear(token)

lm.run = steadily
explorer = gk.widgets.ThinkingExplorer(lm, modes=["forced"], seeds=[0])
explorer"""
READ_STREAM = """tokens => new Promise(resolve => {
  const explorer = document.querySelector('.gp-thinking'), frames = [];
  const strips = explorer.getElementsByClassName('gp-tokens');
  let began = null, before = null;
  const look = () => {
    const now = performance.now(), strip = strips[0];
    const shown = strip ? strip.getElementsByClassName('gp-token').length : 0;
    if (shown) { began ??= now; frames.push(now - (before ?? now)); before = now; }
    if (shown < tokens) return requestAnimationFrame(look);
    resolve({ seconds: (now - began) / 1000, text: strip.textContent, longest_frame: Math.max(...frames) });
  };
  look();
  [...explorer.querySelectorAll('button')].find(button => button.textContent === 'Run').click();
})"""
WATCH = """() => {
  window.loaded = new Promise(resolve => {
    let began = null;
    const look = () => {
      const title = document.querySelector('.gp .gp-map-title');
      if (title) began ??= performance.now();
      if (title?.textContent.includes('TOKENS of TOKENS')) return setTimeout(() => resolve(performance.now() - began));
      requestAnimationFrame(look);
    };
    look();
  });
}""".replace("TOKENS", str(TOKENS))
DRAWN = """() => {
  const canvas = document.querySelector('.gp canvas.gp-map');
  const pixels = canvas.getContext('2d').getImageData(100, 20, 200, 200).data;
  return pixels.some(value => value) && document.querySelectorAll('.gp-token').length;
}"""
REDRAW = """async count => {
  const strip = document.querySelector('.gp-tokens'), script = [], whole = [];
  strip.focus();
  for (let at = 0; at < count; at++) {
    await new Promise(requestAnimationFrame);
    await new Promise(resolve => setTimeout(resolve));
    let began;
    requestAnimationFrame(() => (began = performance.now()));
    const pressed = performance.now();
    strip.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', shiftKey: at % 40 > 0, bubbles: true }));
    await new Promise(requestAnimationFrame);
    script.push(performance.now() - began);
    await new Promise(resolve => setTimeout(resolve));
    whole.push(performance.now() - pressed);
  }
  return { script, whole };
}"""
RUN_SECONDS = 300


def spread(values: list[float]) -> dict[str, float]:
    return {"median": round(median(values), 1), "p95": round(float(np.quantile(values, 0.95)), 1)}


def redrawing(lab: LabPage, folder: Path) -> dict[str, object]:
    """Of the big run."""
    write_notebook(folder / "big.ipynb", BIG_RUN, SHOW)
    lab.open("big.ipynb")
    lab.run_cell(0, RUN_SECONDS)
    loads = []
    for _ in range(5):
        lab.page.evaluate("document.querySelectorAll('.gp').forEach(node => node.remove())")
        lab.page.evaluate(WATCH)
        lab.run_cell(1, RUN_SECONDS)
        loads.append(lab.page.evaluate("window.loaded"))
        assert lab.page.evaluate(DRAWN) == TOKENS
    times = lab.page.evaluate(REDRAW, 400)
    assert lab.console_errors == []
    return {"load": spread(loads), "redraw_script": spread(times["script"]), "redraw": spread(times["whole"])}


def stopping(lab: LabPage, folder: Path) -> dict[str, object]:
    """Of an answer that is on its way."""
    write_notebook(folder / "stop.ipynb", "import glmkit as gk" + THINK)
    lab.open("stop.ipynb")
    lab.run_cell(0, RUN_SECONDS)
    explorer, times = lab.page.locator(".gp-thinking"), []
    for seed in range(10):
        explorer.get_by_role("textbox", name="Seeds").fill(f"{seed + 1}, {seed + 21}, {seed + 41}")
        explorer.get_by_role("button", name="Run", exact=True).click()
        explorer.locator(".gp-timer.gp-ticking").first.wait_for(timeout=60_000)
        times.append(milliseconds_to_stop(lab))
    assert lab.console_errors == []
    return {"stop": spread(times)}


def streaming(lab: LabPage, folder: Path) -> dict[str, object]:
    """Of tokens that come faster than a network writes them, which no part of the way may lose."""
    write_notebook(folder / "stream.ipynb", "import glmkit as gk" + STREAM, "print(lm.tokenizer.decode(thought))")
    lab.open("stream.ipynb")
    lab.run_cell(0, RUN_SECONDS)
    lab.run_cell(1, RUN_SECONDS)
    lab.page.locator(".gp-thinking").get_by_role("textbox", name="Prompt").fill("count")
    read = lab.page.evaluate(READ_STREAM, STREAMED)
    assert read.pop("text").strip() == lab.output(1).strip()
    assert lab.console_errors == []
    return {"stream": {"tokens": STREAMED, **{name: round(value, 2) for name, value in read.items()}}}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        notebooks, home = (Path(folder) / name for name in ("notebooks", "home"))
        notebooks.mkdir(), home.mkdir()
        with serving(notebooks, home) as address, blank_page() as page:
            lab, found = LabPage(page, *address), {}
            for measure in (redrawing, stopping, streaming):
                found |= (own := measure(lab, notebooks))
                print(own, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
