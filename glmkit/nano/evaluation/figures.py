"""The figures of an evaluation: what they are called, how they follow from the answers, and which goals they have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from glmkit.nano.evaluation.asking import Asked
from glmkit.nano.evaluation.questions import ASKABLE, MODES, OUTSIDE, THOUGHT_ABOUT
from glmkit.nano.skills.talk import is_refusal

__all__ = ["Result", "conversation_figures", "curve_figures"]

Unit = Literal["share", "points", "bits", "fair share"]


@dataclass(frozen=True)
class Result:
    """A figure over `count` observations. A share is between 0 and 1; points are a difference of shares."""

    accuracy: float
    count: int
    goal: float | None = None
    at_most: bool = False  # whether the goal is an upper bound
    unit: Unit = "share"
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None without one. What lies at the goal up to rounding reaches it."""
        if self.goal is None:
            return None
        return (self.goal - self.accuracy if self.at_most else self.accuracy - self.goal) >= -1e-9

    @property
    def said(self) -> str:
        """The figure in its unit."""
        return self._in_unit(self.accuracy)

    @property
    def goal_said(self) -> str:
        """The goal in its unit, with the side on which to lie; empty without one."""
        return "" if self.goal is None else f"{'<=' if self.at_most else '>='} {self._in_unit(self.goal)}"

    @property
    def record(self) -> dict[str, float | bool | None]:
        """The figure as it is written to files and printed as JSON."""
        return {"accuracy": round(self.accuracy, 4), "count": self.count, "goal": self.goal, "holds": self.holds}

    def _in_unit(self, value: float) -> str:
        match self.unit:
            case "share":
                return f"{value:.1%}"
            case "points":
                return f"{100 * value:.1f} points"
            case "bits":
                return f"{value:.3f} bits"
            case _:
                return f"{value:.2f} of fair share"


Figures = Iterator[tuple[str, Result]]

SPECIAL = (*THOUGHT_ABOUT, "tool_call", "tool_result", "no_call", "two_tools", "extraction", "long_retrieval", OUTSIDE)
"""Skills that have figures of their own; the others are told by their plain accuracy."""


def conversation_figures(answers: Sequence[Asked]) -> dict[str, Result]:
    """All figures that follow from these answers."""
    by_skill: dict[str, list[Asked]] = {skill: [] for skill in ASKABLE}
    for asked in answers:
        by_skill[asked.question.skill].append(asked)
    parts = (_arithmetic, _tools, _extraction_and_retrieval, _outside, _plain)
    return {name: result for part in parts for name, result in part(by_skill) if result.count}


def curve_figures(times: int, answers: Sequence[Asked]) -> dict[str, Result]:
    """Retrieval at a multiple of the trained length."""
    return {f"retrieval_{times}x": _retrieval(answers)}


def _arithmetic(by_skill: dict[str, list[Asked]]) -> Figures:
    """Every mode on the same problems, and whether the model thinks where it should."""

    def of(mode: str, *skills: str) -> list[Asked]:
        return _in_mode(mode, [asked for skill in skills for asked in by_skill[skill]])

    yield "arithmetic_forced", _share(of("forced", "hard", "multi_step"), 0.95)
    for skill in THOUGHT_ABOUT:
        for mode in MODES:
            goal = 0.95 if (skill, mode) == ("one_step", "disabled") else None
            yield f"{skill}_{mode}", _share(of(mode, skill), goal)
    for skill, goal in (("multi_step", 0.25), ("hard", None)):
        yield f"{skill}_gain_by_thinking", _difference(of("forced", skill), of("disabled", skill), goal)
    yield "thinks_on_hard", _share_of([bool(a.reply.reasoning) for a in of("enabled", "hard")], 0.8)
    yield "thinks_on_easy", _share_of([bool(a.reply.reasoning) for a in of("enabled", "one_step")], 0.2, at_most=True)
    forced, enabled = of("forced", *THOUGHT_ABOUT), of("enabled", *THOUGHT_ABOUT)
    yield "enabled_behind_forced", _difference(forced, enabled, 0.02, at_most=True)


