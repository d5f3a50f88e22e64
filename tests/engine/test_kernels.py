"""What steps of GLM-4.5 become on accelerators that need not be there: lowered ahead of time, with kernels inside."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from glmkit.config import GLMConfig
from glmkit.engine.compute import Drafting, Given, Probed, forward_step
from glmkit.model import GLM, Keep, KVCache
from glmkit.sharding import MESH_AXES

DEVICES = {
    "cuda": AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu"),
    "tpu": AbstractDevice(device_kind="TPU v5p", num_cores=1, platform="tpu"),
}
CACHED = {"cuda": "attention_paged", "tpu": "paged_flash_attention_kernel"}
WHOLE = {
    "cuda": ("mha_forward", "mha_backward", "grouped_matmul_dw"),
    "tpu": ("splash_mha_fwd", "splash_mha_dkv", "splash_mha_dq"),
}
ONE, EIGHT = (1, 1, 1, 1), (2, 1, 4, 1)


def abstract_model(platform, shape):
    """A dense and a MoE layer of GLM-4.5."""
    explicit = (AxisType.Explicit,) * len(MESH_AXES)
    mesh = AbstractMesh(shape, MESH_AXES, axis_types=explicit, abstract_device=DEVICES[platform])
    config = GLMConfig.preset("glm-4.5")
    return GLM(config, rngs=None, dtype="bfloat16", mesh=mesh, layer_numbers=(0, 3), mtp=None), mesh


def ids(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.int32)


@pytest.mark.parametrize(
    ("platform", "shape", "rows", "tokens", "keeps_attention", "has_kernels"),
    [
        ("cuda", ONE, 8, 1, False, True),
        ("cuda", EIGHT, 8, 5, False, True),
        ("cuda", ONE, 1, 1024, False, True),
        ("cuda", ONE, 8, 1, True, False),
        ("tpu", EIGHT, 8, 1, True, False),
        ("tpu", EIGHT, 8, 1, False, True),
        ("tpu", ONE, 1, 1024, False, False),
    ],
)
def test_steps_lower_with_kernels_where_there_are_some(platform, shape, rows, tokens, keeps_attention, has_kernels):
    model, mesh = abstract_model(platform, shape)
    cache = KVCache.abstract(model.config, model.layer_counts, rows, 8192, "bfloat16", mesh)
    given = Given(ids(*cache.table.shape), ids(rows), ids(rows, tokens), ids(rows, tokens), None)

    keep = Keep(attention=jnp.zeros(1, jnp.int32)) if keeps_attention else None

    def step(model, layers, given):
        logits, _, layers, kept = forward_step(Drafting(), model, layers, given, Probed(keep))
        return logits, layers, kept

    lowered = jax.jit(step).trace(model, cache.layers, given).lower(lowering_platforms=(platform,)).as_text()
    assert (CACHED[platform] in lowered) == has_kernels
    assert ("grouped_matmul" in lowered) == (platform == "cuda")


@pytest.mark.parametrize(("platform", "shape"), [("cuda", (2, 2, 4, 1)), ("tpu", ONE)])
def test_gradients_of_packed_sequences_lower_with_kernels(platform, shape):
    model, _ = abstract_model(platform, shape)

    graph, arrays = nnx.split(model)

    def gradient(arrays, tokens, segment_ids):
        def loss(arrays):
            return nnx.merge(graph, arrays)(tokens, segment_ids=segment_ids).hidden.sum()

        return jax.grad(loss)(arrays)

    lowered = jax.jit(gradient).trace(arrays, ids(4, 512), ids(4, 512)).lower(lowering_platforms=(platform,)).as_text()
    assert all(kernel in lowered for kernel in WHOLE[platform])
