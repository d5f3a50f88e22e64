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
# # A scaling plan
#
# How many devices does GLM-4.5 need, split how, for which context, and to be trained by which optimiser? All of it can
# be told from shapes and shardings, on a laptop, before anything is rented: a model can be built without memory, on a
# mesh of devices that are not there. This notebook first holds such a plan against a model that is there, then plans
# for GLM-4.5-Air and GLM-4.5. `MODEL` is the one that is there, glm-nano by default.
#
# It takes two CPU cores less than a minute. Expect the plan to be right to the byte. Activations are not in it; they
# are small beside the rest when a model answers, and grow with the batch when it learns. It needs the `notebook`
# extra: `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import math

import jax
import pandas as pd
from flax import nnx
from jax.sharding import AbstractMesh, AxisType

import glmkit as gk
from glmkit.model import GLM
from glmkit.parallel.planner import Plan
from glmkit.train import make_optimizer

lm = gk.load(MODEL, max_len=1024)

# %% [markdown]
# ## A plan and what came of it
#
# `GLM.abstract` has the shapes, dtypes and shardings of a model and no arrays. What the plan says of weights and of
# keys and values must be what the devices hold.

# %%
here = jax.typeof(lm.model.embed[...]).sharding.mesh
plan = Plan(GLM.abstract(lm.config, dtype=lm.model.embed[...].dtype), max_len=256, mesh=here)
held = sum(leaf.nbytes for leaf in jax.tree.leaves(lm.model))
lm.chat("hi", max_tokens=1)
tree = lm.engine.cache.tree()
print(f"weights: {plan.weights:,} bytes planned, {held:,} held")
print(f"{plan.max_len} tokens of context: {plan.cache:,} bytes planned, {tree.page_bytes:,} in a page")
assert (plan.weights, plan.cache) == (held, tree.page_bytes)

# %% [markdown]
# ## Where the numbers are
#
# Nearly all parameters of the large models are experts, of which a token passes through a few. The names, 355B-A32B
# and 106B-A12B, round; here the multi-token-prediction layer is left out, and of the embedding, of which a token reads
# one row, nothing is active.


# %%
def meshed(data=1, expert=1, tensor=1):
    """A mesh of devices that are not there."""
    sizes = {"data": data, "expert": expert, "tensor": tensor, "seq": 1}
    return AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Explicit,) * len(sizes))


def part(name, shape, config):
    """What a parameter belongs to."""
    if "mlp" in name and shape[0] == config.n_routed_experts:
        return "routed experts"
    return next(
        (part for part in ("attention", "embed", "head") if name.startswith(part) or f".{part}." in name), "rest"
    )


def parts(config):
    """Parameters by part, and how many of them a token passes through, in billions."""
    model = GLM.abstract(config, mesh=meshed(), dtype="bfloat16", mtp=None)
    counted = dict.fromkeys(("routed experts", "attention", "embed", "head", "rest"), 0)
    for path, leaf in jax.tree.leaves_with_path(nnx.state(model, nnx.Param)):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        counted[part(name, leaf.shape, config)] += leaf.size
    active = counted | {"embed": 0}
    active["routed experts"] *= config.num_experts_per_tok / config.n_routed_experts
    table = pd.DataFrame({"parameters": counted, "active": active})
    table.loc["all"] = table.sum()
    return (table / 1e9).round(2)


models = {name: gk.GLMConfig.preset(name) for name in ("glm-4.5-air", "glm-4.5")}
tables = {name: parts(config) for name, config in models.items()}
pd.concat(tables, axis=1)

# %%
totals = {name: table.loc["all", "parameters"] for name, table in tables.items()}
assert abs(totals["glm-4.5"] / 355 - 1) < 0.01
assert abs(totals["glm-4.5-air"] / 106 - 1) < 0.01

# %% [markdown]
# ## To answer: which devices, split how
#
# The expert axis splits the experts and leaves attention whole on each device; the tensor axis splits both, and the
# keys and values too, up to one of the 8 key heads for each device. What is needed on each of eight devices, in
# gigabytes, with a cache for one context of 131,072 tokens:


# %%
def needed(config, expert, tensor, max_len=131_072):
    """Gigabytes on each device, in bfloat16."""
    mesh = meshed(expert=expert, tensor=tensor)
    return Plan(GLM.abstract(config, mesh=mesh, dtype="bfloat16", mtp=None), max_len, mesh).needed / 1e9


