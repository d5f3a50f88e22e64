"""Contexts on the disk: what was known is known again, and never to another model."""

from threading import Event
from time import sleep

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import save_file

from glmkit.engine import Engine, Request, Sampling
from glmkit.engine.context import fingerprint
from glmkit.engine.snapshot import CacheTree
from glmkit.errors import CheckpointError, RequestError
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.parallel.planner import cache_bytes_per_device
from glmkit.train.lora import add_lora
from tiny import one_layer as model, small_model

LONG = [int(token) for token in np.random.default_rng(2).integers(0, 256, 540)]


def ask(engine: Engine, prompt=LONG) -> Request:
    request = Request(tuple(prompt), Sampling(temperature=0.0), 4, frozenset())
    for _ in engine.generate([request]):
        pass
    return request


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file that holds two pages of one prompt and, below the first, one of another."""
    engine, path = Engine(model(), max_len=600), tmp_path_factory.mktemp("contexts") / "known.safetensors"
    ask(engine)
    ask(engine, LONG[:PAGE] + LONG[:280])
    assert engine.cache.tokens == 3 * PAGE
    assert engine.cache.save(path) == 3 * PAGE
    return path


def test_a_new_engine_knows_what_was_saved(saved):
    engine = Engine(model(), max_len=600)
    other = ask(engine, [1, *LONG])  # has pages of its own, which stay
    assert engine.cache.load(saved) == 3 * PAGE
    first, second = ask(engine), ask(engine, LONG[:PAGE] + LONG[:280])
    assert (first.cached_tokens, second.cached_tokens) == (2 * PAGE, 2 * PAGE)
    assert first.tokens == ask(Engine(model(), max_len=600)).tokens
    assert ask(engine, other.prompt).cached_tokens == 2 * PAGE
    engine.cache.clear()
    assert engine.cache.tokens == 0
    assert ask(engine).cached_tokens == 0


def test_loading_twice_takes_no_more_pages(saved):
    engine = Engine(model(), max_len=600)
    engine.cache.load(saved)
    engine.cache.load(saved)
    assert engine.cache.tokens == 3 * PAGE


def test_a_context_of_another_model_is_refused(saved):
    changed = jax.tree.map(lambda leaf: leaf, model())
    changed.norm.scale[...] = changed.norm.scale[...] * (1 + 1e-6)
    for other, what in ((changed, "other weights"), (small_model(), "other configuration")):
        engine = Engine(other, max_len=600)
        with pytest.raises(CheckpointError, match=what):
            engine.cache.load(saved)
        assert engine.cache.tokens == 0


@pytest.mark.parametrize("factor", [-1.0, 2.0, 0.5])
def test_a_change_of_all_signs_or_by_a_power_of_two_is_told_apart(factor):
    for leaf in jax.tree.leaves(model()):
        assert fingerprint(leaf) != fingerprint(leaf * factor)
    with jax.enable_x64(True):
        wide = jax.numpy.arange(1.0, 9.0, dtype="float64")
        assert fingerprint(wide) != fingerprint(wide * (1 + 1e-15))


def test_a_reproducible_engine_takes_only_what_such_a_one_wrote(saved):
    with pytest.raises(CheckpointError, match="not written by a reproducible engine"):
        Engine(model(), max_len=600, reproducible=True).cache.load(saved)


def test_another_scale_of_an_adapter_is_another_model(tmp_path):
    def engine(alpha: float) -> Engine:
        return Engine(add_lora(model(), 2, alpha, rngs=nnx.Rngs(0)), max_len=600)

    engine(4.0).cache.save(tmp_path / "known")
    assert engine(4.0).cache.load(tmp_path / "known") == 0
    with pytest.raises(CheckpointError, match="other weights"):
        engine(8.0).cache.load(tmp_path / "known")


def test_memory_grows_for_what_is_loaded_beside_what_is_known(saved, monkeypatch):
    monkeypatch.setattr("glmkit.engine.pool._FEWEST", 1)
    monkeypatch.setattr("glmkit.engine.pool._SPARE", 1)
    engine = Engine(model(), max_len=600)
    other = ask(engine, [1, *LONG])
    assert engine.cache.load(saved) == 3 * PAGE
    assert ask(engine, other.prompt).cached_tokens == 2 * PAGE


def test_pages_that_are_lost_in_loading_end_what_runs(saved, monkeypatch):
    engine, heard = Engine(model(), max_len=600), Event()
    running = Request(tuple(LONG), Sampling(temperature=0.0), 4, frozenset())
    ticket = engine.submit(running, lambda token: heard.set(), reader=engine.reader(0))
    assert heard.wait(60)

    def lost(*_):
        jax.tree.map(lambda leaf: leaf.delete(), engine._pool.layers)
        raise MemoryError("none left")

    with monkeypatch.context() as patched:
        patched.setattr(engine._pool, "write", lost)
        with pytest.raises(MemoryError, match="none left"):
            engine.cache.load(saved)
    assert ticket.wait(20)
    assert isinstance(running.error, MemoryError)
    assert len(ask(engine).tokens) == 4


def test_what_does_not_fit_says_how_many_tokens_do(saved):
    engine = Engine(model(), max_len=300, kv_memory=2 * cache_bytes_per_device(model(), PAGE))
    with pytest.raises(RequestError, match=f"holds {3 * PAGE} tokens.*room for {2 * PAGE} more"):
        engine.cache.load(saved)
    assert len(ask(engine, LONG[:200]).tokens) == 4


def changed_page(arrays):
    return {**arrays, "pages.0": np.ones_like(arrays["pages.0"])}


def other_parents(arrays):
    return {**arrays, "parents": arrays["parents"][::-1].copy()}


def without_values(arrays):
    return {name: array for name, array in arrays.items() if name != "pages.1"}


def shorter_pages(arrays):
    return {**arrays, "pages.0": arrays["pages.0"][:-1]}


@pytest.mark.parametrize("damage", [changed_page, other_parents, without_values, shorter_pages])
def test_a_damaged_file_is_refused_and_nothing_of_it_is_known(saved, tmp_path, damage):
    with safe_open(saved, framework="numpy") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(damage(arrays), tmp_path / "damaged", metadata=metadata)
    engine = Engine(model(), max_len=600)
    with pytest.raises(CheckpointError, match="was damaged since"):
        engine.cache.load(tmp_path / "damaged")
    assert engine.cache.tokens == 0


def test_what_could_not_be_written_to_the_pages_is_not_known(saved, monkeypatch):
    engine = Engine(model(), max_len=600)
    engine.cache.load(saved)
    engine.cache.clear()
    free = [tree.free for tree in engine._pool.trees]

    def no_memory(*arguments):
        raise MemoryError("none left")

    monkeypatch.setattr(engine._pool, "write", no_memory)
    with pytest.raises(MemoryError, match="none left"):
        engine.cache.load(saved)
    assert engine.cache.tokens == 0
    assert [tree.free for tree in engine._pool.trees] == free


def test_other_files_are_refused_and_a_save_is_whole_or_not_there(saved, tmp_path):
    engine = Engine(model(), max_len=600)
    (tmp_path / "text").write_text("not a context")
    (tmp_path / "cut").write_bytes(saved.read_bytes()[:-100])
    for name in ("text", "cut", "missing"):
        with pytest.raises(CheckpointError, match=f"{name} is no context"):
            engine.cache.load(tmp_path / name)
    with pytest.raises(CheckpointError, match="is a folder"):
        engine.cache.save(tmp_path)
    for place in ("/proc/nowhere/x", "/sys/x", tmp_path / "text" / "x"):
        with pytest.raises(CheckpointError, match=f"{place} (was not written|cannot be made)"):
            engine.cache.save(place)
    assert engine.cache.save(tmp_path / "empty") == 0
    assert engine.cache.load(tmp_path / "empty") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "empty", "text"]


def test_the_tree_shows_who_shares_what_and_how_often_it_was_found():
    engine = Engine(model(), max_len=600)
    assert engine.cache.tree() == snapshot_of_nothing()
    before = engine.cache.changes
    ask(engine)
    ask(engine, LONG[:PAGE] + LONG[:280])
    ask(engine)
    assert engine.cache.changes != before
    tree = engine.cache.tree()
    first, second, other = tree.find(LONG)[0], tree.find(LONG)[1], tree.find(LONG[:PAGE] + LONG[:280])[1]
    assert tree.context(second) == tuple(LONG[: 2 * PAGE])
    assert tree.context(other) == tuple(LONG[:PAGE] + LONG[:PAGE])
    assert [tree.pages[place].parent for place in (first, second, other)] == [None, first, first]
    assert [tree.pages[place].hits for place in (first, second, other)] == [2, 1, 0]
    assert tree.hits == 3  # one of the second request, two of the third
    assert tree.nbytes == 3 * tree.page_bytes > 0
    assert tree.find(LONG[1:]) == tree.find(LONG, "of no plan") == ()
    assert not tree.requests


def test_the_tree_shows_the_pages_of_requests_that_run():
    engine = Engine(model(), max_len=600)
    ask(engine)
    reader = engine.reader(1)
    heard = Event()
    request = Request(tuple(LONG), Sampling(temperature=0.0), 20, frozenset())
    ticket = engine.submit(request, lambda token: heard.set(), reader=reader)
    assert heard.wait(60)
    while not reader.is_behind:  # it waits to be read
        sleep(0.01)
    tree = engine.cache.tree()
    (running,) = tree.requests
    assert running.shared == tree.find(LONG)
    assert (running.cached, running.own, running.waits) == (2 * PAGE, 1, False)
    assert running.held <= running.length == len(LONG) + len(request.tokens)
    assert [tree.pages[place].readers for place in running.shared] == [1, 1]
    ticket.cancel()
    ticket.wait()
    assert [page.readers for page in engine.cache.tree().pages] == [0, 0]


def snapshot_of_nothing() -> CacheTree:
    return CacheTree(PAGE, 0, 0, 0, (), ())
