"""Skills in a probe: which experts a skill needs beyond the others, and what is still answered rightly without them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, Self

from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.nano.conversations import SHORT_FAMILIES, conversations
from glmkit.probe import Knockout, collect
from glmkit.probe.answers import Answers
from glmkit.probe.effects import effects_of
from glmkit.probe.knockouts import knockout_of
from glmkit.widgets.packing import Message

__all__ = ["Skills", "is_nano", "knockout_message", "knockout_words"]

_EACH = 8  # of glm-nano's families, in each half
_FEWEST = 8  # records of a skill that is given
_BATCH = 8
_USED, _NEEDED = 64, 8  # experts that a skill's answers are scored without, and those of which all answers are
_SAID = ("think", "answer", "tool")

Halves = tuple[Sequence[Any], Sequence[Any]]


class Skills:
    """What a model can do, by name: `draw` gives records of one in two halves, when they are first needed.

    The first half says which experts a skill needs beyond the others, the second is what is tested on. Records are as
    for `glmkit.collect`.
    """

    def __init__(self, lm: LM, names: Sequence[str], draw: Callable[[str], Halves | None]):
        self._lm, self.names, self._draw = lm, tuple(names), draw
        self._drawn: dict[str, Halves | None] = {}

    @classmethod
    def of(cls, lm: LM, records: Mapping[str, Sequence[Any]]) -> Self:
        """Those that are given, halved at random. Raises RequestError for fewer than two skills, or too few records."""
        if len(records) < 2 or not all(isinstance(name, str) for name in records):
            raise RequestError(f"skills are {list(records)}; expected two names or more, to be told apart")
        for name, own in records.items():
            if isinstance(own, str) or len(own) < _FEWEST:
                raise RequestError(
                    f"skill {name!r}: expected {_FEWEST} records or more, half to choose by, half to test"
                )

        def draw(name: str) -> Halves:
            shuffled = Random(0).sample(list(records[name]), len(records[name]))
            return shuffled[::2], shuffled[1::2]

        return cls(lm, tuple(records), draw)

    @classmethod
    def of_nano(cls, lm: LM) -> Self:
        """The families of glm-nano's curriculum, on what training held out, as far as `lm` has room for them."""
        fits = {"tokenizer": lm.tokenizer, "most_tokens": lm.engine.max_len}

        def draw(family: str) -> Halves | None:
            try:
                chosen_by = conversations(family, _EACH, seed="chosen by", **fits)
                return chosen_by, conversations(family, _EACH, seed="tested on", unlike=chosen_by, **fits)
            except RequestError:  # none are so short
                return None

        return cls(lm, SHORT_FAMILIES, draw)

    def require(self, skill: str) -> None:
        """Raise RequestError for a skill that there is not."""
        if skill not in self.names:
            raise RequestError(f"there is no skill {skill!r}; expected one of {', '.join(self.names)}")

    def knockout(self, skill: str, count: int, controls: int, go_on: Callable[[], None]) -> Knockout:
        """Without the experts that a skill needs most beyond the others. `go_on`, called between passes, may raise.

        Of those it uses beyond the others, which its own answers need is measured for each, and of the most needed
        what the answers of all other skills lose too.
        """
        for name in self.names:
            go_on()
            if name not in self._drawn:
                self._drawn[name] = self._draw(name)
        if self._drawn[skill] is None:
            raise RequestError(f"no problems of {skill} fit a context of {self._lm.engine.max_len} tokens")
        there = {name: halves for name, halves in self._drawn.items() if halves is not None}
        chosen_by, tested_on = ([_named(r, name) for name, own in there.items() for r in own[half]] for half in (0, 1))
        known, answers = (Answers.read(self._lm, half, "skill", None, _BATCH) for half in (chosen_by, tested_on))

        def counted() -> Iterator[dict[str, Any]]:
            for record in chosen_by:
                go_on()
                yield record

        def advance(_: int) -> None:
            go_on()

        phases = _SAID if all("messages" in record for record in chosen_by) else None  # else nobody says something
        stats = collect(self._lm, counted(), by="skill", phases=phases, batch_size=_BATCH, progress=False)
        used = stats.specialists(skill, _USED)
        needed = effects_of(known.of(skill), used, advance=advance).needed(skill, max(_NEEDED, count))
        own = effects_of(known, needed, advance=advance).specialists(skill, count)
        return knockout_of(
            answers, stats, [skill], experts={skill: own}, count=count, controls=controls, advance=advance
        )


def knockout_message(found: Knockout) -> Message:
    """Of one skill, for a browser."""
    (skill,) = found.without
    taken, control = found.without[skill], [scores.accuracy for scores in found.controls[skill]]
    rows = [
        {
            "name": name,
            "whole": found.whole.of(name).accuracy,
            "without": taken.of(name).accuracy,
            "lost": taken.of(name).mean_loss - found.whole.of(name).mean_loss,
        }
        for name in found.whole.groups
    ]
    excess = {name: None if math.isnan(value) else value for name, value in found.excess(skill)._asdict().items()}
    about = {"skill": skill, "experts": found.experts[skill], "rows": rows, "excess": excess}
    return Message({**about, "control": sum(control) / len(control), "controls": len(control)}, [])


def knockout_words(found: Knockout) -> tuple[str, str]:
    """In two lines."""
    said = knockout_message(found).content
    own = next(row for row in said["rows"] if row["name"] == said["skill"])
    others = [row for row in said["rows"] if row is not own]
    before, after = (sum(row[name] for row in others) / max(1, len(others)) for name in ("whole", "without"))
    experts = ", ".join(f"{layer}:{expert}" for layer, expert in said["experts"])
    right = f"{own['whole']:.0%} right, then {own['without']:.0%}"
    return (
        f"Without {experts}, which {said['skill']} needs beyond the others: {right}",
        f"Without others as busy: {said['control']:.0%}; other skills without those: {before:.0%}, then {after:.0%}",
    )


def _named(record: Any, skill: str) -> dict[str, Any]:
    """With its skill to group by."""
    if isinstance(record, Mapping):
        return {**record, "skill": skill}
    return {"text" if isinstance(record, str) else "tokens": record, "skill": skill}


def is_nano(lm: LM) -> bool:
    """Whether it has the bundled weights, all of them and nothing beside."""
    loaded = lm.loaded or {}
    return loaded.get("name") == "nano" and not loaded.keys() & {"layers", "adapter"}
