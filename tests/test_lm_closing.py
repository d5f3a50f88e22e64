"""What an LM leaves behind: closed, let go of, loaded again, alive at the interpreter's end."""

import gc
import subprocess
import sys
import textwrap

import jax
import pytest

import glmkit as gk
from glmkit.errors import RequestError
from glmkit.lm import LM
from tiny import one_layer as model, tokenizer


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM(model(), tokenizer(), max_len=600)


LOADS = """
    import psutil
    import glmkit as gk

    for _ in range(5):
        lm = gk.load("nano")
        lm.chat("1+1", max_tokens=4)
        print(psutil.Process().memory_info().rss)
"""


def test_a_load_cell_run_again_leaves_memory_where_it_was():
    lines = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOADS)], capture_output=True, text=True, check=True
    ).stdout.split()
    first, *_, last = map(int, lines)
    # The model has 25 MB: less than one of the four that came after the first may have stayed.
    assert last - first < 20_000_000, lines


def test_a_model_alive_at_the_end_goes_without_a_word():
    # What a module of the library holds goes after glmkit's own modules have lost their names.
    program = 'import json, glmkit as gk; json.kept = gk.load("nano")'
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Exception ignored" not in done.stderr


def test_a_stream_ends_when_its_lm_is_closed(lm, tmp_path):
    lm.save(tmp_path / "m")
    other = gk.load(tmp_path / "m", max_len=600)
    stream = iter(other.complete("abc", max_tokens=500, temperature=0, stream=True))
    next(stream)
    other.close()
    with pytest.raises(RequestError, match="closed"):
        list(stream)


def test_a_closed_lm_says_so_and_frees_its_memory(tmp_path):
    gk.save_hf(model(), tmp_path / "m")
    gc.collect()
    before = len(jax.live_arrays())
    for _ in range(3):
        other = gk.load(tmp_path / "m", max_len=600)
        other.logprobs([[1, 2]])
        other.close()
        with pytest.raises(RequestError, match="closed"):
            other.logprobs([[1, 2]])
    del other
    gc.collect()
    assert len(jax.live_arrays()) == before


def test_an_lm_that_nobody_holds_frees_its_memory_at_once(lm, tmp_path):
    lm.save(tmp_path / "m")
    gc.collect()
    before = len(jax.live_arrays())
    gc.disable()
    try:
        other = gk.load(tmp_path / "m", max_len=600)
        other.complete("abc", max_tokens=2)
        gc.collect()  # after which it is old, and a cycle would stay
        del other
        assert len(jax.live_arrays()) == before
    finally:
        gc.enable()


def test_a_closed_lm_frees_its_memory_under_streams_that_are_kept(lm, tmp_path):
    lm.save(tmp_path / "m")
    gc.collect()
    before, streams = len(jax.live_arrays()), []
    for _ in range(3):
        other = gk.load(tmp_path / "m", max_len=600)
        streams.append(iter(other.complete("abc", max_tokens=500, temperature=0, stream=True)))
        next(streams[-1])
        other.close()
    del other
    gc.collect()
    assert len(jax.live_arrays()) == before
    for stream in streams:
        with pytest.raises(RequestError, match="closed"):
            list(stream)
