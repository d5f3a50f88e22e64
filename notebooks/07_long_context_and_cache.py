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
# # Long contexts and the cache
#
# What a model computed of a context stays in pages of 256 tokens, and the next request that begins alike has them for
# nothing. This notebook asks several questions about one long text, looks at the pages as a tree, goes on from a token
# in the middle of a known context, and puts the pages on the disk and back. The model is glm-nano; set `MODEL` to a
# folder with GLM-4.5's weights, or to a Hub id, and every line works the same way.
#
# It takes two CPU cores less than a minute, most of which is compiling. Expect the second question to compute less
# than a fifth of its prompt, in a fraction of the time of the first, with the same answer as without a cache. It needs
# the `notebook` extra: `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import tempfile
import time
from pathlib import Path

import numpy as np

import glmkit as gk

lm = gk.load(MODEL, max_len=4096)

# %% [markdown]
# ## One text, several questions
#
# A list of made-up words with a number for each, too long to be read anew for each question. It is too long for glm-
# nano to be right each time, too; what we look at is what an answer costs.

# %%
rng = np.random.default_rng(0)
syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
words = sorted({"".join(rng.choice(syllables, 3)) for _ in range(150)})
values = {word: int(rng.integers(100, 1000)) for word in words}
text = "\n".join(f"{word}: {value}" for word, value in values.items())
keys = words[20], words[70], words[120]
settings = {"thinking": "disabled", "temperature": 0, "max_tokens": 8}


def ask(key):
    started = time.perf_counter()
    done = lm.chat(f"{text}\n\nWhat is {key}?", **settings)
    return done, time.perf_counter() - started


for key in keys[:2]:  # so that no step is compiled while we measure
    lm.chat(f"something else\n{text}\n\nWhat is {key}?", **settings)
lm.engine.cache.clear()
answers = []
for key in keys:
    done, seconds = ask(key)
    answers.append(done)
    cached, prompt = done.usage.cached_tokens, done.usage.prompt_tokens
    print(f"{key}: {done.content!r}, is {values[key]}; {cached} of {prompt} prompt tokens found; {seconds:.2f} s")

# %% [markdown]
# The headline: only the end of the second prompt is computed, and the answer is that of a model that never saw the
# text before.

# %%
second = answers[1]
share = 1 - second.usage.cached_tokens / second.usage.prompt_tokens
print(f"the second question computes {share:.0%} of its prompt")
assert share < 0.2
lm.engine.cache.clear()
alone, _ = ask(keys[1])
assert alone.usage.cached_tokens == 0
assert alone.content == second.content

# %% [markdown]
# ## The pages as a tree
#
# The explorer shows what the engine knows, as it changes. Numbers are how often a page was found. Ask the other
# questions again, and see who shares what.

# %%
explorer = gk.widgets.CacheExplorer(lm, max_tokens=24)
explorer

# %%
for key in keys:
    ask(key)
tree = explorer.tree
print(f"{len(tree.pages)} pages, {tree.nbytes / 1e6:.1f} MB; found {tree.hits} times")
per_token = tree.page_bytes // tree.page_size
print(f"{per_token:,} bytes for a token; a context of 131,072 tokens takes {per_token * 131072 / 1e9:.2f} GB")

# %% [markdown]
# For GLM-4.5 the same arithmetic, in bfloat16: keys and values of 92 layers, 8 heads of 128 numbers each.

# %%
glm = gk.GLMConfig.preset("glm-4.5")
numbers = 2 * glm.num_hidden_layers * glm.num_key_value_heads * glm.head_dim
print(f"{2 * numbers:,} bytes for a token; 131,072 tokens take {2 * numbers * 131072 / 1e9:.0f} GB")

# %% [markdown]
# ## Going on from the middle
#
# Any token of a known context is a place to go on from. Here the list ends early, and another question comes: the
# pages before the fork are found, the rest is computed.

# %%
place = tree.find(lm.tokenizer.encode(lm.prompt(f"{text}\n\nWhat is {keys[0]}?", thinking="disabled")))[2]
explorer.select(page=tree.pages[place].name, token=100)
kept = len(explorer.selection.context)
explorer.fork(f"\n\nWhat is {keys[0]}?/nothink<|assistant|>\n<think></think>\n")
explorer.wait()
fork = explorer.requests[-1]
print(f"kept {kept} tokens; {fork.completion.usage.cached_tokens} found; {fork.answer!r}")
assert fork.completion.usage.cached_tokens == kept // tree.page_size * tree.page_size

# %% [markdown]
# ## On the disk and back
#
# What is known can outlive the process, for a model with the same weights.

# %%
path = Path(tempfile.mkdtemp()) / "contexts.safetensors"
tokens = lm.engine.cache.save(path)
lm.engine.cache.clear()
lm.engine.cache.load(path)
again, _ = ask(keys[2])
print(f"{tokens} tokens, {path.stat().st_size / 1e6:.1f} MB; {again.usage.cached_tokens} found again")
assert again.usage.cached_tokens == answers[2].usage.cached_tokens
assert again.content == answers[2].content

# %% [markdown]
# ## Yours
#
# Put the question in front of the text instead of behind it: how many tokens are found, and why? Then fork the context
# a token before a number and let the model go on at temperature 1 with ten seeds (`explorer.fork(seed=...)`,
# `explorer.wait()`). How often is the number the one of the list, and does that change with the place of the pair in
# the text?

# %%
lm.close()
