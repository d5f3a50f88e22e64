"""Memory of the host, as far as this process may use it: a container or a batch job may be allowed less than there is.

Control groups by the kernel's documentation: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

__all__ = ["Memory", "memory"]

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


class Memory(NamedTuple):
    """In bytes."""

    free: int  # caches that the kernel can drop count as free
    total: int


class _Version(NamedTuple):
    """What a version of control groups calls the files of a group, and the page cache in its statistics."""

    limit: str
    usage: str
    cached: tuple[str, str]


_WITH_CHILDREN = ("total_inactive_file", "total_active_file")  # as the first version's usage is
_V1 = _Version("memory.limit_in_bytes", "memory.usage_in_bytes", _WITH_CHILDREN)
_V2 = _Version("memory.max", "memory.current", ("inactive_file", "active_file"))


def memory() -> Memory:
    """The least that the machine and the control groups of this process leave to it."""
    machine = psutil.virtual_memory()
    free, total = machine.available, machine.total
    for group, version in _groups():
        try:
            limit = int((group / version.limit).read_text())  # "max" where there is none
            used = int((group / version.usage).read_text())
            lines = (group / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):
            continue
        statistics = {name: int(value) for name, value in (line.split() for line in lines)}
        droppable = sum(statistics.get(name, 0) for name in version.cached)
        total, free = min(total, limit), min(free, max(0, limit - used + droppable))
    return Memory(free, total)


def _groups() -> Iterator[tuple[Path, _Version]]:
    """The folders of the groups that bound this process's memory, from its own upwards.

    A container may see its own group as the root, under the path that it has outside: folders that there are not are
    passed over.
    """
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:  # hierarchy:controllers:path
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, version = _GROUPS, _V2
        elif "memory" in controllers.split(","):
            root, version = _GROUPS / "memory", _V1
        else:
            continue
        own = root / path.lstrip("/")
        yield from ((group, version) for group in (own, *own.parents) if group.is_relative_to(root) and group.is_dir())
