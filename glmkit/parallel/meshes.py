"""Builds device meshes. The axis names and the rules that use them are in `glmkit.sharding`."""

import math
from collections.abc import Sequence
from typing import Literal

import jax
from jax.sharding import Mesh

from glmkit.checks import is_integer
from glmkit.errors import MeshError
from glmkit.sharding import MESH_AXES


def mesh(
    layout: Literal["auto"] | None = None,
    *,
    data: int = 1,
    expert: int = 1,
    tensor: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """A mesh with explicit axes `data`, `expert`, `tensor` and `seq`.

    `mesh("auto")` puts all devices on the expert axis, which splits the bulk of a mixture of experts without touching
    attention. `mesh(data=2, expert=4)` uses exactly `data * expert * tensor` devices. Raises `MeshError` when there are
    fewer, or when "auto" is combined with sizes.
    """
    devices = jax.devices() if devices is None else list(devices)
    if layout == "auto":
        if (data, expert, tensor) != (1, 1, 1):
            raise MeshError('mesh("auto") chooses the sizes itself: give either "auto" or data=, expert=, tensor=')
        expert = len(devices)
    elif layout is not None:
        raise MeshError(f'unknown mesh layout {layout!r}: give "auto" or data=, expert=, tensor=')
    sizes = {"data": data, "expert": expert, "tensor": tensor, "seq": 1}
    for axis, size in sizes.items():
        if not is_integer(size) or size < 1:
            raise MeshError(f"mesh axis '{axis}' is {size!r}; expected an integer of at least 1")
    needed = math.prod(sizes.values())
    if needed > len(devices):
        raise MeshError(f"a mesh of {sizes} needs {needed} devices, {len(devices)} are there")
    return jax.make_mesh(tuple(sizes.values()), MESH_AXES, devices=devices[:needed])
