"""Plans by name: they do what they say, add up, are refused where they cannot be, and hold for all that an LM does."""

import warnings

import numpy as np
import pytest

import glmkit as gk
from glmkit.errors import RequestError

IDS = list(b"one two three four five")
KEEP = gk.keep("router", "logits", "resid_post", "expert_out")
TOLERANCE = 1e-5  # roundings of float32 in sums in another order, of the largest value


def assert_close(got, expected) -> None:
    expected = np.asarray(expected)
    np.testing.assert_allclose(got, expected, atol=TOLERANCE * np.abs(expected).max(), rtol=0)


@pytest.fixture(scope="module")
def plain(lm):
    return lm.run(IDS, keep=KEEP)


def busiest(run, layer: int) -> int:
    return int(run.routing.load()[run.routing.row(layer)].argmax())


def test_replaying_its_routes_gives_the_same_bits(lm, plain):
    """One program, float32 on CPU: replaying half a run's routes and then all of them."""
    half = lm.run(IDS, keep=KEEP, interventions=gk.replay(plain, tokens=range(12)))
    whole = lm.run(IDS, keep=KEEP, interventions=gk.replay(plain.routing))
    again = lm.run(IDS, keep=KEEP, interventions=gk.replay(whole))
    np.testing.assert_array_equal(half["logits"], whole["logits"])
    np.testing.assert_array_equal(again["logits"], whole["logits"])
    assert_close(whole["logits"], plain["logits"])


@pytest.mark.parametrize("how", ["reroute", "drop", "mean"])
def test_an_expert_that_is_ablated_is_gone(lm, plain, how):
    expert = busiest(plain, 1)
    mean = plain if how == "mean" else None
    run = lm.run(IDS, keep=KEEP, interventions=gk.ablate(layer=1, expert=expert, how=how, mean=mean))
    chosen = plain.routing.at(layer=1).ids == expert
    if how == "reroute":
        assert expert not in run.routing.at(layer=1).ids
        return
    share = np.where(chosen, plain.routing.at(layer=1).weights, 0)[..., None]
    out = plain["expert_out", 1]
    instead = out[chosen].mean(0) if how == "mean" else 0
    assert_close(run["resid_post", 1], plain["resid_post", 1] + (share * (instead - out)).sum(1))


def test_of_two_means_of_an_expert_the_later_counts(lm, plain):
    """For the tokens that both hold for; the others have the one that holds for them."""
    expert, vector = busiest(plain, 1), np.linspace(-3, 3, 32).astype(np.float32)

    def means(*given):
        plans = [gk.ablate(layer=1, expert=expert, how="mean", mean=mean, tokens=tokens) for mean, tokens in given]
        return lm.run(IDS, keep=KEEP, interventions=sum(plans[1:], plans[0]))["resid_post", 1]

    first, second = means((vector, None)), means((-vector, None))
    assert np.abs(first - second).max() > 0.1
    assert_close(means((vector, None), (vector, None)), first)
    assert_close(means((vector, None), (-vector, None)), second)
    chosen = (plain.routing.at(layer=1).ids == expert).any(-1)
    later = np.flatnonzero(chosen)[::2].tolist()
    mixed = means((vector, None), (-vector, later))
    assert_close(mixed[later], second[later])
    others = np.setdiff1d(np.arange(len(IDS)), later)
    assert_close(mixed[others], first[others])


