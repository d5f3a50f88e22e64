"""The endless stream of examples that glm-nano is trained on: each a pure function of seed and index, no data files."""

import hashlib
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np

from glmkit.nano import skills
from glmkit.nano.mixture import FIRST_LESSONS, MIXTURE
from glmkit.nano.skills import SKILLS
from glmkit.nano.task import Split
from glmkit.text import Tokenizer
from glmkit.train.examples import Example, encode_record

__all__ = ["Curriculum", "draw_example"]

MEASURED = 64  # examples of each skill that its mean length is taken from


class Curriculum:
    """Examples of every skill, drawn so that each has its share of the tokens: a `glmkit.train.data.Source`.

    About `first_tokens` tokens are of the mixture `FIRST_LESSONS`, all later ones of `mixture`: it is to be read in
    order. `length` is the longest example there may be; longer ones are drawn again. `digest` covers the code of the
    skills, so that a run does not go on with others.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        length: int,
        seed: int = 0,
        mixture: Mapping[str, float] = MIXTURE,
        first_tokens: int = 0,
    ):
        self._tokenizer, self._seed = tokenizer, seed
        self.length = length
        self.largest_token = tokenizer.vocab_size - 1
        self._first, self._later = self._draws(FIRST_LESSONS), self._draws(mixture)
        self._first_examples = round(first_tokens / self._first.mean_tokens)
        self.digest = hashlib.sha256(self._identity(mixture)).hexdigest()
        self.report = f"{len(mixture)} skills drawn from seed {seed}, examples of at most {length:,} tokens"

    def __len__(self) -> int:
        """More than any run takes, and as many as `grain` shuffles."""
        return 2**31 - 1

    def __getitem__(self, index: int) -> Mapping[str, np.ndarray]:
        return self.draw(index)[1]._asdict()

    def draw(self, index: int) -> tuple[str, Example]:
        """The skill of this example, and the example."""
        rng = Random(f"glm-nano/{self._seed}/{index}")
        draws = self._first if index < self._first_examples else self._later
        while True:
            (name,) = rng.choices(draws.names, cum_weights=draws.cumulative)
            example = draw_example(rng, name, "train", self._tokenizer)
            if len(example.tokens) <= self.length:
                return name, example

    def _draws(self, mixture: Mapping[str, float]) -> "_Draws":
        frequencies = [share / self._mean_tokens(name) for name, share in mixture.items()]
        return _Draws(tuple(mixture), tuple(accumulate(frequencies)), sum(mixture.values()) / sum(frequencies))

    def _mean_tokens(self, name: str) -> float:
        """Of the skill's examples that fit."""
        rng = Random(f"glm-nano/lengths/{name}")
        sizes = [len(draw_example(rng, name, "train", self._tokenizer).tokens) for _ in range(MEASURED)]
        return float(np.mean([size for size in sizes if size <= self.length] or [self.length]))

    def _identity(self, mixture: Mapping[str, float]) -> bytes:
        """What the stream depends on, as bytes."""
        folder = Path(skills.__file__).parent
        sources = [Path(__file__), folder.parent / "task.py", *sorted(folder.glob("*.py"))]
        code = b"".join(path.read_bytes() for path in sources)
        about = repr((self._seed, self.length, dict(mixture), dict(FIRST_LESSONS), self._first_examples)).encode()
        return about + code + b"".join(data for _, data in sorted(self._tokenizer.files.items()))


class _Draws(NamedTuple):
    """A mixture as examples are drawn from it."""

    names: tuple[str, ...]
    cumulative: tuple[float, ...]  # frequencies
    mean_tokens: float  # of an example


def draw_example(rng: Random, skill: str, split: Split, tokenizer: Tokenizer) -> Example:
    """An example of a task of this skill: one of several where its turns are learned apart."""
    return rng.choice(encode_record(SKILLS[skill](rng, split).record, tokenizer))
