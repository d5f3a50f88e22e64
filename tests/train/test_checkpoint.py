"""Checkpoints of a run, however it ends."""

import re
import signal
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

from glmkit.errors import TrainingError
from glmkit.train.checkpoint import Checkpoints
from glmkit.train.identity import RunIdentity

IDENTITY = RunIdentity(config={"a": 1}, optimizer="adamw", data="0", settings={})
# Saves steps 1 and 2; the process kills itself at the given one of the file operations of the second save.
TWO_SAVES = """
    import os, signal, sys
    import jax.numpy as jnp
    from glmkit.train.checkpoint import Checkpoints
    from glmkit.train.identity import RunIdentity

    checkpoints, last = Checkpoints(sys.argv[1]), int(sys.argv[2])
    identity = RunIdentity(config={"a": 1}, optimizer="adamw", data="0", settings={})
    done = 0

    def watch(event, args):
        global done
        if counting and (event in ("os.rename", "os.mkdir", "os.rmdir") or event == "open" and "w" in str(args[1])):
            done += 1
            if done == last:
                os.kill(os.getpid(), signal.SIGKILL)

    counting = False
    sys.addaudithook(watch)
    for step in (1, 2):
        counting = step == 2
        checkpoints.save(step, {"x": jnp.full(1000, step)}, identity, {"at": step}, {})
    counting = False
    print(done)
"""


def two_saves(folder, last: int) -> subprocess.CompletedProcess:
    script = textwrap.dedent(TWO_SAVES)
    return subprocess.run([sys.executable, "-c", script, str(folder), str(last)], capture_output=True, text=True)


def test_a_run_killed_while_it_saves_has_the_checkpoint_before(tmp_path):
    operations = int(two_saves(tmp_path / "whole", 0).stdout)
    assert operations > 3
    for last in (1, operations // 2, operations):
        folder = tmp_path / str(last)
        assert two_saves(folder, last).returncode == -signal.SIGKILL
        checkpoints = Checkpoints(folder)
        step = checkpoints.latest
        assert step in (1, 2), last
        like = {"x": jax.numpy.zeros(1000, int)}
        state, position = checkpoints.restore(like, IDENTITY)
        np.testing.assert_array_equal(state["x"], np.full(1000, step))
        assert position == {"at": step}
        checkpoints.save(3, like, IDENTITY, {"at": 3}, {})  # what was left half written is not in the way
        assert checkpoints.latest == 3
        checkpoints.close()


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path).latest is None


def test_the_best_are_kept_among_saves_whose_steps_were_not_evaluated(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, keep_best=1)
    for step, metrics in enumerate(({}, {"eval_loss": 1.0}, {"loss": 0.0}, {"eval_loss": 2.0}, {"loss": 0.0}), 1):
        checkpoints.save(step, {"x": jax.numpy.zeros(3)}, IDENTITY, {"at": step}, metrics)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("step")} == {"step_2", "step_5"}


def test_what_is_not_a_number_is_never_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, keep_best=1)
    for step, loss in enumerate((2.0, np.nan, 3.0, np.inf), 1):
        checkpoints.save(step, {"x": jax.numpy.zeros(3)}, IDENTITY, {"at": step}, {"eval_loss": loss})
    assert (checkpoints.best, checkpoints.steps) == (1, (1, 4))


def test_a_run_that_goes_on_knows_its_best(tmp_path):
    def save(step, loss):
        checkpoints = Checkpoints(tmp_path, keep=1, keep_best=1)
        checkpoints.save(step, {"x": jax.numpy.full(3, step)}, IDENTITY, {"at": step}, {"eval_loss": loss})
        return checkpoints

    save(1, 1.0), save(2, 2.0)
    checkpoints = save(3, 1.5)
    assert (checkpoints.steps, checkpoints.best, checkpoints.latest) == ((1, 3), 1, 3)
    state, _ = checkpoints.restore({"x": jax.numpy.zeros(3, int)}, IDENTITY, checkpoints.best)
    np.testing.assert_array_equal(state["x"], 1)
    assert Checkpoints(tmp_path).best is None


FULL_DISK = """
    import sys
    import jax.numpy as jnp
    from glmkit.errors import TrainingError
    from glmkit.train.checkpoint import Checkpoints
    from glmkit.train.identity import RunIdentity
    from glmkit.train.log import JsonLog, ending

    identity = RunIdentity(config={"a": 1}, optimizer="adamw", data="0", settings={})
    checkpoints, log = Checkpoints(sys.argv[1] + "/checkpoints"), JsonLog(sys.argv[1] + "/log.jsonl")
    with ending([log], lambda: True):
        for step in range(1, 1000):
            log.write(step, {"loss": 1.0})
            if step == 3:
                checkpoints.save(step, {"x": jnp.zeros(8)}, identity, {"at": step})
            if step == int(sys.argv[2]):
                checkpoints.save(step, {"x": jnp.arange(2.0**16)}, identity, {"at": step})
"""


@pytest.mark.parametrize(
    ("big_at", "message"),
    [(4, r"step 4 was not saved in .*checkpoints"), (0, r".*log\.jsonl: the log was not written")],
)
def test_a_full_disk_is_told_and_the_checkpoint_before_stays(tmp_path, big_at, message):
    """Stood in for by a limit on the size of files, of 8 KiB, which raises the same errors as a full disk."""
    (tmp_path / "full.py").write_text(textwrap.dedent(FULL_DISK))
    script = f"ulimit -f 8; {sys.executable} {tmp_path / 'full.py'} {tmp_path} {big_at}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert re.search(f"TrainingError: {message}", done.stderr.splitlines()[-1]), done.stderr
    assert Checkpoints(tmp_path / "checkpoints").latest == 3


def test_what_has_other_arrays_is_told_what_differs_and_what_is_damaged_to_be_removed(tmp_path):
    checkpoints, saved = Checkpoints(tmp_path), {"x": jax.numpy.zeros(3), "y": jax.numpy.zeros(2)}
    checkpoints.save(1, saved, IDENTITY, {"at": 1})
    others = {
        r"x.. 'float32\[3\]' there, 'float32\[4\]' here": saved | {"x": jax.numpy.zeros(4)},
        r"x.. 'float32\[3\]' there, 'bfloat16\[3\]' here": saved | {"x": jax.numpy.zeros(3, jax.numpy.bfloat16)},
        r"z.. None there, 'float32\[1\]' here": saved | {"z": jax.numpy.zeros(1)},
        r"y.. 'float32\[2\]' there, None here": {"x": saved["x"]},
    }
    for differing, like in others.items():
        with pytest.raises(TrainingError, match=f"a run with other arrays: ..{differing}; go on as it began"):
            Checkpoints(tmp_path).restore(like, IDENTITY)
    for path in (tmp_path / "step_1" / "arrays").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"step 1 in .* is damaged; remove it"):
        Checkpoints(tmp_path).restore(saved, IDENTITY)
