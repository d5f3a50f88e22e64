"""What the comparisons ask of glmkit, compiled: a whole forward pass, and one token at a time through the cache."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from glmkit import GLM
from golden.cases import Inputs


def whole(model: GLM, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[B, T, V]` and the load `[moe_layer, E]` of one forward pass."""
    logits, load = _whole(model, *_arrays(inputs))
    return np.asarray(logits), np.asarray(load)


def token_by_token(model: GLM, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[B, T, V]` and each step's load `[T, moe_layer, E]`, the tokens being appended to a cache one by one."""
    rows, length = inputs.tokens.shape
    logits, load = _token_by_token(model, model.empty_cache(rows, length), *_arrays(inputs))
    return np.asarray(logits), np.asarray(load)


def mtp(model: GLM, inputs: Inputs) -> np.ndarray:
    """Logits `[B, T - 1, V]` of the token after next, by the multi-token-prediction layer."""
    return np.asarray(_mtp(model, *_arrays(inputs)))


@jax.jit
def _whole(model, tokens, positions, segment_ids):
    out = model(tokens, positions=positions, segment_ids=segment_ids)
    return model.logits(out.hidden), out.load


@jax.jit
def _token_by_token(model, cache, tokens, positions, segment_ids):
    def step(cache, column):
        tokens, positions, segment_ids = column
        out = model(tokens[:, None], positions=positions[:, None], segment_ids=segment_ids[:, None], cache=cache)
        return out.cache, (model.logits(out.hidden)[:, 0], out.load)

    _, (logits, load) = jax.lax.scan(step, cache, (tokens.T, positions.T, segment_ids.T))
    return logits.swapaxes(0, 1), load


@jax.jit
def _mtp(model, tokens, positions, segment_ids):
    hidden = model(tokens, positions=positions, segment_ids=segment_ids).hidden[:, :-1]
    out = model.predict_second(hidden, tokens[:, 1:], positions=positions[:, 1:], segment_ids=segment_ids[:, 1:])
    return model.mtp_logits(out.hidden)


def _arrays(inputs: Inputs) -> tuple[jax.Array, ...]:
    return tuple(jnp.asarray(x) for x in (inputs.tokens, inputs.positions, inputs.segment_ids))