def test_a_plan_is_written_as_the_python_that_makes_it(lm, plain):
    vector = np.random.default_rng(0).standard_normal(32).astype(np.float32)
    values, mask = plain["resid_post", 1], [True, False] * 11 + [True]
    plans = [
        gk.ablate(layer=1, expert=3),
        gk.ablate(layer=[1, 2], expert=[0, 4], how="drop", tokens=("answer", "think")),
        gk.ablate(layer=None, expert=2, how="mean", mean=vector, tokens="prompt"),
        gk.bias(layer=slice(1, 3), expert=0, by=np.float32(0.123456789), at="logit", tokens=slice(2, None)),
        gk.force(layer=-1, expert=[1, 2], tokens=[0, np.int64(5)]),
        gk.scale_shared(0.1, layer=2) + gk.scale_shared(-1.5),
        gk.add("resid_mid", 0, vector, scale=2.5, tokens=mask),
        gk.patch("resid_post", 1, values),
        gk.patch("resid_post", 1, values, tokens=[4, 6], source_tokens=[0, 9]),
        gk.probe.Plan(),
    ]
    for plan in plans:
        assert plan.unwritten == ()
        again = eval(plan.code(), {"gk": gk})
        assert again.bind(lm.model, 23).digest == plan.bind(lm.model, 23).digest  # to the last bit
    assert gk.bias(layer=1, expert=2, by=0.5).code() == "gk.bias(layer=1, expert=2, by=0.5)"
    wide = gk.patch("resid_post", 1, np.zeros((200, 32)))
    runs = gk.replay(plain) + gk.ablate(layer=1, expert=busiest(plain, 1), how="mean", mean=plain) + wide
    mixed = runs + plans[0]
    assert mixed.unwritten == runs.parts
    assert mixed.code() == plans[0].code()
    assert runs.code() == "gk.probe.Plan()"


def test_plans_that_differ_in_any_digit_share_nothing(lm):
    def scopes(by: float) -> list[str]:
        vector = np.ones(32, np.float32)
        plans = gk.bias(layer=1, expert=0, by=by), gk.scale_shared(by), gk.add("resid_post", 0, vector, scale=by)
        return [plan.bind(lm.model, None).scope for plan in plans]

    known = scopes(0.12345671)
    assert known == scopes(0.12345671)
    assert len({*known, *scopes(0.12345699)}) == 6


def test_plans_add_up_and_hold_for_their_tokens(lm, plain):
    expert, vector = busiest(plain, 2), np.linspace(-1, 1, 32)
    plan = (
        gk.ablate(layer=2, expert=expert, tokens=slice(3, 8)) + gk.replay(plain)
        + gk.add("resid_post", 0, vector, scale=2.0, tokens=[20]) + gk.force(layer=1, expert=5, tokens=[1, -1])
    )  # fmt: skip
    run = lm.run(IDS, keep=KEEP, interventions=plan)
    ids = run.routing.at(layer=2).ids
    assert not (ids[3:8] == expert).any()
    np.testing.assert_array_equal(np.sort(ids[:3], -1), np.sort(plain.routing.at(layer=2).ids[:3], -1))
    assert_close(run["resid_post", 0][20], plain["resid_post", 0][20] + 2 * vector)
    assert_close(run["resid_post", 0][:20], plain["resid_post", 0][:20])
    forced = (run.routing.at(layer=1).ids == 5).any(-1)
    assert forced[1]
    assert forced[-1]
    assert str(plan).startswith(f"ablate(layer=2, expert={expert}, how=reroute, tokens=3:8) + replay(23 tokens)")


def test_a_patch_is_the_other_runs_activation(lm, plain):
    other = lm.run(IDS[::-1], keep=KEEP)
    run = lm.run(IDS, keep=KEEP, interventions=gk.patch("blocks.2.hook_resid_post", None, other))
    assert_close(run["logits"], other["logits"])
    moved = gk.patch("resid_post", 2, other, tokens=[4, 6], source_tokens=[0, 9])
    run = lm.run(IDS, keep=KEEP, interventions=moved)
    assert_close(run["resid_post", 2][[4, 6]], other["resid_post", 2][[0, 9]])
    assert_close(run["resid_post", 2][5], plain["resid_post", 2][5])


