"""`glmkit doctor`: what to look at first when something is off, and to paste into a report.

Gathers and prints; changes nothing and sends nothing.
"""

import argparse
import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from glmkit import __version__, host
from glmkit.resources import cache_dir, compilation_cache_dir

__all__ = ["add_arguments", "report", "run"]

PACKAGES = (
    *("jax", "jaxlib", "flax", "numpy", "ml_dtypes", "optax", "orbax-checkpoint"),
    *("tokenizers", "safetensors", "huggingface_hub"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, sizes in bytes")


def run(args: argparse.Namespace) -> int:
    """Print the report; the exit code is 1 if JAX could not start its devices."""
    found = report()
    print(json.dumps(found, indent=2) if args.json else as_text(found))
    return 1 if found["devices_error"] else 0


def report() -> dict[str, Any]:
    """Everything `glmkit doctor` tells, as plain data: what is unknown or not set is None, sizes are in bytes."""
    devices, devices_error = _devices()
    memory = host.memory()
    return {
        "versions": {
            "python": platform.python_version(),
            "glmkit": __version__,
            **{name: _version(name) for name in PACKAGES},
        },
        "devices": devices,
        "devices_error": devices_error,
        "host": {
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "memory_free": memory.free,
            "memory_total": memory.total,
        },
        "caches": _caches(),
        "hub": _hub(),
    }


def as_text(found: dict[str, Any]) -> str:
    """The report as aligned lines, one for each thing."""
    host, hub = found["host"], found["hub"]
    lines = [(name, number or "not installed") for name, number in found["versions"].items()]
    if found["devices_error"]:
        lines.append(("devices", f"could not be started: {found['devices_error']}"))
    for device in found["devices"]:
        lines.append((f"device {device['id']}", f"{device['kind']} ({device['platform']}), {_device_memory(device)}"))
    lines.append(("host", f"{host['system']}, {host['cpus']} CPUs"))
    lines.append(("host memory", f"{_gib(host['memory_free'])} free of {_gib(host['memory_total'])}"))
    for name, cache in found["caches"].items():
        lines.append((f"{name} cache", f"{cache['path']}, {_gib(cache['disk_free'])} free" if cache else "off"))
    lines.append(("hub", "offline (HF_HUB_OFFLINE)" if hub["offline"] else "online"))
    lines.append(("hub token", "found" if hub["token"] else "none (public models need none)"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def devices_error() -> str | None:
    """Why JAX sees no devices: a driver that does not start, or a platform it has no plugin for. None if it sees some.

    JAX asserts where the plugin that JAX_PLATFORMS asks for is missing.
    """
    import jax

    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        return reason or f"JAX has no plugin for JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
    return None


def _devices() -> tuple[list[dict[str, Any]], str | None]:
    import jax

    if error := devices_error():
        return [], error
    return [_device(device) for device in jax.local_devices()], None


def _device(device: Any) -> dict[str, Any]:
    stats = device.memory_stats() or {}  # None on CPU, where a device's memory is the host's
    return {
        "id": device.id,
        "platform": device.platform,
        "kind": device.device_kind,
        "memory_used": stats.get("bytes_in_use"),
        "memory_total": stats.get("bytes_limit"),
    }


def _caches() -> dict[str, dict[str, Any] | None]:
    import jax
    from huggingface_hub import constants

    paths = {
        "hub": constants.HF_HUB_CACHE,
        "glmkit": cache_dir(),
        "compilation": jax.config.jax_compilation_cache_dir or compilation_cache_dir(),
    }
    return {name: _cache(Path(path)) if path else None for name, path in paths.items()}


def _cache(path: Path) -> dict[str, Any]:
    made = next(place for place in (path, *path.absolute().parents) if place.exists())
    return {"path": str(path), "disk_free": shutil.disk_usage(made).free}


def _hub() -> dict[str, Any]:
    from huggingface_hub import constants, get_token

    return {"offline": constants.HF_HUB_OFFLINE, "token": get_token() is not None}


def _device_memory(device: dict[str, Any]) -> str:
    if device["memory_total"] is None:
        return "memory shared with the host"
    return f"{_gib(device['memory_total'] - (device['memory_used'] or 0))} free of {_gib(device['memory_total'])}"


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
