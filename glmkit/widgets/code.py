"""The state of a probe as Python that does the same without it."""

from collections.abc import Mapping, Sequence
from typing import Any

from glmkit.widgets.effects import Change

__all__ = ["python_code"]


def python_code(
    model: str, x: Any, settings: Mapping[str, Any], changes: Sequence[Change], steps: Sequence[int] | None
) -> str:
    """Load, run, and, as far as they are set, pick tokens, change experts and compare."""
    given = "".join(f", {name}={value!r}" for name, value in _settings(x, settings).items())
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


def _settings(x: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that `lm.run` takes for such an `x`."""
    given = dict(settings)
    if not given["max_tokens"]:
        given = {name: given[name] for name in ("thinking", "tools") if name in given}
    if not isinstance(x, str) and not (x and isinstance(x[0], Mapping)):
        given.pop("thinking", None)
    return given


def _places(steps: Sequence[int]) -> str:
    """A slice where they follow one another."""
    if steps and list(steps) == list(range(steps[0], steps[-1] + 1)):
        return f"{steps[0]}:{steps[-1] + 1}"
    return repr(list(steps))
