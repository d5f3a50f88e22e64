"""Answers scored without sampling, and the experts of a group taken out, against the same computed plainly."""

import numpy as np
import pytest

import glmkit as gk
from glmkit.errors import DataError, RequestError
from glmkit.model import Keep
from glmkit.probe import AnswerScores, ExpertEffects, RoutingStats, answers, without
from glmkit.runs import Layers
from glmkit.runs.scoring import Rows, score
from glmkit.train.examples import encode_record

RECORDS = [
    {
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}],
        "thinking": "disabled",
        "kind": kind,
    }
    for asked, said, kind in (
        ("2 + 3", "5", "sums"),
        ("a tale", "It was a dark and stormy night.", "tales"),
        ("what is 7 + 1?", "8", "sums"),
        ("another tale", "Once.", "tales"),
        ("9", "9", "sums"),
        ("4 + 4", "8", "sums"),
        ("a third tale", "The end.", "tales"),
        ("and one more", "There was a king.", "tales"),
    )
]
PLAN = gk.ablate(layer=2, expert=range(4), how="drop")
# A row alone and rows side by side are two programs: float32 sums in another order, of losses of order 10.
CLOSE = {"rtol": 1e-5}


@pytest.fixture(scope="module")
def stats(lm):
    return gk.collect(lm, RECORDS, by="kind", progress=False)


def scores(lm, **settings):
    return gk.answer_scores(lm, RECORDS, **{"by": "kind", "batch_size": 2, "progress": False} | settings)


def losses(lm, record, plan=None):
    """Of what the assistant has to say, by a run of the same tokens."""
    (example,) = encode_record(record, lm.tokenizer)
    run = lm.run(example.tokens.tolist(), interventions=plan)
    return -run.tokens.logprob[example.learned]


@pytest.mark.parametrize("plan", [None, PLAN], ids=["whole", "changed"])
def test_answers_are_scored_as_runs_of_each(lm, plan):
    found = scores(lm, interventions=plan)
    np.testing.assert_allclose(found.loss, [losses(lm, record, plan).mean() for record in RECORDS], **CLOSE)
    assert found.group == tuple(record["kind"] for record in RECORDS)
    assert found.groups == ("sums", "tales")
    assert found.of("tales").mean_loss == pytest.approx(found.loss[[1, 3, 6, 7]].mean())
    with lm.using(gk.scale_shared(0.0)):
        assert not np.allclose(scores(lm, interventions=plan).loss, found.loss, rtol=1e-3)


def test_right_is_what_would_be_said_greedily(lm):
    told = lm.chat("2 + 3", thinking="disabled", temperature=0, max_tokens=6)
    prompt, said = lm.tokenizer.encode(told.prompt), list(told.tokens)
    row = [*prompt, *said]
    scored = gk.answer_scores(lm, [row], progress=False)
    assert not scored.right[0]  # nor is its prompt
    rows = Rows(np.asarray([row], np.int32), np.array([len(row)]))
    (likeliest,) = next(score(lm.model, rows, Keep())).likeliest
    assert likeliest[len(prompt) - 1 : -1].all()
    assert not likeliest[-1]  # nothing comes after the last


def test_a_conversation_is_right_if_all_that_is_said_in_it_is(lm, monkeypatch):
    turns = [{"role": "user", "content": "2 + 3"}, {"role": "assistant", "content": "5"}]
    record = {"messages": [*turns, *turns], "thinking": "disabled"}
    (example,) = encode_record(record, lm.tokenizer)
    first, second = np.flatnonzero(example.learned)[[0, -1]]
    for wrong, expected in ((first, False), (second, False), (first - 1, True)):
        right = np.ones((8, len(example.tokens)), np.bool_)
        right[:, wrong - 1] = False
        monkeypatch.setattr(answers, "_read", lambda *_, right=right: (np.zeros(right.shape), right, None))
        assert gk.answer_scores(lm, [record], progress=False).right.tolist() == [expected]


