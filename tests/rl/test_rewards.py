"""Verifiers and shaping on samples made by hand."""

import pytest

from glmkit.errors import ConfigError
from glmkit.rl.rewards import Calls, Exact, Length, Number, Overlong, Parts, Schema, WellFormed
from made import sample


@pytest.mark.parametrize(
    ("said", "answer", "wanted"),
    [("42", 42, 1), (" 42\n", 42, 1), ("42.0", 42, 1), ("1,042", 1042, 1), ("-3", -3, 1), ("43", 42, 0), ("", 42, 0),
     ("It is 42", 42, 0), ("4 2", 42, 0), ("NaN", 42, 0), ("4,2", 42, 0), ("1,042", "1,042", 1),
     ("100000000000000001", 100000000000000000, 0), ("1.10", 1.1, 1)],
)  # fmt: skip
def test_numbers(said, answer, wanted):
    assert Number()(sample(said, answer)) == wanted


def test_numbers_within_a_text_and_a_tolerance():
    assert Number(anywhere=True)(sample("It is 6 times 7, that is 42.", 42)) == 1
    assert Number(anywhere=True)(sample("42 it is, not 7", 42)) == 0
    assert Number(anywhere=True)(sample("x = 10-7", 7)) == 1
    assert Number(anywhere=True)(sample("x = -7", -7)) == 1
    assert Number(anywhere=True)(sample("x = \u22127", -7)) == 1  # as minus is typeset
    assert Number(anywhere=True)(sample("x = \u22127", 7)) == 0
    assert Number(tolerance=0.1)(sample("3.1", 3.14159)) == 1
    assert Number()(sample("42", 42, reason="length")) == 0  # cut off: there may have been more


def test_exact_text():
    assert Exact()(sample(" Oslo ", "Oslo")) == 1
    assert Exact()(sample("oslo", "Oslo")) == 0


def test_json_by_a_schema():
    reward = Schema({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    assert reward(sample('{"n": 3}')) == 1
    assert reward(sample(' {"n":3} ')) == 1
    for wrong in ('{"n": "3"}', "{}", '{"n": 3} and more', '{"n": 3', "three"):
        assert reward(sample(wrong)) == 0
    with pytest.raises(ConfigError, match="schema cannot be followed"):
        Schema({"type": "object", "not": {}})


def test_calls_by_name_and_typed_arguments_in_any_order():
    answer = [{"name": "add", "arguments": {"a": 1, "b": 2}}, {"name": "now", "arguments": {}}]
    right = [("now", {}), ("add", {"b": 2, "a": 1})]
    assert Calls()(sample("", answer, calls=right, reason="tool_calls")) == 1
    assert Calls()(sample("", answer, calls=right[:1])) == 0
    assert Calls()(sample("", answer, calls=[("now", {}), ("add", {"a": 1, "b": "2"})])) == 0
    assert Calls()(sample("", answer, calls=[("now", {}), ("add", {"a": 1, "b": 2}, False)])) == 0


def test_lengths():
    assert [Length(10)(sample(tokens=tokens)) for tokens in (0, 5, 10, 20)] == [1, 0.5, 0, 0]
    # DAPO's: free up to 100 - 20, then in a line to -1.
    assert [Overlong(100, 20)(sample(tokens=tokens)) for tokens in (80, 90, 100, 500)] == [0, -0.5, -1, -1]
    with pytest.raises(ConfigError, match="0 < cache <= longest"):
        Overlong(10, 20)


def test_a_malformed_turn_earns_nothing():
    reward = WellFormed(Number())
    assert reward(sample("42", 42)) == 1
    assert reward(sample("42", 42, calls=[("add", {}, False)])) == 0
    assert reward(sample(turns=["7", "42"], answer=42, reason="length")) == 0


def test_parts_are_weighed_and_say_whether_they_need_an_answer():
    parts = Parts(right=Number(), short=(0.1, Length(10)))
    assert parts(sample("42", 42, tokens=5)) == {"right": 1, "short": 0.05}
    assert parts.needs_answer
    assert not Parts(short=Length(10)).needs_answer
    with pytest.raises(ConfigError, match="right is 3"):
        Parts(right=3)
