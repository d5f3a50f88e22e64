"""One LM for all tests of probing: two layers with experts, whose programs are shared as far as they can be."""

import pytest

from glmkit.lm import LM
from tiny import model, tokenizer


@pytest.fixture(scope="session")
def lm():
    with LM(model(), tokenizer(), max_len=400, name="tiny") as opened:
        yield opened
