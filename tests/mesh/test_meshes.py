"""Five meshes of 8 virtual devices give one device's logits, gradients and greedy tokens."""

import pytest

from mesh.processes import on_eight_devices

# float32 sums in another order over at most 8 devices, relative to the largest value of each array.
TOLERANCE = 1e-4


# Each takes about two minutes to compile; `make test` runs the one with all axes, `make test-mesh` all.
WHOLE, FULLY_SHARDED = ["expert", None, None, "tensor"], ["expert", "data", None, "tensor"]
MESHES = [
    pytest.param((2, 2, 2), "fsdp", FULLY_SHARDED),
    pytest.param((1, 8, 1), "whole", WHOLE, marks=pytest.mark.all_meshes),
    pytest.param((8, 1, 1), "fsdp", FULLY_SHARDED, marks=pytest.mark.all_meshes),
    pytest.param((1, 1, 2), "whole", WHOLE, marks=pytest.mark.all_meshes),
    pytest.param((2, 4, 1), "whole", WHOLE, marks=pytest.mark.all_meshes),
]


@pytest.mark.parametrize(("sizes", "storage", "expert_spec"), MESHES)
def test_a_mesh_computes_what_one_device_computes(sizes, storage, expert_spec):
    result = on_eight_devices("on_eight_devices.py", sizes, storage)
    assert result["logits"] < TOLERANCE
    assert result["gradients"] < TOLERANCE
    assert result["same_greedy_tokens"]
    assert result["expert_spec"] == expert_spec
    data, _, tensor = sizes  # what leaves the network carries no mesh axis of size one
    assert result["logits_spec"] == ["data" if data > 1 else None, None, "tensor" if tensor > 1 else None]
    assert result["cache_as_ruled"]
    assert result["expert_gathers"] == []
