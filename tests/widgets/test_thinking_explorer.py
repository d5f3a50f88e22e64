"""The thinking explorer without a browser: its answers, what goes on from them, what it tells its views."""

import threading
import time
import xml.etree.ElementTree as ElementTree

import pytest

import glmkit as gk
from glmkit.errors import RequestError
from glmkit.runs import PHASES
from glmkit.widgets.attempts import Turn
from tiny import tokenizer
from widgets.views import heard

SETTINGS = {"max_tokens": 24, "temperature": 1.0}
FORCED = {"modes": ["forced"], "seeds": [14]}


@pytest.fixture
def explorer(lm):
    return heard(gk.widgets.ThinkingExplorer(lm, "hi", **FORCED, **SETTINGS))


def continued(explorer, *, close=False, **where):
    explorer.cut(**where, close=close)
    explorer.wait()
    return explorer.attempts[-1]


def test_every_mode_and_seed_is_what_lm_run_gives(lm):
    explorer = gk.widgets.ThinkingExplorer(lm, "hi", seeds=(1, 5), budget=4, **SETTINGS)
    asked = [(mode, seed) for mode in ("enabled", "disabled", "forced") for seed in (1, 5)]
    assert [(attempt.mode, attempt.seed) for attempt in explorer.attempts] == asked
    for attempt in explorer.attempts:
        budget = None if attempt.mode == "disabled" else 4
        run = lm.run("hi", thinking=attempt.mode, seed=attempt.seed, budget=budget, **SETTINGS)
        assert attempt.run.tokens.id.tolist() == run.tokens.id.tolist()
        assert attempt.content == run.completion.content
        assert attempt.reasoning == run.completion.reasoning
        assert attempt.completion.prompt == lm.tokenizer.decode(attempt.prompt)
        assert attempt.message(lm.tokenizer)["prompt"] == lm.prompt("hi", thinking=attempt.mode)
    forced = explorer.attempts[4]
    assert forced.thought_tokens == 5  # the budget's, and the newline before </think>
    assert [PHASES[code] for code in forced.phases()] == ["think"] * 4 + ["forced"]
    assert explorer.attempts[2].thought_tokens == 0


def test_its_state_is_for_the_next_cell(explorer, lm):
    assert explorer.selection == gk.widgets.thinking_explorer.ThinkingSelection(0, "forced", 14, None)
    first = explorer.attempts[0].turn.first
    assert explorer.run.tokens.phase[first] == "think"
    assert explorer.run.routing.ids.shape[0] == len(explorer.run)
    explorer.select(0, token=first + 2)
    assert explorer.selection.token == first + 2
    assert str(explorer.interventions) == ""
    plan = gk.ablate(layer=1, expert=int(explorer.run.routing.load()[0].argmax()))
    explorer.interventions = plan
    explorer.ask("hi")
    explorer.wait()
    expected = lm.run("hi", thinking="forced", seed=14, interventions=plan, **SETTINGS)
    assert explorer.run.interventions == str(explorer.interventions) == str(plan)
    assert explorer.run.tokens.id.tolist() == expected.tokens.id.tolist()
    explorer.interventions = None
    assert str(explorer.interventions) == ""


def test_a_thought_that_is_cut_goes_on_as_it_did(explorer):
    """Tokens are drawn by seed and position: what nothing has changed comes once more."""
    source = explorer.attempts[0]
    explorer.select(0, token=source.turn.first + 3)
    cut = continued(explorer)
    assert (cut.source, cut.origin, cut.seed) == (0, "cut", 14)
    assert cut.prompt == tuple(source.turn.ids[: source.turn.first + 4])
    assert cut.turn.given == 4
    room = len(source.turn.ids)
    assert cut.turn.ids[:room] == source.turn.ids
    assert [PHASES[code] for code in cut.phases()][:5] == ["prompt"] * 4 + ["think"]
    assert explorer.selection.attempt == 1  # what came last is picked
    assert explorer.run is cut.run


def test_a_thought_can_end_where_it_is_cut(explorer, lm):
    closed = continued(explorer, attempt=0, token=explorer.attempts[0].turn.first, close=True)
    assert closed.closed
    assert closed.prompt[-1] == lm.tokenizer.token_id("</think>")
    assert closed.thought_tokens == 1
    assert not closed.turn.thinking
    before_all = continued(explorer, attempt=0, token=explorer.attempts[0].turn.first - 1)
    assert before_all.turn.ids[: len(explorer.attempts[0].turn.ids)] == explorer.attempts[0].turn.ids


def test_an_edited_thought_becomes_the_start_of_the_turn(explorer, lm):
    explorer.edit("two and two", close=True)
    explorer.wait()
    edited = explorer.attempts[1]
    prompt = "[gMASK]<sop><|user|>\nhi<|assistant|>\n<think>two and two</think>"
    assert edited.message(lm.tokenizer)["prompt"] == prompt
    assert edited.run.completion.prompt == prompt
    assert edited.reasoning == "two and two"
    expected = lm.run(lm.tokenizer.encode(prompt), seed=14, **SETTINGS)
    assert edited.run.tokens.id.tolist() == expected.tokens.id.tolist()
    explorer.edit("another", attempt=1)
    explorer.wait()
    assert explorer.attempts[2].source == 1
    assert explorer.attempts[2].reasoning.startswith("another")


