"""The training dashboard as a person uses it: a run watched, stopped, gone on with, looked into, kept and reopened."""

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from browser.lab_page import LabPage
from browser.widget_page import (
    RUN_SECONDS,
    lose_kernel,
    opened,
    photograph,
    read,
    reopened_picture,
    saved,
    write_cell,
)

# A small model, whose step takes a moment to compile, and nano's tokenizer.
TRAIN = """import dataclasses
import glmkit as gk
from flax import nnx
from glmkit.nano.new_skill import records
nano = gk.load("nano", max_len=256)
config = dataclasses.replace(nano.config, hidden_size=64, num_hidden_layers=3, num_nextn_predict_layers=0)
lm = gk.LM(gk.GLM(config, rngs=nnx.Rngs(0)), nano.tokenizer, name="small")
data = gk.train.TokenDataset.encode(records(40, 0), lm.tokenizer, 128)
run = gk.train.fit(lm, data, steps=400, batch_size=1, length=128, learning_rate=2e-3, out="run", progress=False)
dashboard = gk.widgets.TrainingDashboard(run)
dashboard"""
READ = """picked = dashboard.selection
print([dashboard.outcome, dashboard.record.last, picked.step, picked.layer, picked.expert, run.number])"""
# No model at all: what another trainer tells.
WATCH = """import math, threading, time
import numpy as np
import glmkit as gk
class Step:
    def __init__(self, number):
        self.number = number
        self.metrics = {"loss": 3 / number, "reward": math.tanh(number / 50)}
        self.load = np.arange(1, 49).reshape(3, 16) + 40 * (np.arange(16) == number // 10 % 16)
going = threading.Event()
def told():
    for number in range(1, 2001):
        time.sleep(0.01)
        yield Step(number)
        if number == 60:
            going.wait()
            raise gk.errors.TrainingError("step 61: loss nan")
dashboard = gk.widgets.TrainingDashboard(told())
dashboard"""


REINFORCE = (
    TRAIN.partition("data =")[0]
    + """policy = gk.rl.Policy(lm)
task = gk.rl.Task("vowels", [gk.rl.Problem("Say a"), gk.rl.Problem("Say b")], held_out=[gk.rl.Problem("Say c")],
    reward=lambda sample: sum(letter in "aeiou" for letter in sample.content) / 20)
run = gk.rl.train(policy, task, steps=6, prompts=2, n=4, max_tokens=12, thinking="forced", budget=4, eval_count=1,
    eval_every=3, loss=gk.rl.PPO() + 0.01 * gk.rl.KL(), progress=False)
dashboard = gk.widgets.TrainingDashboard(run)
dashboard"""
)


@pytest.fixture
def watched(lab: LabPage, notebooks: Path) -> Locator:
    return opened(lab, notebooks, WATCH, "going.set()", "print(dashboard.record.last)")


def test_a_run_is_watched_stopped_and_gone_on_with(lab, notebooks, screenshots):
    widget = opened(lab, notebooks, TRAIN, READ, "lm.close(); nano.close()", height=1300)
    outcome, stop = widget.locator(".gp-outcome"), widget.get_by_role("button", name="Stop")
    expect(outcome).to_have_text("running", timeout=20_000)
    note = widget.locator(".gp-progress")
    expect(note).to_contain_text(re.compile(r"step \d+ of 400, \d+ s left"), timeout=RUN_SECONDS * 1000)
    stop.click()
    expect(outcome).to_have_text("stopped", timeout=60_000)
    expect(note).to_contain_text(re.compile(r"Stopped at step \d+ of 400; a checkpoint is in .*run"))
    state, last, *_, number = read(lab, 1)
    assert (state, last) == ("stopped", number)
    assert (notebooks / "run" / "checkpoints" / f"step_{number}").is_dir()

    loss = widget.locator(".gp-panel-chart", has_text="Loss").locator("canvas").first
    loss.click(position={"x": 52, "y": 60})
    for key in ("ArrowRight", "ArrowRight"):
        widget.locator(".gp-charts").press(key)
    widget.locator("canvas.gp-map").focus()
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        lab.page.keyboard.press(key)
    assert read(lab, 1)[2:5] == [3, 2, 1]
    expect(widget.locator(".gp-loads")).to_contain_text("Experts' load at step 3")
    expect(widget.locator(".gp-loads")).to_contain_text("Expert 1 of layer 2")
    widget.get_by_role("button", name="Log scale").click()
    widget.get_by_role("button", name="Seconds").click()
    expect(widget.locator(".gp-panel-chart", has_text="Seconds")).to_be_visible()
    widget.get_by_role("button", name="Copy as Python").click()
    expect(widget.locator(".gp-code")).to_contain_text("dashboard.select(step=3, layer=2, expert=1)")
    widget.get_by_role("button", name="Cop").click()

    widget.get_by_role("button", name="Go on").click()
    expect(outcome).to_have_text("running", timeout=20_000)
    expect(outcome).to_have_text("finished", timeout=RUN_SECONDS * 1000)
    assert read(lab, 1)[:2] == ["finished", 400]
    widget.locator(".gp-charts").press("Escape")
    photograph(lab, widget, screenshots, "training_dashboard")
    outputs = saved(lab, notebooks)["cells"][0]["outputs"]
    assert "Finished at step 400 of 400" in _pictures(outputs)  # drawn anew when the run ended
    lose_kernel(lab)
    reopened_picture(lab).screenshot(path=screenshots / "training_dashboard_still.png")
    assert lab.console_errors == []


