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
# # First token in a minute
#
# Load a model, talk to it, and decide whether it thinks. The model is glm-nano: it comes with glmkit, has every part
# of GLM-4.5 in small (a mixture of experts with a sigmoid router, grouped-query attention, a thinking mode), and knows
# what its card lists: arithmetic worked out in columns, tools, JSON, looking things up, and little else. Every line
# below works the same way on GLM-4.5 itself: set `MODEL` to a folder with its weights, or to a Hub id.
#
# It takes two CPU cores about half a minute, most of which is compiling. Expect a thought and an answer that can be
# told apart, a stream of both, and that most sums are right with a thought and few without.

# %% tags=["parameters"]
MODEL = "nano"

# %%
from random import Random

import glmkit as gk

lm = gk.load(MODEL)
lm

# %% [markdown]
# ## One question
#
# A string is one user turn. What comes back holds the thought and the answer apart, why generation ended, how many
# tokens it took, and the seed, with which the same question gives the same answer again.

# %%
done = lm.chat("What is 274 + 158?")
done

# %%
done.reasoning

# %%
done.content, done.finish_reason, done.usage, done.seed

# %% [markdown]
# ## Three ways to think
#
# `enabled` leaves the choice to the model, `disabled` tells it not to, `forced` opens the thought for it.
# At temperature 0 the most likely token is always taken, so that the mode is all that differs. The model is small: it
# works a sum out digit by digit or it guesses.

# %%
question = "What is 345 + 678?"
for thinking in ("enabled", "disabled", "forced"):
    done = lm.chat(question, thinking=thinking, temperature=0)
    print(f"{thinking:>8}: {done.content!r} after a thought of {len(done.reasoning)} characters")

# %% [markdown]
# One sum may be luck. Sixteen of them:

# %%
sums = [(rng.randrange(100, 1000), rng.randrange(100, 1000)) for rng in map(Random, range(16))]
right = {"disabled": 0, "forced": 0}
for thinking in right:
    for a, b in sums:
        done = lm.chat(f"What is {a} + {b}?", thinking=thinking, temperature=0, max_tokens=200)
        right[thinking] += done.content.strip() == str(a + b)
right

# %% [markdown]
# The headline: thinking makes the sums right.

# %%
assert right["forced"] > len(sums) / 2, "most sums were expected to be right with a thought"
assert right["forced"] >= right["disabled"], "thinking was expected to help with sums"

# %% [markdown]
# ## What the model really reads
#
# A mode is nothing but text. Rendered by the chat template, the same question ends differently in each of the three:
# a `/nothink` and an empty thought when it is disabled, an opened `<think>` when it is forced.

# %%
messages = [{"role": "user", "content": question}]
for thinking in ("enabled", "disabled", "forced"):
    print(f"{thinking:>8}: {gk.text.render(messages, thinking=thinking)!r}")

# %% [markdown]
# ## Watching it write
#
# With `stream=True` the reply comes piece by piece: first those of the thought, then those of the answer.

# %%
answering = False
for delta in lm.chat(question, thinking="forced", temperature=0, stream=True):
    if delta.content and not answering:
        print("\n--- answer ---")
        answering = True
    print(delta.reasoning + delta.content, end="", flush=True)

# %% [markdown]
# ## A second turn
#
# `done.message` is the reply as a message. Put it into the conversation and ask on.

# %%
conversation = [{"role": "user", "content": "Who are you?"}]
done = lm.chat(conversation, thinking="disabled", temperature=0)
conversation += [done.message, {"role": "user", "content": "What is 8 + 5?"}]
reply = lm.chat(conversation, thinking="disabled", temperature=0)
print(done.content, reply.content, sep="\n\n")

# %% [markdown]
# ## The sample of Z.ai's client
#
# The example with which Z.ai introduces GLM-4.5's API is a conversation, a thinking mode, a length and a temperature:
#
# ```python
# client = ZaiClient(api_key="your-api-key")
# response = client.chat.completions.create(model="glm-4.5", **sample)
# response.choices[0].message
# ```
#
# `lm.chat` takes the same arguments, and `done.message` is the same message, with `reasoning_content` beside `content`.

# %%
sample = {
    "messages": [
        {"role": "user", "content": "What is 27 + 58?"},
        {"role": "assistant", "content": "85"},
        {"role": "user", "content": "What is 345 + 678?"},
    ],
    "thinking": {"type": "enabled"},
    "max_tokens": 200,
    "temperature": 0.6,
}
lm.chat(**sample).message

# %% [markdown]
# ## Yours
#
# How long a sum can the model still do? Ask for sums of four and five digits, `thinking="forced"`, and read the
# thoughts of those that are wrong: where do they leave the right way? Then try `temperature=1` with several seeds: is
# it the same place every time?
#
# `lm.close()` gives the memory back; loading again in the same kernel does so too.

# %%
lm.close()
