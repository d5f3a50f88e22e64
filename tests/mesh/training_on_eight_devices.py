"""Run by test_training.py in a process of its own: two training steps on a mesh against the same on one device.

Prints one JSON object. Every result is waited for before the next call: sharded CPU programs in a queue can deadlock.
"""

import json
import sys

import jax
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding

from glmkit import GLM, mesh
from glmkit.sharding import partition_spec
from glmkit.train.data import Batch
from glmkit.train.optimizer import make_optimizer
from glmkit.train.step import Objective, TrainState, compiled_step
from mesh.on_eight_devices import placed, worst
from tiny import CONFIG, randomised


def packed(rows: int = 8, length: int = 12) -> Batch:
    """Rows of two examples and some padding, each with another share of learned tokens."""
    rng = np.random.default_rng(0)
    segments = np.repeat([[0] * 5 + [1] * 6 + [-1]], rows, axis=0).astype(np.int32)
    learned = (rng.random((rows, length)) < np.linspace(0, 1, rows)[:, None]) & (segments >= 0)
    return Batch(rng.integers(0, CONFIG.vocab_size, (rows, length)).astype(np.int32), learned, segments)


def trained(model: GLM, steps: int = 2) -> tuple[list[float], GLM]:
    """Losses, and the model after the steps, which consume the one given."""
    objective, optimizer = Objective(), make_optimizer("muon", 1e-2)
    step, state = compiled_step(objective, optimizer), TrainState.start(model, optimizer)
    layout = NamedSharding(model.embed[...].sharding.mesh, partition_spec((None, "batch", None)))
    batch = Batch(*(jax.device_put(part[None], layout) for part in packed()))
    losses = []
    for _ in range(steps):
        state, metrics = jax.block_until_ready(step(state, batch))
        losses += [float(metrics.loss), float(metrics.mtp_loss)]
    return losses, state.model


def main(data: int, expert: int, tensor: int, fsdp: bool) -> None:
    reference = randomised(GLM(CONFIG, rngs=nnx.Rngs(0)))
    model = placed(reference, mesh(data=data, expert=expert, tensor=tensor), fsdp)
    (losses, one), (losses_there, there) = trained(reference), trained(model)
    spec = list(jax.typeof(there.blocks[1].mlp.gate_up[...]).sharding.spec)
    print(json.dumps({"losses": worst(losses, losses_there), "parameters": worst(one, there), "expert_spec": spec}))


if __name__ == "__main__":
    main(*(int(size) for size in sys.argv[1:4]), fsdp=sys.argv[4] == "fsdp")
