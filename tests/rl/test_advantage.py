"""Advantages and normalisations against tables worked out by hand."""

import numpy as np
import pytest

from glmkit.rl import Constant, advantage, per_sequence, per_token, sequence_sums

REWARDS = np.array([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5], [3.0, 1.0, 0.0, 0.0]])


def test_the_table_of_advantages():
    """Exact but for the rounding of float64 and GRPO's epsilon of 1e-6."""
    np.testing.assert_allclose(advantage.dr_grpo(REWARDS), [[0.5, -0.5, -0.5, 0.5], [0] * 4, [2, 0, -1, -1]])
    np.testing.assert_allclose(advantage.rloo(REWARDS)[2], [3 - 1 / 3, 1 - 1, -4 / 3, -4 / 3], atol=1e-12)
    np.testing.assert_allclose(advantage.maxrl(REWARDS), [[1, -1, -1, 1], [0] * 4, [2, 0, -1, -1]])
    std = np.sqrt(1 / 3)  # of 1, 0, 0, 1 with n - 1 in the denominator
    np.testing.assert_allclose(advantage.grpo(REWARDS)[0], np.array([0.5, -0.5, -0.5, 0.5]) / (std + 1e-6))
    np.testing.assert_array_equal(advantage.plain(REWARDS), REWARDS)


def test_whitening_keeps_groups_in_proportion():
    got, centred = advantage.whitened(REWARDS), advantage.dr_grpo(REWARDS)
    np.testing.assert_allclose(
        got / np.where(centred, centred, 1), np.where(centred, 1 / np.sqrt(7 / 12), 0), rtol=1e-5
    )


@pytest.mark.parametrize(
    "function", [advantage.grpo, advantage.dr_grpo, advantage.rloo, advantage.maxrl, advantage.whitened]
)
def test_equal_rewards_give_exactly_nothing(function):
    equal = np.full((2, 3), 0.1)  # whose mean is not 0.1 in float64
    assert (equal.mean(1) != 0.1).any()
    assert not function(equal).any()


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="sample n of at least 2"):
        advantage.rloo(np.ones((3, 1)))
    with pytest.raises(ValueError, match="at least 0, got -1"):
        advantage.maxrl(np.array([[-1.0, 1.0]]))
    assert not advantage.grpo(np.ones((3, 1))).any()


MASK = np.array([[0, 1, 1, 1], [0, 0, 1, 0], [0, 1, 1, 0]], bool)
SAMPLE = np.array([0, 1, 1])  # the second has two rows


def test_the_table_of_normalisations():
    np.testing.assert_allclose(per_token(MASK, SAMPLE), MASK / 6)
    np.testing.assert_allclose(per_sequence(MASK, SAMPLE), MASK / [[3 * 2], [3 * 2], [3 * 2]])
    np.testing.assert_allclose(sequence_sums(MASK, SAMPLE), MASK / 2)
    np.testing.assert_allclose(Constant(10)(MASK, SAMPLE), MASK / 20)


def test_a_sample_in_several_rows_counts_as_one():
    """As if its rows were one: the split of a conversation must not count it twice."""
    one = np.array([[0, 1, 1, 1, 0, 0], [0, 0, 1, 0, 1, 1]], bool)
    for norm in (per_sequence, sequence_sums, Constant(7)):
        together, apart = norm(one, np.array([0, 1])), norm(MASK, SAMPLE)
        assert together.sum() == pytest.approx(apart.sum())
        assert together[1].sum() == pytest.approx(apart[1:].sum())
