"""What is told from runs, corpora and checkpoints, against the same computed plainly."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest
from flax import nnx

import glmkit as gk
from glmkit.errors import CheckpointError, DataError, RequestError
from glmkit.model import GLM
from glmkit.runs import Layers, Run, Tokens
from glmkit.train.lora import add_lora
from tiny import CONFIG, model, randomised

RECORDS = [
    {"text": "2 + 3 = 5", "domain": "sums"},
    {"text": "a tale of old", "domain": "tales"},
    {"text": "7 + 1 = 8", "domain": "sums"},
]
STATS = ["load", "weight_mass", "coactivation", "margin", "top_tokens"]


@pytest.fixture(scope="module")
def stats(lm):
    return gk.collect(lm, RECORDS, by="domain", stats=STATS, progress=False)


def test_collecting_is_running_each(lm, stats):
    assert stats.groups == ["sums", "tales"]
    runs = [lm.run(lm.tokenizer.encode(record["text"])) for record in RECORDS]
    for group, members in ((0, (0, 2)), (1, (1,))):
        np.testing.assert_array_equal(stats.load[group], sum(runs[i].routing.load() for i in members))
        np.testing.assert_array_equal(stats.coactivation[group], sum(runs[i].routing.coactivation() for i in members))
        mass = sum(runs[i].routing.weight_mass() for i in members)
        np.testing.assert_allclose(stats.weight_mass[group], mass, rtol=1e-12)  # float64 sums in another order
        assert stats.margin[group].sum() == 2 * stats.tokens[group]
    tokens = [token for run in runs for token in run.tokens.id]
    ids = np.concatenate([run.routing.at(layer=2).ids for run in runs])
    expert = int(stats.load.sum(0)[1].argmax())
    best, count = stats.top_tokens(layer=2, expert=expert, count=1)[0]
    assert count == sum(token == best and expert in own for token, own in zip(tokens, ids, strict=True))
    assert (stats.specialisation() > 0).all()


def test_only_tokens_of_the_phases_that_are_wanted_count(lm, tmp_path):
    messages = [{"role": "user", "content": "2 + 3"}, {"role": "assistant", "content": "5", "reasoning_content": "hm"}]
    record, path = {"messages": messages}, tmp_path / "stats.safetensors"
    twice = gk.collect(lm, [{"messages": [*messages, *messages]}], phases="answer", progress=False)
    assert twice.tokens[0] > gk.collect(lm, [record], phases="answer", progress=False).tokens[0]
    run = lm.run(messages)
    for phases in ("think", ("think", "answer"), ("prompt",)):
        found = gk.collect(lm, [record], stats=STATS, phases=phases, progress=False)
        np.testing.assert_array_equal(found.load[0], run.routing.load(phases))
        assert found.tokens.tolist() == [run.routing.where(phases).sum()]
        np.testing.assert_allclose(found.weight_mass[0], run.routing.weight_mass(phases), rtol=1e-12)
    gk.collect(lm, [record], phases="think", resume=path, progress=False)
    with pytest.raises(CheckpointError, match=r"another phases: \['think'\] there, \['answer'\] here"):
        gk.collect(lm, [record], phases="answer", resume=path, progress=False)
    for wrong, told in (("thought", "no phase 'thought'"), ((), "no phase is named")):
        with pytest.raises(RequestError, match=told):
            gk.collect(lm, [record], phases=wrong, progress=False)


def test_what_was_counted_is_gone_on_with(lm, stats, tmp_path):
    path = tmp_path / "stats.safetensors"
    gk.collect(lm, RECORDS[:1], by="domain", stats=STATS, resume=path, progress=False)
    whole = gk.collect(lm, RECORDS, by="domain", stats=STATS, resume=path, progress=False)
    again = gk.RoutingStats.load_file(path)
    for found in (whole, again):
        assert (found.groups, found.records) == (stats.groups, 3)
        for name in ("tokens", "load", "weight_mass", "coactivation", "margin", "token_counts"):
            np.testing.assert_array_equal(getattr(found, name), getattr(stats, name))
    again = {"by": "domain", "stats": STATS, "resume": path, "progress": False}
    assert gk.collect(lm, iter(RECORDS), **again).records == 3
    plan = gk.ablate(layer=2, expert=1)
    for records, change, message in (
        (RECORDS, {"stats": ["load"]}, "expected load of tiny"),
        (RECORDS, {"interventions": plan}, r"another interventions: None there, .ablate\(layer=2, expert=1"),
        (RECORDS, {"length": 5}, "another length: 400 there, 5 here"),
        (RECORDS, {"by": None}, "another by: 'domain' there, None here"),
        ([*RECORDS[:2], {"text": "8", "domain": "sums"}], {}, "counted another record 2"),
        (RECORDS[:2], {}, "counted 3 records, and the data have 2; expected those, or more"),
        ([*RECORDS[:2], RECORDS[2] | {"domain": "tales"}], {}, "counted another record 2"),
    ):
        with pytest.raises(CheckpointError, match=message):
            gk.collect(lm, records, **again | change)
    tuned = jax.tree.map(lambda leaf: leaf, lm.model)
    tuned.norm.scale[...] = tuned.norm.scale[...] * 2
    with lm.with_model(tuned) as other, pytest.raises(CheckpointError, match="another weights"):
        gk.collect(other, RECORDS, **again)
    idle = gk.scale_shared(0.0, tokens="tool") + plan
    with pytest.warns(UserWarning, match="scale_shared.* never held for any token"):
        gk.collect(lm, RECORDS, interventions=idle, progress=False)


def test_what_did_something_before_a_file_was_saved_is_not_called_idle(lm, tmp_path):
    """The intervention holds for a token that the first record alone has."""
    records, settings = ["a longer text", "short"], {"resume": tmp_path / "stats.safetensors", "progress": False}
    settings["interventions"] = gk.scale_shared(0.0, tokens=[10])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gk.collect(lm, records[:1], **settings)
        assert gk.collect(lm, records, **settings).records == 2
    with pytest.warns(UserWarning, match="never held"):
        gk.collect(lm, records[1:], progress=False, interventions=settings["interventions"])


def test_counts_of_adapters_at_another_scale_are_not_gone_on_with(lm, tmp_path):
    path = tmp_path / "stats.safetensors"

    def collect(alpha):
        adapted = add_lora(lm.model, 1, alpha, ["o_proj"], rngs=nnx.Rngs(0))
        with lm.with_model(adapted) as other:
            return gk.collect(other, RECORDS[:1], resume=path, progress=False)

    assert collect(1.0).records == collect(1.0).records == 1
    with pytest.raises(CheckpointError, match="another weights"):
        collect(2.0)


def test_one_statistic_may_be_named_by_itself_and_saving_never_is_no_interval(lm, stats):
    found = gk.collect(lm, RECORDS, by="domain", stats="load", progress=False)
    np.testing.assert_array_equal(found.load, stats.load)
    assert found.weight_mass is None
    for wrong, message in (({"stats": "loads"}, "no statistic 'loads'"), ({"save_every": 0}, "save_every is 0")):
        with pytest.raises(RequestError, match=message):
            gk.collect(lm, RECORDS, progress=False, **wrong)


def test_a_record_that_cannot_be_read_is_named(lm):
    with pytest.raises(DataError, match="record 1: expected 'text'"):
        gk.collect(lm, ["fine", {"texts": "x"}], progress=False)
    with pytest.raises(DataError, match="record 0 has no 'topic'"):
        gk.collect(lm, RECORDS, by="topic", progress=False)


def test_a_comparison_tells_how_far_two_runs_are_apart(lm):
    ids = lm.tokenizer.encode("one two three")
    kept = gk.keep("router", "logits")
    plan = gk.scale_shared(0.5, layer=1)
    a, b = lm.run(ids, keep=kept), lm.run(ids, keep=kept, interventions=plan)
    found = gk.compare(a, b)
    p, q = (np.exp(run["logits"].astype(np.float64)) for run in (a, b))
    p, q = (x / x.sum(-1, keepdims=True) for x in (p, q))
    np.testing.assert_allclose(found.kl, (p * np.log(p / q)).sum(-1), rtol=1e-9, atol=1e-12)  # float64 sums
    changed = (np.sort(a.routing.ids, -1) != np.sort(b.routing.ids, -1)).any(-1)
    assert found.changed_routes == changed.mean()
    # Without logits both are read once more, by another program.
    anew = gk.compare(lm.run(ids), lm.run(ids, interventions=plan))
    np.testing.assert_allclose(anew.kl, found.kl, rtol=1e-3, atol=1e-6)
    longer = gk.compare(a, lm.run([*ids[:5], *ids], keep=kept))
    assert longer.shared == 5
    with pytest.raises(RequestError, match="not one token in common"):
        gk.compare(a, lm.run(ids[::-1]))


def test_models_of_other_layers_are_compared_without_their_routes(lm):
    part = randomised(GLM(CONFIG, rngs=nnx.Rngs(0), layer_numbers=(0, 2), mtp=None))
    with gk.LM(part, lm.tokenizer, max_len=64) as other:
        found = gk.compare(lm.run([5, 6, 7]), other.run([5, 6, 7]))
        assert found.mean_kl > 0
        assert repr(found) == f"Comparison(3 and 3 tokens, the same tokens; mean KL {found.mean_kl:.4g} nats)"
        assert list(found.to_pandas().columns) == ["step", "text", "phase", "kl"]
        with pytest.raises(RequestError, match="the routes are of different models"):
            found.changed  # noqa: B018


def test_a_difference_is_told_token_by_token():
    def run(*words):
        nothing = np.zeros(len(words), np.float32)
        tokens = Tokens(np.zeros(len(words), np.int32), words, ("answer",) * len(words), nothing, nothing)
        return Run(tokens, Layers((), (), 0, 0), {}, {})

    found = gk.compare(run("It is ", "forty-two", ", so."), run("It is ", "forty-three", ", so.", " Or is it?"))
    assert found.diff.split("\n") == ["  It is ", "- forty-two", "+ forty-three", "  , so.", "+  Or is it?"]


def test_the_lens_reads_the_last_layer_as_the_model_does(lm):
    run = lm.run(lm.tokenizer.encode("one two three"), keep=gk.keep("resid_post", "logits"))
    lens = gk.logit_lens(lm, run, top=3)
    assert lens.layers == (0, 1, 2)
    np.testing.assert_array_equal(lens.top_ids[-1], np.argsort(-run["logits"], axis=-1)[:, :3])
    np.testing.assert_allclose(lens.next_logprob[-1, :-1], run.tokens.logprob[1:], atol=1e-4)  # float32 softmax
    closing = lm.tokenizer.token_id("</think>")
    np.testing.assert_allclose(lens.token_logit["</think>"][-1], run["logits"][:, closing], rtol=1e-4, atol=1e-4)
    with pytest.raises(RequestError, match="one token"):
        gk.logit_lens(lm, run, tokens=["ab"])


def test_a_sweep_is_each_ablation_by_itself(lm):
    ids = lm.tokenizer.encode("one two three")
    swept = gk.sweep(lm, ids, layer=2, batch_size=3)
    kept = gk.keep("logits")
    whole = lm.run(ids, keep=kept)

    def without(expert):
        return gk.ablate(layer=2, expert=expert, how="drop")

    for expert in (0, 5):
        alone = lm.run(ids, keep=kept, interventions=without(expert))
        # Of float32 logits, against float64 sums of another program's.
        np.testing.assert_allclose(swept.kl[0, expert], gk.compare(whole, alone).mean_kl, rtol=1e-2, atol=1e-6)
    plan = gk.ablate(layer=1, expert=3, how="drop") + gk.add("resid_post", 0, np.linspace(-1, 1, 32), tokens=[2])
    with warnings.catch_warnings(), lm.using(plan):
        warnings.simplefilter("error")  # it holds, if not for the engine
        within = gk.sweep(lm, ids, layer=2, expert=[5], batch_size=3, controls=1)
        base, alone = lm.run(ids, keep=kept), lm.run(ids, keep=kept, interventions=without(5))
        np.testing.assert_allclose(within.kl[0, 0], gk.compare(base, alone).mean_kl, rtol=1e-2, atol=1e-6)
    assert abs(within.kl[0, 0] - swept.kl[0, 5]) > 0.02 * swept.kl[0, 5]
    others = [np.delete(swept.kl[0], expert).mean() for expert in range(8)]
    np.testing.assert_allclose(swept.control[0], others, rtol=1e-6)  # all seven others make up the control
    assert swept.top(1)[0][2] == swept.kl.max()
    others_gone = gk.ablate(layer=2, expert=[0, 1, 2, 3, 4, 6])
    with lm.using(others_gone), pytest.raises(RequestError, match="layer 2 has 1 experts left of 8"):
        gk.sweep(lm, ids, layer=2, expert=[5], how="reroute", controls=1)


def test_one_expert_is_swept_by_its_number_and_none_is_refused(lm):
    ids = [5, 6, 7]
    one, same = (gk.sweep(lm, ids, layer=1, expert=expert, controls=1) for expert in (3, [3]))
    np.testing.assert_array_equal(one.kl, same.kl)
    for named, message in (({"layer": []}, "names none of the layers"), ({"expert": []}, "expert is \\[\\]")):
        with pytest.raises(RequestError, match=message):
            gk.sweep(lm, ids, **named)


def test_what_is_in_use_takes_out_is_not_swept_and_is_no_control(lm):
    ids, out = lm.tokenizer.encode("one two three"), [1, 4]
    plan = gk.ablate(layer=2, expert=out[0], how="drop") + gk.ablate(layer=2, expert=out[1])
    with warnings.catch_warnings(), lm.using(plan):
        warnings.simplefilter("error")
        swept = gk.sweep(lm, ids, layer=2)
        nothing_left = gk.sweep(lm, ids, layer=2, expert=out)
    there = np.delete(np.arange(8), out)
    for table in (swept.kl, swept.control):
        assert np.flatnonzero(np.isnan(table[0])).tolist() == out
    others = [np.mean([swept.kl[0, other] for other in there if other != expert]) for expert in there]
    np.testing.assert_allclose(swept.control[0, there], others, rtol=1e-6)
    assert {expert for _, expert, *_ in swept.top(8)} == set(there)
    assert np.isnan(nothing_left.kl).all()
    assert nothing_left.top() == []


def test_a_thought_that_ends_earlier_has_the_answer_that_the_model_gives_there(lm):
    run = lm.run("one two", thinking="forced", budget=5, max_tokens=14, temperature=0)
    found = gk.truncate(lm, run, max_tokens=14)
    opening, closing = (run.tokens.id.tolist().index(lm.tokenizer.token_id(tag)) for tag in ("<think>", "</think>"))
    assert found.lengths == tuple(range(found.tokens + 1))
    assert found.tokens == closing - opening - 1
    for length, answer in zip(found.lengths, found.answers, strict=True):
        prompt = (*run.tokens.id[: opening + 1 + length].tolist(), run.tokens.id[closing])
        assert answer == lm.complete(prompt, temperature=0, max_tokens=14).content.strip()
    assert found.same == tuple(answer == found.answer for answer in found.answers)
    # Scored in parallel here, and token by token when it was generated; float32.
    np.testing.assert_allclose(found.logprob[-1], run.tokens.logprob[closing + 1 :].sum(), rtol=1e-4)
    stop = found.answers[-1][1]
    stopped = gk.truncate(lm, run, max_tokens=14, stop=stop)
    assert stopped.answers == tuple(answer.split(stop)[0].strip() for answer in found.answers)
    few = gk.truncate(lm, run, lengths=[4, 0], max_tokens=14)
    assert few.lengths == (0, 4)
    np.testing.assert_allclose(few.logprob, found.logprob[[0, 4]], rtol=1e-4)
    for call, words in (
        (lambda: gk.truncate(lm, lm.run("one", thinking="disabled")), "has no thought"),
        (lambda: gk.truncate(lm, lm.run("one", thinking="forced", max_tokens=2)), "ends before its thought"),
        (lambda: gk.truncate(lm, run, lengths=[99]), "the thought has 0 to"),
        (lambda: gk.truncate(lm, run, lengths=[]), "lengths are"),
        (lambda: gk.truncate(lm, run, thinking="forced"), "there is no setting thinking"),
    ):
        with pytest.raises(RequestError, match=words):
            call()


def test_a_thought_is_cut_with_what_its_run_was_made_with(lm):
    plan, settings = gk.scale_shared(0.5), {"max_tokens": 14, "temperature": 0}
    with lm.using(plan):
        run = lm.run("one two", thinking="forced", budget=5, **settings)
        found = gk.truncate(lm, run, lengths=[2], max_tokens=14)
        ids, opening, closing = run.tokens.id.tolist(), *map(lm.tokenizer.token_id, ("<think>", "</think>"))
        prompt = (*ids[: ids.index(opening) + 3], closing)
        assert found.answers == (lm.complete(prompt, **settings).content.strip(),)
    with pytest.raises(RequestError, match=r"made with scale_shared\(0.5, layer=all\), and in use is nothing"):
        gk.truncate(lm, run)
    plain = lm.run("one two", thinking="forced", budget=5, **settings)
    with (
        pytest.warns(UserWarning, match="never held"),
        lm.using(plan),
        pytest.raises(RequestError, match="made with no interventions, and in use is scale_shared"),
    ):
        gk.truncate(lm, plain)


def test_what_is_in_use_is_told_from_others_that_read_the_same(lm, tmp_path):
    """Vectors are not in the words of a plan; of files that were written without a digest, the words decide."""
    plan, other = (gk.add("resid_post", 1, sign * np.ones(32)) for sign in (1.0, -1.0))
    asked = {"thinking": "forced", "max_tokens": 40, "budget": 4, "temperature": 0.0}
    with lm.using(plan):
        run = lm.run("hi", **asked)
    run.save(tmp_path / "run.safetensors")
    for there in (run, Run.load(tmp_path / "run.safetensors")):
        with (
            lm.using(other),
            pytest.raises(RequestError, match=r"layer=1, scale=1\), and in use is .* of other values"),
        ):
            gk.truncate(lm, there, lengths=[0], max_tokens=1)
        with lm.using(plan):
            gk.truncate(lm, there, lengths=[0], max_tokens=1)
    with lm.using(other):
        gk.truncate(lm, dataclasses.replace(run, digest=None), lengths=[0], max_tokens=1)
    read = lm.run(run.tokens.id, interventions=gk.scale_shared(0.5, tokens=slice(None, 5)))
    with lm.using(gk.scale_shared(0.5, tokens=slice(None, 5))):
        lm._check_in_use(read)


def test_a_thought_is_not_cut_with_what_holds_by_phase(lm):
    with lm.using(gk.scale_shared(0.5, tokens=("think", "answer"))):
        run = lm.run("one two", thinking="forced", budget=5, max_tokens=14, temperature=0)
        with pytest.raises(RequestError, match=r"tokens=think\+answer\): a thought that is cut is given to go on from"):
            gk.truncate(lm, run)


def test_the_least_thought_that_settles_the_answer():
    def settled(*answers):
        return gk.probe.TruncationSweep("", "85", 3, (0, 1, 3), answers, np.zeros(3)).settled

    assert settled("3", "85", "85") == 1
    assert settled("85", "3", "85") == 3
    assert settled("85", "85", "3") is None


def test_two_checkpoints_differ_where_they_were_changed(tmp_path):

    first = model()
    gk.save_hf(first, tmp_path / "a")
    second = jax.tree.map(lambda leaf: leaf, first)
    mlp = second.blocks[2].mlp
    changes = ((mlp.down, 3, 1.5, 0), (mlp.router.bias, 6, 1.0, 0.25), (mlp.router.kernel, (slice(None), 1), 3.0, 0))
    for variable, place, times, plus in changes:
        value = np.array(variable[...])
        value[place] = value[place] * times + plus
        variable[...] = jax.device_put(value, variable[...].sharding)
    gk.save_hf(second, tmp_path / "b")
    found = gk.diff(tmp_path / "a", tmp_path / "b")
    changed = {change.name for change in found.tensors if change.difference}
    layer = "model.layers.2.mlp"
    assert changed == {
        f"{layer}.experts.3.down_proj.weight",
        f"{layer}.gate.weight",
        f"{layer}.gate.e_score_correction_bias",
    }
    assert found.layers == (1, 2, 3)  # the last is that of multi-token prediction
    assert np.argwhere(found.experts > 0).tolist() == [[1, 3]]
    np.testing.assert_allclose(found.router[1, 1], 2.0, rtol=1e-6)  # float32 weights, float64 norms
    np.testing.assert_allclose(found.bias[1], 0.25 * (np.arange(8) == 6), atol=1e-7)
    assert found.largest(1)[0].name == f"{layer}.gate.weight"


def test_a_table_needs_pandas_and_says_so(stats):
    pandas = pytest.importorskip("pandas")
    frame = stats.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.load.sum() == stats.load.sum()
