"""DPO against its definition, and the choice of pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.errors import ConfigError, DataError
from glmkit.rl import per_sequence
from glmkit.rl.dpo import DPO, preferred
from glmkit.rl.loss import per_token_loss
from made import rollout
from policies import batch_of, scored_of

LP = np.array([[-1.0, -2.0, -9.0], [-1.5, -0.5, -0.5], [-1.0, -1.0, -1.0], [-2.0, -3.0, -1.0]], np.float32)
REFERENCE = np.array([[-2.0, -2.0, -1.0], [-1.0, -1.0, -1.0], [-2.0, -1.0, -3.0], [-1.0, -1.0, -1.0]], np.float32)
MASK = np.array([[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]], bool)


def test_the_loss_is_the_mean_over_pairs_of_the_definition():
    gained = np.where(MASK, LP - REFERENCE, 0).sum(1)
    margins = 0.5 * (gained[[0, 2]] - gained[[1, 3]])
    wanted = np.log1p(np.exp(-margins)).mean()
    batch = batch_of(np.zeros_like(LP), mask=MASK, reference=REFERENCE)
    weights = per_sequence(MASK, np.arange(4))

    def total(lp):
        return (weights * per_token_loss(DPO(0.5), scored_of(lp), batch).loss).sum()

    value, slope = jax.value_and_grad(total)(jnp.asarray(LP))
    np.testing.assert_allclose(value, wanted, rtol=1e-6)  # float32 roundings
    assert (slope[MASK & (np.arange(4) % 2 == 0)[:, None]] < 0).all()  # the better is made likelier
    assert (slope[MASK & (np.arange(4) % 2 == 1)[:, None]] > 0).all()
    found = per_token_loss(DPO(0.5), scored_of(jnp.asarray(LP)), batch)
    np.testing.assert_array_equal(found.measured["preferred"][:, 0], np.repeat(margins > 0, 2))


def test_pairs_are_the_best_and_the_worst_of_groups_that_differ():
    whole = rollout(3, 3).with_rewards([0, 2, 1, 5, 5, 5, 3, 0, 9])
    with pytest.raises(DataError, match="several rows"):
        preferred(whole)  # the last sample is the best of its group and has two
    pairs = preferred(whole[:6])
    np.testing.assert_array_equal(pairs.rewards, [2, 0])
    assert [sample.content for sample in pairs.samples] == ["<1>", "<0>"]
    with pytest.raises(DataError, match="nothing to prefer"):
        preferred(whole[3:6])


def test_what_dpo_lacks_is_said():
    with pytest.raises(ConfigError, match="not even"):
        per_token_loss(DPO(), scored_of(jnp.zeros((3, 1))), batch_of(np.zeros((3, 1)), reference=np.zeros((3, 1))))
    with pytest.raises(ConfigError, match="reference"):
        per_token_loss(DPO(), scored_of(jnp.zeros((2, 1))), batch_of(np.zeros((2, 1))))
