"""Runs a script of this folder in a process of its own, on 8 virtual devices, and reads the JSON object it prints."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def on_eight_devices(script: str, sizes: Sequence[int], storage: str) -> dict[str, Any]:
    """What `script` found on a mesh of these `sizes` (data, expert, tensor); `storage` is "whole" or "fsdp"."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(HERE / script), *map(str, sizes), storage]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=540, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
