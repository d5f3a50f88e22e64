# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Reinforcement learning, watched
#
# glm-nano works a sum out in columns when it may think, and mostly guesses when it may not. Nobody shows it an answer
# here: it is asked, what it says is checked, and what was better than its other attempts becomes likelier. First each
# stage by hand, then the loop, with rewards, entropy, routes and every sample to look at. The model is glm-nano; set
# `MODEL` to a folder with GLM-4.5's weights, or to a Hub id, and every line works the same way (adapters,
# `gk.train.add_lora`, for a model whose gradients do not fit).
#
# It takes two CPU cores about seven minutes, most of which is the loop. Expect answers that are drawn from the model to
# be right more often by some ten points, and its entropy to fall. It needs the `notebook` extra:
# `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import numpy as np
import optax

import glmkit as gk

lm = gk.load(MODEL, max_len=512)
task = gk.rl.tasks.arithmetic()
task

# %% [markdown]
# ## The verbs, one by one
#
# A policy is a copy of the model that is sampled from and updated in turn; the model it was made from stays as it is.
# A rollout is what it said: tokens, the log-probability each was drawn with, the experts it went to. Eight attempts at
# each of four problems:

# %%
policy = gk.rl.Policy(lm)
rollout = policy.sample(task.batch(4, seed=1), n=8, thinking=task.thinking, max_tokens=16)
rollout = rollout.rewarded(task.reward)
rollout

# %% [markdown]
# An advantage says how much better a sample was than the others at the same problem. It is a function of rewards `[G,
# n]`; so are its rivals in `gk.rl.advantage`.

# %%
rollout = rollout.with_advantage(gk.rl.advantage.dr_grpo)
for rewards, advantages in zip(rollout.rewards.reshape(4, 8), rollout.advantages.reshape(4, 8), strict=True):
    print(rewards.astype(int), advantages.round(2))

# %% [markdown]
# Before anything is learned: does the network that scores see what the one that sampled saw? Both are one network
# here, yet one reads token by token with a cache, the other all tokens at once. The scorer sends each token to the
# experts that it went to when it was drawn.

# %%
scores = policy.score(rollout)
print(scores.measures)
assert scores.measures["mismatch_max"] < 1e-3

# %% [markdown]
# One update: the loss is a function from log-probabilities to a number for each token.

# %%
update = policy.update(rollout, gk.rl.PPO(), optax.adam(1e-5))
print({name: round(value, 4) for name, value in update.metrics.items() if name in ("loss", "gradient_norm", "entropy")})

# %% [markdown]
# ## The loop
#
# The same stages, twenty times, with held-out accuracy before, in the middle and after. Look into the samples while it
# runs: click a step, a sample, a token.

# %%
policy = gk.rl.Policy(lm)
settings = {"steps": 20, "prompts": 32, "n": 8, "max_tokens": 16, "learning_rate": 1e-4}
run = gk.rl.train(policy, task, eval_every=10, eval_count=256, progress=False, **settings)
dashboard = gk.widgets.TrainingDashboard(run)
dashboard

# %%
dashboard.wait()
frame = dashboard.record.to_pandas().iloc[::5]
frame[["step", "reward", "entropy", "groups_equal", "held_out/greedy", "held_out/sampled"]].round(3)

# %% [markdown]
# The headline: problems that training never asked, answers drawn at temperature 1.

# %%
_, sampled = dashboard.record.curve("held_out/sampled")
_, greedy = dashboard.record.curve("held_out/greedy")
print(f"drawn: {sampled[0]:.1%} right before, {sampled[-1]:.1%} after; greedy: {greedy[0]:.1%} and {greedy[-1]:.1%}")
assert sampled[-1] - sampled[0] >= 0.04

# %% [markdown]
# ## What became of it
#
# Sharper, or better? Entropy fell; where greedy answers did not improve and drawn ones did, the policy mostly became
# surer of what it knew. The samples that taught most are those of problems that were solved now and then.

# %%
_, entropy = dashboard.record.curve("entropy")
print(f"entropy {entropy[0]:.2f} nats at first, {entropy[-1]:.2f} at last")
by_advantage = sorted(dashboard.samples, key=lambda sample: sample.advantage)
for sample in (by_advantage[-1], by_advantage[0]):
    said = lm.tokenizer.decode(sample.tokens[sample.learned].tolist())
    print(f"reward {sample.reward:.0f}, advantage {sample.advantage:+.2f}: {said!r}")
first, last = dashboard.record.loads[0], dashboard.record.loads[-1]
move = np.abs(last.share - first.share)
row, expert = np.unravel_index(move.argmax(), move.shape)
layer = run.moe_layers[row]
print(f"the load of expert {expert} in layer {layer} moved most, by {move.max():.1%} of the layer's choices")

# %% [markdown]
# ## A control
#
# Rewards that know nothing of the answer must teach nothing of it. A few steps of them:


# %%
def coin(sample):
    """Heads or tails, by the sample's place."""
    return float(np.random.default_rng(sample.index).integers(2))


control = gk.rl.Policy(lm)
chance = gk.rl.Task("chance", task.problems, reward=coin, thinking=task.thinking)
gk.rl.train(control, chance, eval_count=0, progress=False, **settings | {"steps": 5}).run()
after = gk.rl.accuracy(control, task, 256, thinking=task.thinking, max_tokens=16)
print(f"drawn: {sampled[0]:.1%} right before, {after.sampled:.1%} after five steps of chance")
assert after.sampled - sampled[0] < 0.04

# %% [markdown]
# ## Yours
#
# Let it think, and make length cost something: `thinking="forced"`, and `shape=[gk.rl.hooks.Shortened(...)]`
# or a function of your own from a rollout to one. How short do thoughts become before answers suffer? Then take
# `gk.rl.advantage.maxrl` in the place of `dr_grpo`: do the problems that are seldom solved gain more?

# %%
control.close()
policy.close()
lm.close()
