"""Runs: what is asked for is there under its name, is what the model computed, and survives a file."""

import dataclasses
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from flax import nnx

import glmkit as gk
from glmkit.engine.steps import Steps
from glmkit.errors import CheckpointError, MemoryPlanError, RequestError
from glmkit.generation_config import GenerationConfig
from glmkit.lm import LM
from glmkit.model import GLM, Keep, Kept
from glmkit.runs import Watch
from glmkit.runs.reading import joined
from glmkit.runs.writing import written_run
from glmkit.text.phases import phases
from tiny import CONFIG, model, randomised, small_model, tokenizer

CONVERSATION = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "reasoning_content": "hm", "content": "yes"},
]
# Roundings of float32 in sums in another order, of the largest value.
TOLERANCE = 1e-5


def assert_close(got, expected) -> None:
    expected = np.asarray(expected)
    np.testing.assert_allclose(got, expected, atol=TOLERANCE * np.abs(expected).max(), rtol=0)


@pytest.fixture(scope="module")
def run(lm):
    names = ("router", "resid_post:-1", "attention:0", "router_scores:2", "expert_out:1", "logits")
    return lm.run(CONVERSATION, keep=gk.keep(*names))


def test_it_holds_what_the_model_computes(lm, run):
    ids, last = np.asarray(run.tokens.id)[None], np.array([2])
    keep = Keep(resid_post=last, attention=last - 2, routes=("ids", "weights", "margins"), logits=True)
    kept = lm.model(ids, keep=keep).kept
    assert_close(run["resid_post", 2], kept.resid_post[0, 0])
    assert_close(run["resid_post", -1], kept.resid_post[0, 0])
    heads = np.asarray(kept.attention[0, 0]).reshape(4, len(run), len(run))
    assert_close(run["attention", 0], heads.swapaxes(0, 1))
    np.testing.assert_array_equal(run.routing.ids, np.moveaxis(np.asarray(kept.ids[:, 0]), 0, 1))
    assert_close(run.routing.weights, np.moveaxis(np.asarray(kept.weights[:, 0]), 0, 1))
    assert_close(run.routing.margin, np.asarray(kept.margins[:, 0]).T)
    assert_close(run["logits"], kept.logits[0])
    assert_close(run.tokens.logprob[1:], lm.logprobs(ids)[0])
    assert np.isnan(run.tokens.logprob[0])


def test_tokens_have_phases_and_make_up_the_text(lm, run):
    assert run.text.startswith("[gMASK]<sop><|user|>\nhi<|assistant|>")
    assert "".join(token.text for token in run.tokens if token.phase == "think") == "<think>hm</think>"
    assert "".join(token.text for token in run.tokens if token.phase == "answer").strip() == "yes"
    assert run.tokens.phase[:8] == ("prompt",) * 7 + ("answer",)
    ids = lm.tokenizer.encode("<|assistant|>\n<tool_call>f\n</tool_call>.")
    assert phases(ids, lm.tokenizer) == ["prompt", "answer", *["tool"] * 4, "answer"]


def test_names_of_transformer_lens_are_aliases(lm, run):
    np.testing.assert_array_equal(run["blocks.2.hook_resid_post"], run["resid_post", 2])
    np.testing.assert_array_equal(run["blocks.0.attn.hook_pattern"], run["attention", 0])
    logits, cache = lm.run_with_cache(run.tokens.id, "blocks.1.hook_resid_mid")
    assert_close(logits, run["logits"])
    assert cache["blocks.1.hook_resid_mid"].shape == (len(run), 32)


