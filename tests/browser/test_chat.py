"""The chat as a person uses it: a thought unfolded, a call edited and approved, a turn opened in the probe."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from browser.lab_page import LabPage
from browser.widget_page import RUN_SECONDS, lose_kernel, opened, photograph, read, saved, write_cell

MAKE = """import glmkit as gk
def get_weather(city: str) -> str:
    "Get the weather in a city"
    return '{"city": "%s", "state": "rain"}' % city

lm = gk.load("nano", max_len=1024)
settings = {"tools": [get_weather], "max_tokens": 120, "temperature": 0}
chat = gk.widgets.Chat(lm, "What is 27 + 58?", tool_choice="none", thinking="forced", **settings)
chat"""
CALL = """chat.ask("What is the weather in Oslo?", tool_choice="required", thinking="disabled")"""
# Nothing ends an answer but its length, or somebody who stops it.
ENDLESS = "import dataclasses; lm.generation = dataclasses.replace(lm.generation, eos_token_id=())"
READ = """print([chat.selection.turn, len(chat.turns), chat.messages[-1]["role"],
       [card.state for turn in chat.turns for card in turn.cards], str(chat.interventions),
       len(chat.run), chat.probe is not None])"""


@pytest.fixture
def chat(lab: LabPage, notebooks: Path) -> Locator:
    """A chat with glm-nano, and cells that ask for a call and that read it."""
    opened(lab, notebooks, MAKE, CALL, READ, "lm.close()", height=1700)
    return lab.page.locator(".gp-chat.gp-live")


def say(chat: Locator, words: str) -> None:
    """Send it, and wait for the answer."""
    message = chat.get_by_role("textbox", name="Message")
    message.fill(words)
    message.press("Enter")


def test_a_conversation_with_a_thought_a_call_and_a_probe(lab, chat, screenshots):
    turns = chat.locator(".gp-turn")
    expect(turns.first).to_contain_text("seed", timeout=RUN_SECONDS * 1000)
    summary = turns.first.locator("summary")
    expect(summary).to_have_text(re.compile(r"Thought \d+\.\d s, \d+ tokens"))
    expect(turns.first.locator(".gp-thought-text")).to_be_hidden()
    summary.click()
    expect(turns.first.locator(".gp-thought-text")).to_contain_text("27")
    turns.first.get_by_role("button", name="Prompt").click()
    expect(turns.first.locator(".gp-prompt-text")).to_contain_text("<|user|>")
    turns.first.get_by_role("button", name="Prompt").click()

    lab.run_cell(1, RUN_SECONDS)
    card = chat.locator(".gp-call").first
    expect(card).to_contain_text("waits for you", timeout=RUN_SECONDS * 1000)
    arguments = card.get_by_role("textbox", name="Arguments, to be edited")
    assert json.loads(arguments.input_value()) == {"city": "Oslo"}
    arguments.fill('{"city": "Rome"}')
    card.scroll_into_view_if_needed()
    chat.screenshot(path=screenshots / "chat_call.png")
    card.get_by_role("button", name="Approve").click()
    expect(card).to_contain_text("called, arguments edited", timeout=20_000)
    expect(card).to_contain_text('"city": "Rome", "state": "rain"')
    expect(chat.locator(".gp-status")).to_be_hidden(timeout=RUN_SECONDS * 1000)
    chat.get_by_label("Thinking").select_option("disabled")
    say(chat, "What is the weather in Rome?")
    card = chat.locator(".gp-call").nth(1)
    card.get_by_role("textbox", name="Made-up result").fill("snow")
    card.get_by_role("button", name="Mock").click()
    expect(card).to_contain_text("→ snow", timeout=20_000)
    expect(chat.locator(".gp-status")).to_be_hidden(timeout=RUN_SECONDS * 1000)

    for client, words in (("zai", "ZaiClient("), ("openai", "OpenAI("), ("anthropic", "Anthropic(")):
        chat.get_by_role("button", name=client).click()
        expect(chat.locator("header + .gp-code")).to_contain_text(words)
    chat.get_by_role("button", name="Copy as Python").click()
    expect(chat.locator("header + .gp-code")).to_contain_text("lm.chat(messages")
    chat.get_by_role("button", name="Cop").first.click()

    turns.first.get_by_role("button", name="Pick").click()
    turns.first.get_by_role("button", name="Open in probe").click()
    opened = chat.locator(".gp-opened .gp.gp-live")
    expect(opened.locator(".gp-tokens")).to_contain_text("27 + 58", timeout=RUN_SECONDS * 1000)
    expect(chat.locator(".gp-status").first).to_be_hidden(timeout=RUN_SECONDS * 1000)
    picked, count, last, states, plan, length, probed = read(lab, 2)
    assert (picked, last, states, plan, probed) == (0, "assistant", ["done", "mocked"], "", True)
    assert count == 5
    assert length > 40
    photograph(lab, chat, screenshots, "chat")
    assert lab.complaints == []
    assert lab.console_errors == []


def test_stop_a_missed_message_and_a_kernel_that_is_gone(lab, chat, notebooks):
    write_cell(lab, 1, ENDLESS)
    lab.run_cell(1, RUN_SECONDS)
    chat.get_by_label("Tokens at most").fill("900")
    say(chat, "Tell me a long story about a ship.")
    expect(chat.locator(".gp-status")).to_contain_text("tokens", timeout=RUN_SECONDS * 1000)
    chat.get_by_role("button", name="Stop").click()
    expect(chat.locator(".gp-status")).to_be_hidden(timeout=5_000)
    expect(chat.locator(".gp-turn").last).to_contain_text("interrupted", timeout=5_000)
    write_cell(lab, 1, "chat._number += 1; chat.post_state()")
    lab.run_cell(1, RUN_SECONDS)
    expect(chat.locator(".gp-turn")).to_have_count(2)
    expect(chat.locator(".gp-by-user").last).to_contain_text("a long story")
    saved(lab, notebooks)
    lose_kernel(lab)
    view = lab.page.locator(".gp-chat.gp-live").first
    expect(view.locator(".gp-banner").last).to_contain_text("The kernel has stopped", timeout=20_000)
    assert lab.complaints == []
