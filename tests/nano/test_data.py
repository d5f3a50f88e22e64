"""The stream that glm-nano is trained on: repeatable, mixed by tokens as is said, never what is evaluated."""

from collections import Counter

import numpy as np
import pytest

from glmkit.errors import TokenizerError
from glmkit.nano.data import Curriculum
from glmkit.nano.mixture import FIRST_LESSONS, MIXTURE
from glmkit.nano.skills import FAMILIES, SKILLS
from glmkit.nano.task import Task
from glmkit.nano.tokenizer import build_tokenizer, curriculum_texts
from glmkit.text import GLM_SPECIAL_TOKENS, Tokenizer
from glmkit.train.data import batches

LENGTH = 512
MIXED = {"hard": 40.0, "tool_call": 35.0, "extraction": 25.0}
TEXTS = list(curriculum_texts(characters=1_000_000))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer(TEXTS, 1536, LENGTH)


@pytest.fixture(scope="module")
def curriculum(tokenizer: Tokenizer) -> Curriculum:
    return Curriculum(tokenizer, LENGTH, mixture=MIXED)


def test_the_mixture_names_every_skill_and_every_family_has_its_own():
    assert set(MIXTURE) == set(SKILLS)
    assert sum(MIXTURE.values()) == pytest.approx(100)
    assert set(FIRST_LESSONS) < set(MIXTURE)
    assert sum(FIRST_LESSONS.values()) == pytest.approx(100)
    assert sorted(name for names in FAMILIES.values() for name in names) == sorted(SKILLS)


def test_an_example_depends_on_seed_and_index_alone(tokenizer, curriculum):
    again = Curriculum(tokenizer, LENGTH, mixture=MIXED)
    other = Curriculum(tokenizer, LENGTH, seed=1, mixture=MIXED)
    for index in (17, 3, 2**31 - 2):
        assert np.array_equal(curriculum[index]["tokens"], again[index]["tokens"])
        assert np.array_equal(curriculum[index]["learned"], again[index]["learned"])
    assert again.digest == curriculum.digest != other.digest
    assert any(len(other[index]["tokens"]) != len(curriculum[index]["tokens"]) for index in range(10))


def test_each_skill_has_its_share_of_the_tokens_however_long_its_examples_are(curriculum):
    tokens = Counter()
    for index in range(1500):
        name, example = curriculum.draw(index)
        tokens[name] += len(example.tokens)
        assert example.learned.any()
    for name, share in MIXED.items():
        # The mean length is that of 64 examples, whose spread is about two thirds of it: 8%.
        assert 100 * tokens[name] / tokens.total() == pytest.approx(share, rel=0.25), name


def test_the_first_tokens_are_of_the_first_lessons_and_the_rest_is_not(tokenizer, curriculum):
    taught = Curriculum(tokenizer, LENGTH, mixture=MIXED, first_tokens=30_000)
    assert taught.digest != curriculum.digest
    names, tokens = [], 0
    while tokens < 60_000:
        name, example = taught.draw(len(names))
        names.append(name)
        tokens += len(example.tokens)
        # The mean example is that of 64 of each skill: 8%, as below.
        expected = FIRST_LESSONS if tokens < 24_000 else MIXED if tokens > 36_000 else {**FIRST_LESSONS, **MIXED}
        assert name in expected
    assert {"copy", "hard"} <= set(names)
    batch = next(batches(taught, length=2 * LENGTH, batch_size=1, epochs=None, shuffle=False))
    assert np.isin(taught[0]["tokens"], batch.tokens).all()


def test_what_is_longer_than_a_row_is_drawn_again(tokenizer):
    short = Curriculum(tokenizer, 100, mixture={"multi_step": 1.0, "tool_call": 1.0})
    assert max(len(short[index]["tokens"]) for index in range(50)) <= 100


def test_only_tasks_for_training_are_read(tokenizer, monkeypatch):
    splits = Counter()

    def counted(skill):
        def draw(rng, split) -> Task:
            splits[split] += 1
            return skill(rng, split)

        return draw

    counting = {name: counted(skill) for name, skill in SKILLS.items()}
    monkeypatch.setattr("glmkit.nano.data.SKILLS", counting)
    monkeypatch.setattr("glmkit.nano.tokenizer.SKILLS", counting)
    list(curriculum_texts(characters=10_000))
    Curriculum(tokenizer, LENGTH, mixture=MIXED)[0]
    assert set(splits) == {"train"}


def test_rows_are_full_of_examples(curriculum):
    batch = next(batches(curriculum, length=4 * LENGTH, batch_size=4, epochs=None))
    assert (batch.segment_ids >= 0).mean() > 0.9
    assert batch.learned.any(axis=1).all()


def test_digits_and_newlines_are_tokens_of_their_own_and_the_files_repeat(tokenizer):
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode("27+5 = 32\n\nnext, 4 of ['a', 1]")]
    assert [piece for piece in pieces if any(mark.isdigit() for mark in piece)] == [*"275324", "1"]
    assert pieces.count("\n") == 2
    assert tokenizer.vocab_size == 1536
    assert build_tokenizer(TEXTS, 1536, LENGTH).files == tokenizer.files
    text = 'naïve 你好 {"a": [1.5, null]}'
    assert tokenizer.decode(tokenizer.encode(text)) == text
    with pytest.raises(TokenizerError, match="give more text"):
        build_tokenizer(["few words"], 1536, LENGTH)


def test_the_vocabulary_is_learned_from_whole_prompts_without_special_tokens():
    assert any("# Tools" in text for text in TEXTS)
    assert not any(token in text for text in TEXTS for token in GLM_SPECIAL_TOKENS)
