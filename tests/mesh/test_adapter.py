"""An adapted model on meshes of 8 virtual devices gives one device's logits, gradients and merged weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# float32 sums in another order over at most 8 devices, relative to the largest value of each array.
TOLERANCE = 1e-4


@pytest.mark.all_meshes  # about a minute each
@pytest.mark.parametrize(
    ("sizes", "storage", "expert_spec"),
    [((2, 2, 2), "fsdp", ["expert", "data", None]), ((1, 4, 2), "whole", ["expert", None, None])],
)
def test_a_mesh_computes_what_one_device_computes(sizes, storage, expert_spec):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(HERE / "adapter_on_eight_devices.py"), *map(str, sizes), storage]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=540, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["logits"] < TOLERANCE
    assert result["gradients"] < TOLERANCE
    assert result["merged"] < TOLERANCE
    assert result["expert_spec"] == expert_spec
