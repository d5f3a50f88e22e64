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
# # A new skill
#
# glm-nano adds, subtracts and multiplies; it has never heard of "zib". This notebook teaches it from 150 examples, with
# the curves and the experts' loads to look at while it learns. Then it asks how often the new skill is right on numbers
# that were never shown, what of the old ones is left, and which routes have changed. The model is glm-nano; set `MODEL`
# to a folder with GLM-4.5's weights, or to a Hub id, and every line works the same way (for a model whose gradients do
# not fit, train adapters: `gk.LM(gk.train.add_lora(lm.model, 8, rngs=nnx.Rngs(0)), lm.tokenizer)`).
#
# It takes two CPU cores about three minutes, two of which are learning, compiling included. Expect the accuracy of zib
# to go from none to more than nine in ten. It needs the `notebook` extra: `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import tempfile
from pathlib import Path

import numpy as np

import glmkit as gk
from glmkit.nano.new_skill import LENGTH, SETTINGS, accuracy, records, zib

lm = gk.load(MODEL, max_len=1024)

# %% [markdown]
# ## What is new
#
# `a zib b` adds two numbers of three digits column by column and drops every carry. The model takes it for something
# that it knows.

# %%
question = "What is 472 zib 839?"
print(f"472 zib 839 is {zib(472, 839)}")
print(lm.chat(question, temperature=0).content)
before = accuracy(lm, 20)
print(f"right on {before:.0%} of held-out questions")

# %% [markdown]
# ## The data
#
# Chat records like those of any JSONL file: a question, a thought in columns, an answer. Only what the assistant says
# is learned. Among the new examples stand tasks of the old curriculum, so that what the model knew stays.

# %%
examples = records()
print(examples[0]["messages"])
data = gk.train.TokenDataset.encode(examples, lm.tokenizer, LENGTH)
print(data.report)

# %% [markdown]
# ## Learning, watched
#
# `gk.train.fit` gives a run in hand; the dashboard takes its steps in a thread, so that other cells work meanwhile.
# *Stop* ends it after the step that is being taken and writes a checkpoint, from which *Go on*, or the same call in
# another process, goes on to the same bits. Click a step to see its values and loads, an expert to follow it over the
# steps.

# %%
folder = Path(tempfile.mkdtemp())
run = gk.train.fit(lm, data, length=LENGTH, out=folder / "zib", save_every=1000, progress=False, **SETTINGS)
dashboard = gk.widgets.TrainingDashboard(run)
dashboard

# %% [markdown]
# The next cell waits. Instead, one can chat with the model as it is so far, `run.lm.chat(question)`, while it learns.

# %%
dashboard.wait()
steps, loss = dashboard.record.curve("loss")
_, seconds = dashboard.record.curve("seconds")
print(f"{len(steps)} steps in {seconds.sum():.0f} s, the first of them {seconds[0]:.0f}: it compiles")
print(f"loss {np.mean(loss[:5]):.2f} in the first five steps, {np.mean(loss[-5:]):.2f} in the last five")

# %% [markdown]
# The headline: questions with numbers that training never paired, asked greedily.

# %%
tuned = run.lm
done = tuned.chat(question, thinking="forced", temperature=0)
print(done.reasoning, done.content, sep="\n")
after = accuracy(tuned, 40)
print(f"zib: {before:.0%} before, {after:.0%} after")
assert after - before >= 0.5

# %% [markdown]
# ## What is left of the rest
#
# Sums that the model could do before. They are thought about in the same columns, so that these are what zib takes the
# place of first; a few of them may be lost.

# %%
rng = np.random.default_rng(0)
pairs = rng.integers(100, 500, (20, 2))
sums = [f"What is {a} + {b}?" for a, b in pairs]


def right(model):
    answers = model.chat_batch(sums, thinking="forced", temperature=0, max_tokens=128, progress=False)
    return sum(answer.content.strip() == str(a + b) for answer, (a, b) in zip(answers, pairs, strict=True)) / len(sums)


print(f"sums: {right(lm):.0%} before, {right(tuned):.0%} after")

# %% [markdown]
# ## What moved
#
# The routes of the same tokens in both models: where learning changed which experts are chosen.

# %%
ids = lm.tokenizer.encode(done.prompt + done.reasoning)
old, new = (model.run(ids) for model in (lm, tuned))
changed = gk.compare(old, new).changed  # [step, moe_layer]
print("share of the tokens' routes that changed, by layer:")
print({layer: round(float(share), 2) for layer, share in zip(old.routing.layers, changed.mean(0), strict=True)})
first, last = dashboard.record.loads[0], dashboard.record.loads[-1]
move = np.abs(last.share - first.share)
row, expert = np.unravel_index(move.argmax(), move.shape)
dashboard.select(layer=run.moe_layers[row], expert=int(expert))
print(
    f"of the experts, number {expert} of layer {run.moe_layers[row]} differs most between the first and the last step"
)

# %% [markdown]
# ## Kept
#
# A folder in the released layout, which `gk.load` opens, and the run's log, which the dashboard opens, here or in
# another process.

# %%
tuned.save(folder / "nano-zib")
again = gk.load(folder / "nano-zib", max_len=1024)
assert again.chat(question, temperature=0).content == tuned.chat(question, temperature=0).content
log = gk.widgets.TrainingDashboard(folder / "zib")
print(log.outcome, log.record.last)

# %% [markdown]
# ## Yours
#
# Leave out the old tasks, `records(replayed=0)`, and learn for as many steps: how much of the sums is forgotten? Do
# the loads say so before the answers do? Then make up an operation of your own, say with a rule for odd digits, and
# find the least number of examples from which it is learned.

# %%
again.close()
tuned.close()
lm.close()