def test_what_is_no_conversation_is_scored_whole_and_an_answer_cut_off_is_named(lm):
    ids = lm.tokenizer.encode("plain text")
    found = gk.answer_scores(lm, [ids], progress=False)
    assert found.loss[0] == pytest.approx(lm.run(ids).loss, rel=1e-5)
    prompt = len(lm.tokenizer.encode(lm.prompt(RECORDS[1]["messages"][:1], thinking="disabled")))
    whole = len(encode_record(RECORDS[1], lm.tokenizer)[0].tokens)
    for length in (prompt, whole - 1):  # of which the rest might be said as it is
        message = f"record 1 has an answer that ends at token {whole} of a row, of which the first {length} are read"
        with pytest.raises(DataError, match=message):
            gk.answer_scores(lm, [ids, RECORDS[1]], length=length, progress=False)
    gk.answer_scores(lm, [ids, RECORDS[1]], length=whole, progress=False)
    with pytest.raises(DataError, match="record 0: messages: expected at least one assistant"):
        gk.answer_scores(lm, [{"messages": RECORDS[0]["messages"][:1]}], progress=False)
    with pytest.raises(DataError, match="no records"):
        gk.answer_scores(lm, [], progress=False)


def counted(*loads: list[list[int]]) -> RoutingStats:
    found = RoutingStats.empty(Layers((0, 1, 2), (1, 2), 4, 1), ["load"], 0, "made")
    for number, load in enumerate(loads):
        found.group(f"g{number}")
        found.load[number] = load
    return found


EVEN = [[5, 5, 5, 5], [5, 5, 5, 5]]


def test_specialists_exceed_their_share_elsewhere():
    stats = counted([[10, 8, 2, 0], [5, 5, 9, 1]], EVEN, EVEN)
    assert stats.specialists("g0", 2) == ((1, 0), (2, 2))
    assert stats.specialists("g0", 2, out=[(1, 0)]) == ((2, 2), (1, 1))
    assert stats.specialists("g1", 1) == ((1, 3),)
    with pytest.raises(RequestError, match="no other groups"):
        counted(EVEN).specialists("g0")


def test_groups_of_which_nothing_was_counted_have_none_and_tell_nothing_of_others():
    load, nothing = [[10, 8, 2, 0], [5, 5, 9, 1]], [[0] * 4] * 2
    stats = counted(load, EVEN, nothing)
    assert stats.specialists("g0", 8) == counted(load, EVEN).specialists("g0", 8)
    np.testing.assert_array_equal(stats.specialisation(), counted(load, EVEN).specialisation())
    for alone in (counted(load, nothing), counted(nothing)):  # float64 sums of shares
        np.testing.assert_allclose(alone.specialisation(), [0, 0], atol=1e-12)
    with pytest.raises(RequestError, match="nothing was counted of 'g2'"):
        stats.specialists("g2")


def test_controls_are_as_busy_and_no_two_are_alike():
    stats = counted([[10, 8, 2, 0], [5, 5, 9, 1]], EVEN)
    assert stats.controls(((1, 0), (1, 3)), "g0", 1, nearest=1) == (((1, 1), (1, 2)),)
    drawn = stats.controls(((2, 2),), "g0", 9, nearest=2)
    assert sorted(drawn) == [((2, 0),), ((2, 1),)]
    assert stats.controls(((2, 2),), "g0", 9, nearest=2, out=[(2, 0)]) != drawn
    assert stats.controls(((-1, 2),), "g0", 9, nearest=2) == drawn  # the same layer, from the end
    for wrong, message in (((0, 1), "layer 0 is dense"), ((3, 1), "no layer 3"), ((1, 4), "no expert 4")):
        with pytest.raises(RequestError, match=message):
            stats.controls((wrong,), "g0", 1)
    with pytest.raises(RequestError, match="layer 1 has no experts left"):
        stats.controls(((1, 0), (1, 1), (1, 2)), "g0", 1)


