"""A run over tokens that are known: one pass, with what is kept and changed."""

import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float

from glmkit.errors import RequestError
from glmkit.model import GLM, Interventions, Keep, Kept
from glmkit.model.capture import LAYER_SITES, ROUTE_SITES
from glmkit.runs.layers import Layers
from glmkit.runs.plans import BoundPlan, Plan
from glmkit.runs.run import Run
from glmkit.runs.scoring import Piece, Rows, require_room, score
from glmkit.runs.sites import Selection
from glmkit.runs.tokens import Phase, Tokens, texts
from glmkit.text import Tokenizer
from glmkit.text.phases import numbered

__all__ = ["interventions_at", "joined", "read_again", "read_run", "warn_of_idle"]


def read_run(
    model: GLM,
    ids: Sequence[int],
    phases: Sequence[Phase],
    tokenizer: Tokenizer | None,
    selection: Selection,
    plan: Plan | None,
    name: str,
) -> Run:
    """Score tokens of known phases.

    Raises RequestError for what does not fit the model or the tokens, MemoryPlanError for more than the memory holds,
    both before anything is computed. Warns of interventions that did nothing.
    """
    layers, bound = Layers.of(model), None if plan is None else plan.bind(model, len(ids))
    if bound is not None:
        bound.check_prompt(ids)
    keep, slots = selection.select(layers, effects=bound is not None and bound.watches_effects)
    require_room(model, keep, len(ids))
    effects, logprobs, times, began = [], [], [], time.perf_counter()

    def kept() -> Iterator[Kept]:
        for piece in _pieces(model, ids, phases, keep, bound):
            times.append(np.full(piece.count, time.perf_counter() - began))
            logprobs.append(piece.logprobs[0])
            effects.append(piece.kept.effects)
            yield piece.kept

    arrays = joined(kept(), len(ids))
    if bound is not None:
        warn_of_idle(bound, np.sum(effects, axis=0) if keep.effects else None)
    tokens = Tokens(
        np.asarray(ids, np.int32), texts(ids, tokenizer), tuple(phases),
        np.concatenate([[np.nan], *logprobs])[:-1].astype(np.float32), np.concatenate(times),
    )  # fmt: skip
    again = read_again(model, ids, phases, plan, len(ids))
    digest = "" if bound is None else bound.digest
    return Run(tokens, layers, arrays, slots, name, str(plan or ""), again=again, digest=digest)


def joined(pieces: Iterable[Kept], steps: int) -> dict[str, np.ndarray]:
    """What was kept of the first row, piece by piece, as one array for each site, with a step for each token.

    Each piece is put in its place as it comes, and need not be held any longer. Attention is over as many keys as there
    are tokens.
    """
    arrays, start = dict[str, np.ndarray](), 0
    for piece in pieces:
        count = 0
        for site, part in _parts(piece):
            axis = 1 if site in LAYER_SITES else 0  # that of the steps
            if site not in arrays:
                shape = [*part.shape[:axis], steps, *part.shape[axis + 1 :]]
                shape[-1] = steps if site == "attention" else shape[-1]
                arrays[site] = np.zeros(shape, part.dtype)
            whole, count = arrays[site], part.shape[axis]
            width = min(part.shape[-1], whole.shape[-1])
            whole.swapaxes(0, axis)[start : start + count, ..., :width] = part.swapaxes(0, axis)[..., :width]
        start += count
    return arrays


def _parts(piece: Kept) -> Iterator[tuple[str, np.ndarray]]:
    """Of the first row, by site: `[slot, step, ...]` of those kept by layer, else `[step, ...]`."""
    for site in LAYER_SITES:
        if (part := getattr(piece, site)) is not None:
            yield site, part[:, 0]
    if piece.logits is not None:
        yield "logits", piece.logits[0]
    for site in ROUTE_SITES:
        if (part := getattr(piece, site)) is not None:
            yield f"router_{site}", part[:, 0].swapaxes(0, 1)


def warn_of_idle(bound: BoundPlan, effects: Float[np.ndarray, "moe_layer E"] | None, stacklevel: int = 4) -> None:
    """Say what of a plan never did anything."""
    for idle in bound.idle(effects):
        warnings.warn(idle, stacklevel=stacklevel)


def interventions_at(bound: BoundPlan, phases: Sequence[Sequence[Phase]]) -> Callable[[int, int], Interventions]:
    """What changes in the tokens from a place on, of rows of known phases."""
    codes = [np.asarray(numbered(row), np.int32) for row in phases]

    def at(start: int, count: int) -> Interventions:
        known = np.full((len(codes), count), -1, np.int32)
        for row, own in enumerate(codes):
            piece = own[start : start + count]
            known[row, : len(piece)] = piece
        return bound.at(np.broadcast_to(np.arange(start, start + count), known.shape), known)

    return at


def _pieces(
    model: GLM, ids: Sequence[int], phases: Sequence[Phase], keep: Keep, bound: BoundPlan | None
) -> Iterator[Piece]:
    rows = Rows(np.asarray(ids, np.int32)[None], np.asarray([len(ids)]))
    return score(model, rows, keep, None if bound is None else interventions_at(bound, [phases]))


def read_again(
    model: GLM, ids: Sequence[int], phases: Sequence[Phase], plan: Plan | None, steps: int | None
) -> Callable[[Keep], Iterator[Kept]]:
    """A way to run the same tokens once more, as long as the model is there and is what it was.

    `steps` is how many tokens the plan was told of.
    """
    leaves, known = [weakref.ref(leaf) for leaf in jax.tree.leaves(model)], weakref.ref(model)

    def run(keep: Keep) -> Iterator[Kept]:
        found = known()
        if found is None or any(r() is not leaf for r, leaf in zip(leaves, jax.tree.leaves(found), strict=True)):
            raise RequestError("the model of this run is gone or has changed since; keep the logits, gk.keep('logits')")
        bound = None if plan is None else plan.bind(found, steps)
        for piece in _pieces(found, ids, phases, keep, bound):
            yield piece.kept

    return run
