"""Builders of interventions: each gives a `Plan`, and plans add up with `+`."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from glmkit.checks import is_number
from glmkit.errors import RequestError
from glmkit.model.intervene import RESIDUAL_SITES
from glmkit.probe.plan import Plan
from glmkit.probe.residual import Added, Patched
from glmkit.probe.routes import Ablated, Biased, Forced, Replayed, SharedScaled
from glmkit.probe.selectors import TokenSelector
from glmkit.runs import Routing, Run
from glmkit.runs.sites import canonical

__all__ = ["ablate", "add", "bias", "force", "named_experts", "patch", "replay", "scale_shared"]

Layer = int | Sequence[int] | slice | None


def ablate(
    *,
    layer: Layer,
    expert: int | Sequence[int],
    how: Literal["reroute", "drop", "mean"] = "reroute",
    mean: Run | np.ndarray | None = None,
    tokens: Any = None,
) -> Plan:
    """Take experts out of layers.

    "reroute" rules them out before the choice, so that others take their place; "drop" lets them be chosen and count
    for nothing, the others' weights as they are; "mean" puts their mean output in the place of their output: `mean` is
    a vector `[d]`, or a run that kept "expert_out" of the layer, and where plans together give a token several of one
    expert the later counts. `layer` is a number of the checkpoint, several, a slice, or None for all MoE layers;
    `tokens` a phase, positions, a slice or a mask. Raises RequestError for settings that cannot be right; layers and
    experts are checked when the model is known, by `lm.run` and `lm.using`.
    """
    if how not in ("reroute", "drop", "mean"):
        raise RequestError(f"how is {how!r}; expected 'reroute', 'drop' or 'mean'")
    if (how == "mean") != (mean is not None):
        raise RequestError("how='mean' needs mean=, a vector or a run that kept 'expert_out'; other ways take none")
    return Plan((Ablated(layer, named_experts(expert), how, mean, TokenSelector.of(tokens)),))


def bias(
    *,
    layer: Layer,
    expert: int | Sequence[int],
    by: float,
    at: Literal["selection", "logit"] = "selection",
    tokens: Any = None,
) -> Plan:
    """Add to an expert's score where experts are chosen (it weighs as before), or to its logit (it weighs more, too).

    `layer` and `tokens` as for `ablate`.
    """
    if at not in ("selection", "logit"):
        raise RequestError(f"at is {at!r}; expected 'selection' or 'logit'")
    if not is_number(by) or not np.isfinite(by):
        raise RequestError(f"by is {by!r}; expected a finite number (ablate rules an expert out)")
    return Plan((Biased(layer, named_experts(expert), float(by), at, TokenSelector.of(tokens)),))


def force(*, layer: Layer, expert: int | Sequence[int], tokens: Any = None) -> Plan:
    """Have experts chosen, up to k; where there are fewer the router chooses the rest. Weights are the router's own.

    Where plans together force more than k the later come first, and one that is ruled out is not chosen: a force that
    was not obeyed is warned of after the run.
    """
    return Plan((Forced(layer, named_experts(expert), TokenSelector.of(tokens)),))


def replay(routing: Routing | Run, *, layer: Layer = None, tokens: Any = None) -> Plan:
    """Have every token choose the experts that it chose in another run; weights are computed anew.

    Raises RequestError, when the model and the tokens are known, for routes of another model, and of other tokens;
    where tokens are scored, also of another number of them, and where an answer is written, of a longer or shorter
    prompt. What is written may come to differ from the other run, whose routes it has nonetheless: how many tokens do
    is warned of after the run. Those beyond its end choose for themselves.
    """
    routing = routing.routing if isinstance(routing, Run) else routing
    if not isinstance(routing, Routing):
        raise RequestError(f"replay takes a run or its routing, got {type(routing).__name__}")
    return Plan((Replayed(routing, layer, TokenSelector.of(tokens)),))


def add(site: str, layer: int | None, vector: Any, *, scale: float = 1.0, tokens: Any = None) -> Plan:
    """Steer: add `scale * vector`, `[d]`, to the residual stream at "resid_pre", "resid_mid" or "resid_post"."""
    if not is_number(scale) or not np.isfinite(scale):
        raise RequestError(f"scale is {scale!r}; expected a finite number")
    site, layer = _residual(site, layer)
    return Plan((Added(site, layer, _finite("vector", vector, 1), float(scale), TokenSelector.of(tokens)),))


def patch(site: str, layer: int | None, source: Run | Any, *, tokens: Any = None, source_tokens: Any = None) -> Plan:
    """Put the residual stream of another run in the place of this one's: a run that kept the site, or `[step, d]`.

    A token gets the values of the same position, or with `source_tokens`, positions in the other run, those that
    stand there in the order of `tokens`. Raises RequestError, when the model is known, for `tokens` that the other run
    does not have; and without `source_tokens`, when the tokens are known, for a longer or shorter prompt.
    """
    site, layer = _residual(site, layer)
    values = source[site, layer] if isinstance(source, Run) else source
    selector, chosen = TokenSelector.of(tokens), None
    if source_tokens is not None:
        chosen = TokenSelector.of(source_tokens).checked(len(values)).positions
        if not isinstance(chosen, tuple) or not isinstance(selector.positions, tuple):
            raise RequestError("source_tokens needs positions, as many as tokens")
        if len(chosen) != len(selector.positions):
            raise RequestError(f"{len(chosen)} source_tokens for {len(selector.positions)} tokens; expected as many")
    prompt = source.tokens.phase.count("prompt") if isinstance(source, Run) else 0
    return Plan((Patched(site, layer, _finite("values", values, 2), selector, chosen, prompt),))


def scale_shared(by: float, *, layer: Layer = None, tokens: Any = None) -> Plan:
    """Scale what the shared experts put out, in some MoE layers or all; 0 takes it away."""
    if not is_number(by) or not np.isfinite(by):
        raise RequestError(f"by is {by!r}; expected a finite number")
    return Plan((SharedScaled(layer, float(by), TokenSelector.of(tokens)),))


def named_experts(expert: Any) -> tuple[Any, ...]:
    """One or several as several. Raises RequestError for none."""
    experts = tuple(expert) if isinstance(expert, Sequence | np.ndarray | range) else (expert,)
    if not experts or isinstance(expert, str):
        raise RequestError(f"expert is {expert!r}; expected a number or several")
    return experts


def _residual(site: Any, layer: int | None) -> tuple[str, int]:
    name, own = canonical(site)
    if name not in RESIDUAL_SITES:
        raise RequestError(f"{site!r} cannot be changed; expected one of {', '.join(RESIDUAL_SITES)}")
    if (own is None) == (layer is None):
        raise RequestError(f"{site!r} and layer {layer!r}; expected the layer once")
    return name, own if layer is None else layer


def _finite(name: str, values: Any, ndim: int) -> np.ndarray:
    array = np.asarray(values, np.float32)
    if array.ndim != ndim or not np.isfinite(array).all():
        raise RequestError(f"{name}: an array {list(array.shape)}; expected finite numbers, [{'step, ' * (ndim - 1)}d]")
    return array
