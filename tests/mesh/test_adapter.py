"""An adapted model on meshes of 8 virtual devices gives one device's logits, gradients and merged weights."""

import pytest

from mesh.processes import on_eight_devices

# float32 sums in another order over at most 8 devices, relative to the largest value of each array.
TOLERANCE = 1e-4


@pytest.mark.all_meshes  # about a minute each
@pytest.mark.parametrize(
    ("sizes", "storage", "expert_spec"),
    [((2, 2, 2), "fsdp", ["expert", "data", None]), ((1, 4, 2), "whole", ["expert", None, None])],
)
def test_a_mesh_computes_what_one_device_computes(sizes, storage, expert_spec):
    result = on_eight_devices("adapter_on_eight_devices.py", sizes, storage)
    assert result["logits"] < TOLERANCE
    assert result["gradients"] < TOLERANCE
    assert result["merged"] < TOLERANCE
    assert result["expert_spec"] == expert_spec
