"""Which tokens of a record are learned: what the assistant must say, and nothing that the template supplies."""

import json

import numpy as np
import pytest

from glmkit.errors import DataError
from glmkit.train.examples import encode_record
from tiny import tokenizer

THOUGHT = [
    {"role": "user", "content": "q1"},
    {"role": "assistant", "content": "a1", "reasoning_content": "r1"},
    {"role": "user", "content": "q2"},
    {
        "role": "assistant",
        "reasoning_content": "r2",
        "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
    },
    {"role": "tool", "content": "R"},
    {"role": "assistant", "content": "a2"},
]


def called(results: str) -> list[dict]:
    """Calls a and b, and results that say which call they are of."""
    calls = [{"id": call, "function": {"name": f"tool_{call}", "arguments": {}}} for call in "ab"]
    told = [{"role": "tool", "tool_call_id": call, "content": f"of {call}"} for call in results]
    return [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": calls}, *told, THOUGHT[-1]]


def marked(record) -> list[str]:
    """Each example as text, what is learned in braces."""
    shown = []
    for example in encode_record(record, tokenizer()):
        edges = np.flatnonzero(np.diff(example.learned.astype(int))) + 1
        text = ""
        for ids, learned in zip(np.split(example.tokens, edges), np.split(example.learned, edges), strict=True):
            piece = tokenizer().decode(ids)
            text += "{" + piece + "}" if learned[0] else piece
        shown.append(text)
    return shown


def test_each_round_is_learned_behind_the_prompt_it_would_be_given():
    """Thoughts of earlier rounds are dropped, so that the second round is an example of its own."""
    call = "<tool_call>f\n<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n</tool_call>"
    assert marked({"messages": THOUGHT}) == [
        "[gMASK]<sop><|user|>\nq1<|assistant|>{\n<think>r1</think>\na1<|user|>}",
        "[gMASK]<sop><|user|>\nq1<|assistant|>\n<think></think>\na1<|user|>\nq2<|assistant|>"
        f"{{\n<think>r2</think>\n{call}<|observation|>}}\n<tool_response>\nR\n</tool_response><|assistant|>"
        "{\n<think></think>\na2<|user|>}",
    ]


def test_without_thoughts_one_example_holds_all_rounds_and_the_empty_thought_is_not_learned():
    plain = [{key: value for key, value in m.items() if key != "reasoning_content"} for m in THOUGHT if "content" in m]
    plain = [m for m in plain if m["role"] != "tool"]
    assert marked({"messages": plain}) == [
        "[gMASK]<sop><|user|>\nq1/nothink<|assistant|>\n<think></think>{\na1<|user|>}"
        "\nq2/nothink<|assistant|>\n<think></think>{\na2<|user|>}"
    ]


def test_the_mode_can_be_said():
    record = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    assert marked(record | {"thinking": "enabled"}) == [
        "[gMASK]<sop><|user|>\nq<|assistant|>{\n<think></think>\na<|user|>}"
    ]
    assert marked(record | {"thinking": "forced"})[0].endswith("<|assistant|>\n<think>{</think>\na<|user|>}")


def test_a_thought_may_stand_in_the_content():
    messages = [THOUGHT[0], {"role": "assistant", "content": "<think>R</think>A"}]
    apart = [THOUGHT[0], {"role": "assistant", "content": "A", "reasoning_content": "R"}]
    assert marked({"messages": messages}) == marked({"messages": apart})


def test_tools_are_shown_to_the_model():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    (text,) = marked({"messages": THOUGHT[:2], "tools": [tool]})
    assert json.dumps(tool) in text


def test_results_come_in_the_order_of_their_calls():
    there, back = (encode_record({"messages": called(ids)}, tokenizer())[0].tokens for ids in ("ab", "ba"))
    np.testing.assert_array_equal(there, back)


def test_a_text_is_learned_whole_and_ends():
    assert marked({"text": "once"}) == ["{once<|endoftext|>}"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "expected an object"),
        ({}, "expected 'text'"),
        ({"text": ""}, "not empty"),
        ({"text": 3}, "expected 'text'"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"content": "x"}]}, r"messages\[0\].role"),
        ({"messages": [{"role": "user", "content": "x"}]}, "at least one assistant message"),
        ({"messages": [*THOUGHT[:1], {"role": "tool", "content": "R"}]}, r"messages\[1\]: a tool result"),
        ({"messages": [*THOUGHT[:5], {"role": "tool", "content": "S"}]}, r"messages\[5\]: a tool result"),
        ({"messages": [THOUGHT[0], {"role": "assistant", "value": "Hi"}]}, r"messages\[1\]: .* only role, value"),
        ({"messages": THOUGHT, "thinking": "perhaps"}, "thinking"),
        ({"messages": THOUGHT, "thinking": "disabled"}, r"messages\[\d\] has a thought, and thinking is 'disabled'"),
        ({"messages": called("za")}, r"messages\[2\].tool_call_id: no open call before it has the id 'z'"),
        ({"messages": called("aa")}, r"messages\[3\].tool_call_id: no open call before it has the id 'a'"),
        ({"messages": THOUGHT, "tools": [{}]}, "tools"),
    ],
)
def test_a_record_that_cannot_be_learned_says_why(record, message):
    with pytest.raises(DataError, match=message):
        encode_record(record, tokenizer())
