"""Run by test_adapter.py in a process of its own: an adapted model on a mesh against the same on one device.

Prints one JSON object. Every result is waited for before the next call: sharded CPU programs in a queue can deadlock.
"""

import json
import sys

import jax
import numpy as np
from flax import nnx

from glmkit import GLM, mesh
from glmkit.model.adapter import LoRAParam, adapted_places, shallow_copy
from glmkit.train.lora import add_lora, merge_lora
from mesh.on_eight_devices import placed, worst
from tiny import ADAPTABLE, CONFIG, randomised, with_updates


def spread(adapted: GLM, on: jax.sharding.Mesh, fsdp: bool) -> GLM:
    """The model on a mesh, its factors placed as `add_lora` declares them there."""
    weights = shallow_copy(adapted)
    for place in adapted_places(weights):
        place.put(place.base)
    there = add_lora(placed(weights, on, fsdp), 4, targets=ADAPTABLE, rngs=nnx.Rngs(0), mtp=True)
    return jax.tree.map(lambda value, like: jax.device_put(np.asarray(value), like.sharding), adapted, there)


def loss(factors: nnx.State, graph: nnx.GraphDef, rest: nnx.State, tokens) -> jax.Array:
    model = nnx.merge(graph, factors, rest)
    out = model(tokens)
    second = model.predict_second(out.hidden, tokens)
    return (model.logits(out.hidden) ** 2).mean() + (model.mtp_logits(second.hidden) ** 2).mean()


def main(data: int, expert: int, tensor: int, fsdp: bool) -> None:
    base = randomised(GLM(CONFIG, rngs=nnx.Rngs(0)))
    reference = with_updates(add_lora(base, 4, targets=ADAPTABLE, rngs=nnx.Rngs(0), mtp=True))
    model = spread(reference, mesh(data=data, expert=expert, tensor=tensor), fsdp)
    tokens = np.random.default_rng(0).integers(0, CONFIG.vocab_size, (8, 10), np.int32)
    logits = jax.jit(lambda m, t: m.logits(m(t).hidden))
    results = []
    for one in (reference, model):
        graph, factors, rest = nnx.split(one, LoRAParam, ...)
        gradient = jax.jit(jax.grad(lambda f, r, graph=graph: loss(f, graph, r, tokens)))
        merged = jax.block_until_ready(merge_lora(one))
        results.append(jax.block_until_ready((logits(one, tokens), gradient(factors, rest), merged)))
    expert_a = model.blocks[1].mlp.gate_up.a[...]
    print(
        json.dumps(
            {
                "logits": worst(results[0][0], results[1][0]),
                "gradients": worst(results[0][1], results[1][1]),
                "merged": worst(results[0][2], results[1][2]),
                "expert_spec": list(jax.typeof(expert_a).sharding.spec),
            }
        )
    )


if __name__ == "__main__":
    main(*(int(size) for size in sys.argv[1:4]), fsdp=sys.argv[4] == "fsdp")