splits = [(8, 1), (4, 2), (2, 4), (1, 8)]
pd.DataFrame(
    {name: {f"expert={e}, tensor={t}": needed(config, e, t) for e, t in splits} for name, config in models.items()}
).round(1)

# %% [markdown]
# The fewest devices of a kind that hold a model and one such context, over all splits whose sizes divide the model's.
# A tenth of a device is left to activations and the compiler.

# %%
MEMORY = {"H100": 80, "H200": 141, "TPU v5e": 16, "TPU v5p": 95, "TPU v6e": 32}  # gigabytes, by the makers' data


def fewest(config, gigabytes):
    """The number of devices, a power of two, and the split that needs least on each."""
    for devices in (2**n for n in range(8)):
        options = [(devices // t, t) for t in (1, 2, 4, 8) if devices % t == 0]
        options = [(e, t) for e, t in options if config.n_routed_experts % e == 0]
        least, (expert, tensor) = min((needed(config, e, t), (e, t)) for e, t in options)
        if least <= 0.9 * gigabytes:
            return f"{devices}: expert={expert}, tensor={tensor}, {least:.0f} GB on each"
    return "more than 128"


pd.DataFrame({name: {kind: fewest(c, size) for kind, size in MEMORY.items()} for name, c in models.items()})

# %% [markdown]
# ## How fast at most
#
# A token that is written alone reads every weight it passes through, and all keys and values before it, from memory
# once. Bandwidth over bytes is therefore a bound on the speed of one row, which no program exceeds and real ones stay
# well below; rows in one batch share the weights that they both pass through.

# %%
BANDWIDTH = {"8 H100": 8 * 3350, "8 H200": 8 * 4800, "8 TPU v5p": 8 * 2765}  # gigabytes per second, by the makers' data


def bound(name, bandwidth, context):
    config = models[name]
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    read = 2 * (tables[name].loc["all", "active"] + per_token * context / 1e9)  # gigabytes in bfloat16
    return round(bandwidth / read)


pd.DataFrame(
    {
        (name, f"{context:,}"): {kind: bound(name, speed, context) for kind, speed in BANDWIDTH.items()}
        for name in models
        for context in (1_000, 131_072)
    }
)

# %% [markdown]
# ## To learn: weights, master copy, moments
#
# Full fine-tuning keeps, beside the weights in bfloat16, float32 copies of them and what the optimiser remembers.
# With `fsdp=True` everything is split over the data axis too. Gigabytes on each device, without gradients (as large as
# the weights) and activations:


# %%
def on_each(tree):
    """Bytes of each device's shares; what has no layout, such as a count, is whole on each."""
    leaves = jax.tree.leaves(tree)
    shapes = [leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape for leaf in leaves]
    return sum(math.prod(shape) * leaf.dtype.itemsize for shape, leaf in zip(shapes, leaves, strict=True))


def learning(config, optimizer, data, expert):
    mesh = meshed(data=data, expert=expert)
    model = GLM.abstract(config, mesh=mesh, dtype="bfloat16", fsdp=True)
    state = jax.eval_shape(make_optimizer(optimizer, 1e-4, master_weights=True).init, nnx.state(model, nnx.Param))
    return (on_each(nnx.state(model)) + on_each(state)) / 1e9


pd.DataFrame(
    {
        (name, optimizer): {
            f"data={data}, expert={expert}": learning(config, optimizer, data, expert)
            for data, expert in ((1, 8), (4, 8), (8, 16))
        }
        for name, config in models.items()
        for optimizer in ("adamw", "muon")
    }
).round(1)

# %% [markdown]
# Muon remembers one number where AdamW remembers two. Adapters (`gk.train.add_lora`) need the weights and next to
# nothing else.

# %% [markdown]
# ## Yours
#
# How long a context do eight H200 hold for GLM-4.5 when four rows are served at once (`data=2, expert=4`, and so on)?
# Then plan your own machine: its memory in `MEMORY`, its bandwidth in `BANDWIDTH`. On the machine itself `gk.load`
# makes the same plan before it reads a byte, and its error says what would fit.

# %%
lm.close()
