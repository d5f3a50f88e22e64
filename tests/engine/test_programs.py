"""A program that was kept is the one that would be compiled now; where it is not or is damaged, one is compiled."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

from glmkit.engine.programs import Programs, _Loaded
from glmkit.model import moe
from tiny import one_layer as model


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GLMKIT_CACHE", str(tmp_path))
    monkeypatch.delenv("GLMKIT_COMPILATION_CACHE", raising=False)
    return tmp_path / "compiled" / "programs"


@pytest.fixture(scope="module")
def network():
    return model()


def new_programs(network) -> Programs:
    return Programs(jax.jit(lambda leaves, x: leaves[0].sum() + 2 * x), network)


@pytest.fixture
def ask(network, monkeypatch):
    """The result for ones of some length, from a `Programs` as a new process would have it."""

    def ask(length: int = 3, programs: Programs | None = None, same_process: bool = False) -> np.ndarray:
        leaves, x = jax.tree.leaves(network), np.ones(length, np.float32)
        if not same_process:
            monkeypatch.setattr("glmkit.engine.programs._LOADED", _Loaded())
        programs = programs or new_programs(network)
        return np.asarray(programs.prepared({length: (leaves, x)})[length](leaves, x))

    return ask


@pytest.fixture
def compiled(monkeypatch) -> list[jax.stages.Lowered]:
    """What was compiled, in order."""
    made, compile = [], jax.stages.Lowered.compile

    def noted(lowered, *options):
        made.append(lowered)
        return compile(lowered, *options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", noted)
    return made


def test_a_kept_program_is_read_and_gives_the_same(folder, ask, compiled, network):
    first = ask()
    assert (len(list(folder.iterdir())), len(compiled)) == (1, 1)
    np.testing.assert_array_equal(ask(), first)
    assert len(compiled) == 1
    np.testing.assert_allclose(first, np.asarray(jax.tree.leaves(network)[0]).sum() + 2, rtol=1e-5)  # order of summing


def test_another_model_of_the_same_shape_has_it_without_the_disk(folder, ask, compiled):
    ask()
    shutil.rmtree(folder)
    ask(same_process=True)
    assert len(compiled) == 1


def test_the_programs_of_a_process_are_the_last_used():
    loaded = _Loaded(most=2)
    for name in "abac":
        loaded.put(Path(name), name)
    assert [loaded.get(Path(name)) for name in "abc"] == ["a", None, "c"]


def test_each_shape_has_its_program_and_asking_again_makes_none(folder, ask, network):
    programs = new_programs(network)
    assert [ask(n, programs).shape for n in (3, 5, 3)] == [(3,), (5,), (3,)]
    assert programs.count == 2


def test_another_function_or_model_or_setting_of_jax_has_another_program(folder, ask, network):
    ask()
    with jax.default_matmul_precision("highest"):
        ask()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(moe, "_SUM_OVER", "changed")
        ask()
    ask(programs=new_programs(network.stacked()))
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("content", [b"", b"not a program", None])
def test_a_damaged_program_is_made_again(folder, ask, compiled, content):
    expected = ask()
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] if content is None else content)
    np.testing.assert_array_equal(ask(), expected)
    assert len(compiled) == 2
    assert kept.stat().st_size >= len(whole) - 1


def test_nothing_is_kept_of_a_glmkit_with_a_function_replaced(folder, ask, monkeypatch):
    monkeypatch.setattr(moe, "grouped_matmul", lambda *arguments: None)
    ask()
    assert not folder.exists()


def test_code_replaced_in_a_running_process_is_traced_anew(network, folder, monkeypatch):
    """JAX keeps the trace of a jitted function for as long as the process lives."""

    @jax.jit
    def scaled(x):
        return moe.SCALE * x

    def times(scale: int) -> float:
        monkeypatch.setattr(moe, "SCALE", scale, raising=False)
        programs = Programs(jax.jit(lambda leaves, x: scaled(x)), network)
        leaves, x = jax.tree.leaves(network), np.ones(1, np.float32)
        return float(programs.prepared({0: (leaves, x)})[0](leaves, x)[0])

    assert [times(2), times(3), times(2)] == [2, 3, 2]


def test_nothing_is_kept_when_that_is_switched_off(folder, ask, monkeypatch):
    monkeypatch.setenv("GLMKIT_COMPILATION_CACHE", "0")
    ask()
    assert not folder.exists()


def test_engines_compile_in_turn_and_leave_the_cache_of_jax_as_it_was(folder, ask, monkeypatch):
    """It is switched off while one compiles: another would find it off and leave it so, or switch it on meanwhile."""
    compile, both = jax.stages.Lowered.compile, threading.Barrier(2)

    def met(lowered, *options):
        with pytest.raises(threading.BrokenBarrierError):
            both.wait(0.5)
        assert not jax.config.jax_enable_compilation_cache
        return compile(lowered, *options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", met)
    with ThreadPoolExecutor() as pool:
        assert [result.shape for result in pool.map(ask, (3, 5))] == [(3,), (5,)]
    assert jax.config.jax_enable_compilation_cache


def test_a_folder_that_cannot_be_written_to_costs_a_warning(folder, ask):
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="was not kept"):
        assert ask().shape == (3,)


def test_programs_long_not_used_are_dropped(folder, ask):
    folder.mkdir(parents=True)
    old, recent = folder / "old", folder / "recent"
    for path in (old, recent):
        path.write_text("")
    os.utime(old, (0, 0))
    ask()
    assert not old.exists()
    assert recent.exists()


GREETING = """
import sys
import glmkit as gk
lm = gk.load("nano", max_len=256)
lm.engine._steps._wholes._code()
known = set(sys.modules)
print(lm.chat("What is 27 + 58?", max_tokens=12, temperature=0).tokens)
late = [name for name in set(sys.modules) - known if name.startswith(("glmkit.model", "glmkit.engine"))]
assert not late, f"{late} were not known when the digest was taken"
"""


def test_another_process_says_the_same_whether_or_not_its_programs_were_kept(tmp_path):
    """XLA hands out incomplete programs when asked to write one that JAX's cache held; they fail in a new process."""

    def speak() -> str:
        environment = os.environ | {"GLMKIT_CACHE": str(tmp_path), "GLMKIT_COMPILATION_CACHE": "1"}
        return subprocess.run([sys.executable, "-c", GREETING], env=environment, capture_output=True, check=True).stdout

    first = speak()
    kept = sorted((tmp_path / "compiled" / "programs").iterdir())
    assert len(kept) == 2
    written = [path.stat().st_ino for path in kept]
    assert speak() == first
    assert [path.stat().st_ino for path in kept] == written
    for path in kept:
        path.unlink()
    assert speak() == first  # compiled, with whatever JAX's own cache holds
    assert speak() == first


WIDE = """
import jax
jax.config.update("jax_enable_x64", True)
import glmkit as gk
done = gk.load("nano", max_len=256, dtype="float64").chat("What is 27 + 58?", thinking="forced", temperature=0)
print(done.content)
"""


def test_with_64_bits_switched_on_the_model_still_adds(tmp_path):
    environment = os.environ | {"GLMKIT_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", WIDE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "85\n"