def test_what_cannot_be_is_refused_by_name(lm, plain):
    for plan, message in [
        (lambda: gk.ablate(layer=0, expert=1), "layer 0 is dense"),
        (lambda: gk.ablate(layer=7, expert=1), "no layer 7"),
        (lambda: gk.ablate(layer=[], expert=1), r"\[\] names none of the layers \[1, 2\]"),
        (lambda: gk.force(layer=[], expert=1), "names none of the layers"),
        (lambda: gk.bias(layer=[], expert=1, by=1.0, at="logit"), "names none of the layers"),
        (lambda: gk.scale_shared(0.0, layer=[]), "names none of the layers"),
        (lambda: gk.replay(plain, layer=[]), "names none of the layers"),
        (lambda: gk.scale_shared(0.0, tokens=slice("a", None)), "expected a slice of whole numbers"),
        (lambda: gk.scale_shared(0.0, tokens=slice(1.5, 3)), "expected a slice of whole numbers"),
        (lambda: gk.scale_shared(0.0, tokens=slice(0, 5, 0)), "expected a step of at least 1"),
        (lambda: gk.scale_shared(0.0, tokens=slice(None, None, -1)), "expected a step of at least 1"),
        (lambda: gk.bias(layer=1, expert=8, by=1.0), "no expert 8"),
        (lambda: gk.ablate(layer=1, expert=range(7)), "layer 1 has 1 experts left of 8"),
        (lambda: gk.force(layer=1, expert=[1, 2, 3]), "a token has 2 experts"),
        (lambda: gk.add("logits", 1, np.zeros(32)), "'logits' cannot be changed"),
        (lambda: gk.add("resid_post", 1, np.zeros(31)), "31 numbers for each token"),
        (lambda: gk.scale_shared(0.0, tokens="thought"), "no phase 'thought'"),
        (lambda: gk.scale_shared(0.0, tokens=[99]), "no token 99"),
        (lambda: gk.replay(lm.run(IDS[1:])), "routes are of 22 tokens, and there are 23"),
        (lambda: gk.scale_shared(0.0, tokens=[True] * 9), "a mask of 9 tokens, and there are 23"),
        (lambda: gk.patch("resid_post", 1, plain["resid_post", 1][:9], tokens=[15]), "token 15, its source has 9"),
        (lambda: gk.patch("resid_post", 1, plain["resid_post", 1][:9], tokens=slice(4, None)), "token 22, its source"),
    ]:
        with pytest.raises(RequestError, match=message):
            lm.run(IDS, interventions=plan())


def test_routes_are_not_replayed_on_another_prompt(lm, plain):
    other, message = list(b"one too"), "routes are of other tokens, token 5 is "
    with pytest.raises(RequestError, match=message):
        lm.run(other, max_tokens=2, interventions=gk.replay(plain))
    with pytest.raises(RequestError, match="routes are of other tokens, token 0 is "):
        lm.run(IDS[::-1], interventions=gk.replay(plain))
    with lm.using(gk.replay(plain)), pytest.raises(RequestError, match="routes are of other tokens"):
        gk.sweep(lm, IDS[::-1])
    with lm.using(gk.replay(plain)):
        for ask in (lambda: lm.complete(other, max_tokens=2), lambda: lm.logprobs([other])):
            with pytest.raises(RequestError, match=message):
                ask()
        lm.logprobs([IDS])
    few = lm.run(IDS, interventions=gk.replay(plain, tokens=range(5)))
    bound = gk.replay(few, tokens=range(5)).bind(lm.model, None)
    bound.check_prompt(other)  # these five are the same


@pytest.mark.filterwarnings("ignore:.* never held for any token")  # what is refused holds for none
def test_a_source_of_a_longer_or_shorter_prompt_is_refused_where_an_answer_is_written(lm, plain):
    short, long = lm.run(IDS[:9], keep=KEEP), lm.run(IDS + IDS, keep=KEEP)
    for source, message in (
        (short, "its source has 9 tokens, and the prompt 23"),
        (long, "46 tokens, and this one 23"),
    ):
        for plan in (gk.replay(source), gk.patch("resid_post", 1, source), gk.replay(source, tokens=slice(2, None))):
            with pytest.raises(RequestError, match=message):
                lm.run(IDS, max_tokens=2, interventions=plan)
            with lm.using(plan), pytest.raises(RequestError, match=message):
                lm.complete(IDS, max_tokens=2)
    values = short["resid_post", 1]
    with pytest.raises(RequestError, match="its source has 9 tokens, and the prompt 23"):
        lm.run(IDS, max_tokens=2, interventions=gk.patch("resid_post", 1, values))
    some = gk.patch("resid_post", 1, long, tokens=[3]) + gk.patch("resid_post", 1, values, tokens=range(9))
    moved = gk.patch("resid_post", 1, values, tokens=[20], source_tokens=[5])
    lm.run(IDS, max_tokens=2, interventions=some + gk.replay(long, tokens=range(5)) + moved)


