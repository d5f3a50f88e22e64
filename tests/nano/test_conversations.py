"""Conversations by family, as probing and notebooks count and score them."""

import pytest

from glmkit.errors import RequestError
from glmkit.nano.conversations import conversations
from glmkit.nano.skills import FAMILIES
from glmkit.train.examples import encode_record
from tiny import tokenizer


def test_they_are_of_a_family_answered_and_the_same_each_time():
    found = conversations("arithmetic", 8, seed="x")
    assert found == conversations("arithmetic", 8, seed="x") != conversations("arithmetic", 8, seed="y")
    assert found[:3] == conversations("arithmetic", 3, seed="x")
    assert all(record["family"] == "arithmetic" and record["messages"][-1]["role"] == "assistant" for record in found)
    assert found != conversations("arithmetic", 8, seed="x", split="train")


def test_none_is_longer_than_was_asked():
    found = conversations("extraction", 4, tokenizer=tokenizer(), most_tokens=900)
    assert all(len(row.tokens) <= 900 for record in found for row in encode_record(record, tokenizer()))


def test_what_there_is_not_is_told():
    with pytest.raises(RequestError, match=f"no family 'songs'; expected one of {', '.join(FAMILIES)}"):
        conversations("songs", 1)
    with pytest.raises(RequestError, match="only 0 of 2 conversations of tools are of 5 tokens at most"):
        conversations("tools", 2, tokenizer=tokenizer(), most_tokens=5)
    with pytest.raises(RequestError, match="belong together"):
        conversations("tools", 2, most_tokens=5)
