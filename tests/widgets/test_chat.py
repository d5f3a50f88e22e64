"""The chat without a browser: turns, tool calls that are decided on, the code it copies, and what its views hear."""

import json
import threading
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import pytest

import glmkit as gk
from glmkit.engine.answer import Completion, Usage
from glmkit.errors import RequestError
from glmkit.text import Delta, ToolCall, ToolCallDelta
from glmkit.widgets.chat_turns import ChatTurn
from widgets.views import heard, told

SETTINGS = {"max_tokens": 12, "temperature": 1.0, "seed": 3}


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


def slow(seconds: float) -> str:
    """Takes a while."""
    time.sleep(seconds)
    return "at last"


@dataclass
class Said:
    """A stream of one answer that is known beforehand."""

    completion: Completion

    def __iter__(self):
        if self.completion.reasoning:
            yield Delta(reasoning=self.completion.reasoning)
        if self.completion.content:
            yield Delta(content=self.completion.content)
        for index, call in enumerate(self.completion.tool_calls):
            yield Delta(tool_calls=(ToolCallDelta(index, call.id, call.name, json.dumps(call.arguments), True),))

    def stop(self):
        pass


@pytest.fixture
def scripted(lm, monkeypatch):
    """Has the model say these, one after the other: texts, or lists of calls. What it was asked is in the list."""
    asked = []

    def script(*answers):
        left = list(answers)

        def chat(messages, **settings):
            asked.append((messages, settings))
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return Said(said(answer, len(asked)))

        monkeypatch.setattr(lm, "chat", chat)
        return asked

    return script