def test_what_holds_by_phase_holds_for_no_thought_that_is_given(explorer, lm):
    first, plan = explorer.attempts[0].turn.first, gk.scale_shared(0.5, tokens="think")
    explorer.interventions = plan
    with pytest.raises(RequestError, match=r"tokens=think\): a thought that is cut is given .* as part of the prompt"):
        explorer.cut(first, attempt=0)
    explorer.interventions = gk.scale_shared(0.5, tokens=range(60))
    with lm.using(plan):
        lm.run("hi", thinking="forced", max_tokens=2)  # it holds for what is written
        with pytest.raises(RequestError, match="a thought that is edited is given"):
            explorer.edit("so", attempt=0)
    assert continued(explorer, attempt=0, token=first).run.interventions == str(explorer.interventions)


def test_a_thought_can_be_written_for_an_answer_that_had_none(lm):
    explorer = gk.widgets.ThinkingExplorer(lm, "hi", modes=["disabled"], seeds=[0], **SETTINGS)
    explorer.edit("well", close=True)
    explorer.wait()
    written = explorer.attempts[1]
    assert written.mode == "forced"
    assert "/nothink" not in written.message(lm.tokenizer)["prompt"]


def test_the_code_it_copies_leads_to_the_same_run(lm, monkeypatch, capsys):
    explorer = gk.widgets.ThinkingExplorer(lm, "hi", seeds=[2], modes=["disabled", "forced"], budget=8, **SETTINGS)
    explorer.edit("so be it", attempt=1)
    explorer.wait()
    continued(explorer, attempt=2, token=explorer.attempts[2].turn.first + 1, close=True)
    monkeypatch.setattr(gk, "load", lambda name: {"tiny": lm}[name])
    for number, attempt in enumerate(explorer.attempts):
        explorer.select(number)
        names = {}
        exec(explorer._code, names)
        assert names["run"].tokens.id.tolist() == attempt.run.tokens.id.tolist()
    assert 'thinking="forced"' in explorer._code
    assert "ThinkingExplorer" in gk.widgets.ThinkingExplorer(lm)._code


def test_views_are_told_all_in_numbered_messages_that_may_overlap(explorer):
    explorer.ask("go on", seeds=[0, 1], max_tokens=60)
    explorer._receive(None, {"kind": "hello"}, [])  # from a view that opens meanwhile
    explorer.wait()
    numbers = [content["number"] for content in explorer.sent]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    shown = {}
    for content in explorer.sent:  # as the view does it
        if content["kind"] == "attempts":
            shown = {told["number"]: told for told in content["attempts"]}
        for piece in content.get("pieces", ()):
            told = shown.get(piece["number"])
            if told is None or piece["thought_at"] > len(told["thought"]) or piece["rest_at"] > len(told["rest"]):
                continue
            for part in ("thought", "rest"):
                told[part] = told[part][: piece[f"{part}_at"]] + piece[part]
        for told in content.get("over", ()):
            before = shown[told["number"]]
            assert told["thought"][: len(before["thought"])] == before["thought"]
            shown[told["number"]] = told
    for attempt in explorer.attempts:
        assert shown[attempt.number] == attempt.message(explorer._lm.tokenizer)
        if "<tool_call>" not in attempt.turn.text:  # it is seldom one, from a model that has learned nothing
            assert "".join(shown[attempt.number]["thought"]).strip("\n") == attempt.reasoning


def test_answers_that_come_together_are_few_messages(lm):
    explorer = heard(gk.widgets.ThinkingExplorer(lm))
    began = time.monotonic()
    explorer.ask("hi", seeds=range(4), max_tokens=60)
    explorer.wait()
    took = time.monotonic() - began
    assert sum(content["kind"] == "stream" for content in explorer.sent) <= 26 * took + 2


def test_stop_ends_all_of_them_and_keeps_what_came(lm):
    explorer = gk.widgets.ThinkingExplorer(lm)
    begun = threading.Event()
    explorer.send = lambda content, buffers=None: begun.set() if content["kind"] == "stream" else None
    explorer.ask("go on", max_tokens=150)
    assert begun.wait(120)
    with pytest.raises(RequestError, match="still goes on"):
        explorer.ask("something else")
    with pytest.raises(RequestError, match="still goes on"):
        explorer.edit("x")
    explorer._receive(None, {"kind": "stop"}, [])
    stopped = time.monotonic()
    assert {attempt.finish_reason for attempt in explorer.attempts} <= {"interrupted", "stop"}
    assert time.monotonic() - stopped < 2  # 0.2 s on a machine that does nothing else
    assert explorer.error is None
    explorer.wait()
    assert explorer.picture() is not None


