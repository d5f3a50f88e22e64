"""The logit lens: what the model would say if it stopped after a layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.model import GLM
from glmkit.runs import Run
from glmkit.runs.frames import data_frame
from glmkit.runs.sites import canonical
from glmkit.sharding import constrain, mesh_of

__all__ = ["LogitLens", "logit_lens"]

_PIECE = 128  # positions whose logits are held at once


@dataclass(frozen=True, eq=False)
class LogitLens:
    """For each of `layers` and each step the likeliest next tokens, `top_ids` with `top_logprobs`, `[layer, step, n]`.

    `next_logprob` is that of the token that did come, NaN for the last; `token_logprob` has those asked for, by text,
    `[layer, step]`; `token_logit` their logits.
    """

    layers: tuple[int, ...]
    top_ids: Int[np.ndarray, "layer step n"]
    top_logprobs: Float[np.ndarray, "layer step n"]
    top_texts: tuple[tuple[tuple[str, ...], ...], ...]
    next_logprob: Float[np.ndarray, "layer step"]
    token_logprob: dict[str, Float[np.ndarray, "layer step"]]
    token_logit: dict[str, Float[np.ndarray, "layer step"]]

    def to_pandas(self):
        """A data frame with a row for each layer and step."""
        row, step = (axis.ravel() for axis in np.indices(self.next_logprob.shape))
        best = [self.top_texts[layer][at][0] for layer, at in zip(row, step, strict=True)]
        columns = {"layer": np.asarray(self.layers)[row], "step": step, "top": best}
        columns |= {"top_logprob": self.top_logprobs[..., 0].ravel(), "next_logprob": self.next_logprob.ravel()}
        return data_frame(columns | {f"logprob {text}": value.ravel() for text, value in self.token_logprob.items()})


def logit_lens(
    lm: LM, run: Run, *, site: str = "resid_post", top: int = 5, tokens: Sequence[str] = ("</think>",)
) -> LogitLens:
    """Read the residual stream of a run through the final norm and the head, at every layer that it kept.

    `tokens` are texts of one token each whose logits are followed over time. Raises RequestError for a run that kept
    nothing of the site, or a text that is not one token.
    """
    name, _ = canonical(site)
    if name not in run.slots:
        raise RequestError(f"this run did not keep {name}; run it with keep=gk.keep({name!r})")
    ids = np.asarray([_one_token(lm, text) for text in tokens], np.int32)
    targets = np.append(run.tokens.id[1:], 0).astype(np.int32)
    layers = run.slots[name]
    read = [_read(lm.model, run[name, layer], targets, ids, top) for layer in layers]
    top_ids, top_logprobs, next_logprob, token_logprob, token_logit = (
        np.stack(part) for part in zip(*read, strict=True)
    )
    next_logprob[:, -1] = np.nan
    text = {token: lm.tokenizer.decode([token]) for token in np.unique(top_ids).tolist()}
    texts = tuple(tuple(tuple(text[i] for i in step) for step in layer) for layer in top_ids.tolist())
    by_text = [dict(zip(tokens, np.moveaxis(part, -1, 0), strict=True)) for part in (token_logprob, token_logit)]
    return LogitLens(layers, top_ids, top_logprobs, texts, next_logprob, *by_text)


def _one_token(lm: LM, text: str) -> int:
    ids = lm.tokenizer.encode(text)
    if len(ids) != 1:
        raise RequestError(f"{text!r} is {len(ids)} tokens; expected texts of one token")
    return ids[0]


def _read(model: GLM, states: np.ndarray, targets: np.ndarray, ids: np.ndarray, top: int) -> list[np.ndarray]:
    pieces = []
    for start in range(0, len(states), _PIECE):
        part = slice(start, start + _PIECE)
        missing = _PIECE - len(states[part])
        x, y = np.pad(states[part], ((0, missing), (0, 0))), np.pad(targets[part], (0, missing))
        found = _lens(model, x, y, ids, jnp.arange(top))
        pieces.append([np.asarray(value)[: len(states[part])] for value in found])
    return [np.concatenate(part) for part in zip(*pieces, strict=True)]


@jax.jit
def _lens(
    model: GLM, x: Float[Array, "T D"], targets: Int[Array, " T"], ids: Int[Array, " n"], ranks: Int[Array, " k"]
) -> tuple[Array, ...]:
    embed = model.embed[...]
    rows = jnp.broadcast_to(x.astype(embed.dtype), (mesh_of(embed).shape["data"], *x.shape))
    logits = model.logits(model.norm(constrain(rows, "batch", None, None, like=embed)))[0]
    logprobs = jax.nn.log_softmax(logits)
    best, found = jax.lax.top_k(logprobs, ranks.shape[0])
    of_next = jnp.take_along_axis(logprobs, targets[:, None], axis=-1)[:, 0]
    return found, best, of_next, logprobs[:, ids], logits[:, ids]