def said(answer, number) -> Completion:
    if isinstance(answer, str):
        message = {"role": "assistant", "content": answer, "reasoning_content": "hm"}
        return Completion(answer, "hm", (), "stop", Usage(9, 4, 1), 0, "p", (1, 2), message=message)
    calls = tuple(ToolCall(name, given, f"c{number}_{place}") for place, (name, given) in enumerate(answer))
    told = [
        {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": json.dumps(c.arguments)}}
        for c in calls
    ]
    message = {"role": "assistant", "content": None, "tool_calls": told}
    return Completion("", "", calls, "tool_calls", Usage(9, 4, 0), 0, "p", (1, 2), message=message)


def until_pending(chat):
    chat.wait(60)
    assert chat.pending is not None
    return chat.pending


def test_a_turn_is_what_lm_chat_says_and_its_run_has_its_routes(lm):
    chat = heard(gk.widgets.Chat(lm, thinking="forced", **SETTINGS))
    chat.ask("hi")
    chat.wait()
    expected = lm.chat("hi", thinking="forced", **SETTINGS)
    (turn,) = chat.turns
    assert turn.completion.tokens == expected.tokens
    assert (turn.reasoning, turn.content, turn.mode) == (expected.reasoning, expected.content, "forced")
    assert chat.messages == [{"role": "user", "content": "hi"}, expected.message]
    assert "".join(piece["reasoning"] for piece in told(chat, "stream")) == expected.reasoning
    run = chat.run
    prompt = lm.tokenizer.encode(lm.prompt("hi", thinking="forced"))
    assert run.tokens.id.tolist() == [*prompt, *expected.tokens]
    assert run.routing.ids.shape[0] == len(run)
    assert run.tokens.phase[len(prompt)] == "think"
    probe = chat.open_probe(0)
    probe.change("ablate", 1, int(run.routing.load()[0].argmax()))
    probe.regenerate()
    probe.wait()
    assert probe.alternative.tokens.id[: len(prompt)].tolist() == prompt
    assert probe._generate(probe._x, None, probe._settings).tokens.id.tolist() == run.tokens.id.tolist()
    assert run.tokens.phase.count("prompt") == len(prompt)
    assert told(chat, "probe")[-1] == {**told(chat, "probe")[-1], "turn": 0, "model": probe.model_id}
    clicked = []
    for _ in range(2):
        chat._receive(None, {"kind": "probe", "turn": 0}, [])
        chat.wait()
        clicked.append(chat.probe)
    assert [opened.comm is None for opened in (probe, *clicked)] == [False, True, False]  # the one that was replaced
    chat.ask("more", thinking="disabled")
    chat.wait()
    assert [turn.mode for turn in chat.turns] == ["forced", "disabled"]
    assert chat.turns[1].messages == (*chat.messages[:2], {"role": "user", "content": "more"})
    chat.select(0)
    assert chat.run is run
    chat.take_back()
    assert (len(chat.turns), len(chat.messages), chat.selection.turn) == (1, 2, None)


def test_turns_are_made_with_what_is_in_use(lm):
    other = gk.widgets.Chat(lm, "hi", thinking="disabled", **SETTINGS)
    assert str(other.interventions) == ""
    expert = int(other.run.routing.load()[0].argmax())
    other._runs.clear()
    chat = gk.widgets.Chat(lm, thinking="disabled", **SETTINGS)
    plan = gk.ablate(layer=1, expert=expert)
    with lm.using(plan):
        chat.ask("hi")
        chat.wait()
        expected = lm.chat("hi", thinking="disabled", **SETTINGS)
        assert str(chat.interventions) == str(plan)
        assert expert not in chat.run.routing.at(layer=1).ids
    assert chat.turns[0].completion.tokens == expected.tokens
    with pytest.warns(UserWarning, match="never held"), lm.using(plan), pytest.raises(RequestError, match="other"):
        other.run  # noqa: B018


def test_a_call_waits_and_is_made_with_the_arguments_that_were_approved(lm, scripted):
    asked = scripted([("add", {"a": 2, "b": 3})], "five")
    chat = heard(gk.widgets.Chat(lm, "2 + 3?", tools=[add]))
    card = until_pending(chat)
    assert (card.name, card.arguments) == ("add", {"a": 2, "b": 3})
    with pytest.raises(RequestError, match="decide on its call"):
        chat.ask("hello?")
    decide(chat, call=card.id, how="approve", value="[1")
    assert "not JSON" in told(chat, "state")[-1]["error"]
    assert chat.pending is card
    chat.approve({"a": 2, "b": 4})
    chat.wait()
    assert (card.state, card.result, card.edited) == ("done", "6", True)
    called, result = chat.messages[1:3]
    assert called["tool_calls"][0]["function"]["arguments"] == {"a": 2, "b": 4}  # as if the model had said so
    assert result == {"role": "tool", "content": "6", "tool_call_id": card.id}
    assert asked[1][0][1] == called
    assert chat.messages[-1]["content"] == "five"
    with pytest.raises(RequestError, match="no call waits"):
        chat.approve()


def decide(chat, **content) -> None:
    """As a button of a card does."""
    chat._receive(None, {"kind": "decide", "view": "a view", **content}, [])


def test_a_decision_is_about_one_call_and_no_other(lm, scripted):
    """Two views show a card; both decide on it, and the second is heard when the next call waits."""
    scripted([("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2})], "done")
    chat = heard(gk.widgets.Chat(lm, "go", tools=[add]))
    first = until_pending(chat).id
    assert chat.turns[0].message()["cards"][0]["id"] == first
    decide(chat, call=first, how="mock", value="7")
    second = until_pending(chat)
    decide(chat, call=first, how="decline", value="")
    assert chat.pending is second
    decide(chat, call=second.id, how="approve", value=None)
    chat.wait()
    decide(chat, call=second.id, how="decline", value="")
    assert [(card.state, card.result) for card in chat.turns[0].cards] == [("mocked", "7"), ("done", "4")]
    assert told(chat, "state")[-1]["error"] == ""


def test_calls_are_mocked_declined_and_fail_one_after_the_other(lm, scripted):
    scripted([("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2}), ("add", {"x": 3})], "done")
    chat = gk.widgets.Chat(lm, "go", tools=[add])
    until_pending(chat)
    chat.mock({"sum": 7})
    until_pending(chat)
    chat.decline("too easy")
    until_pending(chat)
    chat.approve()
    chat.wait()
    states = [card.state for card in chat.turns[0].cards]
    assert states == ["mocked", "declined", "failed"]
    contents = [message["content"] for message in chat.messages if message["role"] == "tool"]
    assert contents[:2] == ['{"sum": 7}', '{"error": "Declined: too easy"}']
    assert "TypeError" in contents[2]
    assert chat.messages[-1]["content"] == "done"


def test_calls_are_made_without_asking_where_that_was_chosen(lm, scripted):
    scripted([("add", {"a": 2, "b": 3})], "five", [("add", {"a": 1, "b": 1})], "two")
    chat = gk.widgets.Chat(lm, "2 + 3?", tools=[add], approve=False)
    assert chat.messages[-1]["content"] == "five"
    chat._receive(None, {"kind": "approves", "on": True}, [])
    chat.ask("and 1 + 1?")
    assert until_pending(chat).arguments == {"a": 1, "b": 1}
    chat.stop()
    chat.wait()


def test_a_tool_that_is_only_declared_is_served_by_run_or_mocked(lm, scripted):
    schema = gk.text.function_schema(add)
    scripted([("add", {"a": 2, "b": 3})], "five", [("add", {"a": 2, "b": 3})], "fünf")
    chat = gk.widgets.Chat(lm, "go", tools=[schema])
    until_pending(chat)
    with pytest.raises(RequestError, match="mock its result, or give run="):
        chat.approve()
    chat.mock("5")
    chat.wait()
    assert chat.messages[2]["content"] == "5"
    served = gk.widgets.Chat(lm, "go", tools=[schema], run=lambda name, given: [name, given], approve=False)
    assert served.messages[2]["content"] == '["add", {"a": 2, "b": 3}]'


def test_stop_is_heard_in_an_answer_a_decision_and_a_call(lm, scripted, endless):
    chat = heard(gk.widgets.Chat(lm, thinking="disabled", **SETTINGS))
    begun = threading.Event()
    chat.send = lambda content, buffers=None: begun.set() if content["kind"] == "stream" else None
    chat.ask("go on", max_tokens=250)
    assert begun.wait(60)
    stop(chat)
    assert chat.turns[0].completion.finish_reason == "interrupted"
    assert chat.messages[-1] == chat.turns[0].completion.message  # what came stays
    scripted([("slow", {"seconds": 60})], [("slow", {"seconds": 60}), ("slow", {"seconds": 60})])
    chat = gk.widgets.Chat(lm, "go", tools=[slow])
    until_pending(chat)
    stop(chat)
    assert "Stopped" in chat.messages[-1]["content"]
    chat._desk.approves = False
    chat.ask("again")
    deadline = time.monotonic() + 30
    while len(chat._turns) < 2 or [card.state for card in chat._turns[1].cards][:1] != ["runs"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stop(chat)
    assert [card.state for card in chat.turns[1].cards] == ["stopped", "stopped"]
    assert len(chat.messages) == 7  # both calls have a result: the conversation can go on


def stop(chat) -> None:
    """As its button does; what is stopped would go on for 60 seconds."""
    started = time.perf_counter()
    chat._receive(None, {"kind": "stop"}, [])
    chat.wait()
    assert time.perf_counter() - started < 30


def test_a_failure_is_said_and_can_be_gone_on_from(lm, scripted):
    scripted([("add", {"a": 1, "b": 1})], [("add", {"a": 1, "b": 1})], "two", "no")
    chat = heard(gk.widgets.Chat(lm, tools=[add], approve=False, max_turns=2))
    chat.ask("count")
    with pytest.raises(RequestError, match="2 turns with calls"):
        chat.wait()
    assert "go_on" in told(chat, "state")[-1]["error"]
    chat.go_on()
    chat.wait()
    assert chat.messages[-1]["content"] == "two"
    with pytest.raises(RequestError, match="nothing to answer"):
        chat.go_on()
    scripted(RequestError("too long"), "better")
    chat.ask("x")
    with pytest.raises(RequestError, match="too long"):
        chat.wait()
    chat.go_on()
    chat.wait()
    assert [message["role"] for message in chat.messages[-2:]] == ["user", "assistant"]


def test_a_view_is_told_everything_anew(lm, scripted):
    scripted("hello", [("add", {"a": 1, "b": 2})], "three")
    chat = heard(gk.widgets.Chat(lm, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
                                 tools=[add], approve=False))  # fmt: skip
    chat.ask("1 + 2?")
    chat.wait()
    chat.sent.clear()
    chat._receive(None, {"kind": "hello"}, [])
    assert [content["kind"] for content in chat.sent] == ["begin", "about", "conversation", "state"]
    conversation = told(chat, "conversation")[0]
    assert [item.get("role", item.get("turn")) for item in conversation["items"]] == ["system", "user", 0, "user", 1, 2]
    assert conversation["turns"][1]["cards"][0]["result"] == "3"
    chat._receive(None, {"kind": "prompt", "turn": 0, "view": "one"}, [])
    assert (told(chat, "prompt")[0]["text"], told(chat, "prompt")[0]["view"]) == ("p", "one")
    chat._receive(None, {"kind": "client", "client": "zai", "view": "two"}, [])
    assert told(chat, "client")[0]["view"] == "two"
    svg, png = chat.picture()
    ElementTree.fromstring(svg)
    assert "add(a=1, b=2): done 3" in svg
    assert png.startswith(b"\x89PNG")


def test_the_glmkit_code_gives_the_same_turn(lm, monkeypatch, capsys):
    chat = gk.widgets.Chat(lm, "hi", tools=[add], thinking="disabled", tool_choice="none", max_tokens=9)
    monkeypatch.setattr(gk, "load", lambda name: {"tiny": lm}[name])
    names = {}
    exec(chat.code(), names)
    assert names["done"].tokens == chat.turns[0].completion.tokens


def test_a_thought_is_timed_from_its_first_word_to_its_last():
    turn = ChatTurn(0, (), {}, "enabled")
    for delta, now in ((Delta(reasoning="a"), 5.0), (Delta(reasoning="b"), 7.5), (Delta(content="c"), 9.0)):
        turn.feed(delta, now)
    assert (turn.seconds, turn.thinking, turn.reasoning, turn.content) == (2.5, False, "ab", "c")
    turn.feed(Delta(reasoning="d"), 20.0)  # once more, of which the first thought is part
    turn.feed(Delta(reasoning="e"), 21.0)
    assert turn.seconds == 3.5


def test_what_cannot_be_is_refused(lm):
    chat = gk.widgets.Chat(lm)
    bad = [
        (lambda: gk.widgets.Chat(lm, heat=1), "there is no setting heat"),
        (lambda: gk.widgets.Chat(lm, thinking="hard"), "thinking"),
        (lambda: gk.widgets.Chat(lm, tools=[lambda: 1]), "tool"),
        (lambda: gk.widgets.Chat(lm, [{"role": "assistant", "content": "hi"}]), "expected one of the user"),
        (lambda: gk.widgets.Chat(lm, max_turns=0), "max_turns"),
        (lambda: chat.ask("hi", tools=[]), "there is no setting tools"),
        (lambda: chat.select(3), "there is no turn 3"),
        (lambda: chat.code("curl"), "there is no client 'curl'"),
        (chat.take_back, "nothing was said yet"),
        (chat.go_on, "nothing to answer"),
        (chat.open_probe, "there is no turn"),
    ]
    for call, words in bad:
        with pytest.raises(RequestError, match=words):
            call()
    assert chat.run is None
    assert chat.messages == []
