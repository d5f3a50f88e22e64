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
# # Taking experts away, with controls
#
# A map of routing shows which experts a task uses. Whether it needs them is another question, and only taking them away
# answers it. This notebook finds the experts that each family of glm-nano's curriculum needs beyond the others on one
# half of its problems, writes them down, and tests them on the other half, beside others of the same layers that are as
# busy. The model is glm-nano; of another, set `MODEL` and give records of your own.
#
# It takes two CPU cores about two minutes. Expect at least three families to lose more without their experts than
# without the controls, by an interval that excludes zero. It needs the `notebook` extra:
# `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import numpy as np
import pandas as pd

import glmkit as gk
from glmkit.nano.conversations import SHORT_FAMILIES, conversations

lm = gk.load(MODEL, max_len=768)

# %% [markdown]
# ## Two halves
#
# Problems that training never saw, with their right answers; those of retrieval are left out, whose contexts are long.
# No problem of the second half is one of the first.

# %%
families = SHORT_FAMILIES
fits = {"tokenizer": lm.tokenizer, "most_tokens": 640}
chosen_by, tested_on = [], []
for name in families:
    first = conversations(name, 4, seed="chosen by", **fits)
    chosen_by += first
    tested_on += conversations(name, 12, seed="tested on", unlike=first, **fits)
print(f"{len(chosen_by)} problems to choose by, {len(tested_on)} to test on")

# %% [markdown]
# ## What each expert is needed for
#
# All experts are taken out one by one: a token that would have gone to it goes to its next choice. `added_loss` is what
# a family's answers lose, in nats for each token. Beside it, what routing alone would say: how much more of a family's
# choices go to an expert than of the others'.

# %%
effects = gk.expert_effects(lm, chosen_by, by="family", progress=False)
stats = gk.collect(lm, chosen_by, by="family", phases=("think", "answer", "tool"), batch_size=8, progress=False)
experts = {name: effects.specialists(name, 3) for name in families}  # registered here, before anything is tested
registered = {name: {"needs": experts[name], "uses": stats.specialists(name, 3)} for name in families}
pd.DataFrame(registered).T

# %% [markdown]
# Use and need, over all experts and families: how alike their orders are (Spearman's correlation; 1 were the same).

# %%
used = np.stack([stats.share(name) for name in families])
ranks = [pd.Series(values.ravel()).rank() for values in (used, effects.added_loss)]
print(f"use and need: {ranks[0].corr(ranks[1]):+.2f}")

# %% [markdown]
# ## The test
#
# On the other half. `own` is what a family loses without the three experts, `control` without three others of the same
# layers that are as busy on its tokens, `low` to `high` the 95% interval of the difference, over problems and controls;
# `right` are the answers that the model would still say word for word.

# %%
found = gk.knockout(lm, tested_on, stats, by="family", experts=experts, progress=False)
table = found.to_pandas().set_index("group").drop(columns="experts")
table.astype(float).round(3)

# %%
print(f"{len(found.needed)} of {len(families)} families need their experts:", ", ".join(found.needed))
assert len(found.needed) >= 3

# %% [markdown]
# ## Whose experts are whose
#
# What the families of the columns lose without the experts of the rows. What stands beside the diagonal is shared:
# stories and dates, say, have sums in them.

# %%
pd.DataFrame(found.added_loss(), index=families, columns=families).round(2)

# %% [markdown]
# ## Yours
#
# Choose by use instead: `experts={name: stats.specialists(name, 3) for name in families}`. How many families are left?
# Then take one expert of each away: whose skill hangs on a single one?

# %%
lm.close()
