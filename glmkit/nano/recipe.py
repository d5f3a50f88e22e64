"""How glm-nano is trained: its shape, its optimiser, its loss and one step. Pure functions; the run is `training`.

Follows GLM-4.5's report (arXiv 2508.06471) at a thousandth of the size: Muon for matrices, a cosine schedule, a
multi-token-prediction loss, and load balance by moving the routers' correction biases (arXiv 2408.15664).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from glmkit.config import GLMConfig
from glmkit.model import GLM
from glmkit.nano.packing import Batch
from glmkit.text.tokenizer import Tokenizer
from glmkit.train.optimizer import apply_optimizer, matrix_axes

__all__ = ["Metrics", "Recipe", "make_optimizer", "nano_config", "train_step"]


@dataclass(frozen=True)
class Recipe:
    """Every number a run depends on. Two runs of one recipe see the same data in the same order."""

    tokens: int = 4_000_000
    seed: int = 0
    batch_size: int = 16
    length: int = 256
    vocab_size: int = 640
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    weight_decay: float = 0.1
    mtp_weight: float = 0.3
    bias_update_rate: float = 1e-3

    @property
    def steps(self) -> int:
        """Optimiser steps; `tokens` counts padding too."""
        return max(1, self.tokens // (self.batch_size * self.length))


def nano_config(tokenizer: Tokenizer, max_length: int) -> GLMConfig:
    """GLM-4.5's shape made small, every feature of the large one switched on."""
    ids = {token: tokenizer.token_id(token) for token in ("<|endoftext|>", "<|user|>", "<|observation|>")}
    return GLMConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=256,
        num_hidden_layers=5,
        first_k_dense_replace=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        intermediate_size=512,
        moe_intermediate_size=64,
        n_routed_experts=16,
        num_experts_per_tok=2,
        routed_scaling_factor=2.5,
        use_qk_norm=True,
        rope_theta=10_000.0,
        max_position_embeddings=max_length,
        eos_token_id=tuple(ids.values()),
        pad_token_id=ids["<|endoftext|>"],
    )


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Muon with updates of root mean square 0.2 for every matrix but embedding and head, AdamW for all else."""
    warmup = min(recipe.warmup_steps, recipe.steps // 2)
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, warmup, recipe.steps)
    muon = optax.contrib.muon(
        schedule,
        consistent_rms=0.2,
        weight_decay=recipe.weight_decay,
        adam_b2=0.95,
        muon_weight_dimension_numbers=matrix_axes,
    )
    return optax.chain(optax.clip_by_global_norm(1.0), muon)


class Metrics(NamedTuple):
    """Of one step: mean losses in nats per learned token, and how uneven the experts' load is."""

    loss: Float[Array, ""]
    """Of the next token."""
    mtp_loss: Float[Array, ""]
    """Of the token after the next, by the multi-token-prediction layer."""
    imbalance: Float[Array, ""]
    """The busiest expert's load over the mean load, the worst of all layers; 1 is perfect balance."""


def train_step(
    recipe: Recipe, model: GLM, opt_state: optax.OptState, batch: Batch
) -> tuple[GLM, optax.OptState, Metrics]:
    """One update of the parameters by gradient and of the correction biases by load. To be jitted."""
    graph, params, buffers = nnx.split(model, nnx.Param, ...)

    def objective(params: nnx.State):
        losses, loads = _losses(nnx.merge(graph, params, buffers), batch)
        return losses[0] + recipe.mtp_weight * losses[1], (losses, loads)

    gradients, (losses, loads) = jax.grad(objective, has_aux=True)(params)
    updates, opt_state = apply_optimizer(make_optimizer(recipe), gradients, opt_state, params)
    model = nnx.merge(graph, optax.apply_updates(params, updates), buffers)
    _move_biases(model, loads, recipe.bias_update_rate)
    imbalance = (loads.max(axis=1) / loads.mean(axis=1)).max()
    return model, opt_state, Metrics(*losses, imbalance)


def _losses(model: GLM, batch: Batch) -> tuple[tuple[Array, Array], Float[Array, "moe_layer E"]]:
    """Losses of the next token and of the one after it, and the experts' loads, the prediction layer's last.

    A target counts if it is one the model learns to produce. Those lie behind a prompt of at least two tokens,
    so that no target is predicted from another example.
    """
    out = model(batch.tokens, segment_ids=batch.segment_ids)
    loss = _cross_entropy(model.logits(out.hidden), _ahead(batch.tokens, 1), _ahead(batch.loss_mask, 1))
    second = model.predict_second(out.hidden, _ahead(batch.tokens, 1), segment_ids=batch.segment_ids)
    logits = model.mtp_logits(second.hidden)
    mtp_loss = _cross_entropy(logits, _ahead(batch.tokens, 2), _ahead(batch.loss_mask, 2))
    return (loss, mtp_loss), jnp.concatenate([out.load, second.load])


def _ahead(x: Array, steps: int) -> Array:
    """`x[:, t + steps]` at place `t`; zeros past the end."""
    return jnp.pad(x[:, steps:], ((0, 0), (0, steps)))


def _cross_entropy(
    logits: Float[Array, "B T V"], targets: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> Float[Array, ""]:
    """Mean over the masked targets. Selects by comparison, which works whatever axis the logits are split over."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.where(np.arange(logits.shape[-1]) == targets[..., None], logits, 0).sum(-1)
    losses = jax.nn.logsumexp(logits, axis=-1) - chosen
    return jnp.where(mask, losses, 0).sum() / jnp.maximum(mask.sum(), 1)


def _move_biases(model: GLM, loads: Float[Array, "moe_layer E"], rate: float) -> None:
    """Raise the correction bias of experts with less than their share of tokens and lower that of the others."""
    blocks = [*model.blocks, model.mtp.block]
    routers = [block.mlp.router for block in blocks if hasattr(block.mlp, "router")]
    for router, load in zip(routers, loads, strict=True):
        router.bias[...] += rate * jnp.sign(load.mean() - load)
