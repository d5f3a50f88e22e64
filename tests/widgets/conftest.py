"""One LM for all tests of widgets, and one that ends no answer by itself."""

import dataclasses

import pytest

from glmkit.lm import LM
from tiny import model, tokenizer


@pytest.fixture(scope="session")
def lm():
    with LM(model(), tokenizer(), max_len=600, name="tiny", loaded={"name": "tiny"}) as opened:
        yield opened


@pytest.fixture
def endless(lm, monkeypatch):
    """No token ends an answer."""
    monkeypatch.setattr(lm, "generation", dataclasses.replace(lm.generation, eos_token_id=()))
