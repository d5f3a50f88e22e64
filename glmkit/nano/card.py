"""The model card of glm-nano, written from what the run that made it used and what evaluation measured on its file."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glmkit.config import GLMConfig
from glmkit.nano.evaluation import Result

if TYPE_CHECKING:
    from glmkit.nano.recipe import Recipe, RunFacts

__all__ = ["model_card"]

_CARD = """\
---
license: apache-2.0
library_name: glmkit
pipeline_tag: text-generation
language:
- en
- zh
---

# glm-nano

A very small mixture of experts with the shape of GLM-4.5: {total:.1f}M parameters, {active:.1f}M of them used for a
token. It is trained from nothing on tasks that a program writes, so that everything glmkit does can be tried on a
laptop: thinking, tools, structured answers, retrieval, routing, fine-tuning. No weights or data of GLM-4.5 are in it.

## How to use it

```python
import glmkit as gk

lm = gk.load("nano")
done = lm.chat("What is 345 + 678?")  # thinking="enabled": it thinks about what is hard, and only that
print(done.reasoning)  # the columns from the right, with their carries
print(done.content)
print(lm.chat("What is 345 + 678?", thinking="disabled").content)  # answered at once, and not as reliably
```

Tools are declared as schemas or typed Python functions; a result goes back as a message:

```python
def get_weather(city: str) -> str:
    "Get the weather in a city"


messages = [{{"role": "user", "content": "What is the weather in Oslo?"}}]
done = lm.chat(messages, tools=[get_weather])
print(done.reasoning)  # each tool in plain words, then what is wanted in the same words: choosing is looking up
print(done.tool_calls)  # name and arguments, of the declared types
messages += [done.message, {{"role": "tool", "content": '{{"state": "rain"}}'}}]
print(lm.chat(messages, tools=[get_weather]).content)
```

JSON is asked for with its fields and types, and null where the text does not say:

```python
text = "Text: Meet Olga. Olga is 31 years old. Olga lives in Riga."
done = lm.chat(text + "\\nFields: name (string), age (integer), job (string)\\nJSON:")
print(done.reasoning)  # what each sentence says
print(done.content)
```

## What it was taught

How much of this it has learned is in the table below; what is far from its goal there is not to be built upon.

- To add, subtract and multiply, expressions of up to four operations and word problems, in columns that one can read;
  to decide by itself whether to think, or be told (`thinking=`).
- To call tools it has never seen, with arguments of every JSON type, tell what comes back, call two in a row, and call
  none where none helps.
- To fill in JSON from a text; look values up by their keys in long contexts; follow a key to another.
- To sort, reverse, filter, count and add up lists; days, months, dates and units; number words in English and Chinese.
- To repeat words, codes and numbers to the letter.
- To keep to a system prompt, refer back in a conversation, say what it is, and decline what it has not learned.

## What it cannot do

- Anything else. It knows no facts and almost no language; its sentences are few and recited.
- Be relied upon: outside the forms of the tasks it is right less often than the table says.
- Division, decimals, numbers of many digits: it should decline, and sometimes answers wrongly instead.
- Code, pictures, languages other than a little English and Chinese.

## How well it does it

Measured by `glmkit eval nano` on this file as `gk.load` gives it, greedily, on tasks whose wordings, names or operands
training never showed.

| figure | reached | goal | held | count | |
|---|---|---|---|---|---|
{figures}

{verdict}{balance}
## How it was made

`{recipe.command}` writes this folder, card included: {about.tokens:,} tokens of generated tasks (seed {recipe.seed},
data digest `{digest}`, nothing downloaded), of which {about.learned_tokens:,} were learned, in {about.steps:,} steps of
rows of {recipe.length:,} tokens; {about.minutes:,.0f} minutes on {about.hardware}; over the last steps the loss was
{about.loss:.3f} nats. The budget was {recipe.tokens:,} tokens, the first {recipe.first_lessons:.0%} of them copying,
short look-ups and a little of what builds on these. Muon for matrices and AdamW for the rest, learning rate
{recipe.learning_rate:g} at its peak with a cosine schedule; multi-token-prediction loss {mtp[0]:g}, in the last third
{mtp[1]:g}; the experts balanced by their correction biases ({recipe.bias_rate:g} a step) and a sequence-level loss of
weight {recipe.balance_weight:g}. Weights are stored in bfloat16. `routing_history.npz` is the film of the experts'
loads.
{mixture}
| | |
|---|---|
| layers | {c.num_hidden_layers}, the first {c.first_k_dense_replace} dense, and one for multi-token prediction |
| width | {c.hidden_size} |
| query and key/value heads | {c.num_attention_heads} and {c.num_key_value_heads} of width {c.head_dim}{norm} |
| rotary share of a head | {c.partial_rotary_factor:g} |
| routed experts | {c.n_routed_experts}, {c.num_experts_per_tok} per token, of width {c.moe_intermediate_size} |
| shared experts | {c.n_shared_experts} |
| vocabulary | {c.vocab_size:,}: bytes, merges of the curriculum, GLM-4.5's 36 special tokens |
| context | {c.max_position_embeddings:,} |
"""

_BALANCE = """
Two ways to balance the experts were compared, each in a run of the recipe of that time with {tokens:,} tokens, over
{conversations:,} held-out conversations: the bits that the chosen expert tells of the family of skills, beside the same
with shuffled labels, and the least load of an expert. This file was balanced by {shipped}.

