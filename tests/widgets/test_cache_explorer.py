"""The cache explorer without a browser: the tree it tells of, forks, and what the next cell reads."""

import threading
import time
import xml.etree.ElementTree as ElementTree

import pytest

import glmkit as gk
from glmkit.engine.snapshot import CacheTree, KnownPage
from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.widgets.branches import branches, tree_message, words_of
from glmkit.widgets.cache_explorer import CacheSelection
from tiny import model, tokenizer
from widgets.views import heard, told

LONG = "".join(chr(97 + place * place % 26) for place in range(2 * PAGE + 20))  # a token for each letter
SETTINGS = {"max_tokens": 6}


@pytest.fixture
def explorer(lm):
    lm.engine.cache.clear()
    return quiet(gk.widgets.CacheExplorer(lm, lm.tokenizer.encode(LONG), **SETTINGS))


def quiet(explorer):
    """Heard, and without a thread that looks."""
    explorer._looks = threading.current_thread()
    return heard(explorer)


def tree_of(*paths: str) -> CacheTree:
    """Of pages of three tokens: each path names its pages by their letters."""
    places: dict[str, int] = {}
    pages = []
    for path in paths:
        for end in range(1, len(path) + 1):
            if path[:end] not in places:
                places[path[:end]] = len(pages)
                tokens = (1, 2, ord(path[end - 1]))
                pages.append(KnownPage(0, len(pages), places.get(path[: end - 1]), tokens, end, 0, len(pages)))
    return CacheTree(3, 10, 8, 8 - len(pages), tuple(pages), ())


def test_pages_without_a_fork_between_them_are_one_branch():
    tree = tree_of("abcd", "abx", "q")
    found = branches(tree)
    names = [["".join(chr(tree.pages[place].tokens[-1]) for place in branch.pages)][0] for branch in found]
    assert names == ["ab", "cd", "x", "q"]
    assert [(branch.parent, branch.depth) for branch in found] == [(None, 0), (0, 1), (0, 1), (None, 0)]
    assert [branch.common for branch in found] == [2, 2, 2, 2]
    few = branches(tree, most=3)  # those used last that there is room for, with what they come after
    assert [len(branch.pages) for branch in few] == [2, 1]
    assert tree.pages[few[1].pages[0]].tokens[-1] == ord("q")
    assert tree_message(tree, words_of(tokenizer()))["left_out"] == 0


def test_a_fork_shares_the_pages_before_it_and_goes_on_as_the_model_does(explorer, lm):
    (first,) = explorer.requests
    tree = explorer.tree
    page = tree.pages[tree.find(first.ids)[1]].name
    explorer.select(page=page, token=99)
    assert explorer.selection == CacheSelection(page, 99, first.ids[: PAGE + 100])
    explorer.fork("go", temperature=0.7, seed=4)
    explorer.wait()
    fork = explorer.requests[1]
    assert (fork.kept, fork.source, fork.title) == (PAGE + 100, 0, f"fork of request 0 at token {PAGE + 100}")
    assert fork.prompt == first.ids[: PAGE + 100] + tuple(lm.tokenizer.encode("go"))
    assert fork.completion.usage.cached_tokens == PAGE
    expected = lm.complete(fork.prompt, max_tokens=6, temperature=0.7, seed=4)
    assert fork.completion.tokens == expected.tokens
    assert fork.answer == expected.content == "".join(piece["text"] for piece in told(explorer, "stream"))
    assert explorer.run.tokens.id.tolist() == list(fork.ids)
    explorer.select(page="r1", token=0)  # what of the fork is in no full page
    assert explorer.selection.context == fork.ids[: PAGE + 1]
    explorer.select(request=0)
    assert explorer.run.tokens.id.tolist() == list(first.ids)


def test_a_request_is_read_with_what_was_in_use_when_it_was_asked(explorer, lm):
    expert = int(explorer.run.routing.load()[0].argmax())
    with lm.using(gk.ablate(layer=1, expert=expert)):
        explorer.ask(lm.tokenizer.encode(LONG[:40]))
        explorer.wait()
    run = explorer.run
    assert expert not in run.routing.at(layer=1).ids
    assert run.tokens.phase.count("prompt") == 40
    explorer._runs.clear()
    with (
        pytest.warns(UserWarning, match="never held"),
        lm.using(gk.scale_shared(0.5)),
        pytest.raises(RequestError, match="request 1 was made with other interventions"),
    ):
        explorer.run  # noqa: B018


def test_pages_of_a_request_are_those_of_what_was_in_use(explorer, lm):
    """The same tokens three times, each with pages of its own, and once more what was in use first."""
    ids, plans = lm.tokenizer.encode(LONG), [gk.scale_shared(by) for by in (0.5, -1.0)]
    for plan in (*plans, plans[0]):
        with lm.using(plan):
            explorer.ask(ids)
            explorer.wait()
    explorer._post_requests()
    names = [tuple(request["names"]) for request in told(explorer, "requests")[-1]["requests"]]
    assert [len(own) for own in names] == [2] * 4
    assert len(set(names)) == 3
    assert names[1] == names[3]
    tree = explorer.tree
    hits = {page.name: page.hits for page in tree.pages}
    assert [[hits[name] for name in own] for own in names[:3]] == [[0, 0], [1, 1], [0, 0]]
    for request, own in zip(explorer.requests, names, strict=True):
        assert tuple(tree.pages[place].name for place in tree.find(ids, request.scope)) == own
    plain = [branch for branch in tree_message(tree, lambda tokens: str(len(tokens)))["branches"] if branch["plain"]]
    assert [branch["names"] for branch in plain] == [list(names[0])]
    assert plain[0]["common"] == 0  # with no other of its own
    lm.engine.cache.clear()
    with lm.using(plans[0]):
        explorer.fork(context=ids[:PAGE])
        explorer.wait()
    explorer.select(page="r4", token=3)  # after the page that it computed
    assert explorer.selection.context == explorer.requests[4].ids[: PAGE + 4]
    with lm.using(gk.scale_shared(0.5, tokens="prompt")):  # by phase: its pages are its own, and gone with it
        explorer.ask(ids)
        explorer.wait()
    assert explorer._request_message(explorer.requests[5])["names"] == []