def test_what_does_not_exist_is_refused_by_name(lm, run):
    for ask, message in [
        (lambda: gk.keep("resid_pots"), "did you mean resid_post"),
        (lambda: gk.keep("router:1"), "takes no layers"),
        (lambda: gk.keep("resid_post:5-2"), "'5-2' names no layer"),
        (lambda: lm.run("x", keep=gk.keep(resid_post=[])), "names none of the layers"),
        (lambda: lm.run("x", keep=gk.keep("resid_post:3")), r"no layer 3; this model holds 0 to 2"),
        (lambda: lm.run("x", keep=gk.keep("router_scores:0")), "layer 0 is dense"),
        (lambda: lm.run("x", keep=gk.keep("blocks.99.mlp.hook_expert_indices")), "no layer 99"),
        (lambda: lm.run("x", keep=gk.keep("blocks.0.mlp.hook_expert_weights")), "layer 0 is dense"),
        (lambda: run.routing.at(layer=0), "layer 0 is dense"),
        (lambda: run["resid_post", 1], r"only of \[2\]"),
        (lambda: run["logits", 3], r"logits is of no layer; expected run\['logits'\]"),
        (lambda: run["resid_mid", 1], "did not keep resid_mid"),
        (lambda: run.routing.load(phase="thought"), "no phase 'thought'"),
        (lambda: lm.run("x", keep="router"), r"keep is 'router'; expected what glmkit.keep gives"),
        (lambda: lm.run("x", keep="router", max_tokens=2), "keep is 'router'"),
        (lambda: lm.run("x", keep=gk.keep("router"), temperature=1.0), "no setting temperature"),
        (lambda: lm.run([1] * 500), "500 tokens; expected 1 to 400"),
    ]:
        with pytest.raises(RequestError, match=message):
            ask()


def test_layers_that_were_left_out_are_not_called_dense():
    part = randomised(GLM(CONFIG, rngs=nnx.Rngs(0), layer_numbers=(0, 2), mtp=None))
    with LM(part, tokenizer(), max_len=64) as lm:
        run = lm.run([1, 2, 3])
        other = dataclasses.replace(run.layers, numbers=(0, 1), moe=(1,))
        routing = dataclasses.replace(run, layers=other).routing
        for ask, message in (
            (lambda: run.routing.at(layer=1), "there is no layer 1; this model holds 0, 2"),
            (lambda: run.routing.top_tokens(1, 0), "there is no layer 1"),
            (lambda: run.routing.at(layer=0), "layer 0 is dense.*layers with experts: 2"),
            (
                lambda: lm.run([1, 2, 3], interventions=gk.replay(routing)),
                r"1 MoE layers \(1\), 2 of 8 experts; this one has 1 MoE layers \(2\)",
            ),
        ):
            with pytest.raises(RequestError, match=message):
                ask()
        assert run.routing.at(layer=-1).layer == 2


def test_more_than_the_memory_holds_is_refused_with_what_to_drop(lm, monkeypatch):
    monkeypatch.setattr("glmkit.runs.scoring.free_bytes", lambda device: 100_000)
    with pytest.raises(MemoryPlanError, match=r"keeping 300 tokens takes .* logits 0.4 MiB.*drop logits"):
        lm.run([1] * 300, keep=gk.keep("router", "logits"))
    # Room for all 400 tokens and for a piece, of 512 as it is computed, but not for one beside the other.
    monkeypatch.setattr("glmkit.runs.scoring.free_bytes", lambda device: 1000 * lm.config.vocab_size * 4)
    with pytest.raises(MemoryPlanError, match=r"keeping 400 tokens takes 1.1 MiB, and the host has room for 1.0"):
        lm.run([1] * 400, keep=gk.keep("logits"))


def test_of_a_step_a_run_holds_its_own_tokens_and_the_check_counts_the_whole_step(monkeypatch):
    """Where every step of an answer has rows for as many requests as there may be."""
    held, steps, checked, step = [], [], [], Steps.run

    def noted(self, rows, *arguments):
        outcomes, kept = step(self, rows, *arguments)
        steps.append((rows.tokens.size, kept.attention.shape[-1]))
        return outcomes, kept

    def written(model, request, *rest):
        held.extend(_owner(value).nbytes for *_, kept, _ in request.probe.pieces for value in _arrays(kept))
        return written_run(model, request, *rest)

    monkeypatch.setattr(Steps, "run", noted)
    monkeypatch.setattr("glmkit.runs.asking.written_run", written)
    monkeypatch.setattr("glmkit.runs.asking.require_room", lambda *given: checked.append(given))
    with LM(small_model(), tokenizer(), max_len=256, reproducible=True) as lm:
        run = lm.run([1, 2, 3, 4, 5], keep=gk.keep("logits", "attention:0"), max_tokens=5, temperature=0.0)
        assert sum(held) <= run.nbytes
        *_, largest = checked[0]
        assert largest == tuple(map(max, zip(*steps, strict=True)))
        assert lm.engine.largest_step(9) == largest
    with LM(model(), tokenizer(), max_len=400) as lm:
        assert lm.engine.largest_step(400) == (2 * 512, 512)  # a program of two rows may be there
        assert lm.engine.largest_step(1) == (2, 512)
        # Room for what is kept, and for as many tokens as are read at once, but not for the keys that a row can hold.
        monkeypatch.undo()
        monkeypatch.setattr("glmkit.runs.scoring.free_bytes", lambda device: 4 * 64 * 4 * 64 * 4)
        with pytest.raises(MemoryPlanError, match="keeping 33 tokens"):
            lm.run([1] * 30, keep=gk.keep("attention:0"), max_tokens=3)


