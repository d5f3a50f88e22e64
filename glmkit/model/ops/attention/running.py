"""Attention summed up over keys that come piece by piece: the running softmax of what is tiled or paged."""

from typing import NamedTuple, Self

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int

from glmkit.model.ops.attention.reference import MASKED
from glmkit.model.ops.vary import vary_like


class Running(NamedTuple):
    """What is known after some of the keys: sums relative to the highest score so far (arXiv 1805.02867)."""

    highest: Float[Array, "*rows Q 1"]
    total: Float[Array, "*rows Q 1"]  # of the weights
    out: Float[Array, "*rows Q C"]  # of the weighted values

    @classmethod
    def start(cls, shape: tuple[int, ...], dtype: DTypeLike, *like: Array) -> Self:
        """Before the first key, for queries `[*rows, Q, C]`; varies over the mesh axes of `like`."""
        column = (*shape[:-1], 1)
        zeros = jnp.full(column, MASKED, dtype), jnp.zeros(column, dtype), jnp.zeros(shape, dtype)
        return cls(*(vary_like(x, *like) for x in zeros))

    def after(self, scores: Float[Array, "*rows Q S"], values: Float[Array, "*rows S C"]) -> Self:
        """After more keys. Where none of them is seen, what is added decays to 0 at the first that is."""
        highest = jnp.maximum(self.highest, scores.max(-1, keepdims=True))
        weights, decay = jnp.exp(scores - highest), jnp.exp(self.highest - highest)
        update = jnp.einsum(
            "...qs,...sc->...qc", weights.astype(values.dtype), values, preferred_element_type=self.out.dtype
        )
        return type(self)(highest, self.total * decay + weights.sum(-1, keepdims=True), self.out * decay + update)

    def merged(self, other: Self) -> Self:
        """After the keys of both, which had none in common."""
        highest = jnp.maximum(self.highest, other.highest)
        ours, theirs = jnp.exp(self.highest - highest), jnp.exp(other.highest - highest)
        return type(self)(highest, *(mine * ours + its * theirs for mine, its in zip(self[1:], other[1:], strict=True)))

    def of(self, block: Int[Array, ""]) -> Self:
        """That of one block, where there are several along the first axis."""
        return type(self)(*(x[block] for x in self))

    def put(self, block: Int[Array, ""], of_block: Self) -> Self:
        """With that of one block replaced."""
        return type(self)(*(x.at[block].set(new) for x, new in zip(self, of_block, strict=True)))
