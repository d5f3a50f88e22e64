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
# # A tour of the routing
#
# Every token chooses a few experts in every layer with a router. This notebook looks at which, takes one expert away,
# and asks what that changes, beside random others as a control. The model is glm-nano; set `MODEL` to a folder with
# GLM-4.5's weights, or to a Hub id, and every line works the same way.
#
# It takes two CPU cores about a minute, most of which is compiling. Expect a map on which thought and answer use
# different experts, and an expert whose loss moves the model's predictions more than the loss of random others does. It
# needs the `notebook` extra: `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import tempfile
from pathlib import Path

import numpy as np

import glmkit as gk

lm = gk.load(MODEL, max_len=512)

# %% [markdown]
# ## A probe
#
# It runs the question and shows the map. Drag over tokens to see where just these went, click a cell for the page of
# its expert. *Training film* shows how the experts came to differ while glm-nano was trained.

# %%
probe = gk.widgets.RoutingProbe(lm, "What is 27 + 58?", thinking="forced", max_tokens=100, seed=0)
probe

# %% [markdown]
# ## What the next cell can read
#
# The run behind the map, and what was picked on it by hand. Loads are counts of tokens, `[moe_layer, expert]`.

# %%
run = probe.run
print(run.answer)
run.routing.load("think")

# %% [markdown]
# Of all experts, the one whose share differs most between the thought and the prompt:

# %%
contrast = run.routing.contrast("think", "prompt")
row, expert = np.unravel_index(contrast.argmax(), contrast.shape)
layer, expert = run.routing.layers[row], int(expert)
print(f"layer {layer}, expert {expert}: {contrast[row, expert]:+.0%} of the layer's choices in the thought")
run.routing.top_tokens(layer, expert, 5)

# %% [markdown]
# ## Taking it away
#
# `change` and `regenerate` do what the buttons do. The baseline's own tokens are read once more without the expert: the
# KL divergence says how far each prediction moves. Doing the same to random other experts of the layer is the control,
# without which a number means little.

# %%
probe.select(layer=layer, expert=expert)
probe.change("ablate", layer, expert)
probe.regenerate()
probe.wait()
effect = probe.effect
print(f"without it: mean KL {effect.kl.mean():.3f} nats; without random others: {np.mean(effect.controls):.3f}")
print(f"{effect.changed_routes:.0%} of the routes changed")
print(probe.alternative.answer)

# %% [markdown]
# The headline: the expert was in use, so that its loss is felt. That random others are felt less is what to look at;
# one question is no proof of it.

# %%
assert effect.kl.mean() > 1e-3, "an expert that the thought uses most was expected to matter"
assert effect.changed_routes > 0.01

# %% [markdown]
# ## For a colleague
#
# One file, at most 1 MB, that shows all this in any browser: no kernel, no network.

# %%
path = probe.export(Path(tempfile.mkdtemp()) / "routing_probe.html")
print(path, f"{path.stat().st_size / 1e3:.0f} kB")

# %% [markdown]
# ## Yours
#
# Which expert matters most for the digits of the sum? Brush only these tokens, find the experts that light up, and take
# them away one by one. Then try `probe.change("bias", layer, expert, by=-0.2)`: how much bias does it take until the
# answer is wrong, and does another question give the same number?

# %%
lm.close()
