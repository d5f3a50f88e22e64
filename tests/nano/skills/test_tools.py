"""Tool use as it is drawn: calls that the declared schemas allow, results told as they came, nothing held out shown."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from glmkit.nano.skills.talk import NO_TOOL, is_refusal
from glmkit.nano.skills.tools import SKILLS
from glmkit.nano.task import Split, Task
from glmkit.text.parser import parse
from glmkit.text.template import render

NATURES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, float),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def drawn(skill: str, split: Split, count: int = 40) -> list[Task]:
    return [SKILLS[skill](Random(f"test/{skill}/{index}"), split) for index in range(count)]


@pytest.fixture(scope="module")
def tasks() -> dict[Split, list[Task]]:
    return {split: [task for skill in SKILLS for task in drawn(skill, split)] for split in ("train", "held_out")}


def calls(task: Task) -> Iterator[dict[str, Any]]:
    for message in task.messages:
        for call in message.get("tool_calls", ()):
            yield call["function"]


def declared(task: Task) -> dict[str, dict[str, Any]]:
    return {tool["function"]["name"]: tool["function"] for tool in task.tools}


def test_a_task_is_a_function_of_the_random_state():
    for skill, draw in SKILLS.items():
        assert draw(Random(7), "train") == draw(Random(7), "train")
        assert draw(Random(7), "train").skill == skill


def test_tools_are_two_to_six_or_one_in_training(tasks):
    counts = {split: {len(task.tools) for task in tasks[split]} for split in tasks}
    assert counts == {"train": {1, 2, 3, 4, 5, 6}, "held_out": {2, 3, 4, 5, 6}}
    for task in tasks["train"] + tasks["held_out"]:
        assert len(declared(task)) == len(task.tools)
        assert all(len(tool["parameters"]["properties"]) <= 3 for tool in declared(task).values())
        assert all(len(tool["description"].split()) <= 8 for tool in declared(task).values())


def test_calls_are_what_the_schemas_allow(tasks):
    """Names and arguments as declared, values of the declared type, none missing; every type of JSON occurs."""
    types = set()
    for task in tasks["train"] + tasks["held_out"]:
        for call in calls(task):
            parameters = declared(task)[call["name"]]["parameters"]
            arguments, properties = call["arguments"], parameters["properties"]
            assert list(arguments) == [name for name in properties if name in arguments]  # in the declared order
            assert set(parameters.get("required", properties)) <= arguments.keys()
            for name, value in arguments.items():
                schema = properties[name]
                types.add("enum" if "enum" in schema else schema["type"])
                assert NATURES[schema["type"]](value), (task, name)
                assert value in schema.get("enum", [value])
                if "items" in schema:
                    assert all(NATURES[schema["items"]["type"]](item) for item in value)
    assert types == {*NATURES, "enum"}


def test_arguments_are_in_the_request_or_the_result_before(tasks):
    for task in tasks["train"] + tasks["held_out"]:
        said = ""
        for message in task.messages:
            for call in message.get("tool_calls", ()):
                for value in call["function"]["arguments"].values():
                    for leaf in leaves(value):
                        assert isinstance(leaf, bool) or str(leaf) in said, (task.messages, leaf)
            said += str(message["content"])


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_a_thought_puts_every_tool_in_plain_words_then_what_is_wanted_and_so_finds_the_tool(tasks):
    """What is wanted is said of one tool above, or of none; in a second thought the tools are not said again."""
    found = {"a tool": 0, "none": 0}
    for task in tasks["train"] + tasks["held_out"]:
        lines = [f"{name}: {tool['description']} = " for name, tool in declared(task).items()]
        plain: dict[str, str] = {}
        for message in task.messages:
            if message["role"] == "user":
                plain = {}
            *said, last = message.get("reasoning_content", "").split("\n")
            if not last.startswith("Wanted = "):
                assert task.thinking == "disabled" or not message.get("tool_calls")
                continue
            if said:
                assert all(line.startswith(start) for line, start in zip(said, lines, strict=True))
                plain = dict(line.rsplit(" = ", 1)[1].split(": ") for line in said)
                assert list(plain.values()) == list(declared(task))
            wanted, name = last.removeprefix("Wanted = ").split(": ")
            assert plain.get(wanted, "none") == name
            calls = [call["function"]["name"] for call in message.get("tool_calls", ())]
            assert calls == ([] if name == "none" else [name])
            assert calls or message["content"] == NO_TOOL
            found["a tool" if calls else "none"] += 1
    assert min(found.values()) > 10


def test_a_parser_reads_the_same_calls_back(tasks):
    """What the template renders, types included: the model learns text, and users get what the parser makes of it."""
    for task in tasks["train"][::5]:
        tools = list(task.tools)
        for at, message in enumerate(task.messages):
            if message.get("tool_calls"):
                prompt = render(list(task.messages[:at]), tools)
                whole = render(list(task.messages[: at + 1]), tools, add_generation_prompt=False)
                (call,) = parse(whole.removeprefix(prompt), tools).tool_calls
                function = message["tool_calls"][0]["function"]
                assert (call.name, call.arguments) == (function["name"], function["arguments"])


def told(content: str) -> set[str]:
    """What may be said of a result: read from the result alone."""
    try:
        result = json.loads(content)
    except ValueError:
        result = content
    if content in ("done", "ok", "success") or (isinstance(result, dict) and result.keys() & {"status", "success"}):
        return {"Done."}
    if isinstance(result, bool):
        return {"Yes." if result else "No."}
    if not result and not isinstance(result, int | float):
        return {"Nothing was found."}
    if isinstance(result, list):
        return {f"The results are {', '.join(result[:-1])} and {result[-1]}."}
    if isinstance(result, dict) and "error" in result:
        return {f"That failed: {result['error']}."}
    if isinstance(result, dict):
        pairs = [f"the {key} is {value}" for key, value in result.items()]
        bare = {str(value) for value in result.values()} if len(result) == 1 else set()
        return {"T" + " and ".join(pairs)[1:] + "."} | bare
    return {content if content.endswith(".") else f"The result is {content}.", content}


def test_results_are_told_as_they_came(tasks):
    for task in tasks["train"] + tasks["held_out"]:
        for before, after in zip(task.messages, task.messages[1:], strict=False):
            if before["role"] == "tool" and not after.get("tool_calls"):
                assert after["content"] in told(before["content"]), (before, after)


def test_rounds_ask_several_things_of_the_same_tools(tasks):
    """No tool is called again before all others were; asked again, it is in other words."""
    for task in tasks["train"] + tasks["held_out"]:
        if task.skill in ("tool_rounds", "short_rounds"):
            called = [call["name"] for call in calls(task)]
            assert called
            first = called[: len(task.tools)]
            assert len(set(first)) == len(first)
            assert sum(message["role"] == "user" for message in task.messages) in range(2, 9)
            if task.skill == "short_rounds":
                assert all(len(tool["parameters"]["properties"]) <= 1 for tool in declared(task).values())
    asked = [[m["content"] for m in task.messages if m["role"] == "user"] for task in tasks["train"]]
    assert all(len(set(said)) > len(said) / 2 for said in asked)


def test_the_second_of_two_calls_has_what_the_first_gave(tasks):
    for task in tasks["train"] + tasks["held_out"]:
        if task.skill == "two_tools":
            _, _, result, second, *_ = task.messages
            try:
                content = json.loads(result["content"])
            except ValueError:
                content = result["content"]
            (value,) = content.values() if isinstance(content, dict) else [content]
            assert value in second["tool_calls"][0]["function"]["arguments"].values()


def test_nothing_is_called_where_nothing_helps(tasks):
    answers = set()
    for task in tasks["train"] + tasks["held_out"]:
        if task.skill == "no_call":
            last = task.messages[-1]
            assert not last.get("tool_calls")
            assert is_refusal(last["content"]) == (last["content"] == NO_TOOL)
            answers.add(last["content"])
    assert NO_TOOL in answers
    assert {str(n) for n in range(2, 19)} & answers


def test_forced_tasks_think_in_every_turn(tasks):
    forced = [task for task in tasks["train"] + tasks["held_out"] if task.thinking == "forced"]
    assert forced
    assert all(m.get("reasoning_content") for task in forced for m in task.messages if m["role"] == "assistant")


def test_held_out_names_and_wordings_are_never_trained():
    names, wordings = {}, {}
    for split in ("train", "held_out"):
        tasks = [task for skill in SKILLS for task in drawn(skill, split, 60)]
        tools = [tool for task in tasks for tool in declared(task).values()]
        names[split] = {tool["name"] for tool in tools} | {
            n for tool in tools for n in tool["parameters"]["properties"]
        }
        wordings[split] = {part for task in tasks for part in task.template.split(" | ")} - {"noise"}
        for skill in SKILLS:
            assert len({part for task in tasks if task.skill == skill for part in task.template.split(" | ")}) >= 10
    assert not names["train"] & names["held_out"]
    assert not wordings["train"] & wordings["held_out"]