def test_the_code_it_copies_asks_the_same(explorer, lm, monkeypatch, capsys):
    explorer.fork("go", context=explorer.requests[0].ids[:300])
    explorer.wait()
    explorer.fork(context=explorer.requests[1].ids[:301])
    explorer.wait()
    explorer.ask("another", thinking="disabled")
    explorer.wait()
    monkeypatch.setattr(gk, "load", lambda name: {"tiny": lm}[name])
    for picked in (2, 3):
        explorer.select(request=picked)
        names = {}
        exec(explorer._code, names)
        assert names[f"done{picked}"].tokens == explorer.requests[picked].completion.tokens
    assert "done3" in explorer._code
    assert "done1" not in explorer._code


def test_a_view_is_told_the_tree_and_the_tokens_of_a_page(explorer):
    explorer._receive(None, {"kind": "hello"}, [])
    assert [content["kind"] for content in explorer.sent] == ["begin", "about", "tree", "requests", "state"]
    tree = explorer.tree
    (branch,) = told(explorer, "tree")[0]["branches"]
    assert branch["names"] == [tree.pages[place].name for place in tree.find(explorer.requests[0].ids)]
    assert branch["text"] == LONG[:48]
    (request,) = told(explorer, "requests")[0]["requests"]
    assert request["names"] == branch["names"]
    assert request["tail"] == 20 + 6
    explorer._receive(None, {"kind": "page", "page": branch["names"][1], "view": "one"}, [])
    page = told(explorer, "page")[0]
    assert ("".join(page["text"]), page["start"], page["view"]) == (LONG[PAGE : 2 * PAGE], PAGE, "one")
    explorer._receive(None, {"kind": "clear"}, [])
    assert told(explorer, "tree")[-1]["known"] == 0
    assert told(explorer, "requests")[-1]["requests"][0]["names"] == []


def test_it_looks_by_itself_while_others_ask(explorer, lm):
    explorer._looks = None
    explorer._receive(None, {"kind": "hello"}, [])
    lm.complete([5] * 300, max_tokens=2)
    deadline = time.monotonic() + 60
    while not any(content["known"] == 3 for content in told(explorer, "tree")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    explorer._viewed -= 3600  # nobody has said for an hour that he is there
    explorer._looks.join(60)
    assert not explorer._looks.is_alive()
    explorer._receive(None, {"kind": "ping"}, [])
    looks = explorer._looks
    assert looks.is_alive()
    explorer.close()
    looks.join(60)
    assert not looks.is_alive()


def test_stop_is_heard_and_two_explorers_do_not_disturb_each_other(explorer, lm, endless):
    other = quiet(gk.widgets.CacheExplorer(lm, max_tokens=6))
    begun = threading.Event()
    explorer.send = lambda content, buffers=None: begun.set() if content["kind"] == "stream" else None
    explorer.ask("go on", max_tokens=400)
    other.ask(lm.tokenizer.encode(LONG))
    assert begun.wait(60)
    with pytest.raises(RequestError, match="still goes on"):
        explorer.ask("something else")
    explorer._receive(None, {"kind": "stop"}, [])
    explorer.wait()
    assert explorer.requests[-1].completion.finish_reason == "interrupted"
    other.wait()
    assert other.requests[0].completion.tokens == explorer.requests[0].completion.tokens


def test_what_cannot_be_is_refused(explorer, lm):
    bad = [
        (lambda: explorer.select(page="9:9"), "there is no page '9:9'"),
        (lambda: explorer.select(page="r7"), "there is no page 'r7'"),
        (lambda: explorer.select(token=3), "token is 3"),
        (lambda: explorer.select(request=5), "there is no request 5"),
        (lambda: quiet(gk.widgets.CacheExplorer(lm)).fork("x"), "nothing to go on from"),
        (lambda: explorer.fork("x", context=[3], tokens=4), "there is no setting tokens"),
        (lambda: gk.widgets.CacheExplorer(lm, heat=1), "there is no setting heat"),
        (lambda: gk.widgets.CacheExplorer(lm, "x" * 700), "context"),
    ]
    for call, words in bad:
        with pytest.raises(RequestError, match=words):
            call()
    explorer.ask("x" * 700)
    with pytest.raises(RequestError, match="context"):
        explorer.wait()
    assert "RequestError" in told(explorer, "state")[-1]["error"]


def test_its_picture_has_the_tree_and_its_state_no_bulk(explorer):
    svg, png = explorer.picture()
    ElementTree.fromstring(svg)
    assert "2 pages known, 512 tokens" in svg
    assert png.startswith(b"\x89PNG")
    assert sum(len(str(value)) for value in explorer.get_state().values()) + len(svg) < 100_000


def test_a_model_that_was_closed_is_said():
    lm = LM(model(), tokenizer(), max_len=600, name="tiny")
    explorer = quiet(gk.widgets.CacheExplorer(lm))
    explorer._looks = None
    lm.close()
    explorer._receive(None, {"kind": "hello"}, [])
    deadline = time.monotonic() + 30
    while told(explorer, "about")[-1]["live"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "was closed" in told(explorer, "about")[-1]["note"]
    with pytest.raises(RequestError, match="closed"):
        explorer.tree  # noqa: B018
