"""The state of a widget as Python that does the same without it."""

from collections.abc import Mapping, Sequence
from typing import Any

from glmkit.turns import SAMPLING, TURN
from glmkit.widgets.attempts import Attempt
from glmkit.widgets.effects import Change

__all__ = ["python_code", "run_settings", "thinking_code"]


def python_code(
    model: str, x: Any, settings: Mapping[str, Any], changes: Sequence[Change], steps: Sequence[int] | None
) -> str:
    """Load, run, and, as far as they are set, pick tokens, change experts and compare."""
    given = "".join(f", {name}={value!r}" for name, value in run_settings(x, settings).items())
    lines = ["import glmkit as gk", "", f"lm = gk.load({model!r})"]
    if x is None:
        return "\n".join([*lines, "probe = gk.widgets.RoutingProbe(lm)", "probe"])
    lines += [f"x = {x!r}", f"run = lm.run(x{given})"]
    if steps is not None:
        lines.append(f"brushed = run.routing.ids[{_places(steps)}]  # [step, moe_layer, k]")
    if changes:
        lines.append(f"plan = {' + '.join(change.code() for change in changes)}")
        lines.append(f"alt = lm.run(x, interventions=plan{given})")
        lines.append("print(alt.answer)")
        lines.append("reread = lm.run(run.tokens.id, interventions=plan)  # the baseline's tokens, changed")
        lines.append("print(gk.compare(lm.run(run.tokens.id), reread).kl)")
    return "\n".join(lines)


def thinking_code(
    model: str,
    x: Any,
    shape: Mapping[str, Any],
    settings: Mapping[str, Any],
    attempts: Sequence[Attempt],
    picked: int | None,
    plan: str,
) -> str:
    """Load, ask in all modes and with all seeds, which `shape` has, and lead to the attempt that is picked."""
    lines = ["import glmkit as gk", "", f"lm = gk.load({model!r})"]
    if x is None:
        return "\n".join([*lines, "explorer = gk.widgets.ThinkingExplorer(lm)", "explorer"])
    given = {name: value for name, value in settings.items() if value is not None}
    if plan:
        lines.append(f"plan = ...  # {plan}")
    lines += [f"x = {x!r}", f"settings = {given!r}"]
    budget = "" if shape["budget"] is None else f', budget=None if mode == "disabled" else {shape["budget"]}'
    changed = ", interventions=plan" if plan else ""
    lines += [
        "runs = {",
        f"    (mode, seed): lm.run(x, thinking=mode, seed=seed{budget}{changed}, **settings)",
        f"    for mode in {shape['modes']!r}",
        f"    for seed in {shape['seeds']!r}",
        "}",
    ]
    if picked is not None:
        lines += [*_way_to(attempts, attempts[picked], changed), "print(run.answer)"]
    return "\n".join(lines)


def _way_to(attempts: Sequence[Attempt], attempt: Attempt, changed: str) -> list[str]:
    """One line for the run of an attempt that goes on from nothing, else those of its source, and how it goes on."""
    if attempt.source is None:
        return [f"run = runs[{attempt.mode!r}, {attempt.seed}]"]
    if attempt.origin == "cut":
        lines = _way_to(attempts, attempts[attempt.source], changed)
        lines.append(f"ids = run.tokens.id[:{attempt.given}].tolist()  # the thought, cut")
    else:
        lines = [f"thought = {attempt.given!r}"]
        lines.append('ids = lm.tokenizer.encode(lm.prompt(x, thinking="forced") + thought)')
    if attempt.closed:
        lines.append('ids.append(lm.tokenizer.token_id("</think>"))')
    lines.append(f"run = lm.run(ids, seed={attempt.seed}{changed}, **settings)")
    return lines


def run_settings(x: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that `lm.run` does not take for such an `x`: of an answer where it is read, of a turn with ids."""
    others = set()
    if not settings["max_tokens"]:
        others |= {*TURN, *SAMPLING} - {"tools", "thinking"}
    if not isinstance(x, str) and not (x is not None and len(x) and isinstance(x[0], Mapping)):
        others |= set(TURN) - {"stop"}
    return {name: value for name, value in settings.items() if name not in others}


def _places(steps: Sequence[int]) -> str:
    """A slice where they follow one another."""
    if steps and list(steps) == list(range(steps[0], steps[-1] + 1)):
        return f"{steps[0]}:{steps[-1] + 1}"
    return repr(list(steps))
