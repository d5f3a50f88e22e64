"""Messages: what is accepted and how it is normalised, and that an error names the message and the key."""

import copy
import re

import pytest

from glmkit.errors import RequestError
from glmkit.text import normalize_messages


def one(role="user", **keys):
    (message,) = normalize_messages([{"role": role, **keys}])
    return message


def calling(*calls):
    return one("assistant", content=None, tool_calls=list(calls))["tool_calls"]


def test_string_is_one_user_turn():
    assert normalize_messages("hi") == [{"role": "user", "content": "hi"}]


def test_content():
    assert one(content=None)["content"] == ""
    assert one()["content"] == ""
    assert one(content=[])["content"] == ""
    assert one(content=["a", {"type": "text", "text": "b"}])["content"] == "ab"


def test_content_of_a_tool_message():
    assert one("tool", content="R")["content"] == "R"
    assert one("tool", content=None)["content"] == ""
    assert one("tool", content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])["content"] == "ab"
    several = [{"output": "a"}, "b", {"type": "text", "text": "c"}]
    assert one("tool", content=several)["content"] == [{"output": "a"}, {"output": "b"}, {"output": "c"}]


def test_other_parts_are_left_out_with_a_warning():
    image = {"type": "image_url", "image_url": {"url": "x"}}
    with pytest.warns(UserWarning, match=r"messages\[0\]\.content\[1\]: a part of type 'image_url'"):
        assert one(content=["a", image])["content"] == "a"


@pytest.mark.parametrize("written", ['{"a": [1]}', {"a": [1]}])
def test_arguments_become_a_mapping(written):
    (call,) = calling({"id": "1", "type": "function", "function": {"name": "f", "arguments": written}})
    assert call == {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": [1]}}}


@pytest.mark.parametrize("function", [{"name": "f"}, {"name": "f", "arguments": ""}, {"name": "f", "arguments": None}])
def test_no_arguments(function):
    assert calling({"function": function})[0]["function"] == {"name": "f", "arguments": {}}


def test_call_without_wrapper():
    assert calling({"name": "f", "arguments": {}}) == [{"type": "function", "function": {"name": "f", "arguments": {}}}]


def test_other_keys_are_kept_and_nothing_is_changed_in_place():
    given = [{"role": "tool", "content": None, "tool_call_id": "1", "name": "f"}]
    before = copy.deepcopy(given)
    assert normalize_messages(given) == [{"role": "tool", "content": "", "tool_call_id": "1", "name": "f"}]
    assert given == before


def test_absent_reasoning_and_calls_disappear():
    assert one("assistant", content="a", reasoning_content=None, tool_calls=None) == {
        "role": "assistant",
        "content": "a",
    }


OK = {"role": "user", "content": "hi"}


def bad_call(**call):
    return {"role": "assistant", "content": "", "tool_calls": [call]}


BAD = [
    (OK, "messages: expected a string or a list"),
    (3, "messages: expected a string or a list"),
    ([], "messages: expected at least one"),
    ([OK, "hi"], "messages[1]: expected a mapping"),
    ([OK, {"role": "developer", "content": "x"}], "messages[1].role: expected one of system, user, assistant, tool"),
    ([{"content": "x"}], "messages[0].role"),
    ([{"role": ["user"], "content": "x"}], "messages[0].role"),
    ([{"role": "user", "content": 3}], "messages[0].content: expected"),
    ([{"role": "user", "content": {"text": "x"}}], "messages[0].content: expected"),
    ([{"role": "user", "content": [3]}], "messages[0].content[0]: expected"),
    ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0]: expected"),
    ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
    ([{"role": "tool", "content": [{"output": 3}]}], "messages[0].content[0].output"),
    ([{"role": "assistant", "content": "", "reasoning_content": 3}], "messages[0].reasoning_content"),
    ([{**OK, "tool_calls": [{"function": {"name": "f"}}]}], "messages[0].tool_calls: only an assistant"),
    ([{"role": "assistant", "tool_calls": {"name": "f"}}], "messages[0].tool_calls: expected a list"),
    ([{"role": "assistant", "tool_calls": ["f"]}], "messages[0].tool_calls[0]: expected a mapping"),
    ([OK, bad_call(type="web_search")], "messages[1].tool_calls[0].type"),
    ([OK, bad_call(function="f")], "messages[1].tool_calls[0].function: expected"),
    ([OK, bad_call(function={"arguments": {}})], "messages[1].tool_calls[0].function.name: a tool needs a name"),
    ([OK, bad_call(function={"name": ""})], "messages[1].tool_calls[0].function.name: a tool needs a name"),
    (
        [OK, bad_call(function={"name": "f", "arguments": "{"})],
        "messages[1].tool_calls[0].function.arguments: not JSON",
    ),
    (
        [OK, bad_call(function={"name": "f", "arguments": "[1]"})],
        "messages[1].tool_calls[0].function.arguments: expected",
    ),
    ([OK, bad_call(function={"name": "f", "arguments": {"a": {1, 2}}})], "function.arguments: not JSON"),
]


@pytest.mark.parametrize(("messages", "said"), BAD)
def test_errors_name_message_and_key(messages, said):
    with pytest.raises(RequestError, match=re.escape(said)):
        normalize_messages(messages)
