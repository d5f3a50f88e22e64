"""The cache explorer as a person uses it: pages appear as others ask, are picked, and gone on from."""

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

MAKE = """import glmkit as gk
lm = gk.load("nano", max_len=1024)
story = "".join(f"Item {n} of the list costs {n * 7 % 100} coins. " for n in range(40))
prompt = lm.tokenizer.encode(lm.prompt(story + "What does item 3 cost?", thinking="disabled"))
explorer = gk.widgets.CacheExplorer(lm, prompt, max_tokens=24)
explorer"""
OTHERS = """other = story[:600] + "This one is about something else. " * 40
for question in ("What is it about?", "How many items are there?"):
    lm.chat(other + question, max_tokens=8, thinking="disabled", temperature=0)"""
READ = """picked, requests = explorer.selection, explorer.requests
print([len(picked.context), picked.request, [request.kept for request in requests],
       requests[-1].completion.usage.cached_tokens, requests[-1].answer, len(explorer.run)])"""


@pytest.fixture
def explorer(lab: LabPage, notebooks: Path) -> Locator:
    """An explorer of glm-nano, then a cell in which others ask, and one that reads it."""
    return opened(lab, notebooks, MAKE, OTHERS, READ, "lm.close()")


def test_pages_are_seen_picked_and_gone_on_from(lab, explorer, screenshots):
    page = lab.page
    cells = explorer.locator(".gp-branches .gp-page-cell")
    expect(cells.first).to_be_visible(timeout=20_000)
    before = cells.count()
    lab.run_cell(1, RUN_SECONDS)
    expect(explorer.locator(".gp-below").first).to_be_visible(timeout=20_000)  # there is a fork now
    assert cells.count() > before
    assert any(text not in ("", "0") for text in cells.all_inner_texts())  # the second of the others found pages
    cells.nth(1).click()
    expect(explorer.locator(".gp-page h3")).to_contain_text("Page")
    explorer.locator(".gp-token").nth(40).click()
    explorer.get_by_role("textbox", name="Text to go on with").fill(" And then, suddenly,")
    explorer.get_by_role("button", name="Continue here").click()
    fork = explorer.locator(".gp-request", has_text="fork of request 0")
    expect(fork).to_contain_text("written, ", timeout=RUN_SECONDS * 1000)
    context, request, kept, cached, answer, length = read(lab, 2)
    assert (request, kept[0], cached % 256, length > context) == (1, 0, 0, True)
    assert kept[1] == context
    assert context % 256 == 41
    assert cached == context - 41
    expect(fork).to_contain_text(answer.strip().split("\n")[0])
    explorer.get_by_role("button", name="Copy as Python").click()
    expect(explorer.locator(".gp-code")).to_contain_text("lm.complete(ids1")
    explorer.get_by_role("button", name="Cop").click()
    photograph(lab, explorer, screenshots, "cache_explorer")
    explorer.locator(".gp-branches").focus()
    for key in ("Home", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(explorer.locator(".gp-tokens")).to_be_focused(timeout=20_000)
    for key in ("Home", "ArrowRight"):
        page.keyboard.press(key)
    assert read(lab, 2)[0] == 258  # the second token of the second page
    explorer.get_by_role("button", name="Forget all").click()
    expect(cells).to_have_count(0, timeout=20_000)
    assert lab.complaints == []
    assert lab.console_errors == []


def test_it_is_told_anew_after_a_reload_and_a_reader_without_a_kernel_sees_the_picture(lab, explorer, notebooks):
    count = explorer.locator(".gp-branches .gp-page-cell").count()
    write_cell(lab, 1, "explorer._number += 1; explorer.post_state()")  # a message that the view misses
    lab.run_cell(1, RUN_SECONDS)
    expect(explorer.locator(".gp-branches .gp-page-cell")).to_have_count(count)
    saved(lab, notebooks)
    lose_kernel(lab)
    expect(explorer.locator(".gp-banner")).to_contain_text("The kernel has stopped", timeout=20_000)
    reopened_picture(lab)
