"""The thinking explorer as a person uses it: asked, stopped, cut, edited, read from the next cell, reopened."""

import ast
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from browser.lab_page import LabPage
from browser.widget_page import (
    RUN_SECONDS,
    lose_kernel,
    milliseconds_to_stop,
    opened,
    photograph,
    read,
    reopened_picture,
    saved,
    write_cell,
)

MAKE = """import glmkit as gk
lm = gk.load("nano", max_len=512)
explorer = gk.widgets.ThinkingExplorer(lm, "What is 345 + 678?", temperature=0.0)
explorer"""
READ = """picked = explorer.selection
print([picked.attempt, picked.mode, picked.token, explorer.run.completion.content.strip(), str(explorer.interventions),
       [[a.mode, a.origin, a.content, a.finish_reason, a.thought_tokens] for a in explorer.attempts]])"""


@pytest.fixture
def explorer(lab: LabPage, notebooks: Path) -> Locator:
    """One of glm-nano in a notebook, with a cell after it that reads it."""
    return opened(lab, notebooks, MAKE, READ, "lm.close()")


def card(explorer: Locator, mode: str, seed: int = 0) -> Locator:
    return explorer.get_by_role("article", name=f"{mode}, seed {seed}", exact=True)


def answers(place: Locator, text: str) -> None:
    """The card says this, sooner or later."""
    expect(place.locator(".gp-answer-text")).to_have_text(text, timeout=RUN_SECONDS * 1000)


def done(explorer: Locator) -> None:
    expect(explorer.locator(".gp-status")).to_be_hidden(timeout=RUN_SECONDS * 1000)


def test_a_thought_is_cut_and_edited_and_the_next_cell_reads_it(lab, explorer, screenshots):
    forced = card(explorer, "forced")
    expect(explorer.locator(".gp-card")).to_have_count(6)
    answers(forced, "1023")
    expect(forced.locator(".gp-timer")).to_contain_text("42 tokens")
    expect(card(explorer, "disabled").locator(".gp-none")).to_be_visible()
    forced.get_by_role("button", name="Prompt").click()
    expect(forced.locator(".gp-shown")).to_have_text("[gMASK]<sop><|user|>\nWhat is 345 + 678?<|assistant|>\n<think>")
    forced.get_by_role("button", name="Prompt").click()

    forced.locator(".gp-token").nth(19).click()
    expect(forced.locator(".gp-cut")).to_contain_text("after token 20 of 42")
    forced.get_by_role("button", name="Go on").first.click()
    answers(explorer.get_by_role("article", name="forced, seed 0, cut"), "1023")
    done(explorer)

    forced.get_by_role("button", name="Edit thought").click()
    text = forced.get_by_role("textbox", name="Thought, edited")
    thought = text.input_value()
    assert thought.endswith("→1023")
    text.fill(thought.replace("→1023", "→1923"))
    forced.get_by_role("button", name="Answer now").last.click()
    edited = explorer.get_by_role("article", name="forced, seed 0, edited")
    answers(edited, "1923")
    done(explorer)
    expect(edited.locator(".gp-origin")).to_have_text("edited and closed, from #4")
    attempt, mode, token, content, plan, attempts = read(lab, 1)
    assert (attempt, mode, token, content, plan) == (7, "forced", None, "1923", "")
    assert [row[:3] for row in attempts[6:]] == [["forced", "cut", "1023"], ["forced", "edited", "1923"]]

    explorer.get_by_role("button", name="Copy as Python").click()
    expect(explorer.locator(".gp-code").first).to_contain_text('lm.prompt(x, thinking="forced") + thought')
    explorer.get_by_role("button", name="Cop").click()
    forced.locator(".gp-token").nth(19).click()
    photograph(lab, explorer, screenshots, "thinking_explorer")
    assert lab.complaints == []
    assert lab.console_errors == []


