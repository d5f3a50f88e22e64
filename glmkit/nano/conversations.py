"""Conversations of glm-nano's curriculum by family, for whoever counts its routes or asks what it can do."""

from random import Random
from typing import Any

from glmkit.checks import check_integer
from glmkit.errors import RequestError
from glmkit.nano.skills import FAMILIES, SKILLS
from glmkit.nano.task import Split
from glmkit.text import Tokenizer
from glmkit.train.examples import encode_record

__all__ = ["conversations"]

_TRIES = 100  # for each that fits


def conversations(
    family: str,
    count: int,
    *,
    seed: int | str = 0,
    split: Split = "held_out",
    tokenizer: Tokenizer | None = None,
    most_tokens: int | None = None,
) -> list[dict[str, Any]]:
    """So many of a family, its skills in turn, each answered rightly, as `glmkit.collect` and training read records.

    A record has its "family" beside its messages. With `most_tokens` as `tokenizer` counts them, none is longer. The
    same arguments give the same. Raises RequestError for a family that there is not, or one of which nothing is so
    short.
    """
    if family not in FAMILIES:
        raise RequestError(f"there is no family {family!r}; expected one of {', '.join(FAMILIES)}")
    if (tokenizer is None) != (most_tokens is None):
        raise RequestError("tokenizer and most_tokens belong together: expected both or neither")
    rng, names, found = Random(f"conversations/{family}/{split}/{seed}"), FAMILIES[family], list[dict[str, Any]]()
    for number in range(_TRIES * check_integer("count", count, 1)):
        record = SKILLS[names[number % len(names)]](rng, split).record
        if most_tokens is None or max(len(each.tokens) for each in encode_record(record, tokenizer)) <= most_tokens:
            found.append({"family": family, **record})
        if len(found) == count:
            return found
    raise RequestError(f"only {len(found)} of {count} conversations of {family} are of {most_tokens} tokens at most")
