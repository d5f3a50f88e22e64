"""Memory of the host under control groups, in folders laid out as the kernel's."""

import psutil
import pytest

from glmkit import host

MIB = 2**20
STAT_V2 = f"anon {700 * MIB}\ninactive_file {60 * MIB}\nactive_file {40 * MIB}\n"
STAT_V1 = f"inactive_file 1\nactive_file 1\ntotal_inactive_file {60 * MIB}\ntotal_active_file {40 * MIB}\n"


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """A function that writes the files of groups, and which groups this process is in."""
    monkeypatch.setattr(host, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(host, "_OWN_GROUPS", tmp_path / "own")

    def write(own, **groups):
        (tmp_path / "own").write_text(own)
        for folder, files in groups.items():
            path = tmp_path / "groups" / folder.replace("__", "/").removeprefix("root")
            path.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (path / name).write_text(str(text))

    return write


def group_v2(limit, used=800 * MIB):
    return {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": STAT_V2}


def group_v1(limit):
    files = {"memory.limit_in_bytes": f"{limit}\n", "memory.usage_in_bytes": f"{800 * MIB}\n"}
    return {**files, "memory.stat": STAT_V1}


def test_a_limit_is_what_there_is(kernel):
    kernel("0::/job\n", job=group_v2(1000 * MIB))
    assert host.memory() == (300 * MIB, 1000 * MIB)


def test_a_container_sees_its_group_as_the_root(kernel):
    kernel("0::/kubepods/pod1/abc\n", root=group_v2(1000 * MIB))
    assert host.memory() == (300 * MIB, 1000 * MIB)


def test_the_group_with_the_least_counts(kernel):
    kernel("0::/job/step\n", job=group_v2(1000 * MIB), job__step=group_v2("max", used=10 * MIB))
    assert host.memory() == (300 * MIB, 1000 * MIB)
    kernel("0::/job/step\n", job__step=group_v2(500 * MIB, used=490 * MIB))
    assert host.memory() == (110 * MIB, 500 * MIB)


def test_the_first_version_of_groups(kernel):
    kernel("4:cpu,cpuacct:/a\n3:memory:/b\n0::/\n", memory__b=group_v1(1000 * MIB))
    assert host.memory() == (300 * MIB, 1000 * MIB)


def test_more_in_use_than_is_allowed_leaves_nothing(kernel):
    kernel("0::/job\n", job=group_v2(100 * MIB))
    assert host.memory() == (0, 100 * MIB)


@pytest.mark.parametrize("limit", ["max", 2**63 - 4096, "no number"])
def test_without_a_limit_it_is_the_machines(kernel, limit):
    kernel("0::/job\n", job=group_v2(limit))
    total = psutil.virtual_memory().total
    assert host.memory().total == total
    assert 0 < host.memory().free <= total


def test_without_groups_it_is_the_machines(kernel, tmp_path):
    kernel("3:memory:/none\n")
    assert host.memory().total == psutil.virtual_memory().total
    (tmp_path / "own").unlink()
    assert host.memory().total == psutil.virtual_memory().total
