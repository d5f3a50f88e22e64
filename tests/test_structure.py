"""Answers in a form, by models that have learned nothing: what they say is right in form all the same."""

import dataclasses
import json
import sys
from typing import Literal

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest
from flax import nnx

from glmkit.engine.sampling import Sampling, SamplingBatch, allowed, sample
from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.model import GLM
from glmkit.text.arguments import forms
from tiny import CONFIG, randomised, tokenizer

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}


def get_weather(city: Literal["Oslo", "Rome"], days: int, sunny: bool = False) -> str:
    """The weather in a city."""
    return f"{city} {days} {sunny}"


@pytest.fixture(scope="module")
def lm() -> LM:
    """With room for the declarations of tools, byte by byte."""
    config = dataclasses.replace(CONFIG, max_position_embeddings=1500)
    return LM(randomised(GLM(config, rngs=nnx.Rngs(0))), tokenizer(), max_len=1500)


@pytest.mark.parametrize("thinking", ["disabled", "forced"])
def test_an_answer_by_a_schema_is_valid_at_any_temperature(lm, thinking):
    settings = {"response_format": FORMAT, "thinking": thinking, "max_tokens": 300, "seed": 0, "progress": False}
    if thinking == "forced":
        settings["budget"] = 5
    answers = [
        *lm.chat_batch([f"hi {number}" for number in range(6)], temperature=2.0, **settings),
        *lm.chat_batch(["hi"], temperature=0.0, repetition_penalty=1.3, **settings),
        *lm.chat_batch(["hi"], temperature=1.0, top_k=3, top_p=0.5, **settings),
    ]
    finished = [answer for answer in answers if answer.finish_reason == "stop"]
    assert len(finished) >= 6
    for answer in finished:
        jsonschema.validate(json.loads(answer.content), SCHEMA)
        assert bool(answer.reasoning) == (thinking == "forced")


def test_a_required_call_is_of_the_declared_function(lm):
    settings = {"tool_choice": "required", "thinking": "disabled", "temperature": 1.5, "max_tokens": 500, "seed": 0}
    asked = [f"hi {number}" for number in range(6)]
    answers = lm.chat_batch(asked, tools=[get_weather], progress=False, **settings)
    called = [answer for answer in answers if answer.finish_reason == "tool_calls"]
    assert len(called) >= 3
    for answer in called:
        for call in answer.tool_calls:
            assert call.name == "get_weather"
            assert get_weather(**call.arguments).startswith(("Oslo", "Rome"))
            kinds = {name: type(value) for name, value in call.arguments.items()}
            assert kinds.items() <= {"city": str, "days": int, "sunny": bool}.items()
            assert {"city", "days"} <= kinds.keys()


def test_calls_of_another_turn_have_other_ids_whatever_the_seed(lm):
    settings = {"tool_choice": "required", "thinking": "disabled", "max_tokens": 8, "seed": 1}
    asked = {"role": "user", "content": "hi"}
    first = lm.chat([asked], tools=[{"name": "now"}], **settings)
    (call, *_) = first.tool_calls
    told = {"role": "tool", "content": "noon", "tool_call_id": call.id}
    (next_call, *_) = lm.chat([asked, first.message, told], tools=[{"name": "now"}], **settings).tool_calls
    assert call.id != next_call.id


def test_a_row_with_a_form_does_not_change_its_neighbours(lm):
    """The others of a batch get the tokens that they get without it."""
    record = {"messages": [{"role": "user", "content": "hi"}], "tools": [get_weather], "thinking": "disabled"}
    mixed = lm.chat_batch(["one", record, "two"], max_tokens=12, temperature=0.0, progress=False)
    plain = lm.chat_batch(["one", "three", "two"], max_tokens=12, temperature=0.0, progress=False)
    assert [mixed[i].tokens for i in (0, 2)] == [plain[i].tokens for i in (0, 2)]
    assert mixed[1].finish_reason == "length"


def test_a_stream_gives_the_same_document(lm):
    settings = {"response_format": FORMAT, "thinking": "disabled", "max_tokens": 200, "seed": 5, "temperature": 1.0}
    whole = lm.chat("hi", **settings)
    stream = lm.chat("hi", stream=True, **settings)
    assert "".join(delta.content for delta in stream) == whole.content
    assert stream.completion.tokens == whole.tokens


def test_the_tool_that_is_not_to_be_called_is_not_shown(lm):
    done = lm.chat("hi", tools=[get_weather], tool_choice="none", max_tokens=3)
    assert "get_weather" not in done.prompt


def test_what_cannot_be_followed_is_refused_before_anything_is_computed(lm):
    bad = {"type": "json_schema", "json_schema": {"schema": {"type": "object", "not": {}}}}
    with pytest.raises(RequestError, match=r"response_format: .*not"):
        lm.chat("hi", response_format=bad)
    for schema in ({"type": object}, {"enum": {1, 2}}):
        with pytest.raises(RequestError, match=r"response_format.json_schema.schema: not JSON"):
            lm.chat("hi", response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    with pytest.raises(RequestError, match="later"):
        lm.chat("hi", tools=[get_weather], tool_choice={"type": "function", "function": {"name": "later"}})
    with pytest.raises(RequestError, match="did you mean response_format"):
        lm.chat("hi", response_fromat=FORMAT)
    with pytest.raises(RequestError, match=r"response_format: .*not"):
        lm.chat_batch(["hi"], response_format=bad, progress=False)


def test_a_number_beyond_all_numbers_is_the_largest():
    forms_ = forms({"type": "number"}, {})
    assert forms_.read("1e999") == sys.float_info.max
    assert forms({"type": ["number", "string"]}, {}).read("-1e999") == -sys.float_info.max


def test_of_several_answers_one_may_fail(lm, monkeypatch):
    serve = LM._serve

    def failing(self, asked, *args):
        for request, _ in asked[:failed]:
            request.fail(RequestError("NaN"))
        return serve(self, asked, *args)

    monkeypatch.setattr(LM, "_serve", failing)
    failed = 1
    answers = lm.chat("hi", n=3, max_tokens=2, temperature=0.0)
    assert [answer.finish_reason for answer in answers] == ["error", "length", "length"]
    failed = 3
    with pytest.raises(RequestError, match="NaN"):
        lm.chat("hi", n=3, max_tokens=2)


def test_a_mask_rules_out_before_all_else():
    logits = jax.random.normal(jax.random.key(0), (2, 70))
    words = np.zeros((2, 3), np.int32)
    words[0, 1] = np.uint32(1 << 31).view(np.int32)  # token 63
    words[1] = -1
    mask, positions = jnp.asarray(words), jnp.zeros(2, jnp.int32)
    assert np.flatnonzero(allowed(mask, 70)[0]).tolist() == [63]
    assert np.asarray(allowed(mask, 70)[1]).all()
    settings = SamplingBatch.of([Sampling(temperature=0.0)] * 2)
    assert sample(logits, settings, positions, None, mask).tolist() == [63, int(logits[1].argmax())]
    hot = SamplingBatch.of([Sampling(temperature=5.0)] * 2)
    assert {int(sample(logits, hot, positions + i, None, mask)[0]) for i in range(20)} == {63}