def test_a_question_streams_with_a_budget_and_is_stopped(lab, explorer, screenshots):
    budget = explorer.get_by_role("slider", name="Thinking budget")
    budget.fill("4")
    expect(explorer.locator(".gp-budget output")).to_have_text("24 tokens")
    explorer.get_by_role("combobox", name="Examples").select_option(label="A long product")
    explorer.get_by_role("textbox", name="Seeds").fill("7")
    explorer.get_by_role("group", name="Modes").get_by_role("button", name="disabled").click()
    explorer.get_by_role("button", name="Run", exact=True).click()
    expect(card(explorer, "forced", 7)).to_contain_text("closed by the budget of 24", timeout=RUN_SECONDS * 1000)
    done(explorer)
    *_, attempts = read(lab, 1)
    assert [(mode, thought) for mode, _, _, _, thought in attempts] == [("enabled", 25), ("forced", 25)]
    expect(card(explorer, "forced", 7).locator(".gp-token.gp-forced")).to_have_count(1)

    budget.focus()
    lab.page.keyboard.press("End")
    expect(explorer.locator(".gp-budget output")).to_have_text("none")
    explorer.get_by_role("textbox", name="Seeds").fill("0, 1")
    explorer.get_by_role("textbox", name="Prompt").fill("Work out (84 - 37) * 6 + 158 - 49.")
    explorer.get_by_role("textbox", name="Prompt").press("Enter")
    expect(explorer.locator(".gp-timer.gp-ticking").first).to_be_visible(timeout=RUN_SECONDS * 1000)
    expect(explorer.locator(".gp-token").nth(12)).to_be_visible()
    explorer.screenshot(path=screenshots / "thinking_explorer_streaming.png")
    took = milliseconds_to_stop(lab)
    print(f"stopped {took:.0f} ms after the button was pressed")
    assert took < 2000  # 200 ms on a machine that does nothing else
    *_, attempts = read(lab, 1)
    assert "interrupted" in {finish for *_, finish, _ in attempts}
    assert lab.complaints == []
    assert lab.console_errors == []


def test_keys_cut_and_edit_and_a_missed_message_is_made_up_for(lab, explorer):
    forced = card(explorer, "forced")
    forced.locator(".gp-tokens").focus()
    for key in ("Home", "ArrowRight", "ArrowRight"):
        lab.page.keyboard.press(key)
    expect(forced.locator(".gp-cut")).to_contain_text("after token 3 of 42")
    lab.page.keyboard.press("Escape")
    expect(forced.locator(".gp-cut")).to_be_hidden()
    card(explorer, "disabled").get_by_role("button", name="Pick").press("Enter")
    expect(card(explorer, "disabled").get_by_role("button", name="Pick", pressed=True)).to_be_focused()
    assert read(lab, 1)[:2] == [2, "disabled"]
    forced.get_by_role("button", name="Edit thought").press("Enter")
    lab.page.keyboard.press("Escape")
    expect(forced.get_by_role("button", name="Edit thought")).to_be_focused()
    lab.page.keyboard.press("Enter")
    forced.get_by_role("textbox", name="Thought, edited").fill("345+678\n5+8=13→3\n")
    lab.page.keyboard.press("Control+Enter")
    answers(explorer.get_by_role("article", name="forced, seed 0, edited"), "1023")
    done(explorer)
    lab.page.evaluate("() => document.querySelectorAll('.gp-name')[0].textContent = 'stale'")
    write_cell(lab, 1, "explorer._number += 1; explorer.post_state()")
    lab.run_cell(1, RUN_SECONDS)
    expect(explorer.locator(".gp-name")).to_have_text("nano")
    expect(explorer.locator(".gp-card")).to_have_count(7)
    assert lab.console_errors == []


def test_without_its_kernel_it_says_so_and_its_notebook_keeps_a_picture(lab, explorer, notebooks):
    saved(lab, notebooks)
    lose_kernel(lab)
    expect(explorer.locator(".gp-banner")).to_contain_text("The kernel has stopped", timeout=20_000)
    expect(explorer.locator(".gp-token").first).to_be_visible()  # what was shown stays
    reopened_picture(lab)


def test_two_on_one_engine_at_once(lab, notebooks):
    more = "other = gk.widgets.ThinkingExplorer(lm, modes=['forced'], seeds=[0])\nother"
    opened(lab, notebooks, MAKE, more, "print([a.content for a in (*explorer.attempts, *other.attempts)])")
    lab.run_cell(1, RUN_SECONDS)
    first, second = lab.page.locator(".gp-thinking").first, lab.page.locator(".gp-thinking").nth(1)
    second.get_by_role("textbox", name="Prompt").fill("What is 27 + 58?")
    first.get_by_role("textbox", name="Prompt").fill("What is 41 + 33?")
    for widget in (second, first):
        widget.get_by_role("button", name="Run", exact=True).click()
    for widget in (second, first):
        expect(widget.locator(".gp-card").last.locator(".gp-answer-text")).to_have_text(
            re.compile(r"^(85|74)$"), timeout=RUN_SECONDS * 1000
        )
        done(widget)
    lab.run_cell(2, RUN_SECONDS)
    contents = ast.literal_eval(lab.output(2))
    assert contents[-1] == "85"
    assert contents[4] == "74"
    assert lab.console_errors == []