def test_a_run_that_fails_is_shown_as_such_and_a_missed_message_is_made_up_for(lab, watched, screenshots):
    expect(watched.locator(".gp-progress")).to_contain_text("step 60", timeout=20_000)
    expect(watched.locator(".gp-panel-chart", has_text="Reward")).to_contain_text("0.834")
    write_cell(lab, 2, "dashboard._number += 1; dashboard.post_state(); print(1)")  # a message that the view misses
    assert read(lab, 2) == 1
    expect(watched.locator(".gp-progress")).to_contain_text("step 60")
    lab.run_cell(1, RUN_SECONDS)
    expect(watched.locator(".gp-outcome")).to_have_text("failed", timeout=20_000)
    expect(watched.get_by_role("alert")).to_contain_text("Failed after step 60: step 61: loss nan")
    expect(watched.get_by_role("button", name="Go on")).to_be_hidden()
    photograph(lab, watched, screenshots, "training_dashboard_failed")
    assert lab.console_errors == []


def test_samples_of_rl_are_looked_into(lab, notebooks, screenshots):
    told = "picked = dashboard.selection\nprint([picked.step, picked.sample, len(dashboard.samples)])"
    widget = opened(lab, notebooks, REINFORCE, told, "policy.close(); lm.close(); nano.close()", height=1700)
    expect(widget.locator(".gp-outcome")).to_have_text("finished", timeout=RUN_SECONDS * 1000)
    for title in ("Held-out accuracy", "Reward", "Entropy, nats", "KL, nats"):
        expect(widget.locator(".gp-panel-chart", has_text=title)).to_be_visible()
    expect(widget.locator(".gp-panel-chart", has_text="Update seconds")).to_have_count(0)
    samples = widget.locator(".gp-samples")
    expect(samples).to_contain_text("Samples of step 6, the best first")
    samples.locator(".gp-choices button").nth(2).click()
    samples.locator(".gp-token.gp-think").first.click()
    expect(samples.locator(".gp-side")).to_contain_text("drawn with")
    expect(samples.locator(".gp-side")).to_contain_text("layer 1:")
    samples.get_by_role("button", name="entropy").click()
    samples.locator(".gp-token.gp-prompt").first.hover()
    expect(samples.locator(".gp-side")).to_contain_text("the policy did not draw it")
    step, sample, count = read(lab, 1)
    assert (step, count) == (None, 6)
    assert samples.locator('.gp-choices [aria-pressed="true"]').text_content().startswith(f"{sample}: reward")
    photograph(lab, widget, screenshots, "training_dashboard_rl")
    assert lab.console_errors == []


def test_a_kernel_that_is_gone_is_said(lab, watched):
    expect(watched.locator(".gp-progress")).to_contain_text("step 60", timeout=20_000)
    lose_kernel(lab)
    expect(watched.locator(".gp-banner")).to_contain_text("The kernel has stopped", timeout=30_000)
    expect(watched.locator(".gp-panel-chart", has_text="Reward")).to_be_visible()  # what was shown stays


def _pictures(outputs: list) -> str:
    """The words of the pictures that the notebook keeps."""
    html = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    return "".join(base64.b64decode(found).decode() for found in re.findall(r"svg\+xml;base64,([^\"]+)", html))
