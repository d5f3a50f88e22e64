"""The routing probe as a person uses it: brushed, clicked, regenerated, read from the next cell, kept and reopened."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from browser.lab_page import LabPage
from browser.widget_page import (
    RUN_SECONDS,
    kill_kernel,
    lose_kernel,
    opened,
    photograph,
    read,
    reopened_picture,
    saved,
    write_cell,
)
from glmkit.runs import Layers, Run, Tokens

MAKE = """import glmkit as gk
lm = gk.load("nano", max_len=512)
probe = gk.widgets.RoutingProbe(lm, "What is 27 + 58?", thinking="forced", max_tokens=90, seed=0)
probe"""
READ = """picked, effect = probe.selection, probe.effect
print([list(picked.steps), picked.layer, picked.expert, str(probe.interventions), probe.run.text,
       effect and [float(effect.kl.mean()), len(effect.controls)]])"""
LOOK = """import glmkit as gk
probe = gk.widgets.RoutingProbe(run=gk.Run.load("run.safetensors"))
probe"""
LEFT, AXIS = 48, 36  # pixels of the map that the names of its rows and columns take


@pytest.fixture
def probe(lab: LabPage, notebooks: Path) -> Locator:
    """A probe of glm-nano in a notebook, with a cell after it that reads it."""
    return opened(lab, notebooks, MAKE, READ, "lm.close()")


@pytest.fixture
def looker(lab: LabPage, notebooks: Path) -> Locator:
    """One of a run that was kept, which needs no model."""
    some_run().save(notebooks / "run.safetensors")
    return opened(lab, notebooks, LOOK, READ)


def some_run(tokens: int = 40) -> Run:
    """With routes like those of glm-nano, at random."""
    rng, zeros = np.random.default_rng(0), np.zeros(tokens, np.float32)
    ids = rng.permuted(np.tile(np.arange(16, dtype=np.uint8), (tokens, 4, 1)), axis=-1)[..., :4]
    phases = ("prompt",) * (tokens // 2) + ("think",) * (tokens - tokens // 2)
    words = Tokens(np.zeros(tokens, np.int32), tuple(f"word{n} " for n in range(tokens)), phases, zeros, zeros)
    arrays = {"router_ids": ids, "router_weights": rng.random(ids.shape, np.float32)}
    arrays["router_margins"] = rng.random((tokens, 4), np.float32)
    return Run(words, Layers((0, 1, 2, 3, 4), (1, 2, 3, 4), 16, 4), arrays, {}, "kept")


def brush(page: Page, probe: Locator, first: int, last: int) -> None:
    """Drag from one token to another."""
    start, end = (probe.locator(".gp-token").nth(index) for index in (first, last))
    start.scroll_into_view_if_needed()
    page.mouse.move(*middle(start))
    page.mouse.down()
    page.mouse.move(*middle(end), steps=5)
    page.mouse.up()


def middle(place: Locator) -> tuple[float, float]:
    box = place.bounding_box()
    return box["x"] + min(box["width"], 8) / 2, box["y"] + box["height"] / 2


def click_expert(probe: Locator, row: int, expert: int) -> None:
    """Of nano's map: four rows of sixteen."""
    canvas = probe.locator("canvas.gp-map")
    box = canvas.bounding_box()
    wide, high = (box["width"] - LEFT - 4) // 16, (box["height"] - 4 - AXIS) / 4
    canvas.click(position={"x": LEFT + (expert + 0.5) * wide, "y": 4 + (row + 0.5) * high})


def test_it_is_brushed_clicked_and_regenerated_and_the_next_cell_reads_it(lab, probe, screenshots, notebooks):
    page = lab.page
    brush(page, probe, 4, 9)
    click_expert(probe, 3, 5)
    expect(probe.locator(".gp-page h3")).to_have_text("Layer 4, expert 5")
    probe.get_by_role("button", name="Ablate").click()
    probe.get_by_role("button", name="Regenerate").click()
    probe.locator(".gp-figure").first.wait_for(timeout=RUN_SECONDS * 1000)
    expect(probe.locator(".gp-status")).to_be_hidden()
    steps, layer, expert, plan, text, effect = read(lab, 1)
    assert (steps, layer, expert, plan) == ([4, 5, 6, 7, 8, 9], 4, 5, "ablate(layer=4, expert=5, how=reroute)")
    assert "27 + 58" in text
    assert effect[0] >= 0
    assert effect[1] == 4
    probe.get_by_role("button", name="Copy as Python").click()
    expect(probe.locator(".gp-code")).to_contain_text("gk.ablate(layer=4, expert=5)")
    probe.get_by_role("button", name="Cop").click()
    photograph(lab, probe, screenshots, "routing_probe")
    probe.get_by_role("button", name="Training film").click()
    probe.get_by_role("slider").fill("30")
    expect(probe.locator(".gp-filmBar output")).to_have_text("step 943 of 3906")
    page.wait_for_timeout(300)
    probe.screenshot(path=screenshots / "routing_probe_film.png")
    probe.get_by_role("button", name="This run").click()
    probe.get_by_role("textbox", name="Prompt").fill("Count from 1 to 40, please.")
    probe.get_by_role("button", name="Run", exact=True).click()
    expect(probe.locator(".gp-status")).to_be_hidden(timeout=RUN_SECONDS * 1000)
    expect(probe.locator(".gp-tokens")).to_contain_text("Count from 1 to 40", timeout=60_000)
    expect(probe.locator(".gp-effect")).to_be_hidden()  # it was of the run before
    assert lab.complaints == []
    assert lab.console_errors == []