def _arrays(kept: Kept) -> list[np.ndarray]:
    return [value for value in vars(kept).values() if value is not None]


def _owner(array: np.ndarray) -> np.ndarray:
    """What it is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def test_pieces_are_put_in_their_places_as_they_come():
    """The memory holds what comes of them, and beside it two of them at most."""
    steps, size, keys = 1024, 64, 1500

    def pieces():
        for start in range(0, steps, size):
            attention = np.full((1, 1, size, 2, keys), start, np.float32)
            ids = np.full((3, 1, size, 2), start // size, np.uint8)
            yield Kept(attention=attention, ids=ids, logits=np.full((1, size, 4), start, np.float32))

    tracemalloc.start()
    arrays = joined(pieces(), steps)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    begun = np.arange(steps) // size * size
    assert arrays["attention"].shape == (1, steps, 2, steps)  # of as many keys as tokens
    assert (arrays["attention"] == begun[None, :, None, None]).all()
    assert (arrays["logits"] == begun[:, None]).all()
    assert (arrays["router_ids"] == (begun // size)[:, None, None]).all()
    assert arrays["router_ids"].shape == (steps, 3, 2)
    assert peak < 1.3 * sum(array.nbytes for array in arrays.values())


def test_it_is_the_same_after_a_file(run, tmp_path):
    run.save(tmp_path / "run.safetensors")
    loaded = gk.Run.load(tmp_path / "run.safetensors")
    assert loaded.tokens.text == run.tokens.text
    assert loaded.tokens.phase == run.tokens.phase
    assert set(loaded.keys()) == set(run.keys())
    for key in [*run.keys()]:
        np.testing.assert_array_equal(loaded[key], run[key])
    assert gk.compare(loaded, run).mean_kl == 0
    (tmp_path / "other").write_bytes(b"no tensors at all")
    with pytest.raises(CheckpointError, match="other"):
        gk.Run.load(tmp_path / "other")


def test_settings_that_numpy_computed_survive_a_file(lm, tmp_path):
    settings = {"max_tokens": np.int32(3), "seed": np.int64(3), "temperature": np.float32(1), "top_k": np.int64(9)}
    run = lm.run("hi", **settings, stop_ids=np.array([5]))
    run.save(tmp_path / "run.safetensors")
    loaded = gk.Run.load(tmp_path / "run.safetensors")
    assert loaded.asked == run.asked
    assert {name: loaded.asked[name] for name in settings} == settings
    assert lm.run(**loaded.asked).tokens.id.tolist() == run.tokens.id.tolist()


def test_routing_is_summed_up_by_phase_and_layer(run):
    routing, top_k = run.routing, 2
    assert routing.layers == (1, 2)
    load = routing.load()
    assert load.shape == (2, 8)
    np.testing.assert_array_equal(load.sum(1), len(run) * top_k)
    parts = sum(routing.load(phase) for phase in ("prompt", "think", "answer"))
    np.testing.assert_array_equal(parts, load)
    together = routing.coactivation()
    np.testing.assert_array_equal(np.diagonal(together, axis1=1, axis2=2), load)
    np.testing.assert_array_equal(together.sum(2), load * top_k)
    # Float32 weights that add up to the scaling factor, summed in float64.
    np.testing.assert_allclose(routing.weight_mass().sum(1), 2.5 * len(run), rtol=1e-6)
    assert (routing.entropy() <= 3).all()
    expert = int(load[1].argmax())
    assert sum(count for _, count in routing.top_tokens(layer=2, expert=expert, count=99)) == load[1, expert]
    np.testing.assert_allclose(routing.contrast("think", "answer").sum(1), 0, atol=1e-12)


def test_generation_keeps_every_step(lm):
    """What is kept while tokens are written is what reading them gives: up to rounding, and near ties, which there are
    none of here."""
    keep = gk.keep("router", "resid_mid:1", "logits", "attention:2")
    run = lm.run("hi", keep=keep, max_tokens=9, temperature=0.0)
    answer = lm.chat("hi", max_tokens=9, temperature=0.0)
    assert run.completion.tokens == answer.tokens
    assert len(run) == answer.usage.prompt_tokens + 9
    assert run.tokens.phase.count("prompt") == answer.usage.prompt_tokens
    read = lm.run(run.tokens.id, keep=keep)
    np.testing.assert_array_equal(run.routing.ids, read.routing.ids)
    for key in (("resid_mid", 1), "logits", ("attention", 2)):
        assert_close(run[key], read[key])
    drawn = slice(-9, None)
    assert_close(run.tokens.logprob[drawn], read.tokens.logprob[drawn])
    assert (np.diff(run.tokens.time) >= 0).all()


def test_a_dictated_token_has_its_own_phase(lm):
    run = lm.run("hi", max_tokens=8, thinking="forced", budget=2, temperature=0.0)
    assert run.tokens.phase[-8:] == ("think",) * 2 + ("forced",) * 2 + run.tokens.phase[-4:]


def test_runs_at_the_same_time_share_steps_where_only_routes_are_kept(lm, monkeypatch):
    """Each gets what it gets alone; those that keep something else of its own run beside them."""
    asked = [("hi", "router"), ("there", "router"), ("hi", "resid_post:1"), ("hi", "resid_post:2")]
    settings = {"max_tokens": 150, "temperature": 0.0, "thinking": "forced"}  # long enough to meet each other

    def run(case):
        return lm.run(case[0], keep=gk.keep(case[1]), **settings)

    alone, rows, step = [run(case) for case in asked], [], Steps.run

    def noted(self, taken, *arguments):
        rows.append((int((taken.segment_ids[:, 0] >= 0).sum()), taken.kind.probing.keep))
        return step(self, taken, *arguments)

    monkeypatch.setattr(Steps, "run", noted)
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(run, asked))
    for got, expected in zip(together, alone, strict=True):
        assert got.tokens.id.tolist() == expected.tokens.id.tolist()
        assert got.keys() == expected.keys()
        for key in got.keys():  # noqa: SIM118 - of a run, not of a dict
            assert_close(got[key], expected[key])
    assert 2 in {count for count, keep in rows if keep.routes}
    assert {count for count, keep in rows if not keep.routes} == {1}


def test_a_run_is_stopped_while_a_step_is_being_compiled(monkeypatch):
    lm = LM(model(), tokenizer(), generation=GenerationConfig(eos_token_id=()), max_len=600)
    whole = lm.run("hi", max_tokens=12, temperature=0, keep=gk.keep("router"))
    compiling, go_on, heard, prepare = threading.Event(), threading.Event(), [], Steps.prepare

    def slow(self, *arguments):
        if len(heard) == 5 and not compiling.is_set():
            compiling.set()
            assert go_on.wait(60)
        return prepare(self, *arguments)

    monkeypatch.setattr(Steps, "prepare", slow)
    watch = Watch(heard.append)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(lm.run, "hi", max_tokens=12, temperature=0, keep=gk.keep("router"), watch=watch)
        assert compiling.wait(60)
        watch.stop()
        run = asked.result(30)  # or it would have waited for the step
        go_on.set()
    assert run.completion.finish_reason == "interrupted"
    assert run.completion.tokens == whole.completion.tokens[:5]
    assert len(run) == len(run.tokens.id) == len(whole) - 8  # all that was read: not the last that was said
    np.testing.assert_array_equal(run.routing.ids, whole.routing.ids[: len(run)])
    again = lm.run("hi", max_tokens=12, temperature=0, keep=gk.keep("router"))
    np.testing.assert_array_equal(again.routing.ids, whole.routing.ids)
    lm.close()
