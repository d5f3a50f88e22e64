"""An RL update on a mesh of 8 virtual devices moves a model as it does on one device."""

from mesh.processes import on_eight_devices


def test_an_update_on_a_mesh_is_that_on_one_device():
    result = on_eight_devices("rl_on_eight_devices.py", (2, 2, 2), "fsdp")
    # Float32 sums in another order, relative to the largest number.
    assert result["logprobs"] < 1e-5
    assert result["parameters"] < 1e-5
    # Relative to the largest of each array: float32 sums over eight parts, and what float64 leaves of the difference.
    assert result["gradients"] < 5e-6
    assert result["gradients in float64"] < 1e-12
