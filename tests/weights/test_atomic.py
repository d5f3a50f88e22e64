"""All or nothing: under the final name there is a whole folder or what was there before, whatever interrupts."""

import errno
import os
import re
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from glmkit.errors import CheckpointError
from glmkit.weights.atomic import atomic_folder
from glmkit.weights.shards import ShardWriter, TensorSpec, plan_shards

EXPORT = """
    import resource, sys, time
    import numpy as np
    from glmkit.weights.atomic import atomic_folder
    from glmkit.weights.shards import ShardWriter, TensorSpec, plan_shards

    plan = plan_shards([TensorSpec(f"t{i}", "F32", (1024,)) for i in range(4)], max_shard_bytes=8192)
    with atomic_folder(sys.argv[1], overwrite=True, nbytes=sum(shard.nbytes for shard in plan)) as folder:
        with ShardWriter(folder, plan) as writer:
            for i in range(4):
                writer.write(f"t{i}", np.zeros(1024, np.float32))
                if i == 2:
"""


def start_export(path, at_third_tensor):
    script = textwrap.dedent(EXPORT) + 16 * " " + at_third_tensor
    return subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_old(path):
    path.mkdir()
    (path / "config.json").write_text("old")


def test_the_folder_appears_when_it_is_whole(tmp_path):
    final = tmp_path / "models" / "glm"
    with atomic_folder(final) as folder:
        (folder / "config.json").write_text("{}")
        assert not final.exists()
    assert contents(final) == {"config.json": b"{}"}
    assert [path.name for path in final.parent.iterdir()] == ["glm"]
    umask = os.umask(0)
    os.umask(umask)
    assert final.stat().st_mode & 0o777 == 0o777 & ~umask


def test_any_name_that_the_file_system_takes_will_do(tmp_path):
    for name in ("n" * 255, "名" * 85):
        with atomic_folder(tmp_path / name) as folder:
            (folder / "config.json").write_text("{}")
        assert contents(tmp_path / name) == {"config.json": b"{}"}


@pytest.mark.parametrize("name", ["n" * 256, "a\0b", 5])
def test_what_is_no_name_of_a_folder_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be the name of a folder"), atomic_folder(name):
        pytest.fail("nothing is written")
    assert not list(tmp_path.iterdir())


def test_the_home_folder_may_be_meant(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with atomic_folder("~/model") as folder:
        (folder / "config.json").write_text("{}")
    assert contents(tmp_path / "model") == {"config.json": b"{}"}
    with pytest.raises(CheckpointError, match="cannot be the name of a folder"), atomic_folder("~nobody_here/model"):
        pytest.fail("nothing is written")


def test_links_that_lead_to_each_other_are_refused(tmp_path):
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    with pytest.raises(CheckpointError, match="cannot be the name of a folder"), atomic_folder(tmp_path / "one"):
        pytest.fail("nothing is written")


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        with atomic_folder(tmp_path / "glm") as folder:
            (folder / "config.json").write_text("{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_or_replaced_whole(tmp_path):
    final = tmp_path / "glm"
    write_old(final)
    with pytest.raises(CheckpointError, match="glm exists; choose another name or pass overwrite=True"):
        atomic_folder(final).__enter__()
    with atomic_folder(final, overwrite=True) as folder:
        (folder / "new").write_text("new")
        assert contents(final) == {"config.json": b"old"}
    assert contents(final) == {"new": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["glm"]


def test_an_empty_folder_is_filled_and_a_file_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as folder:
        (folder / "new").write_text("new")
    assert contents(tmp_path / "empty") == {"new": b"new"}
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file; expected the name of a folder"):
        atomic_folder(tmp_path / "file", overwrite=True).__enter__()


def test_a_name_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"glm cannot be made: .*file is a file"):
        atomic_folder(tmp_path / "file" / "models" / "glm").__enter__()


def test_a_folder_that_appears_meanwhile_is_left_alone(tmp_path):
    def race():
        with atomic_folder(tmp_path / "glm"):
            write_old(tmp_path / "glm")

    with pytest.raises(CheckpointError, match="exists"):
        race()
    assert contents(tmp_path / "glm") == {"config.json": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["glm"]


def test_the_old_folder_is_back_when_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    final = tmp_path / "glm"
    write_old(final)
    rename = os.rename

    def fail_for_partial(source, target):
        if str(source).endswith(".partial"):
            raise OSError(errno.EIO, "the disk is failing")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_for_partial)
    with pytest.raises(OSError, match="the disk is failing"), atomic_folder(final, overwrite=True):
        pass
    assert contents(final) == {"config.json": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["glm"]


@pytest.mark.parametrize("existing", [False, True])
def test_a_killed_export_leaves_no_half_checkpoint_under_the_name(existing, tmp_path):
    final = tmp_path / "glm"
    if existing:
        write_old(final)
    with start_export(final, "print('third', flush=True); time.sleep(60)") as process:
        assert process.stdout.readline() == b"third\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    if existing:
        assert contents(final) == {"config.json": b"old"}
    else:
        assert not final.exists()
    with start_export(final, "pass") as process:
        assert process.wait() == 0, process.stderr.read()
    assert len(contents(final)) == 3  # two shards and their index


def test_a_disk_too_small_is_noticed_before_anything_is_written(tmp_path):
    with pytest.raises(CheckpointError, match=r"needs 1,000,000,000,000,000,000 bytes, but its disk has"):
        atomic_folder(tmp_path / "glm", nbytes=10**18).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_leaves_nothing_and_says_what_was_needed(tmp_path, monkeypatch):
    plan = plan_shards([TensorSpec("x", "F32", (1024,))])
    pwrite, room = os.pwrite, [2000]

    def onto_small_disk(descriptor, data, position):
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = pwrite(descriptor, bytes(data)[: room[0]], position)
        room[0] -= written
        return written

    def export():
        with atomic_folder(tmp_path / "glm", nbytes=plan[0].nbytes) as folder, ShardWriter(folder, plan) as writer:
            writer.write("x", np.zeros(1024, np.float32))

    monkeypatch.setattr(os, "pwrite", onto_small_disk)
    needed = re.escape(f"{plan[0].nbytes:,} bytes are needed")
    with pytest.raises(CheckpointError, match=f"{needed}.*No space left on device; nothing is left behind"):
        export()
    assert list(tmp_path.iterdir()) == []


def test_a_limit_of_the_process_on_file_sizes_leaves_the_old_folder(tmp_path):
    final = tmp_path / "glm"
    write_old(final)
    with start_export(final, "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))") as process:
        assert process.wait() == 1
        assert b"CheckpointError" in (stderr := process.stderr.read())
        assert b"File too large; nothing is left behind" in stderr
    assert contents(final) == {"config.json": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["glm"]
