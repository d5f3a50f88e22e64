"""A conversation as code of a client: what it sends is the conversation, in the client's own shape."""

import sys
import types

import pytest

import glmkit as gk
from glmkit.widgets.clients import client_code
from glmkit.widgets.code import Source


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "2 + 3?"},
    {"role": "assistant", "content": "", "reasoning_content": "add", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 3}}}]},
    {"role": "tool", "content": "5", "tool_call_id": "c1"},
    {"role": "user", "content": "sure?"},
]  # fmt: skip


@pytest.mark.parametrize("client", ["zai", "openai", "anthropic"])
def test_the_code_of_a_client_sends_the_conversation(client, monkeypatch):
    sent = {}

    class Client:
        """Any of the three."""

        def __init__(self, **settings):
            sent["client"] = settings
            self.chat = self.completions = self.messages = self

        def create(self, **call):
            sent["call"] = call
            message = types.SimpleNamespace(message="")
            return types.SimpleNamespace(choices=[message], content="")

    module = types.ModuleType(client)
    module.ZaiClient = module.OpenAI = module.Anthropic = Client
    monkeypatch.setitem(sys.modules, client, module)
    settings = {"max_tokens": 64, "temperature": 0.5, "top_k": 3, "seed": 4, "stop": None}
    code = client_code(client, Source("nano", ""), MESSAGES, [gk.text.function_schema(add)], "enabled", settings)
    assert "glmkit" not in code
    exec(code, {})
    call = sent["call"]
    assert sent["client"]["base_url"].startswith("http://127.0.0.1:8000")
    assert (call["model"], call["max_tokens"], call["temperature"]) == ("nano", 64, 0.5)
    if client == "anthropic":
        assert call["system"] == "Be brief."
        assert [message["role"] for message in call["messages"]] == ["user", "assistant", "user"]
        thinking, use = call["messages"][1]["content"]
        assert (thinking["thinking"], use["input"], use["id"]) == ("add", {"a": 2, "b": 3}, "c1")
        result, words = call["messages"][2]["content"]
        assert (result["tool_use_id"], result["content"], words["text"]) == ("c1", "5", "sure?")
        assert call["tools"][0]["input_schema"]["required"] == ["a", "b"]
        assert call["thinking"]["type"] == "enabled"
        return
    assert [message["role"] for message in call["messages"]] == [message["role"] for message in MESSAGES]
    assert call["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"a": 2, "b": 3}'
    assert call["tools"] == [gk.text.function_schema(add)]
    assert call["seed"] == 4
    more = call if client == "zai" else call["extra_body"]
    assert more["thinking"] == {"type": "enabled"}
    assert call["extra_body"]["top_k"] == 3
