"""The state of a widget as Python that does the same without it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from glmkit.lm import LM
from glmkit.probe import Plan
from glmkit.runs import Run
from glmkit.turns import SAMPLING, TURN, as_data
from glmkit.widgets.attempts import Attempt
from glmkit.widgets.effects import Change, joined

__all__ = ["Source", "load_call", "plan_lines", "python_code", "run_settings", "thinking_code", "using_lines"]


def load_call(loaded: Mapping[str, Any]) -> str:
    """What `LM.loaded` tells, as Python."""
    given = {name: value for name, value in loaded.items() if name != "name"}
    return f"gk.load({loaded['name']!r}{''.join(f', {name}={value!r}' for name, value in given.items())})"


class Source(NamedTuple):
    """A model by its name, and the line of Python with which `lm` is that model."""

    name: str
    line: str

    @classmethod
    def of(cls, lm: LM) -> Self:
        """One with weights of its own can be had by nobody but who has it."""
        if lm.loaded is None:
            return cls(lm.name, f"# lm is the model that this was made with, {lm.name}, whose weights are its own")
        return cls(lm.name, f"lm = {load_call(lm.loaded)}")

    @classmethod
    def of_run(cls, run: Run) -> Self:
        """That a run is of, by all that it tells."""
        return cls(run.model, f"lm = gk.load({run.model!r})  # if the run is of its weights: it tells the name alone")


def python_code(
    model: Source,
    x: Any,
    settings: Mapping[str, Any],
    changes: Sequence[Change],
    steps: Sequence[int] | None,
    used: Plan | None = None,
    made_with: str = "",
) -> str:
    """Load, run with what was in use, and, as far as they are set, pick tokens, change experts and compare.

    `made_with` says in words with what the run was made, where that is not known as a plan.
    """
    given = "".join(f", {name}={value!r}" for name, value in as_data(run_settings(x, settings)).items())
    lines = ["import glmkit as gk", "", model.line]
    if x is None:
        return "\n".join([*lines, "probe = gk.widgets.RoutingProbe(lm)", "probe"])
    lines.append(f"x = {x if _is_said(x) else list(map(int, x))!r}")
    work = [f"print({f'this is without {made_with}'!r})"] if made_with and not used else []
    work.append(f"run = lm.run(x{given})")
    if steps is not None:
        work.append(f"brushed = run.routing.ids[{_places(steps)}]  # [step, moe_layer, k]")
    if changes:
        work += [*plan_lines(joined(changes)), f"alt = lm.run(x, interventions=plan{given})", "print(alt.answer)"]
        work.append("reread = lm.run(run.tokens.id, interventions=plan)  # the baseline's tokens, changed")
        work.append("print(gk.compare(lm.run(run.tokens.id), reread).kl)")
    return "\n".join([*lines, *using_lines(used, work)])


def plan_lines(plan: Plan | None, name: str = "plan") -> list[str]:
    """A plan under a name, and what says, as it runs, which of it is too much to be written; none for no plan."""
    if not plan:
        return []
    return [f"{name} = {plan.code()}", *(f"print({f'{name} is without {part}'!r})" for part in plan.unwritten)]


def using_lines(used: Plan | None, lines: Sequence[str]) -> list[str]:
    """These with what is to be in use."""
    if not used:
        return list(lines)
    return [*plan_lines(used, "used"), "with lm.using(used):", *(f"    {line}" for line in lines)]


def thinking_code(
    model: Source,
    x: Any,
    shape: Mapping[str, Any],
    settings: Mapping[str, Any],
    attempts: Sequence[Attempt],
    picked: int | None,
) -> str:
    """Load, ask in all modes and with all seeds, which `shape` has, and lead to the attempt that is picked."""
    lines = ["import glmkit as gk", "", model.line]
    if x is None:
        return "\n".join([*lines, "explorer = gk.widgets.ThinkingExplorer(lm)", "explorer"])
    given, plan = as_data(settings), plan_lines(attempts[0].plan) if attempts else []
    lines += [*plan, f"x = {x!r}", f"settings = {given!r}"]
    budget = "" if shape["budget"] is None else f', budget=None if mode == "disabled" else {shape["budget"]}'
    lines += [
        "runs = {",
        f"    (mode, seed): lm.run(x, thinking=mode, seed=seed{budget}{_changed(plan)}, **settings)",
        f"    for mode in {shape['modes']!r}",
        f"    for seed in {shape['seeds']!r}",
        "}",
    ]
    if picked is not None:
        lines += [*_way_to(attempts, attempts[picked], given), "print(run.answer)"]
    return "\n".join(lines)


def _changed(plan: Sequence[str]) -> str:
    return ", interventions=plan" if plan else ""


def _way_to(attempts: Sequence[Attempt], attempt: Attempt, given: Mapping[str, Any]) -> list[str]:
    """One line for the run of an attempt that goes on from nothing, else those of its source, and how it goes on."""
    way = [attempt]
    while way[0].origin == "cut":
        way.insert(0, attempts[way[0].source])
    lines, written, drawn = list[str](), plan_lines(attempts[0].plan), "settings"
    if attempt.source is not None and (own := {name: given[name] for name in given if name in SAMPLING}) != given:
        drawn = "sampling"  # what else there is goes with a conversation
        lines.append(f"sampling = {own!r}")
    for one in way:
        if one.source is None:
            lines.append(f"run = runs[{one.mode!r}, {one.seed}]")
            continue
        if one.origin == "cut":
            lines.append(f"ids = run.tokens.id[:{one.given}].tolist()  # the thought, cut")
        else:
            tools = ', tools=settings["tools"]' if "tools" in given else ""
            lines.append(f"thought = {one.given!r}")
            lines.append(f'ids = lm.tokenizer.encode(lm.prompt(x{tools}, thinking="forced") + thought)')
        if one.closed:
            lines.append('ids.append(lm.tokenizer.token_id("</think>"))')
        if (plan := plan_lines(one.plan)) != written:
            lines, written = [*lines, *plan], plan
        lines.append(f"run = lm.run(ids, seed={one.seed}{_changed(plan)}, **{drawn})")
    return lines


def run_settings(x: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that `lm.run` does not take for such an `x`: of an answer where it is read, of a turn with ids."""
    others = set()
    if not settings["max_tokens"]:
        others |= {*TURN, *SAMPLING} - {"tools", "thinking"}
    if not _is_said(x):
        others |= set(TURN) - {"stop"}
    return {name: value for name, value in settings.items() if name not in others}


def _is_said(x: Any) -> bool:
    """Whether it is words or messages, and no token ids."""
    return isinstance(x, str) or (x is not None and len(x) > 0 and isinstance(x[0], Mapping))


def _places(steps: Sequence[int]) -> str:
    """A slice where they follow one another."""
    if steps and list(steps) == list(range(steps[0], steps[-1] + 1)):
        return f"{steps[0]}:{steps[-1] + 1}"
    return repr(list(steps))
