"""What the tests of all widgets do in a notebook: show one, read it from the next cell, lose its kernel, reopen it."""

import ast
import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

from browser.lab_page import LabPage
from browser.test_notebooks import write_notebook

__all__ = [
    *("RUN_SECONDS", "kill_kernel", "lose_kernel", "milliseconds_to_stop", "opened", "photograph"),
    *("read", "reopened_picture", "saved", "write_cell"),
]

RUN_SECONDS = 240
NAME = "widget.ipynb"


def opened(lab: LabPage, notebooks: Path, *cells: str, height: int = 1500) -> Locator:
    """The widget that the first of these cells shows, in a notebook of its own."""
    lab.page.set_viewport_size({"width": 1300, "height": height})
    write_notebook(notebooks / NAME, *cells)
    lab.open(NAME)
    lab.run_cell(0, RUN_SECONDS)
    assert lab.complaints == []
    widget = lab.page.locator(".gp.gp-live")
    widget.wait_for(timeout=20_000)
    return widget


def read(lab: LabPage, cell: int) -> Any:
    """Run a cell, and take what it prints as Python."""
    lab.run_cell(cell, RUN_SECONDS)
    return ast.literal_eval(lab.output(cell))


def write_cell(lab: LabPage, number: int, source: str) -> None:
    lab.page.locator(".jp-CodeCell").nth(number).locator(".cm-content").fill(source)


def photograph(lab: LabPage, widget: Locator, folder: Path, name: str) -> None:
    """Keep a picture in each theme, as NAME_light.png and NAME_dark.png; the widget follows the theme."""
    for theme in ("Light", "Dark"):
        lab.use_theme(f"JupyterLab {theme}")
        expect(widget).to_have_attribute("data-theme", theme.lower())
        widget.scroll_into_view_if_needed()
        lab.page.wait_for_timeout(400)
        widget.screenshot(path=folder / f"{name}_{theme.lower()}.png")
    lab.use_theme("JupyterLab Light")


def saved(lab: LabPage, notebooks: Path) -> dict[str, Any]:
    """The notebook as JupyterLab writes it: with a picture behind the widget, which the widget hides, and small."""
    expect(lab.page.locator("img.glmkit-still").first).to_be_hidden()
    lab.command("docmanager:save")
    lab.page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
    path = notebooks / NAME
    notebook = json.loads(path.read_text())
    outputs = notebook["cells"][0]["outputs"]
    assert any("glmkit-still" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    assert path.stat().st_size < 100_000
    return notebook


def milliseconds_to_stop(lab: LabPage) -> float:
    """From a click on Stop of the thinking explorer until nothing is being done."""
    return lab.page.evaluate(STOP)


STOP = """() => new Promise(resolve => {
  const status = document.querySelector('.gp-thinking .gp-status'), began = performance.now();
  const seen = new MutationObserver(() => { if (status.hidden) resolve(performance.now() - began); });
  seen.observe(status, { attributes: true });
  [...status.querySelectorAll('button')].find(button => button.textContent === 'Stop').click();
})"""


def lose_kernel(lab: LabPage) -> None:
    """Shut the kernel down, as the menu does."""
    lab.command("kernelmenu:shutdown")
    expect(lab.page.get_by_text(re.compile(r"\| Idle$"))).to_be_hidden(timeout=20_000)


def kill_kernel(lab: LabPage) -> None:
    """End its process, as the system does where memory runs out: a new one takes its place. The second cell is used."""
    write_cell(lab, 1, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    lab.page.keyboard.press("Shift+Enter")


def reopened_picture(lab: LabPage) -> Locator:
    """The picture that a reader sees who opens the saved notebook and runs nothing."""
    lab.open(NAME)
    still = lab.page.locator("img.glmkit-still")
    still.wait_for(timeout=20_000)
    assert still.evaluate("image => image.complete && image.naturalWidth") > 400
    return still
