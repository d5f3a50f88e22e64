"""Whether a model fits: bytes counted from shapes, and the nearest fits, each of which really fits."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType

import tiny
from glmkit import GLM, GLMConfig
from glmkit.errors import MemoryPlanError
from glmkit.host import Memory
from glmkit.parallel import planner
from glmkit.parallel.planner import Plan, bytes_per_device, cache_bytes_per_device, free_bytes, require_fit
from glmkit.sharding import MESH_AXES
from glmkit.weights import load_hf
from golden.cases import CASES, write_checkpoint

GIB = 2**30
AIR = GLMConfig.preset("glm-4.5-air")


def abstract_mesh(data=1, expert=1, tensor=1):
    return AbstractMesh((data, expert, tensor, 1), MESH_AXES, axis_types=(AxisType.Explicit,) * 4)


@functools.cache
def abstract(config=AIR, dtype=jnp.bfloat16, mtp="own", fsdp=False, **sizes):
    return GLM(config, rngs=None, dtype=dtype, mesh=abstract_mesh(**sizes), mtp=mtp, fsdp=fsdp)


def with_free(monkeypatch, nbytes):
    monkeypatch.setattr(planner, "free_bytes", lambda device: int(nbytes))


def on_this_device(config=AIR, dtype=jnp.float32, layers=None):
    return GLM.abstract(config, dtype=dtype, layers=layers, mtp="own")


def refusal(model, max_len) -> str:
    with pytest.raises(MemoryPlanError) as raised:
        require_fit(model, max_len)
    return str(raised.value)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, CASES["air"])
    return load_hf(folder)


def test_a_real_model_holds_as_many_bytes_as_were_counted(model):
    nbytes = sum(leaf.nbytes for leaf in jax.tree.leaves(model))
    assert bytes_per_device(model) == nbytes
    assert bytes_per_device(GLM(model.config, rngs=None, mtp="own")) == nbytes


def test_a_real_cache_holds_as_many_bytes_as_were_counted(model):
    cache = model.empty_cache(3, 600)
    assert cache_bytes_per_device(model, 600, rows=3) == sum(leaf.nbytes for leaf in jax.tree.leaves(cache.layers))


@pytest.mark.parametrize("mtp", ["own", "shared", None])
def test_the_released_model_needs_two_bytes_for_each_of_its_parameters(mtp):
    biases = (AIR.num_moe_layers + (mtp is not None)) * AIR.n_routed_experts
    assert bytes_per_device(abstract(mtp=mtp)) == 2 * AIR.num_parameters(mtp) + 2 * biases  # those are in float32


def test_a_longer_expert_axis_splits_the_experts_alone():
    one, eight = bytes_per_device(abstract()), bytes_per_device(abstract(expert=8))
    layers = AIR.num_moe_layers + 1
    experts = 2 * layers * AIR.n_routed_experts * 3 * AIR.hidden_size * AIR.moe_intermediate_size
    assert one - eight == experts - experts // 8
    assert bytes_per_device(abstract(), abstract_mesh(expert=8)) == eight


def test_full_sharding_splits_over_data_and_tensor_sharding_splits_the_cache():
    assert bytes_per_device(abstract(data=8, fsdp=True)) < bytes_per_device(abstract(data=8)) / 7
    one = cache_bytes_per_device(abstract(), 1024)
    assert one == 1024 * AIR.kv_bytes_per_token()
    assert cache_bytes_per_device(abstract(tensor=4), 1024) == one // 4
    assert cache_bytes_per_device(abstract(data=2), 1024, rows=2) == one
    assert cache_bytes_per_device(abstract(data=2), 1024) == one


def test_free_memory_of_an_accelerator_is_what_its_allocator_has_left():
    class Accelerator:
        def memory_stats(self):
            return {"bytes_limit": 80 * GIB, "bytes_in_use": 3 * GIB}

    assert free_bytes(Accelerator()) == 77 * GIB


def test_free_memory_of_a_cpu_is_the_hosts(monkeypatch):
    monkeypatch.setattr(planner.host, "memory", lambda: Memory(free=2000, total=9000))
    assert free_bytes(jax.devices("cpu")[0]) == 2000


def test_what_fits_is_not_refused(monkeypatch):
    plan = Plan(GLM(tiny.CONFIG, rngs=None, mtp="own"), 600, abstract_mesh())
    with_free(monkeypatch, plan.needed)
    require_fit(on_this_device(tiny.CONFIG), 600)
    with_free(monkeypatch, plan.weights)
    require_fit(on_this_device(tiny.CONFIG), 0)
    require_fit(on_this_device(tiny.CONFIG, layers=slice(0, 2)), 1)
    assert "max_len=600" in refusal(on_this_device(tiny.CONFIG), 600)


def test_the_refusal_says_what_is_needed_and_free(monkeypatch):
    with_free(monkeypatch, 300 * GIB)
    message = refusal(on_this_device(), 131_072)
    assert message.startswith(
        "458 GiB are needed on each device (412 GiB of weights in float32, 46 GiB of KV cache for max_len=131072), "
        "300 GiB are free."
    )
    assert message.endswith("What would fit: dtype=bfloat16 (229 GiB)")


def test_the_length_it_names_fits_and_a_block_more_does_not(monkeypatch):
    with_free(monkeypatch, 215 * GIB)
    length = int(re.search(r"What would fit: max_len=(\d+)$", refusal(on_this_device(dtype=jnp.bfloat16), 131_072))[1])
    require_fit(on_this_device(dtype=jnp.bfloat16), length)
    refusal(on_this_device(dtype=jnp.bfloat16), length + 1)


def test_both_changes_where_one_is_not_enough(monkeypatch):
    with_free(monkeypatch, 215 * GIB)
    assert re.search(r"What would fit: dtype=bfloat16 with max_len=\d+$", refusal(on_this_device(), 131_072))


def test_nothing_near_is_said_too(monkeypatch):
    with_free(monkeypatch, 16 * GIB)
    assert refusal(on_this_device(), 131_072).endswith("What would fit: no other dtype, max_len or expert axis")


def test_the_mesh_it_names_fits_and_the_next_smaller_does_not():
    plan = Plan(abstract(), 131_072, abstract_mesh())
    fits = list(planner._nearest_fits(plan, 80 * GIB, more_devices=True))
    assert [fit.partition(" (")[0] for fit in fits] == ["a mesh with expert=8, 8 devices like these"]
    assert plan.over_experts(8).needed <= 80 * GIB < plan.over_experts(4).needed
    assert plan.over_experts(8).weights == bytes_per_device(abstract(expert=8))


def test_bfloat16_leaves_the_correction_bias_as_it_is():
    plan = Plan(abstract(dtype=jnp.float32), 0, abstract_mesh())
    assert plan.in_bfloat16().weights == bytes_per_device(abstract())
