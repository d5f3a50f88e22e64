"""Run by test_meshes.py in a process of its own: a model on a mesh of virtual devices against the same on one device.

Prints one JSON object. Every result is waited for before the next call: sharded CPU programs in a queue can deadlock.
"""

import functools
import json
import re
import sys
from unittest import mock

import jax
import numpy as np
from flax import nnx

from glmkit import GLM, mesh
from glmkit.engine import Engine, Request, Sampling, engine as engine_module
from glmkit.engine.ladder import Ladder
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.sharding import partition_spec
from tiny import CONFIG, randomised


def loss(model: GLM, tokens) -> jax.Array:
    out = model(tokens)
    second = model.predict_second(out.hidden, tokens)
    return (model.logits(out.hidden) ** 2).mean() + (model.mtp_logits(second.hidden) ** 2).mean()


def placed(model: GLM, on: jax.sharding.Mesh, fsdp: bool) -> GLM:
    """The parameters of `model` on the shardings that an abstract model on the mesh declares."""
    abstract = GLM(model.config, rngs=None, mesh=on, fsdp=fsdp)
    return jax.tree.map(lambda value, like: jax.device_put(np.asarray(value), like.sharding), model, abstract)


def worst(one, other) -> float:
    """The largest difference, relative to the largest value of its array."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-6)) for a, b in (map(np.asarray, p) for p in pairs))


def greedy(model: GLM) -> list[list[int]]:
    """Of three short prompts, then of a page, then of two prompts at once that go on from it, both where it is known.

    A step takes one prompt of each part of the mesh.
    """
    rng = np.random.default_rng(1)
    short, known = rng.integers(0, 256, (3, 6)).tolist(), rng.integers(0, 256, PAGE + 1).tolist()
    with mock.patch.object(engine_module, "Ladder", functools.partial(Ladder, chunks=(32,), prefill=32)):
        engine, said = Engine(model, PAGE + 32), []
    for prompts in (short, [known], [[*known, *ending] for ending in short[:2]]):
        requests = [Request(tuple(prompt), Sampling(temperature=0.0), 5, frozenset()) for prompt in prompts]
        for _ in engine.generate(requests):
            pass
        said += [request.tokens for request in requests]
    return said


def expert_gathers(model: GLM, tokens) -> list[str]:
    """All-gathers in the compiled forward pass whose result has the shape of a layer's expert weights.

    Told by shape, so only of a mesh that splits the experts: with whole ones, gathering fully sharded weights over
    `data` has this shape too.
    """
    text = jax.jit(lambda m, t: m(t).hidden).lower(model, tokens).compile().as_text()
    width = CONFIG.moe_intermediate_size
    shapes = {
        f"{CONFIG.n_routed_experts},32,2,{width}",
        f"{CONFIG.n_routed_experts},{width},32",
        f"{CONFIG.n_routed_experts},32,{2 * width}",
    }
    return [line for line in re.findall(r"= \S+\[([\d,]+)\]\S* all-gather\(", text) if line in shapes]


def main(data: int, expert: int, tensor: int, fsdp: bool) -> None:
    reference = randomised(GLM(CONFIG, rngs=nnx.Rngs(0)))
    model = placed(reference, mesh(data=data, expert=expert, tensor=tensor), fsdp)
    tokens = np.random.default_rng(0).integers(0, CONFIG.vocab_size, (8, 10), np.int32)
    logits = jax.jit(lambda m, t: m.logits(m(t).hidden))
    gradient = jax.jit(jax.grad(loss))
    results = [jax.block_until_ready((logits(m, tokens), gradient(m, tokens))) for m in (reference, model)]
    print(
        json.dumps(
            {
                "logits": worst(results[0][0], results[1][0]),
                "gradients": worst(results[0][1], results[1][1]),
                "same_greedy_tokens": greedy(reference) == greedy(model),
                "expert_spec": list(jax.typeof(model.blocks[1].mlp.gate_up[...]).sharding.spec),
                "logits_spec": list(jax.typeof(results[1][0]).sharding.spec),
                "cache_as_ruled": jax.typeof(model.empty_cache(8, 8).layers[0].k).sharding.spec
                == partition_spec(("batch", "kv_heads", None, None)),
                "expert_gathers": expert_gathers(model, tokens) if expert > 1 else [],
            }
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), fsdp=sys.argv[4] == "fsdp")
