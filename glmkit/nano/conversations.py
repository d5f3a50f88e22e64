"""Conversations of glm-nano's curriculum by family, for whoever counts its routes or asks what it can do."""

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, get_args

from glmkit.checks import check_integer
from glmkit.errors import RequestError
from glmkit.nano.skills import FAMILIES, SKILLS
from glmkit.nano.task import Split
from glmkit.text import Tokenizer
from glmkit.train.examples import encode_record

__all__ = ["SHORT_FAMILIES", "conversations"]

SHORT_FAMILIES = tuple(name for name in FAMILIES if name != "retrieval")
"""All but retrieval, whose contexts are long."""

_TRIES = 40  # for each that is to be found


def conversations(
    family: str,
    count: int,
    *,
    seed: int | str = 0,
    split: Split = "held_out",
    tokenizer: Tokenizer | None = None,
    most_tokens: int | None = None,
    unlike: Iterable[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """So many of a family, its skills in turn, each answered rightly, as `glmkit.collect` and training read records.

    A record has its "family" beside its messages; no two say the same, and none what a record of `unlike` says. With
    `most_tokens` as `tokenizer` counts them, none is longer. The same arguments give the same. Raises RequestError for
    a family or a split that there is not, and where there are not so many.
    """
    if family not in FAMILIES:
        raise RequestError(f"there is no family {family!r}; expected one of {', '.join(FAMILIES)}")
    if split not in get_args(Split):
        raise RequestError(f"split is {split!r}; expected one of {', '.join(get_args(Split))}")
    if (tokenizer is None) != (most_tokens is None):
        raise RequestError("tokenizer and most_tokens belong together: expected both or neither")
    rng, names, found = Random(f"conversations/{family}/{split}/{seed}"), FAMILIES[family], list[dict[str, Any]]()
    known = {repr(record["messages"]) for record in unlike}
    for _ in range(_TRIES * check_integer("count", count, 1)):
        record = SKILLS[names[len(found) % len(names)]](rng, split).record
        said = repr(record["messages"])
        if said not in known and (most_tokens is None or _longest(record, tokenizer) <= most_tokens):
            known.add(said)
            found.append({"family": family, **record})
        if len(found) == count:
            return found
    short = "" if most_tokens is None else f" are of {most_tokens} tokens at most"
    raise RequestError(f"only {len(found)} of {count} different conversations of {family}{short or ' were found'}")


def _longest(record: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    """Tokens of the longest row that it is learned in."""
    return max(len(example.tokens) for example in encode_record(record, tokenizer))
