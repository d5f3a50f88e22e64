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
# glm-nano works sums of up to four digits out in columns; of five it gets none right, for it has never seen one. Here
# it is shown eight, which is hardly enough to get a few others right, and then nobody shows it anything: it is asked,
# what it says is checked, and what was better than its other attempts becomes likelier. First each stage by hand, then
# the loop, with rewards, entropy, routes and every sample to look at. The model is glm-nano; set `MODEL` to a folder
# with GLM-4.5's weights, or to a Hub id, and every line works the same way (adapters, `gk.train.add_lora`, for a model
# whose gradients do not fit).
#
# It takes two CPU cores about six minutes, most of which is the loop. It needs the `notebook` extra:
# `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import numpy as np
import optax

import glmkit as gk

lm = gk.load(MODEL, max_len=512)
task = gk.rl.tasks.long_sums()
task

# %% [markdown]
# ## A little help first
#
# What is never right is never rewarded. Eight sums are worked out for it, and training stops as soon as a fifth of
# others come out right: steps are held in hand, so that this is an `if`.

# %%
MOST_TOKENS = 128


def right(lm, count=64):
    """The share of problems of training that are answered right when answers are drawn."""
    with gk.rl.Policy(lm) as policy:
        drawn = policy.sample(task.batch(count, "right"), n=1, thinking=task.thinking, max_tokens=MOST_TOKENS)
    return drawn.rewarded(task.reward).rewards.mean()


worked = gk.rl.tasks.worked_long_sums(8)
print(f"{worked[0]['messages'][0]['content']}\n{worked[0]['messages'][1]['reasoning_content']}\n")
data = gk.train.TokenDataset.encode(worked, lm.tokenizer, length=160)
print(f"before: {right(lm):.0%} right")
for step in gk.train.fit(lm, data, batch_size=8, length=160, steps=100, learning_rate=5e-5, warmup=0, progress=False):
    share = right(step.lm)
    print(f"after step {step.number}: {share:.0%}")
    if share >= 0.2:
        break
begun = step.lm

# %% [markdown]
# ## The verbs, one by one
#
# A policy is a copy of the model that is sampled from and updated in turn; the model it was made from stays as it is.
# A rollout is what it said: tokens, the log-probability each was drawn with, the experts it went to. Eight attempts at
# each of six problems:

# %%
policy = gk.rl.Policy(begun)
rollout = policy.sample(task.batch(6, seed=1), n=8, thinking=task.thinking, max_tokens=MOST_TOKENS)
rollout = rollout.rewarded(task.reward)
rollout

# %% [markdown]
# An advantage says how much better a sample was than the others at the same problem. It is a function of rewards `[G,
# n]`; so are its rivals in `gk.rl.advantage`.

# %%
rollout = rollout.with_advantage(gk.rl.advantage.dr_grpo)
for rewards, advantages in zip(rollout.rewards.reshape(6, 8), rollout.advantages.reshape(6, 8), strict=True):
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
# The same stages, again and again, with held-out accuracy before and after. Look into the samples while it runs: click
# a step, a sample, a token.

# %%
policy = gk.rl.Policy(begun)
settings = {"steps": 12, "prompts": 16, "n": 8, "max_tokens": MOST_TOKENS, "learning_rate": 2e-4}
run = gk.rl.train(policy, task, eval_every=settings["steps"], eval_count=128, progress=False, **settings)
dashboard = gk.widgets.TrainingDashboard(run)
dashboard

# %%
dashboard.wait()
frame = dashboard.record.to_pandas().iloc[::3]
frame[["step", "reward", "entropy", "groups_equal", "held_out/greedy", "held_out/sampled"]].round(3)

# %% [markdown]
# The headline: problems that training never asked, answers drawn at temperature 1.

# %%
_, sampled = dashboard.record.curve("held_out/sampled")
_, greedy = dashboard.record.curve("held_out/greedy")
print(f"drawn: {sampled[0]:.1%} right before, {sampled[-1]:.1%} after; greedy: {greedy[0]:.1%} and {greedy[-1]:.1%}")
assert sampled[-1] - sampled[0] >= 0.15

# %% [markdown]
# ## What became of it
#
# The samples that taught most are those of problems that were solved now and then. Where one went wrong is in its
# thought, line by line.

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


control = gk.rl.Policy(begun)
chance = gk.rl.Task("chance", task.problems, reward=coin, thinking=task.thinking)
gk.rl.train(control, chance, eval_count=0, progress=False, **settings | {"steps": 3}).run()
after = gk.rl.accuracy(control, task, 128, thinking=task.thinking, max_tokens=MOST_TOKENS)
print(f"drawn: {sampled[0]:.1%} right before, {after.sampled:.1%} after three steps of chance")
assert after.sampled - sampled[0] < (sampled[-1] - sampled[0]) / 2

# %% [markdown]
# ## Yours
#
# Sums of six digits, `gk.rl.tasks.long_sums(6)`: does it get some right now that it has learned a fifth column? Then
# make length cost something: `shape=[gk.rl.hooks.Shortened(...)]`, or a function of your own from a rollout to one. How
# short do thoughts become before answers suffer? Take `gk.rl.advantage.maxrl` in the place of `dr_grpo`: do the
# problems that are seldom solved gain more?

# %%
control.close()
policy.close()
begun.close()
lm.close()
