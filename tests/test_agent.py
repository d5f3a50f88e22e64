"""The tool loop, with a model whose turns are known beforehand."""

import json
from typing import Any

import pytest

from glmkit.agent import AgentStep, run_agent
from glmkit.engine.answer import Completion
from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.text import ToolCall
from tiny import one_layer as model, tokenizer


class Turns:
    """Gives one answer after the other, and keeps what it was asked."""

    def __init__(self, *answers: str | list[tuple[str, dict[str, Any]]]):
        self._answers, self.asked = list(answers), []

    def __call__(self, messages, **settings) -> Completion:
        self.asked.append((messages, settings))
        answer = self._answers.pop(0)
        if isinstance(answer, str):
            return Completion(content=answer, message={"role": "assistant", "content": answer})
        calls = tuple(ToolCall(name, given, f"id_{name}") for name, given in answer)
        return Completion(
            tool_calls=calls,
            finish_reason="tool_calls",
            message={"role": "assistant", "content": None, "tool_calls": []},
        )


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


def divide(a: float, b: float) -> float:
    """One number by another."""
    return a / b


def test_each_turn_is_a_step_and_hears_what_its_calls_gave():
    turns = Turns([("add", {"a": 2, "b": 3}), ("divide", {"a": 1, "b": 2})], "It is 5 and 0.5.")
    first, last = run_agent(turns, "sums", [add, divide], temperature=0.5)
    assert [result.content for result in first.results] == ["5", "0.5"]
    assert not first.done
    assert last.done
    assert last.completion.content == "It is 5 and 0.5."
    roles = [message["role"] for message in last.messages]
    assert roles == ["user", "assistant", "tool", "tool", "assistant"]
    assert last.messages[2]["tool_call_id"] == "id_add"
    (_, settings), (heard, _) = turns.asked
    assert settings["temperature"] == 0.5
    assert [tool["function"]["name"] for tool in settings["tools"]] == ["add", "divide"]
    assert heard == last.messages[:-1]


def test_what_a_tool_raises_is_told_and_the_loop_goes_on():
    first, last = run_agent(Turns([("divide", {"a": 1, "b": 0})], "Not by zero."), "1/0?", [divide])
    (result,) = first.results
    assert isinstance(result.error, ZeroDivisionError)
    assert json.loads(result.content) == {"error": "ZeroDivisionError: division by zero"}
    assert last.done


def test_a_result_that_is_no_json_is_told_as_an_error():
    def clock() -> Any:
        return {1, 2}

    first, _ = run_agent(Turns([("clock", {})], "Sorry."), "time?", [clock])
    assert "not JSON serializable" in first.results[0].content


def test_tools_that_are_schemas_are_run_by_name():
    schema = {"name": "search", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}
    ran = []

    def run(name: str, arguments: dict) -> dict:
        ran.append((name, arguments))
        return {"hits": ["\u5bb6"]}

    first, _ = run_agent(Turns([("search", {"q": "x"})], "Found."), "look", [schema, add], run=run)
    assert ran == [("search", {"q": "x"})]
    assert first.results[0].content == '{"hits": ["\u5bb6"]}'
    with pytest.raises(RequestError, match=r"'search'.*run="):
        run_agent(Turns(), "look", [schema])


def test_a_call_that_is_demanded_is_demanded_once_for_what_the_user_says():
    sums = ([("add", {"a": 2, "b": 3})], "5")
    turns = Turns(*sums, *sums)
    (*_, last) = run_agent(turns, "2+3", [add], tool_choice="required")
    (*_, last) = run_agent(turns, [*last.messages, {"role": "user", "content": "again"}], [add], tool_choice="add")
    assert [settings["tool_choice"] for _, settings in turns.asked] == ["required", "auto", "add", "auto"]
    turns = Turns("5")
    list(run_agent(turns, last.messages[:-1], [add], tool_choice="none"))
    assert turns.asked[0][1]["tool_choice"] == "none"


def test_what_is_not_to_be_called_or_not_declared_is_not_run():
    ran = []

    def run(name, arguments):
        ran.append(name)

    schema = {"name": "search", "parameters": {"type": "object", "properties": {}}}
    (step,) = run_agent(Turns([("search", {})]), "look", [schema], run=run, tool_choice="none")
    assert (step.done, ran) == (True, [])
    first, _ = run_agent(Turns([("wipe", {}), ("search", {})], "Found."), "look", [schema], run=run)
    assert ran == ["search"]
    assert "there is no tool 'wipe'" in first.results[0].content


def test_it_ends_after_the_last_turn_that_is_allowed():
    steps = list(run_agent(Turns(*[[("add", {"a": 1, "b": 1})]] * 3), "again", [add], max_turns=2))
    assert [step.number for step in steps] == [1, 2]
    assert not steps[-1].done
    with pytest.raises(ValueError, match="max_turns"):
        run_agent(Turns(), "again", [add], max_turns=0)


def test_a_turn_is_one_whole_answer():
    for settings in ({"n": 2}, {"stream": True}):
        with pytest.raises(RequestError, match="leave out n and stream"):
            run_agent(Turns(), "sums", [add], **settings)
    (step,) = run_agent(Turns("5"), "sums", None)
    assert step.done


def test_the_caller_may_stop_between_steps():
    turns = Turns([("add", {"a": 1, "b": 1})], "2")
    assert isinstance(next(run_agent(turns, "1+1", [add])), AgentStep)
    assert len(turns.asked) == 1


def test_an_lm_has_it():
    lm = LM(model(), tokenizer(), max_len=600)
    with pytest.raises(RequestError, match="'now'"):
        lm.agent("hi", [{"name": "now"}])