def _tools(by_skill: dict[str, list[Asked]]) -> Figures:
    rounds = [asked for skill in ("tool_call", "tool_result") for asked in by_skill[skill]]
    wanted = [asked for asked in rounds if asked.question.expected.get("tool_calls")]
    calls = _in_mode("enabled", wanted)
    yield "tool_calls", _share(calls, 0.95)
    for count in sorted({len(asked.question.tools) for asked in calls}):
        yield f"tool_calls_of_{count}_tools", _share([a for a in calls if len(a.question.tools) == count])
    yield "tool_calls_disabled", _share(_in_mode("disabled", wanted))
    yield "tool_results", _share([asked for asked in rounds if not asked.question.expected.get("tool_calls")], 0.95)
    beside = by_skill["no_call"]
    yield "no_needless_call", _share_of([not asked.reply.tool_calls for asked in beside], 0.98)
    yield "answered_beside_tools", _share(beside)
    yield "two_tools", _whole(by_skill["two_tools"], 0.9)


def _extraction_and_retrieval(by_skill: dict[str, list[Asked]]) -> Figures:
    extracted, found = by_skill["extraction"], by_skill["long_retrieval"]
    yield "json_extraction", _share(_in_mode("enabled", extracted), 0.9)
    yield "json_extraction_disabled", _share(_in_mode("disabled", extracted))
    yield "retrieval_1x", _retrieval(_in_mode("enabled", found), 0.95)
    yield "retrieval_1x_disabled", _retrieval(_in_mode("disabled", found))


def _outside(by_skill: dict[str, list[Asked]]) -> Figures:
    """What is out of reach is declined, and nothing else is."""
    yield "declines_outside", _share(by_skill[OUTSIDE], 0.95)
    within = [
        asked
        for skill, answers in by_skill.items()
        for asked in answers
        if skill != OUTSIDE and not is_refusal(asked.question.expected["content"])
    ]
    yield "false_refusals", _share_of([is_refusal(asked.reply.content) for asked in within], 0.01, at_most=True)


def _plain(by_skill: dict[str, list[Asked]]) -> Figures:
    for skill, answers in by_skill.items():
        if skill not in SPECIAL:
            yield skill, _whole(answers)


def _in_mode(mode: str, answers: Sequence[Asked]) -> list[Asked]:
    return [asked for asked in answers if asked.question.thinking == mode]


def _share(answers: Sequence[Asked], goal: float | None = None) -> Result:
    return _share_of([asked.right for asked in answers], goal)


def _whole(answers: Sequence[Asked], goal: float | None = None) -> Result:
    """Of tasks of which every turn that was asked is right."""
    cases: dict[str, bool] = {}
    for asked in answers:
        cases[asked.question.case] = cases.get(asked.question.case, True) and asked.right
    return _share_of(list(cases.values()), goal)


def _share_of(verdicts: Sequence[bool], goal: float | None = None, *, at_most: bool = False, note: str = "") -> Result:
    return Result(sum(verdicts) / max(1, len(verdicts)), len(verdicts), goal, at_most, note=note)


def _difference(more: Sequence[Asked], less: Sequence[Asked], goal: float | None, *, at_most: bool = False) -> Result:
    points = _share(more).accuracy - _share(less).accuracy
    return Result(points, min(len(more), len(less)), goal, at_most, "points")


def _retrieval(answers: Sequence[Asked], goal: float | None = None) -> Result:
    lengths = [asked.reply.usage.prompt_tokens for asked in answers if asked.reply.finish_reason != "error"]
    beyond = len(answers) - len(lengths)
    note = f"prompts of {min(lengths):,} to {max(lengths):,} tokens" if lengths else ""
    note += f"{'; ' * bool(note)}{beyond} beyond the context" if beyond else ""
    return _share_of([asked.right for asked in answers], goal, note=note)
