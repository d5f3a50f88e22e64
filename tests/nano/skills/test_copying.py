"""Copying: what is said is what was shown, most of it is short, and evaluation shows other texts in other words."""

import re
from random import Random
from statistics import median

from glmkit.nano.skills.copying import LONGEST, SKILLS


def draw(split="train", n=1000):
    rng = Random(f"copy {split}")
    return [SKILLS["copy"](rng, split) for _ in range(n)]


def pieces(task):
    return re.split(r", |[ \n-]", task.messages[1]["content"])


def test_the_answer_is_the_text_that_was_shown():
    for task in draw():
        question, answer = (message["content"] for message in task.messages)
        assert question == task.template.format(text=answer)
        assert ("reasoning_content" in task.messages[1]) == (task.thinking == "forced")


def test_most_texts_are_short_and_none_is_endless():
    lengths = [len(pieces(task)) for task in draw()]
    assert median(lengths) <= 3
    assert 10 < max(lengths) <= LONGEST


def test_training_and_evaluation_share_neither_wording_nor_piece():
    tasks = {split: draw(split) for split in ("train", "held_out")}
    wordings = {split: {task.template for task in drawn} for split, drawn in tasks.items()}
    assert not wordings["train"] & wordings["held_out"]
    assert min(map(len, wordings.values())) > 200
    said = {split: {piece for task in drawn for piece in pieces(task)} for split, drawn in tasks.items()}
    assert not said["train"] & said["held_out"]
