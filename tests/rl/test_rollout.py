"""Rollouts as data: slices, rewards, advantages, files; and what is said of those that cannot be right."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest

from glmkit.errors import CheckpointError, DataError, RewardError
from glmkit.rl import Rollout, advantage, hooks
from made import rollout


def rewarded(values=(1.0, 0.0, 0.5, 0.5)) -> Rollout:
    return rollout().with_rewards(values)


def test_slices_keep_whole_samples_with_all_their_rows():
    whole = rewarded()
    part = whole[2:]
    assert len(part) == 2
    assert part.tokens.shape[0] == 3  # the last sample has two rows
    np.testing.assert_array_equal(part.sample, [0, 1, 1])
    np.testing.assert_array_equal(part.tokens, whole.tokens[2:])
    np.testing.assert_array_equal(part.rewards, whole.rewards[2:])
    assert [sample.content for sample in part.samples] == ["<2>", "<3>"]
    assert whole[3].content == "<3>"
    turned = whole[[3, 0]]
    np.testing.assert_array_equal(turned.sample, [0, 0, 1])
    np.testing.assert_array_equal(turned.tokens, whole.tokens[[3, 4, 0]])
    np.testing.assert_array_equal(whole.where(whole.rewards > 0.4).rewards, [1, 0.5, 0.5])


def test_a_sample_may_be_taken_twice():
    twice = rollout()[[3, 3, 0]]
    assert (len(twice), twice.sample.tolist(), twice.group.tolist()) == (3, [0, 0, 1, 1, 2], [1, 1, 0])
    np.testing.assert_array_equal(twice.tokens[:2], twice.tokens[2:4])
    assert twice.samples[1].content == "<3>"


def test_advantages_of_tokens_are_not_lost_in_joining():
    by_sample = rollout().with_rewards([1, 0, 0, 1]).with_advantage(advantage.dr_grpo)
    by_token = dataclasses.replace(by_sample, token_advantages=np.where(by_sample.mask, 5.0, 0))
    both = Rollout.joined([by_sample, by_token])
    np.testing.assert_array_equal(both.per_token(), np.concatenate([by_sample.per_token(), by_token.per_token()]))
    weighed = dataclasses.replace(by_sample, token_weights=by_sample.mask / 2)
    with pytest.raises(DataError, match="weights of their tokens"):
        Rollout.joined([by_sample, weighed])


def test_what_episodes_returned_is_read_back_as_numbers(tmp_path):
    returned = [np.float32(0.5), {"a": np.arange(2)}, {(1, 2): 3}, None]
    made = rollout()
    given = zip(made.samples, returned, strict=True)
    made = dataclasses.replace(made, samples=tuple(dataclasses.replace(s, returned=r) for s, r in given))
    made.save(tmp_path / "kept")
    back = [sample.returned for sample in Rollout.load(tmp_path / "kept").samples]
    assert back == [0.5, {"a": [0, 1]}, "{(1, 2): 3}", None]


def test_a_reference_of_another_shape_is_refused():
    with pytest.raises(DataError, match="the reference has shape"):
        rollout().with_reference(np.zeros((1, 3)))


def test_rewards_without_parts_are_no_part():
    mixed = rollout().rewarded(lambda sample: {"right": 1.0} if sample.index else 0.0)
    assert (list(mixed.parts), mixed.rewards.tolist()) == (["right"], [0, 1, 1, 1])


def test_it_is_a_pytree_of_its_arrays():
    whole = rewarded()
    turned = jax.tree.map(lambda x: x[::-1], whole)
    np.testing.assert_array_equal(turned.rewards, whole.rewards[::-1])
    assert turned.samples == whole.samples


def test_files_give_back_all_of_it(tmp_path):
    whole = rewarded().with_advantage(advantage.dr_grpo)
    whole = whole.with_rewards(whole.rewards, {"right": whole.rewards}).with_advantage(advantage.dr_grpo)
    path = tmp_path / "deep" / "rollout.safetensors"
    whole.save(path)
    again = Rollout.load(path)
    for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    assert again.samples == whole.samples
    assert again.samples[0].problem is again.samples[1].problem
    assert (again.version, again.sampling, list(again.parts)) == (3, whole.sampling, ["right"])
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"rollout\.safetensors"):
        Rollout.load(path)


def test_joined_rollouts_number_samples_and_groups_anew():
    one, other = rewarded(), rewarded((0, 0, 0, 9.0))[2:]
    both = Rollout.joined([one, other])
    assert len(both) == 6
    np.testing.assert_array_equal(both.group, [0, 0, 1, 1, 2, 2])  # the second's own group 1 is alone there
    np.testing.assert_array_equal(both.rewards, [1, 0, 0.5, 0.5, 0, 9])
    assert [sample.index for sample in both.samples] == list(range(6))
    free = Rollout.joined([one, dataclasses.replace(other, routes=None, reference=other.logprobs)])
    assert (free.routes[len(one.tokens) :] == -1).all()  # nothing is known of them, which is not the same as no routes
    np.testing.assert_array_equal(free.routes[: len(one.tokens)], one.routes)
    assert free.reference is None
    later = dataclasses.replace(other, sampling=dataclasses.replace(other.sampling, seed=7))
    assert len(Rollout.joined([one, later])) == 6  # more draws of the same distribution
    with pytest.raises(DataError, match="version 3 and 4"):
        Rollout.joined([one, dataclasses.replace(other, version=4)])


def test_it_shows_itself():
    whole = rewarded().with_advantage(advantage.dr_grpo)
    assert repr(whole).startswith("Rollout(4 samples in 2 groups, reward 0.500; tokens: ")
    page = whole._repr_html_()
    assert "&lt;0&gt;" in page
    assert "<script" not in page


def test_rewards_of_parts_are_added_up():
    whole = rollout().rewarded(lambda sample: {"right": float(sample.index == 1), "short": 0.1})
    np.testing.assert_allclose(whole.rewards, [0.1, 1.1, 0.1, 0.1])
    assert set(whole.parts) == {"right", "short"}
    assert rollout().rewarded(lambda sample: 2).parts == {}


def failing(sample):
    if sample.index == 2:
        raise ZeroDivisionError("no such number")
    return 0.0


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda r: r.rewarded(failing), r"sample 2 \(group 1, asked 'problem 1', said '<2>'\): ZeroDivisionError"),
        (lambda r: r.rewarded(lambda s: np.nan if s.index == 3 else 1.0), r"reward of sample 3 .* is nan"),
        (lambda r: r.rewarded(lambda s: {"a": 1.0, "b": np.inf}), r"part 'b' of the reward of sample 0 .* is inf"),
        (lambda r: r.rewarded(lambda s: "0.5"), "sample 0 .*'0.5' is no number"),
        (lambda r: r.rewarded(lambda s: {}), "sample 0 .*{} is no number"),
        (lambda r: r.with_rewards([1.0, 2.0]), "2 rewards for 4 samples"),
        (lambda r: r.with_rewards([1.0, 2.0, np.nan, 0]), "reward of sample 2 .* is nan"),
    ],
)
def test_a_reward_that_fails_names_the_sample_and_keeps_the_rollout(give, message):
    whole = rollout()
    with pytest.raises(RewardError, match=message) as caught:
        give(whole)
    assert caught.value.rollout is whole


def test_groups_that_teach_nothing_are_said():
    with pytest.warns(UserWarning, match="each of the 2 groups are all equal: the gradient is zero"):
        whole = rewarded((1, 1, 0, 0)).with_advantage(advantage.dr_grpo)
    assert not whole.per_token().any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rewarded().with_advantage(advantage.dr_grpo)


def test_advantages_that_cannot_be_given():
    with pytest.raises(DataError, match="no rewards yet"):
        rollout().with_advantage(advantage.dr_grpo)
    with pytest.raises(DataError, match="1 to 2 samples"):
        rewarded()[1:].with_advantage(advantage.dr_grpo)
    with pytest.raises(DataError, match="no samples left"):
        rewarded()[:0].with_advantage(advantage.dr_grpo)
    with pytest.raises(DataError, match=r"shape \[2\]; expected \[2, 2\]"):
        rewarded().with_advantage(lambda rewards: rewards.mean(1))


def test_advantages_go_to_the_tokens_that_were_drawn_of_all_rows():
    whole = rewarded((1, 0, 0, 2)).with_advantage(advantage.dr_grpo)
    given = whole.per_token()
    assert not given[~whole.mask].any()
    for row, wanted in enumerate([0.5, -0.5, -1, 1, 1]):
        assert set(given[row][whole.mask[row]]) == {wanted}


def test_filters_keep_whole_groups_or_all_where_nothing_would_be_left():
    assert len(hooks.drop_equal_groups(rewarded())) == 2
    assert len(hooks.drop_equal_groups(rewarded((1, 1, 0, 0)))) == 4
    assert len(hooks.Within(0.5, 0.6)(rewarded((1, 1, 1, 0)))) == 2
    assert len(hooks.Within(2, 3)(rewarded())) == 4


def test_short_right_answers_earn_more_and_short_wrong_ones_do_not():
    whole = rewarded((1, 1, 0, 1))
    shaped = hooks.Shortened(0.5)(whole)
    lengths = whole.lengths()
    assert lengths[0] != lengths[1]
    np.testing.assert_array_equal(np.sort(shaped.rewards[:2]), [0.5, 1])
    assert shaped.rewards[:2].argmin() == lengths[:2].argmax()
    np.testing.assert_array_equal(shaped.rewards[2:], [0, 1])
    np.testing.assert_allclose(shaped.parts["length"].sum(), -0.5)
