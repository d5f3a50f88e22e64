"""The new skill: what zib is, that the curriculum does not have it, and that its records go to `fit`."""

from random import Random
from types import SimpleNamespace

import pytest

import glmkit as gk
from glmkit.engine.answer import Completion
from glmkit.nano.new_skill import SETTINGS, accuracy, draw_zib, fine_tune, records, zib, zib_in_columns
from glmkit.nano.skills import SKILLS
from glmkit.train import encode_record
from tiny import small_model, tokenizer


@pytest.mark.parametrize(("a", "b", "result"), [(472, 839, "201"), (123, 456, "579"), (955, 155, "000")])
def test_zib_by_hand(a, b, result):
    assert zib(a, b) == zib(b, a) == result
    assert zib_in_columns(a, b).endswith(f"→{result}")


def test_the_thought_by_hand():
    assert zib_in_columns(472, 839) == "472 zib 839\n2+9=11→1\n7+3=10→01\n4+8=12→201"


def test_no_pair_of_numbers_is_in_both_splits():
    pairs = {
        split: {draw_zib(Random(f"{split}/{i}"), split).messages[1]["reasoning_content"] for i in range(500)}
        for split in ("train", "held_out")
    }
    assert not pairs["train"] & pairs["held_out"]
    assert all(len(shown) > 490 for shown in pairs.values())  # of 405,000 each: hardly any twice


def test_records_are_new_examples_among_tasks_of_every_skill():
    mixed = records(10, 70)
    assert sum("zib" in record["messages"][0]["content"] for record in mixed) == 10
    assert len(mixed) == 80
    assert records(10, 70) == mixed
    assert all(encode_record(record, tokenizer()) for record in mixed)


def test_the_curriculum_does_not_know_it():
    for name, draw in SKILLS.items():
        for index in range(5):
            assert " zib " not in str(draw(Random(f"{name}/{index}"), "train").messages)


def test_accuracy_counts_exact_answers():
    class Calculator:
        def __init__(self, wrong: int):
            self.wrong = wrong

        def chat_batch(self, conversations, **settings):
            assert settings["temperature"] == 0
            questions = [conversation[0]["content"].replace(".", "").split() for conversation in conversations]
            numbers = [[int(word.strip("?=")) for word in words if word.strip("?=").isdigit()] for words in questions]
            right = [zib(*pair) for pair in numbers]
            return [Completion(content=f" {x}" if at >= self.wrong else f"{x}.") for at, x in enumerate(right)]

    assert accuracy(Calculator(0), 20) == 1
    assert accuracy(Calculator(5), 20) == 0.75


def test_fine_tuning_trains_on_the_records_by_the_settings(monkeypatch):
    """What `fit` then does is tested where it is; a step of it takes half a minute to compile."""
    lm = gk.LM(small_model(), tokenizer(), max_len=600)
    given, told = {}, []

    def fit(lm, data, **settings):
        given.update(lm=lm, data=data, **settings)
        return SimpleNamespace(run=lambda: SimpleNamespace(lm="the tuned one"))

    monkeypatch.setattr("glmkit.nano.new_skill.fit", fit)
    assert fine_tune(lm, records(4, 0), tell=told.append, epochs=1) == "the tuned one"
    assert "4 records, 4 examples" in told[0]
    assert (given["lm"], len(given["data"])) == (lm, 4)
    assert given["length"] == lm.config.max_position_embeddings  # 600, less than a row has by default
    assert (given["epochs"], given["learning_rate"]) == (1, SETTINGS["learning_rate"])
