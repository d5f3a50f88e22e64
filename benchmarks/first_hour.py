"""A newcomer's first hour, as the README tells it: `python benchmarks/first_hour.py PICTURES`.

Everything is done in Chromium, in a JupyterLab that was installed from a fresh clone into an environment of its own,
with nothing compiled before; pip's cache is as it is. Seconds since the clone began, at: "answer" a thinking answer
stands beside the map of its routes, "knockout" one click has taken a skill's experts away and all skills were tested
without, "exported" the page is saved, "digit" the share of answers that follow a thought of which one digit was edited
is told, "skill" a new skill has been learned and tested. Each has a picture in the folder PICTURES. What was found
stands beside the times in the last line, a JSON object. Needs what `make test-browser` does, beside pip.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser.lab_page import LabPage
from browser.lab_server import blank_page, serving

ROOT = Path(__file__).parents[1]
WAIT = 600_000  # milliseconds
SKILL = "arithmetic"


class Hour:
    """Times and findings so far, told as they come; pictures beside them."""

    def __init__(self, pictures: Path):
        self._pictures, self._began = pictures, time.monotonic()
        self.found: dict[str, Any] = {}

    def at(self, name: str, what: Any = None, seen: Locator | None = None) -> None:
        found = {} if what is None else {"found": what}
        self.found[name] = {"seconds": round(time.monotonic() - self._began), **found}
        print(name, self.found[name], flush=True)
        if seen is not None:
            seen.scroll_into_view_if_needed()
            seen.screenshot(path=self._pictures / f"{name}.png")


def installed(folder: Path) -> Path:
    """The Python of an environment with glmkit and the notebook extra, from a clone."""
    clone, python = folder / "glmkit", folder / "venv" / "bin" / "python"
    for command in (
        ["git", "clone", "--quiet", str(ROOT), str(clone)],
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [str(python), "-m", "pip", "install", "--quiet", "-c", str(clone / "constraints.txt"), f"{clone}[notebook]"],
        [str(python), "-m", "glmkit", "lab", "--copy-only", str(folder / "notebooks")],
    ):
        subprocess.run(command, check=True, cwd=folder)
    return python


def look(lab: LabPage, hour: Hour, folder: Path) -> None:
    """The routing tour, as far as its first widget; a skill broken; the page."""
    lab.open("02_routing_tour.ipynb")
    for cell in range(3):
        lab.run_cell(cell, WAIT / 1000)
    probe = lab.page.locator(".gp.gp-live")
    expect(probe.locator(".gp-chip-answer")).to_be_visible(timeout=WAIT)
    hour.at("answer", probe.locator(".gp-tokens").inner_text().split("</think>")[-1].strip(), probe)
    probe.get_by_role("combobox", name="Skill").select_option(SKILL)
    probe.get_by_role("button", name="Take its experts away").click()
    probe.locator(".gp-bar-own").wait_for(timeout=WAIT)
    control = probe.locator(".gp-tick-control").get_attribute("title")
    hour.at("knockout", [control, *probe.locator(".gp-bar-wide").all_inner_texts()], probe.locator(".gp-knockout"))
    with lab.page.expect_download() as download:
        probe.get_by_role("button", name="Export HTML").click()
    download.value.save_as(page := folder / "probe.html")
    alone = lab.page.context.browser.new_page()
    alone.goto(page.as_uri())
    expect(alone.locator(".gp-chip-answer")).to_be_visible(timeout=WAIT)
    hour.at("exported", f"{page.stat().st_size / 1e3:.0f} kB", alone.locator("body"))
    alone.close()


def edit(lab: LabPage, hour: Hour) -> None:
    """The thinking modes: a digit of a hundred thoughts edited."""
    lab.open("05_thinking_modes.ipynb")
    lab.command("notebook:run-all-cells")
    told = lab.page.get_by_text(re.compile(r"one digit edited: \d+%"))
    told.wait_for(state="attached", timeout=WAIT)
    said = re.search(r"one digit edited: .*", told.inner_text())[0]
    hour.at("digit", said, lab.page.locator(".gp-thinking"))


def teach(lab: LabPage, hour: Hour) -> None:
    """Fine-tuning: a new operation, with the loads of experts moving meanwhile."""
    lab.open("09_fine_tuning.ipynb")
    lab.command("notebook:run-all-cells")
    told = lab.page.get_by_text(re.compile(r"zib: \d+% before, \d+% after"))
    told.wait_for(state="attached", timeout=WAIT)
    seconds = lab.page.get_by_text(re.compile(r"steps in \d+ s, the first of them")).inner_text().splitlines()[0]
    said = re.search(r"zib: .*", told.inner_text())[0]
    hour.at("skill", f"{said}; {seconds}", lab.page.locator(".gp-training").first)


def main() -> None:
    parser = argparse.ArgumentParser(description="A newcomer's first hour, timed.")
    parser.add_argument("pictures", type=Path)
    pictures = parser.parse_args().pictures
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="glmkit-hour-") as name:
        folder = Path(name)
        os.environ |= {"GLMKIT_CACHE": str(folder / "cache"), "JAX_PLATFORMS": "cpu"}
        (home := folder / "home").mkdir()
        hour = Hour(pictures)
        python = installed(folder)
        hour.at("installed")
        with serving(folder / "notebooks", home, python) as address, blank_page() as page:
            page.set_viewport_size({"width": 1300, "height": 1500})
            lab = LabPage(page, *address)
            look(lab, hour, folder)
            edit(lab, hour)
            teach(lab, hour)
    print(json.dumps(hour.found))


if __name__ == "__main__":
    main()