def test_two_explorers_on_one_model_at_once(lm):
    pair = [gk.widgets.ThinkingExplorer(lm, text, modes=["forced"], **SETTINGS) for text in ("a", "b")]
    alone = [[attempt.turn.ids for attempt in explorer.attempts] for explorer in pair]
    for explorer, text in zip(pair, ("a", "b"), strict=True):
        explorer.ask(text)
    assert [[attempt.turn.ids for attempt in explorer.attempts] for explorer in pair] == alone


def test_what_fails_is_said_at_its_answer_and_to_whoever_waits(explorer):
    explorer.ask("hi", max_tokens=24, top_p=7.0)
    with pytest.raises(RequestError, match="top_p"):
        explorer.wait()
    assert "top_p" in explorer.attempts[0].message(explorer._lm.tokenizer)["error"]
    assert explorer.attempts[0].finish_reason == "error"
    assert explorer.picture() is not None
    explorer._receive(None, {"kind": "cut", "attempt": 0, "token": 3, "close": False}, [])
    assert "no thought to cut" in explorer.sent[-1]["error"]


def test_what_cannot_be_is_refused(explorer, lm):
    thought = explorer.attempts[0].turn
    last = thought.first + len(thought.thought) - 1
    bad = [
        (lambda: explorer.ask("hi", modes=["sometimes"]), "thinking: expected"),
        (lambda: explorer.ask("hi", modes=[]), "modes is empty"),
        (lambda: explorer.ask("hi", seeds=[]), "seeds is empty"),
        (lambda: explorer.ask("hi", seeds=range(65)), "at most 64"),
        (lambda: explorer.ask("hi", budget=-1), "budget is -1"),
        (lambda: explorer.ask("hi", max_tokens=0), "max_tokens is 0"),
        (lambda: explorer.ask("hi", seed=3), "seed is 3; expected seeds="),
        (lambda: gk.widgets.ThinkingExplorer(lm, thinking="forced"), "expected modes="),
        (lambda: explorer.ask("hi", max_token=3), "did you mean max_tokens"),
        (lambda: explorer.select(7), "there is no attempt 7"),
        (lambda: explorer.select(0, token=last + 1), f"steps {thought.first} to {last}"),
        (explorer.cut, "no token is picked"),
        (lambda: gk.widgets.ThinkingExplorer(lm).edit("x"), "there is no attempt 0"),
    ]
    for call, words in bad:
        with pytest.raises(RequestError, match=words):
            call()
    assert explorer.attempts[0].turn is thought


def test_examples_bring_their_system_prompt(explorer, lm):
    keeper = next(example for example in gk.examples.of("characters") if example.system)
    explorer.ask(keeper, max_tokens=2)
    explorer.wait()
    assert explorer.attempts[0].message(lm.tokenizer)["prompt"] == lm.prompt(keeper.messages, thinking="forced")
    explorer.snapshot()
    about = next(content for content in explorer.sent if content["kind"] == "about")
    assert (about["system"], about["asked"]) == (keeper.system, keeper.prompt)
    again = {"kind": "ask", "text": "hi", "system": "", "modes": ["disabled"], "seeds": [0], "budget": None}
    explorer._receive(None, again | {"max_tokens": 2, "temperature": None}, [])
    explorer.wait()
    assert explorer.attempts[0].message(lm.tokenizer)["prompt"] == lm.prompt("hi", thinking="disabled")


def test_what_a_notebook_saves_is_small_and_its_picture_is_readable(lm):
    explorer = gk.widgets.ThinkingExplorer(lm, "hi <&> there", seeds=range(9), **SETTINGS)
    svg, image = explorer.picture()
    words = " ".join(ElementTree.fromstring(svg).itertext())
    assert "27 answers of tiny, 24 of them shown" in words
    assert "hi <&> there" in words
    assert image.startswith(b"\x89PNG")
    saved = sum(len(str(value)) for value in explorer.get_state().values())
    assert saved + len(svg) * 4 / 3 + len(image) * 4 / 3 < 100_000
    assert gk.widgets.ThinkingExplorer(lm).picture() is None


def test_a_turn_is_cut_into_thought_and_rest_wherever_its_tags_stand():
    words = tokenizer()

    def turn(text, given=""):
        prompt = words.encode(f"<|user|>\nx<think><|assistant|>{given}")
        found = Turn(words, prompt)
        for token in words.encode(text):
            found.feed(token, 1.0)
        return found

    whole = turn("\n<think>ab</think>\nc")
    assert ("".join(whole.thought), "".join(whole.rest), whole.thinking) == ("ab", "\nc", False)
    assert whole.ids[whole.first : whole.first + 2] == words.encode("ab")
    begun = turn("b", given="\n<think>a")
    assert ("".join(begun.thought), begun.given, begun.thinking) == ("ab", 1, True)
    called = turn("<think>a<tool_call>f")
    assert ("".join(called.thought), "".join(called.rest)) == ("a", "<tool_call>f")
    assert turn("plain").first is None
