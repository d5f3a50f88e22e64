"""Steps of Muon on meshes of 8 virtual devices move a model as they do on one device."""

import pytest

from mesh.processes import on_eight_devices

WHOLE, FULLY_SHARDED = ["expert", None, None, "tensor"], ["expert", "data", None, "tensor"]


@pytest.mark.parametrize(
    ("sizes", "storage", "expert_spec"),
    [
        ((2, 2, 2), "fsdp", FULLY_SHARDED),
        pytest.param((8, 1, 1), "whole", WHOLE, marks=pytest.mark.all_meshes),  # about a minute each
    ],
)
def test_steps_on_a_mesh_are_those_on_one_device(sizes, storage, expert_spec):
    result = on_eight_devices("training_on_eight_devices.py", sizes, storage)
    assert result["losses"] < 1e-4  # float32 sums in another order, relative to the largest loss
    # Muon makes of each gradient a matrix of singular values near 1, the smallest ones' rounding included.
    assert result["parameters"] < 1e-3
    assert result["expert_spec"] == expert_spec