def test_one_click_takes_the_experts_of_a_skill_away(lab, probe, screenshots):
    expect(probe.locator(".gp-status")).to_be_hidden(timeout=RUN_SECONDS * 1000)
    probe.get_by_role("combobox", name="Skill").select_option("lists")
    probe.get_by_role("button", name="Take its experts away").click()
    probe.locator(".gp-bar-own").wait_for(timeout=RUN_SECONDS * 1000)
    expect(probe.locator(".gp-bar-wide")).to_have_count(11)
    expect(probe.locator(".gp-change")).to_have_count(3)
    photograph(lab, probe, screenshots, "routing_probe_knockout")
    write_cell(lab, 1, "print([str(probe.interventions), list(probe.knockout.without)])")
    plan, skills = read(lab, 1)
    assert plan.count("ablate(") == 3
    assert skills == ["lists"]
    assert lab.complaints == []
    assert lab.console_errors == []


def test_keys_do_what_the_mouse_does(lab, looker):
    looker.locator(".gp-tokens").focus()
    for key in ("Home", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"):
        lab.page.keyboard.press(key)
    looker.locator("canvas.gp-map").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        lab.page.keyboard.press(key)
    expect(looker.locator(".gp-page h3")).to_have_text("Layer 2, expert 2")
    steps, layer, expert, *_ = read(lab, 1)
    assert (steps, layer, expert) == ([1, 2, 3], 2, 2)
    assert lab.console_errors == []


def test_keys_that_a_control_takes_are_no_commands_of_the_notebook(lab, probe):
    """Of which b, in JupyterLab, puts a cell below."""
    cells = lab.page.locator(".jp-Cell")
    count = cells.count()
    expect(probe.locator(".gp-status")).to_be_hidden(timeout=RUN_SECONDS * 1000)
    probe.get_by_role("combobox", name="Thinking").press("b")
    probe.get_by_role("button", name="Training film").click()
    probe.get_by_role("combobox", name="Task family").press("b")
    probe.get_by_role("slider").press("b")
    lab.page.wait_for_timeout(500)
    expect(cells).to_have_count(count)
    assert lab.console_errors == []


def test_a_view_that_missed_a_message_asks_for_all_anew(lab, looker):
    write = "probe._number += 1; probe.post_state(); print('[]')"
    lab.page.evaluate("() => document.querySelectorAll('.gp-name')[0].textContent = 'stale'")
    cell = lab.page.locator(".jp-CodeCell").nth(1)
    cell.locator(".cm-content").fill(write)
    lab.run_cell(1, RUN_SECONDS)
    expect(looker.locator(".gp-name")).to_have_text("kept")
    assert lab.console_errors == []


def test_a_view_that_lost_the_beginning_or_the_end_finds_out(lab, looker):
    lose = """send, lost = probe.send, []
def losing(content, buffers=None):
    lost.append(content["kind"]) if content["kind"] == "begin" and "begin" not in lost else send(content, buffers)
probe.send = losing
probe._number += 1
probe.post_state()
print([])"""
    lab.page.evaluate("() => document.querySelectorAll('.gp-name')[0].textContent = 'stale'")
    write_cell(lab, 1, lose)
    assert read(lab, 1) == []
    expect(looker.locator(".gp-name")).to_have_text("kept", timeout=30_000)  # it has said hello once more
    expect(looker.locator(".gp-banner")).to_be_hidden()
    end = """probe.begin("waiting", lambda: setattr(probe, "send", lambda *_: None))
probe.wait()
probe.send = send
print([probe.busy])"""
    write_cell(lab, 1, end)
    assert read(lab, 1) == [False]
    expect(looker.locator(".gp-status")).to_be_visible()
    expect(looker.locator(".gp-status")).to_be_hidden(timeout=30_000)
    assert lab.console_errors == []


def test_the_page_it_exports_works_alone(lab, looker, page, tmp_path):
    with page.expect_download() as download:
        looker.get_by_role("button", name="Export HTML").click()
    download.value.save_as(tmp_path / "probe.html")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size({"width": 900, "height": 1000})
    page.goto((tmp_path / "probe.html").as_uri())
    alone = page.locator(".gp.gp-live")
    alone.wait_for(timeout=10_000)
    brush(page, alone, 2, 5)
    expect(alone.locator(".gp-map-title")).to_contain_text("4 of")
    click_expert(alone, 0, 1)
    expect(alone.locator(".gp-page h3")).to_have_text("Layer 1, expert 1")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert lab.console_errors == []


def test_a_notebook_reopened_without_its_kernel_shows_the_picture(lab, looker, notebooks):
    saved(lab, notebooks)
    lose_kernel(lab)  # else the view would find it again
    reopened_picture(lab)


@pytest.mark.parametrize("lose", [lose_kernel, kill_kernel])
def test_a_kernel_that_is_gone_is_said_without_being_asked(lab, looker, lose):
    lose(lab)
    expect(looker.locator(".gp-banner")).to_contain_text("The kernel has stopped", timeout=20_000)
    expect(looker.locator(".gp-token").first).to_be_visible()  # what was shown stays


def test_a_kernel_that_is_busy_is_waited_for(lab, looker):
    """As one elsewhere than in JupyterLab that is gone, of which only silence tells."""
    write_cell(lab, 1, "import time; time.sleep(12)")
    lab.page.keyboard.press("Shift+Enter")
    looker.get_by_role("button", name="Export HTML").click()
    expect(looker.locator(".gp-banner")).to_contain_text("The kernel does not answer", timeout=20_000)
    expect(looker.locator(".gp-banner")).to_be_hidden(timeout=20_000)
