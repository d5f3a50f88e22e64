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
# # Weights in and out
#
# glmkit reads the folders that GLM-4.5 is released in, and writes them again. This notebook looks into such a folder,
# takes it through glmkit and back, and reports what became of it on the way: which bytes differ, and what another
# dtype does to predictions and routes. The model is glm-nano; set `MODEL` to a folder with GLM-4.5's weights, or to a
# Hub id, and every line works the same way, given the room on the disk for three copies.
#
# It takes two CPU cores less than a minute. Expect a copy with the same bytes in every tensor, the same through
# Orbax, and bfloat16 to change a route here and there. It needs the `notebook` extra:
# `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import hashlib
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import glmkit as gk
from glmkit.errors import CheckpointError
from glmkit.loading import resolve_source
from glmkit.weights.safetensors import CheckpointFiles

work, original = Path(tempfile.mkdtemp()), resolve_source(MODEL)
lm = gk.load(MODEL, max_len=1024)
lm.save(work / "copy")

# %% [markdown]
# ## What is in a folder
#
# `config.json` says what the network is, the tokenizer's files what its tokens are, and `*.safetensors` hold the
# tensors under the names that the reference implementation gives them: one for each matrix of each expert. glmkit
# keeps the matrices of all experts of a layer as one array, gate and up together; the names exist in the file only.

# %%
for path in sorted((work / "copy").iterdir()):
    print(f"{path.stat().st_size:>12,}  {path.name}")

# %%
with CheckpointFiles.open(work / "copy") as files:
    print(f"{len(files.tensors)} tensors, {files.nbytes / 1e6:.1f} MB")
    for name, entry in files.tensors.items():
        if ".layers.1." in name and (".experts." not in name or ".experts.0." in name):
            print(f"{entry.dtype:>5} {entry.shape!s:>14}  {name}")

# %% [markdown]
# ## There and back
#
# A copy has the bytes of the checkpoint: what is stored in bfloat16 is computed with in float32 on CPUs, which holds
# it exactly, and is stored in bfloat16 again. So it is after a way through Orbax, which keeps the arrays as they are
# computed with, in any sharding. `original` is the folder that was loaded, whoever wrote it.

# %%
gk.save(lm.model, work / "orbax")
gk.save_hf(gk.restore(work / "orbax"), work / "back")
print(gk.diff(original, work / "back"))


def tensors(folder):
    """A digest of the bytes of every tensor, by name."""
    with CheckpointFiles.open(folder) as files:
        return {name: hashlib.sha256(files.read(name).tobytes()).hexdigest() for name in files.tensors}


assert tensors(original) == tensors(work / "copy") == tensors(work / "back")

# %% [markdown]
# And the whole folder opens to a model that says the same: tokenizer, template and settings went along.

# %%
question = "What is 345 + 678?"
again = gk.load(work / "copy", max_len=1024)
assert again.chat(question, temperature=0).content == lm.chat(question, temperature=0).content
again.close()

# %% [markdown]
# ## A parity report
#
# The same tokens through the same weights in another dtype: how far the next token's distribution moves (in nats), how
# many choices of experts come out otherwise, and whether the most likely token stays the same. Routes are discrete:
# where two experts score nearly alike, rounding decides.

# %%
text = lm.chat(question, thinking="forced", temperature=0)
ids = lm.tokenizer.encode(text.prompt + text.reasoning + "</think>" + text.content)


def report(dtype):
    """One line about the model in `dtype`, against the one that was loaded."""
    other = gk.load(work / "copy", dtype=dtype, max_len=1024)
    keep = gk.keep("router", "logits")
    exact, rounded = (model.run(ids, keep=keep) for model in (lm, other))
    compared = gk.compare(exact, rounded)
    top = [run.arrays["logits"].argmax(-1) for run in (exact, rounded)]
    line = {
        "mean KL": f"{compared.mean_kl:.1e}",
        "largest KL": f"{compared.kl.max():.1e}",
        "routes that differ": f"{compared.changed_routes:.2%}",
        "same next token": f"{np.mean(top[0] == top[1]):.1%}",
    }
    other.close()
    return line, compared


for dtype in ("float32", "bfloat16"):
    line, compared = report(dtype)
    print(dtype, line)
    if dtype == "float32" and jax.default_backend() == "cpu":
        assert compared.kl.max() == 0  # CPUs compute in float32: nothing was rounded

# %% [markdown]
# Against the reference implementation itself, the same report is one more line, where PyTorch and transformers are
# there (`pip install "glmkit[parity]"`).

# %%
try:
    import torch
    from transformers import Glm4MoeForCausalLM
except ImportError:
    print("no transformers here")
else:
    reference = Glm4MoeForCausalLM.from_pretrained(work / "copy", dtype=torch.float32).eval()
    with torch.inference_mode():
        theirs = jax.nn.log_softmax(jnp.asarray(reference(torch.tensor([ids])).logits[0].numpy()))
    ours = jax.nn.log_softmax(jnp.asarray(lm.run(ids, keep=gk.keep("logits")).arrays["logits"]))
    print(f"largest difference of a log-probability from transformers': {jnp.abs(ours - theirs).max():.1e}")
    assert jnp.abs(ours - theirs).max() < 1e-3

# %% [markdown]
# ## A piece of a large model
#
# A few layers of a checkpoint are enough to look at a router, and are read without the rest: one layer of GLM-4.5 takes
# gigabytes, not hundreds. It is a network, but no checkpoint, and cannot be saved as one.

# %%
short = gk.load_hf(work / "copy", layers=slice(0, 2))
print(short)
try:
    gk.save_hf(short, work / "short")
except CheckpointError as error:
    print(f"CheckpointError: {error}")

# %% [markdown]
# ## Yours
#
# Change one number of one router's row by hand (`lm.model.blocks[1].mlp.router.kernel`), save, and let `gk.diff` find
# it. How much must it change until the report above sees a route that differs? Then store the model in float16
# (`lm.save(work / "half", dtype="float16")`): which tensors do the bytes say are not what they were, and why are
# some of them the same?

# %%
lm.close()
