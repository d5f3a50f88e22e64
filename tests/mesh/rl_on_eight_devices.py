"""Run by test_rl.py in a process of its own: an RL update on a mesh against the same on one device.

Prints one JSON object. Every result is waited for before the next call: sharded CPU programs in a queue can deadlock.
"""

import json
import sys

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from glmkit import mesh
from glmkit.rl import PPO, Rollout, per_sequence
from glmkit.rl.batches import by_row, micro_batches
from glmkit.rl.update import Plan, compiled_update, gradient
from glmkit.train.step import started
from mesh.on_eight_devices import placed, worst
from tiny import CONFIG, one_layer

ROWS, LENGTH = 8, 12


def made_up() -> Rollout:
    """Rows of different lengths, routed at random."""
    rng = np.random.default_rng(0)
    length = rng.integers(6, LENGTH + 1, ROWS)
    places = np.arange(LENGTH)
    there, learned = places < length[:, None], (places >= 3) & (places < length[:, None])
    experts = rng.permuted(np.tile(np.arange(CONFIG.n_routed_experts), (ROWS, LENGTH, 1, 1)), axis=-1)
    return Rollout(
        tokens=rng.integers(0, 256, (ROWS, LENGTH)).astype(np.int32),
        length=length,
        spans=np.where(there, 2, -1),
        mask=learned,
        logprobs=np.where(learned, -1.0, 0.0),
        sample=np.arange(ROWS),
        group=np.arange(ROWS) // 2,
        routes=np.where(there[..., None, None], experts[..., : CONFIG.num_experts_per_tok], -1).astype(np.int16),
        advantages=rng.standard_normal(ROWS),
    )


def updated(model):
    """Log-probabilities before the update, and the model after it, which consumes the one given."""
    rollout, optimizer = made_up(), optax.sgd(1.0)  # so that the change of a parameter is its gradient
    plan = Plan()
    batch = micro_batches(rollout, ROWS, model.embed[...].sharding.mesh, per_sequence)
    opt_state = started(optimizer, nnx.state(model, plan.trainable))
    moved, _, found = jax.block_until_ready(compiled_update(PPO(), optimizer, plan)(model, opt_state, batch))
    assert found.finite
    assert not np.asarray(found.flips).any()
    return [by_row(found.scored.logprobs, ROWS)], moved


def gradients(model, dtype):
    batch = micro_batches(made_up(), ROWS, model.embed[...].sharding.mesh, per_sequence, dtype)
    return jax.block_until_ready(jax.jit(lambda model, batch: gradient(PPO(), Plan(), model, batch)[0])(model, batch))


def apart(layout: Mesh, fsdp: bool, dtype: str) -> float:
    """How far the gradient on a mesh is from that on one device, relative to the largest number of each array."""
    one, there = (gradients(model, dtype) for model in (one_layer(dtype), placed(one_layer(dtype), layout, fsdp)))
    return worst(one, there)


def main(data: int, expert: int, tensor: int, fsdp: bool) -> None:
    layout = mesh(data=data, expert=expert, tensor=tensor)
    narrow = apart(layout, fsdp, "float32")
    with jax.enable_x64(True):
        wide = apart(layout, fsdp, "float64")
    model = placed(one_layer(), layout, fsdp)
    here = jax.tree.map(lambda leaf: leaf.copy(), one_layer())
    (scores, one), (scores_there, there) = updated(here), updated(model)
    found = {"logprobs": worst(scores, scores_there), "parameters": worst(one, there)}
    print(json.dumps(found | {"gradients": narrow, "gradients in float64": wide}))


if __name__ == "__main__":
    main(*(int(size) for size in sys.argv[1:4]), fsdp=sys.argv[4] == "fsdp")