def test_how_many_written_tokens_a_replay_has_the_routes_of_others_for_is_told(lm):
    settings = {"max_tokens": 8, "temperature": 3.0, "thinking": "disabled"}
    source = lm.run("hi", seed=1, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lm.run("hi", seed=1, interventions=gk.replay(source), **settings)
    with pytest.warns(UserWarning, match=r"replay\(.* tokens that it held for are others than in its source") as told:
        other = lm.run("hi", seed=2, interventions=gk.replay(source), **settings)
    held = min(len(other), len(source))
    differ = int((other.tokens.id[:held] != source.tokens.id[:held]).sum())
    assert f": {differ} of {held} tokens that it held for" in str(told[0].message)
    with (
        pytest.warns(UserWarning, match="tokens that it held for are others than in its source"),
        lm.using(gk.replay(source)),
    ):
        lm.chat("hi", seed=2, **settings)


def test_what_held_before_or_in_another_block_is_not_called_idle(lm):
    question, settings = "z" * 300, {"max_tokens": 2, "temperature": 0.0}
    chosen = int(lm.run(question).routing.at(layer=1).ids[3, 0])
    early = gk.add("resid_post", 0, np.ones(32), tokens=[3]) + gk.ablate(layer=1, expert=chosen, tokens=slice(2, 9))
    thought, other = gk.scale_shared(0.5, tokens="think"), gk.scale_shared(0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cached in (0, 256):  # the second time the tokens are known
            with lm.using(early):
                assert lm.chat(question, **settings).usage.cached_tokens == cached
        with lm.using(thought):
            lm.chat("hi", thinking="forced", **settings)
            with lm.using(other):
                lm.chat("hi", thinking="disabled", **settings)
        with lm.using(gk.ablate(layer=1, expert=chosen)), lm.using(other):
            lm.chat(question, **settings)
    with pytest.warns(UserWarning, match="never held") as told, lm.using(other), lm.using(thought):
        lm.chat("hi", thinking="disabled", **settings)
    assert [str(each.message) for each in told] == [f"{thought} never held for any token"]


def test_what_did_nothing_is_told(lm, plain):
    idle = next(expert for expert in range(8) if expert not in plain.routing.at(layer=2).ids[5])
    with pytest.warns(UserWarning, match=f"ablate.layer=2, expert={idle}.* changed nothing"):
        lm.run(IDS, interventions=gk.ablate(layer=2, expert=idle, tokens=[5]))
    with pytest.warns(UserWarning, match="scale_shared.* never held for any token"):
        lm.run(IDS, interventions=gk.scale_shared(0.0, tokens="tool") + gk.scale_shared(0.0, tokens=[False] * 23))
    past = gk.replay(lm.run(IDS[:9]), tokens="answer") + gk.scale_shared(0.0, tokens=[False] * 9)
    with (
        pytest.warns(UserWarning, match="replay.9 tokens.* never held for any token of the first 9, which its source"),
        pytest.warns(UserWarning, match="scale_shared.* never held for any token"),
        lm.using(past),
    ):
        lm.complete(IDS, max_tokens=3)


def test_a_force_that_is_not_obeyed_is_told(lm, plain):
    plan = gk.force(layer=1, expert=[0, 5]) + gk.force(layer=1, expert=3, tokens=slice(4, 9))
    with pytest.warns(UserWarning, match=r"force.layer=1, expert=.0, 5.. was not obeyed by 5 of 23 tokens"):
        run = lm.run(IDS, interventions=plan)
    chosen = np.sort(run.routing.at(layer=1).ids, -1)
    assert (chosen[4:9] == 3).any(-1).all()  # the later comes first
    assert (np.delete(chosen, slice(4, 9), axis=0) == [0, 5]).all()
    out = gk.force(layer=2, expert=6) + gk.ablate(layer=2, expert=[6, busiest(plain, 2)], tokens=slice(20, None))
    with pytest.warns(UserWarning, match="force.layer=2, expert=6. was not obeyed by 3 of 23 tokens"):
        lm.run(IDS, interventions=out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lm.run(IDS, interventions=gk.replay(plain) + gk.force(layer=1, expert=5) + gk.force(layer=1, expert=[2, 5]))


def test_in_use_it_holds_for_all_that_is_asked_and_no_longer(lm):
    """The same answers as `run` writes with the plan; pages of the one model are never read by the other."""
    question = "x" * 300  # more than a page
    settings = {"max_tokens": 6, "temperature": 0.0}
    before = lm.chat(question, **settings)
    plan = gk.scale_shared(-1.0) + gk.ablate(layer=1, expert=[0, 1], how="drop")
    with lm.using(plan):
        first, second = lm.chat(question, **settings), lm.chat(question, **settings)
        streamed = lm.chat(question, stream=True, **settings).completion
        scored = lm.logprobs([IDS])
        inner = lm.run(IDS)
    changed = lm.run(question, interventions=plan, **settings)
    assert np.abs(np.subtract(changed.completion.logprobs, before.logprobs)).max() > 0.01
    for done in (first, second, streamed):
        assert done.tokens == changed.completion.tokens
        assert_close(np.asarray(done.logprobs), changed.completion.logprobs)
    assert (first.usage.cached_tokens, second.usage.cached_tokens) == (0, 256)
    assert_close(scored[0], inner.tokens.logprob[1:])
    assert inner.interventions == str(plan)
    assert lm.chat(question, **settings).logprobs == before.logprobs
    assert np.abs(lm.logprobs([IDS])[0] - scored[0]).max() > 0.01
    with pytest.raises(RequestError, match="no layer 9"), lm.using(gk.scale_shared(0.0, layer=9)):
        pass


@pytest.mark.filterwarnings("ignore:.* never held for any token")  # while the first is open, nothing is asked
def test_blocks_that_overlap_each_end_their_own(lm):
    """As two threads open and close them."""
    one, two = gk.scale_shared(-1.0), gk.scale_shared(0.5, layer=1) + gk.ablate(layer=1, expert=[0, 1], how="drop")
    first, second = lm.using(one), lm.using(two)
    first.__enter__()
    second.__enter__()
    assert str(lm.interventions) == str(one + two)
    first.__exit__(None, None, None)
    assert str(lm.interventions) == str(two)
    scored = lm.logprobs([IDS])
    second.__exit__(None, None, None)
    assert lm.interventions is None
    assert_close(scored[0], lm.run(IDS, interventions=two).tokens.logprob[1:])
    with pytest.warns(UserWarning, match="never held"), lm.using(one), lm.using(one):
        assert str(lm.interventions) == str(one + one)
    assert lm.interventions is None


def test_a_plan_without_parts_is_none(lm):
    question, nothing, settings = "y" * 300, gk.probe.Plan(), {"max_tokens": 3, "temperature": 0.0}
    for _ in range(2):  # the second finds a page, and reads the rest
        lm.chat(question, **settings)
    run = lm.run("hi", **settings)
    before = lm.engine.compiled_steps
    with lm.using(nothing):
        assert lm.interventions is None
        assert lm.chat(question, **settings).usage.cached_tokens == 256
        again = lm.run("hi", interventions=nothing, **settings)
    assert lm.engine.compiled_steps == before
    assert (again.interventions, again.tokens.id.tolist()) == ("", run.tokens.id.tolist())


def test_a_plan_by_phase_holds_for_what_is_written(lm):
    run = lm.run(
        "hi", max_tokens=8, thinking="forced", budget=4, temperature=0.0,
        interventions=gk.force(layer=2, expert=[0, 7], tokens="think"),
    )  # fmt: skip
    forced = (np.sort(run.routing.at(layer=2).ids, -1) == [0, 7]).all(-1)
    thought = np.asarray(run.tokens.phase) == "think"
    assert thought.any()
    assert forced[thought].all()


def test_another_expert_compiles_nothing(lm):
    run = lm.run("hi", max_tokens=3, interventions=gk.bias(layer=1, expert=0, by=1.0), temperature=0.0)
    before = lm.engine.compiled_steps
    other = lm.run("hi", max_tokens=3, interventions=gk.bias(layer=2, expert=5, by=2.0), temperature=0.0)
    assert lm.engine.compiled_steps == before
    assert (other.routing.at(layer=2).ids == 5).any(-1).all()
    assert len(run) == len(other)
