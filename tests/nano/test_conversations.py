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


def test_no_two_say_the_same_and_none_what_others_say():
    chosen = conversations("talk", 30, seed="x")
    others = conversations("talk", 30, seed="y", unlike=chosen)
    said = [str(record["messages"]) for record in (*chosen, *others)]
    assert len(set(said)) == 60


def test_a_family_has_all_its_skills_in_turn():
    chinese = [not record["messages"][-1]["content"].isascii() for record in conversations("words", 20, seed="z")]
    assert any(chinese)
    assert not all(chinese)


def test_none_is_longer_than_was_asked():
    found = conversations("extraction", 4, tokenizer=tokenizer(), most_tokens=900)
    assert all(len(row.tokens) <= 900 for record in found for row in encode_record(record, tokenizer()))


def test_what_there_is_not_is_told():
    with pytest.raises(RequestError, match=f"no family 'songs'; expected one of {', '.join(FAMILIES)}"):
        conversations("songs", 1)
    with pytest.raises(RequestError, match="only 0 of 2 different conversations of tools are of 5 tokens"):
        conversations("tools", 2, tokenizer=tokenizer(), most_tokens=5)
    with pytest.raises(RequestError, match="split is 'test'; expected one of train, held_out"):
        conversations("tools", 2, split="test")
    with pytest.raises(RequestError, match="belong together"):
        conversations("tools", 2, most_tokens=5)