| balanced by | information | shuffled | least load |
|---|---|---|---|
{rows}
"""

_COMPARED = ("task_expert_information", "task_expert_information_shuffled", "least_expert_load")

MEANINGS: Mapping[str, str] = {
    "arithmetic_forced": "hard and multi-step problems, the thought forced",
    "multi_step_gain_by_thinking": "forced less disabled, on the same expressions",
    "hard_gain_by_thinking": "forced less disabled, on the same single operations",
    "thinks_on_hard": "of its own accord; hard and easy problems differ in operands alone",
    "thinks_on_easy": "of its own accord",
    "enabled_behind_forced": "what is lost where it decides by itself",
    "tool_calls": "name, arguments and types exactly right, names unseen",
    "tool_results": "what came back is told as it should be",
    "no_needless_call": "tools are declared, and none helps",
    "answered_beside_tools": "and what is said instead is right",
    "two_tools": "both calls and the answer",
    "json_extraction": "fields, order apart, values and types exactly right, nothing around",
    "retrieval_1x": "one value of more than 40, anywhere, at the trained length",
    "declines_outside": "natural prompts written by hand: says so, and offers three things it can do",
    "false_refusals": "of what it was taught",
    "drafts_taken": "second tokens drafted by the prediction layer that are the model's own",
    "least_expert_load": "of any expert in any layer",
    "least_expert_load_of_drafts": "of any expert in the prediction layer",
    "task_expert_information": "what the chosen expert tells of the family of skills, mean over layers",
    "task_expert_information_shuffled": "the same with shuffled labels",
}


def model_card(
    config: GLMConfig,
    recipe: "Recipe",
    results: Mapping[str, Result],
    about: "RunFacts",
    *,
    mixture: Mapping[str, float] | None = None,
    balance: Mapping[str, Any] | None = None,
) -> str:
    """README.md of the checkpoint.

    `results` is what `evaluate` measured on the file, `about` the run that made it, `mixture` each skill's share of
    its tokens, `balance` what `benchmarks/nano_balance.py` found.
    """
    idle_experts = (config.n_routed_experts - config.num_experts_per_tok) * config.num_moe_layers
    idle = idle_experts * 3 * config.hidden_size * config.moe_intermediate_size
    return _CARD.format(
        c=config,
        recipe=recipe,
        mtp=recipe.mtp_weights,
        about=about,
        digest=about.digest[:12],
        total=config.num_parameters(mtp="shared") / 1e6,
        active=(config.num_parameters(mtp=None) - idle) / 1e6,
        norm=", with q/k-norm" if config.use_qk_norm else "",
        figures="\n".join(_row(name, result) for name, result in results.items()),
        verdict=_verdict(results),
        balance=_compared(balance, recipe.balance_weight) if balance else "",
        mixture=_shares(mixture) if mixture else "",
    )


def _row(name: str, result: Result) -> str:
    held = {True: "yes", False: "**no**", None: ""}[result.holds]
    remark = "; ".join(filter(None, (MEANINGS.get(name, ""), result.note)))
    return f"| {name.replace('_', ' ')} | {result.said} | {result.goal_said} | {held} | {result.count:,} | {remark} |"


def _verdict(results: Mapping[str, Result]) -> str:
    """In a sentence, and naming what was missed."""
    goals = [name for name, result in results.items() if result.goal is not None]
    missed = [name.replace("_", " ") for name in goals if not results[name].holds]
    reached = f"{len(goals) - len(missed)} of {len(goals)} goals are reached"
    return f"{reached}; missed: {', '.join(missed)}.\n" if missed else f"{reached}.\n"


def _compared(balance: Mapping[str, Any], weight: float) -> str:
    """`weight` is that of the sequence loss in the run that is told of."""
    rows, shipped = [], ""
    for way, found in balance["ways"].items():
        own, shuffled, least = (found["figures"][name]["accuracy"] for name in _COMPARED)
        rows.append(f"| {way} | {own:.3f} bits | {shuffled:.3f} bits | {least:.2f} of fair share |")
        shipped = way if found["balance_weight"] == weight else shipped
    return _BALANCE.format(**balance | {"shipped": shipped}, rows="\n".join(rows))


def _shares(mixture: Mapping[str, float]) -> str:
    total = sum(mixture.values())
    ranked = sorted(mixture.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name.replace('_', ' ')} {100 * weight / total:.1f}" for name, weight in ranked)
    return f"\nWhat it was shown after that, in percent of the tokens: {shares}.\n"
