"""Losses and their gradients against those of TRL's `GRPOTrainer`, which `golden/trl_losses.py` wrote down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.rl import CISPO, GSPO, KL, PPO, Constant, per_sequence, per_token
from glmkit.rl.loss import per_token_loss
from golden.trl_losses import CASES, MOST_TOKENS, PATH
from policies import batch_of, scored_of

SAME = {"rtol": 2e-6, "atol": 1e-7}  # two float32 programs that sum up to 27 numbers of order 1 in another order
OURS = {
    "grpo": (PPO(0.2, 0.2), per_sequence),
    "dapo": (PPO(), per_token),
    "bnpo": (PPO(0.2, 0.2), per_token),
    "dr_grpo": (PPO(0.2, 0.2), Constant(MOST_TOKENS)),
    "dual_clip": (PPO(0.2, 0.2, dual=1.5), per_sequence),
    "gspo": (GSPO(0.03, 0.04), per_sequence),
    "cispo": (CISPO(high=0.28), per_token),
    "kl": (PPO(0.2, 0.2) + 0.4 * KL(right_gradient=False), per_sequence),
    "corrected_kl": (PPO(0.2, 0.2) + 0.4 * KL(corrected=True), per_sequence),
    "first_update": (PPO(0.2, 0.2), per_sequence),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_and_its_gradient_are_those_of_trl(name):
    loss, norm = OURS[name]
    with np.load(PATH) as golden:
        lp, mask, advantages = golden["logprobs"], golden["mask"], golden["advantages"]
        old = None if name == "first_update" else golden["old"]
        given = {"mask": mask, "old": old, "reference": golden["reference"]}
        batch = batch_of(advantages=np.broadcast_to(advantages[:, None], mask.shape), **given)
        weights = norm(mask, np.arange(len(mask)))
        found, gradient = jax.value_and_grad(
            lambda lp: (per_token_loss(loss, scored_of(lp), batch).loss * weights).sum()
        )(jnp.asarray(lp))
        np.testing.assert_allclose(found, golden[f"{name}/loss"], **SAME)
        np.testing.assert_allclose(gradient, golden[f"{name}/gradient"], **SAME)


def test_the_ratios_reach_beyond_every_bound_where_it_matters():
    with np.load(PATH) as golden:
        mask, difference = golden["mask"], golden["logprobs"] - golden["old"]
        worse = np.broadcast_to(golden["advantages"][:, None] < 0, mask.shape)
    ratios, sequences = np.exp(difference), np.exp((difference * mask).sum(1) / mask.sum(1))
    assert (ratios[mask & worse] < 0.8).any()
    assert (ratios[mask & worse] > 1.5).any()
    assert (ratios[mask & ~worse] > 1.28).any()
    assert (sequences[worse[:, 0]] < 0.97).any()
    assert (sequences[~worse[:, 0]] > 1.04).any()
