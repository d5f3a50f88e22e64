"""What changing an expert does to a run: the same tokens read again, beside random other experts as a control."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from jaxtyping import Float, Int

from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.probe import Plan, ablate, bias, compare, force, keep
from glmkit.runs import Layers, Run

__all__ = ["Change", "Effect", "measure"]

_LOGITS_BYTES = 1 << 28  # kept at once; beyond, both runs are scored once more, piece by piece


@dataclass(frozen=True)
class Change:
    """One expert of one layer ablated, forced, or its selection score biased by `by`."""

    kind: Literal["ablate", "bias", "force"]
    layer: int
    expert: int
    by: float = 0.0

    @classmethod
    def of(cls, layers: Layers, kind: Any, layer: Any, expert: Any, by: Any = 0.0) -> Self:
        """Checked. Raises RequestError naming what does not exist in a model of these layers."""
        if kind not in ("ablate", "bias", "force"):
            raise RequestError(f"there is no change {kind!r}; expected 'ablate', 'bias' or 'force'")
        if kind == "bias" and not (isinstance(by, int | float) and np.isfinite(by) and by != 0):
            raise RequestError(f"by is {by!r}; expected a number other than 0")
        return cls(kind, layers.moe_number(layer), layers.expert(expert), float(by) if kind == "bias" else 0.0)

    def plan(self) -> Plan:
        """As an intervention."""
        if self.kind == "bias":
            return bias(layer=self.layer, expert=self.expert, by=self.by)
        return (ablate if self.kind == "ablate" else force)(layer=self.layer, expert=self.expert)

    def message(self) -> dict[str, Any]:
        """For a browser."""
        return asdict(self)


class Effect(NamedTuple):
    """KL(baseline || changed) after each token of the baseline, in nats; `control` is the mean over random experts.

    `controls` are the mean KLs of each control, `changed_routes` the share of routes that the changes moved.
    """

    kl: Float[np.ndarray, " T"]
    control: Float[np.ndarray, " T"]
    controls: tuple[float, ...]
    changed_routes: float
    read: Run


def joined(changes: Sequence[Change]) -> Plan:
    """As one plan."""
    return sum((change.plan() for change in changes), Plan())


def measure(
    lm: LM, run: Run, changes: Sequence[Change], *, controls: int = 4, seed: int = 0, go_on: Callable[[], None]
) -> Effect:
    """Read a run's tokens with the changes and, `controls` times, with other experts of the same layers in their place.

    `go_on` is called between passes and may raise. Raises RequestError for a run that was made with other interventions
    than `lm.using` has in use.
    """
    lm._check_in_use(run)
    logits = run.tokens.id.size * lm.config.vocab_size * 4 <= _LOGITS_BYTES
    kept = keep("router", "logits") if logits else keep("router")

    def read(plan: Plan | None) -> Run:
        go_on()
        prompt = run.tokens.phase.count("prompt")
        return lm.run(run.tokens.id.tolist(), keep=kept, interventions=plan, prompt=prompt)

    whole = read(None)
    changed = read(joined(changes))
    comparison = compare(whole, changed)
    drawn = [compare(whole, read(joined(others))).kl for others in _controls(run, changes, controls, seed)]
    control = np.mean(drawn, axis=0) if drawn else np.full(len(run), np.nan)
    means = tuple(float(kl.mean()) for kl in drawn)
    return Effect(comparison.kl, control, means, comparison.changed_routes, changed)


def _controls(run: Run, changes: Sequence[Change], count: int, seed: int) -> list[list[Change]]:
    """The same changes of as many other experts of each layer, no two draws alike: of those that the run used.

    Where it used too few others of a layer, they are of all others; there are none where a layer has too few of these.
    """
    rng, places = np.random.default_rng(seed), {}
    for place, change in enumerate(changes):
        places.setdefault(change.layer, []).append(place)
    others = {layer: _others(run, layer, [changes[place].expert for place in own]) for layer, own in places.items()}
    most = math.prod(math.comb(len(others[layer]), len(own)) for layer, own in places.items())
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < min(count, most):
        experts = np.zeros(len(changes), int)
        for layer, own in places.items():
            experts[own] = np.sort(rng.choice(others[layer], len(own), replace=False))
        drawn[tuple(experts.tolist())] = None
    return [
        [replace(change, expert=expert) for change, expert in zip(changes, experts, strict=True)] for experts in drawn
    ]


def _others(run: Run, layer: int, taken: Sequence[int]) -> Int[np.ndarray, " n"]:
    """Experts of a layer to draw from in the place of those that are taken."""
    free = np.setdiff1d(np.arange(run.routing.experts), taken)
    used = free[run.routing.load()[run.routing.row(layer)][free] > 0]
    return used if len(used) >= len(taken) else free
