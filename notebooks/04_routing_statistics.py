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
# # Routing statistics of a corpus
#
# Which experts go with which kind of text, which with which word, which with each other, and when in training that
# settled: what analyses of mixtures of experts report, each beside the same figure of shuffled labels, since counts of
# anything differ by chance. The corpus is made of held-out tasks of glm-nano's curriculum, by family. The model is
# glm-nano; set `MODEL` to a folder with GLM-4.5's weights, or to a Hub id, and every line works the same way on records
# of your own.
#
# It takes two CPU cores about a minute. Expect families to be told apart by their experts many times better than
# shuffled ones, and tokens better than families. It needs the `notebook` extra: `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
from random import Random

import numpy as np
import pandas as pd

import glmkit as gk
from glmkit.loading import resolve_source
from glmkit.nano.skills import FAMILIES, SKILLS

lm = gk.load(MODEL, max_len=1024)

# %% [markdown]
# ## A corpus
#
# Forty conversations of each family. A record is what training reads too: messages, tools, a mode; and the key that it
# is counted by.


# %%
def conversations(family, count=40):
    rng, names = Random(f"statistics/{family}"), FAMILIES[family]
    for number in range(count):
        yield {"family": family, **SKILLS[names[number % len(names)]](rng, "held_out").record}


corpus = [record for family in FAMILIES for record in conversations(family)]
KEPT = ("load", "coactivation", "top_tokens")
stats = gk.collect(lm, corpus, by="family", stats=KEPT, batch_size=8, progress=False)
print(f"{len(corpus)} records, {stats.tokens.sum():,} tokens in {len(stats.groups)} families")

# %% [markdown]
# ## Which kind of text
#
# The bits that the choice of an expert tells of the family, layer by layer, every family as frequent as any other. The
# baseline: the same records, their families shuffled.

# %%
labels = [record["family"] for record in corpus]
Random(0).shuffle(labels)
relabelled = [{**record, "family": label} for record, label in zip(corpus, labels, strict=True)]
chance = gk.collect(lm, relabelled, by="family", stats=("load",), batch_size=8, progress=False)
layers = pd.Index(stats.layers.moe, name="layer")
bits = pd.DataFrame({"families": stats.specialisation(), "shuffled": chance.specialisation()}, index=layers)
bits.round(4)

# %%
ratio = bits.families.sum() / bits.shuffled.sum()
print(f"{ratio:.0f} times as many bits as by chance")
assert ratio > 3

# %% [markdown]
# Where a family goes: of the expert that it favours most, the share of its choices as a multiple of that over all.

# %%
favoured = {}
for family in stats.groups:
    lift = stats.share(family) / np.maximum(stats.share(), 1e-9)
    row, expert = np.unravel_index(lift.argmax(), lift.shape)
    favoured[family] = {"layer": stats.layers.moe[row], "expert": int(expert), "lift": lift.max().round(1)}
pd.DataFrame(favoured).T.astype({"layer": int, "expert": int})

# %% [markdown]
# ## Which word
#
# The same for tokens: the bits that an expert tells of the token that went through it. Rare tokens tell something by
# chance alone; the baseline hands out the same numbers of tokens and of choices at random.

# %%
rng = np.random.default_rng(0)


def shared_bits(counts):
    """Mutual information of rows and columns, in bits."""
    joint = counts / counts.sum()
    apart = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
    known = joint > 0
    return float((joint[known] * np.log2(joint[known] / apart[known])).sum())


def by_chance(counts):
    """Counts with the same column sums, their rows drawn by the rows' shares."""
    rows = counts.sum(1) / counts.sum()
    return rng.multinomial(counts.sum(0), rows).T


counted = {layer: stats.token_counts[row] for row, layer in enumerate(stats.layers.moe)}
words = pd.DataFrame(
    {layer: {"tokens": shared_bits(c), "by chance": shared_bits(by_chance(c))} for layer, c in counted.items()}
).T
words.round(3)

# %%
layer = stats.layers.moe[int(words.tokens.argmax())]
expert = int(stats.share()[stats.layers.row(layer)].argmax())
top = stats.top_tokens(layer, expert, 12)
print(f"layer {layer}, expert {expert}:", ", ".join(f"{lm.tokenizer.decode([token])!r} {n}" for token, n in top))
assert (words.tokens > words["by chance"]).all()

# %% [markdown]
# ## Which with which
#
# Pairs of experts of a layer that are chosen together more often than their loads say.

# %%
together, load = stats.coactivation.sum(0), stats.load.sum(0)
expected = load[:, :, None] * load[:, None, :] / stats.tokens.sum()
lift = np.triu(together / np.maximum(expected, 1), 1)
for at in np.argsort(-lift, axis=None)[:5]:
    row, one, other = np.unravel_index(at, lift.shape)
    print(f"layer {stats.layers.moe[row]}: {one} and {other}, {lift[row, one, other]:.1f} times as often as by chance")

# %% [markdown]
# ## When it settled
#
# glm-nano's recipe notes the loads of each family at some sixty steps. How alike they are to those of the end: one
# minus half the sum of differences, as a mean over families and layers. The baseline takes the end's experts in another
# order.

# %%
history = resolve_source(MODEL) / "routing_history.npz"
if history.exists():
    with np.load(history) as saved:
        loads, steps = saved["load"].astype(np.float32), saved["steps"]
    likeness = 1 - np.abs(loads - loads[-1]).sum(-1).mean((1, 2)) / 2
    shuffled = 1 - np.abs(loads - loads[-1][..., rng.permutation(loads.shape[-1])]).sum(-1).mean((1, 2)) / 2
    film = pd.DataFrame({"as at the end": likeness, "shuffled": shuffled}, index=pd.Index(steps, name="step"))
    settled = steps[np.argmax(likeness > 0.9)]
    print(f"nine tenths alike from step {settled:,} of {steps[-1]:,} on")
    print(film.iloc[:: len(film) // 8].round(2))

# %% [markdown]
# ## Yours
#
# Count again with `stats=("margin",)`: in which layer are choices closest, and are those of one family closer than of
# another? Then take `by=lambda record: record["thinking"]`: do experts tell whether the model may think?

# %%
lm.close()