def test_interventions_of_a_phase_hold_in_every_turn_that_is_scored(lm):
    turns = [{"role": "user", "content": "2 + 3"}, {"role": "assistant", "content": "five"}]
    record = {"messages": [*turns, *turns], "thinking": "disabled"}
    (example,) = encode_record(record, lm.tokenizer)
    held = gk.ablate(layer=2, expert=range(4), how="drop", tokens=np.flatnonzero(example.learned).tolist())
    expected = -lm.run(example.tokens.tolist(), interventions=held).tokens.logprob[example.learned].mean()
    found = gk.answer_scores(
        lm, [record], interventions=gk.ablate(layer=2, expert=range(4), how="drop", tokens="answer"), progress=False
    )
    assert found.loss[0] == pytest.approx(expected, rel=1e-5)


def test_a_knockout_is_scores_without_the_experts_and_without_controls(lm, stats):
    settings = {"by": "kind", "count": 1, "controls": 2, "how": "drop", "batch_size": 2, "progress": False}
    found = gk.knockout(lm, RECORDS, stats, **settings)
    assert found.experts == {name: stats.specialists(name, 1) for name in ("sums", "tales")}
    np.testing.assert_array_equal(found.whole.loss, scores(lm).loss)
    for name, experts in found.experts.items():
        taken = scores(lm, interventions=without(experts, how="drop"))
        np.testing.assert_array_equal(found.without[name].loss, taken.loss)
        assert [len(control) for control in found.controls[name]] == [len(taken.of(name))] * 2
        own, control, excess, low, high = found.excess(name)
        assert own == pytest.approx((taken.of(name).loss - found.whole.of(name).loss).mean())
        assert excess == pytest.approx(own - control)
        assert low <= excess <= high
    np.testing.assert_allclose(np.diag(found.added_loss()), [found.excess(name).own for name in found.experts])
    assert set(found.needed) == {name for name in found.experts if found.excess(name).low > 0}
    table = found.to_pandas().set_index("group")
    assert table.loc["sums", "right"] == found.whole.of("sums").accuracy
    again = gk.knockout(lm, RECORDS, stats, **settings, groups=["tales"])
    assert list(again.without) == ["tales"]
    assert "tales" in repr(again)
    few = gk.knockout(lm, RECORDS[:4], stats, **settings, groups=["tales"]).excess("tales")
    assert np.isnan([few.low, few.high]).all()
    with pytest.raises(RequestError, match="'songs' with both experts and data; expected some of sums, tales"):
        gk.knockout(lm, RECORDS, stats, **settings, groups=["songs"])
    with pytest.raises(RequestError, match="the data have all"):
        gk.knockout(lm, RECORDS, stats, **{**settings, "by": None})


def test_what_cannot_be_knocked_out_is_told_before_anything_is_scored(lm, stats, monkeypatch):
    monkeypatch.setattr(answers, "_read", pytest.fail)
    ask = {"by": "kind", "progress": False}
    for change, message in (
        ({"groups": []}, "groups is empty"),
        ({"count": 0}, "count is 0"),
        ({"how": "mean"}, "how='mean' needs mean="),
        ({"tokens": "thought"}, "no phase 'thought'"),
        ({"count": 16, "how": "drop"}, "no experts left for a control"),
        ({"experts": {"sums": [(0, 1)]}}, "layer 0 is dense"),
        ({"experts": {"sums": [(1, 8)]}}, "no expert 8"),
    ):
        with pytest.raises(RequestError, match=message):
            gk.knockout(lm, RECORDS, stats, **ask, **change)
    with pytest.raises(RequestError, match="stats are of made, which has"):
        gk.knockout(
            lm, [{**record, "kind": f"g{n % 2}"} for n, record in enumerate(RECORDS)], counted(EVEN, EVEN), **ask
        )


