"""Skills in a probe: which experts are most a skill's own, and what is still answered rightly without them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.nano.conversations import conversations
from glmkit.nano.skills import FAMILIES
from glmkit.probe import Knockout, collect
from glmkit.probe.answers import Answers
from glmkit.probe.knockouts import knock_out
from glmkit.widgets.packing import Message

__all__ = ["Skills", "knockout_message", "knockout_words"]

_EACH = 16  # of glm-nano's, half of them to choose by
_BATCH = 8
_SAID = ("think", "answer", "tool")


class Skills:
    """Records of what a model can do, by the name of a skill; `draw` gives those of one when they are first needed.

    Every second one says which experts a skill uses beyond the others, in what the assistant says, the rest is what is
    tested on. Records are as for `glmkit.collect`.
    """

    def __init__(self, lm: LM, names: Sequence[str], draw: Callable[[str], Sequence[Any]]):
        self._lm, self.names, self._draw = lm, tuple(names), draw

    @classmethod
    def of(cls, lm: LM, records: Mapping[str, Sequence[Any]]) -> Self:
        """Those that are given. Raises RequestError for fewer than two skills, or than two records of one."""
        if len(records) < 2:
            raise RequestError(f"skills are {', '.join(records) or 'none'}; expected two or more, to be told apart")
        for name, own in records.items():
            if isinstance(own, str) or len(own) < 2:
                raise RequestError(f"skill {name!r}: expected two records or more, some to choose by and some to test")
        return cls(lm, tuple(records), lambda name: records[name])

    @classmethod
    def of_nano(cls, lm: LM) -> Self:
        """The families of glm-nano's curriculum, on what training held out, as far as `lm` has room for it."""
        most = lm.engine.max_len

        def draw(family: str) -> Sequence[Any]:
            return conversations(family, _EACH, seed="skills", tokenizer=lm.tokenizer, most_tokens=most)

        names = [name for name in FAMILIES if name != "retrieval"]  # whose contexts are long
        return cls(lm, names, draw)

    def require(self, skill: str) -> None:
        """Raise RequestError for a skill that there is not."""
        if skill not in self.names:
            raise RequestError(f"there is no skill {skill!r}; expected one of {', '.join(self.names)}")

    def knockout(self, skill: str, count: int, controls: int, go_on: Callable[[], None]) -> Knockout:
        """Without the experts most a skill's own. `go_on` is called between passes and may raise."""
        records = [(name, number, record) for name in self.names for number, record in enumerate(self._draw(name))]

        def half(which: int) -> list[dict[str, Any]]:
            return [_named(record, name) for name, number, record in records if number % 2 == which]

        def counted():
            for record in half(0):
                go_on()
                yield record

        talks = all(isinstance(record, Mapping) and "messages" in record for _, _, record in records)
        phases = _SAID if talks else None  # where there is nobody who says something, all counts
        stats = collect(self._lm, counted(), by="skill", phases=phases, batch_size=_BATCH, progress=False)
        answers = Answers.read(self._lm, half(1), "skill", None, _BATCH)
        return knock_out(answers, stats, [skill], count=count, controls=controls, advance=lambda _: go_on())


def knockout_message(found: Knockout) -> Message:
    """Of one skill, for a browser."""
    (skill,) = found.without
    taken, excess = found.without[skill], found.excess(skill)
    control = [scores.accuracy for scores in found.controls[skill]]
    rows = [
        {
            "name": name,
            "whole": found.whole.of(name).accuracy,
            "without": taken.of(name).accuracy,
            "lost": taken.of(name).mean_loss - found.whole.of(name).mean_loss,
        }
        for name in found.whole.groups
    ]
    about = {"skill": skill, "experts": found.experts[skill], "rows": rows, "excess": excess._asdict()}
    return Message({**about, "control": sum(control) / len(control), "controls": len(control)}, [])


def knockout_words(found: Knockout) -> str:
    """In a line."""
    said = knockout_message(found).content
    own = next(row for row in said["rows"] if row["name"] == said["skill"])
    others = [row for row in said["rows"] if row is not own]
    before, after = (sum(row[name] for row in others) / len(others) for name in ("whole", "without"))
    experts = ", ".join(f"{layer}:{expert}" for layer, expert in said["experts"])
    return (
        f"Without {experts}: {said['skill']} {own['whole']:.0%} right, then {own['without']:.0%} (others as busy: "
        f"{said['control']:.0%}); other skills {before:.0%}, then {after:.0%}"
    )


def _named(record: Any, skill: str) -> dict[str, Any]:
    """With its skill to group by."""
    if isinstance(record, Mapping):
        return {**record, "skill": skill}
    return {"text" if isinstance(record, str) else "tokens": record, "skill": skill}