def test_effects_are_scores_without_each_expert_and_choose_what_a_knockout_takes(lm, stats):
    found = gk.expert_effects(lm, RECORDS, by="kind", batch_size=2, progress=False)
    whole, (layer, *_) = scores(lm), found.layers.moe
    np.testing.assert_array_equal(found.whole.loss, whole.loss)
    taken = scores(lm, interventions=gk.ablate(layer=layer, expert=3))
    expected = [taken.of(name).mean_loss - whole.of(name).mean_loss for name in found.groups]
    np.testing.assert_allclose(found.added_loss[:, 0, 3], expected, rtol=1e-12)  # the same programs and sums
    experts = {name: found.specialists(name, 2) for name in found.groups}
    out = gk.knockout(lm, RECORDS, stats, by="kind", experts=experts, controls=2, batch_size=2, progress=False)
    assert out.experts == experts
    taken = scores(lm, interventions=without(experts["tales"]))
    np.testing.assert_array_equal(out.without["tales"].loss, taken.loss)
    with pytest.raises(RequestError, match="experts of 'sums' are none"):
        gk.knockout(lm, RECORDS, stats, by="kind", experts={"sums": ()}, progress=False)


def test_specialists_by_effect_cost_their_group_most_beyond_the_others():
    added = np.array([[[0.0, 0.5, 0.1, np.nan]], [[0.0, 0.6, 0.0, 0.0]], [[0.3, 0.4, 0.0, 0.0]]])
    whole = AnswerScores(("a", "b", "c"), np.ones(3), np.ones(3, np.bool_))
    effects = ExpertEffects(Layers((0, 1), (1,), 4, 1), whole, added)
    assert effects.specialists("a", 3) == ((1, 2), (1, 1), (1, 0))  # 0.1, 0, -0.15; the fourth was out already
    assert effects.specialists("c", 1) == ((1, 0),)
    assert effects.to_pandas().query("group == 'b' and expert == 1").added_loss.item() == 0.6
    with pytest.raises(RequestError, match="no group 'd'; expected one of a, b, c"):
        effects.specialists("d")
    alone = ExpertEffects(effects.layers, whole.of("a"), added[:1])
    with pytest.raises(RequestError, match="'a' has no other groups"):
        alone.specialists("a")


@pytest.mark.parametrize("how", ["reroute", "drop"])
def test_what_is_in_use_is_neither_taken_nor_a_control(lm, stats, how):
    used = stats.specialists("sums", 1)
    with lm.using(without(used, how=how)):
        found = gk.knockout(lm, RECORDS, stats, by="kind", count=1, controls=2, groups=["sums"], progress=False)
        effects = gk.expert_effects(lm, RECORDS[:2], by="kind", progress=False)
    assert set(found.experts["sums"]).isdisjoint(used)
    ((layer, expert),) = used
    assert np.isnan(effects.added_loss[:, effects.layers.row(layer), expert]).all()
    assert np.isnan(effects.added_loss).sum() == 2


def test_effects_of_some_experts_alone(lm):
    layer = Layers.of(lm.model).moe[0]
    found = gk.expert_effects(lm, RECORDS, by="kind", experts=[(layer, 3), (layer, 1)], batch_size=2, progress=False)
    assert np.isfinite(found.added_loss).sum(axis=(1, 2)).tolist() == [2, 2]
    for name in found.groups:
        own = found.added_loss[found.groups.index(name), 0]
        first = 3 if own[3] > own[1] else 1
        assert found.needed(name, 5) == ((layer, first), (layer, 4 - first))  # all that were measured
        assert set(found.specialists(name, 5)) == {(layer, 3), (layer, 1)}
    for wrong, message in (((0, 1), "layer 0 is dense"), ((layer, 999), "no expert 999")):
        with pytest.raises(RequestError, match=message):
            gk.expert_effects(lm, RECORDS, by="kind", experts=[wrong], progress=False)
