"""The model card of glm-nano, written from the numbers of the run that made it."""

from glmkit.config import GLMConfig
from glmkit.nano.arithmetic import MAX_DIGITS
from glmkit.nano.recipe import Recipe

__all__ = ["model_card"]

_CARD = """\
---
license: apache-2.0
library_name: glmkit
pipeline_tag: text-generation
language: en
---

# glm-nano

A very small mixture of experts with the shape of GLM-4.5: {total:.1f}M parameters, {active:.1f}M of them used for a
token. It is trained from nothing to add and subtract, thinking in GLM-4.5's format, so that everything glmkit does
can be tried on a laptop. No weights or data of GLM-4.5 are in it.

```python
import glmkit as gk

lm = gk.load("nano")
done = lm.chat("What is 345 + 678?")
print(done.reasoning)  # the columns from the right, with their carries
print(done.content)  # 1023
```

## What it can do

- Add and subtract two numbers of up to {digits} digits, asked in some forty wordings or a small story.
- Think in one column per line, or answer at once: thinking enabled (it skips the thought for single digits),
  disabled (also by `/nothink` in the prompt), or forced.
- Go on from its last answer ("And plus 5?"), greet, say what it is, and decline what it cannot do.

Three-digit additions, exact answers at temperature 0 over {n} problems. The two operands of none of them were ever
shown together in training, in either order, in sums or in differences:

| thinking | right |
|---|---|
{rows}

## What it cannot do

- Anything else. It knows no facts and almost no language, and its sentences are recited.
- Longer numbers, more than two terms, decimals, negative operands, multiplication and division: it should decline,
  and sometimes answers wrongly instead.
- Think less and be as right: the table shows what the thought is worth.
- Texts of more than a few hundred tokens: it was trained on rows of {r.length}.
- Tool calls, code, pictures, languages other than English.

## How it was made

`python -m glmkit.nano` writes this folder, card included: {tokens:,} tokens of generated problems (seed {r.seed},
nothing downloaded) in {steps:,} of at most {r.steps:,} steps of {r.batch_size} x {r.length}, {minutes:.0f} minutes
on {hardware};
the run ends once 128 held-out sums, others than those above, are all worked out exactly. Muon for matrices
and AdamW for the rest at learning rate {r.learning_rate:g} with a cosine schedule, multi-token-prediction loss
{r.mtp_weight:g}, experts balanced by their correction bias alone. Weights are stored in bfloat16.

| | |
|---|---|
| layers | {c.num_hidden_layers}, the first {c.first_k_dense_replace} dense, and one for multi-token prediction |
| width | {c.hidden_size} |
| query and key/value heads | {c.num_attention_heads} and {c.num_key_value_heads} of width {c.head_dim}, with q/k-norm |
| rotary share of a head | {c.partial_rotary_factor:g} |
| routed experts | {c.n_routed_experts}, {c.num_experts_per_tok} per token, of width {c.moe_intermediate_size} |
| shared experts | {c.n_shared_experts} |
| vocabulary | {c.vocab_size}: bytes, merges of the curriculum, GLM-4.5's 36 special tokens |
| context | {c.max_position_embeddings} |
"""


def model_card(
    config: GLMConfig, recipe: Recipe, accuracy: dict[str, float], n: int, *, steps: int, minutes: float, hardware: str
) -> str:
    """README.md of the checkpoint. `accuracy` is what `evaluate` measured over `n` held-out additions."""
    idle_experts = (config.n_routed_experts - config.num_experts_per_tok) * config.num_moe_layers
    idle = idle_experts * 3 * config.hidden_size * config.moe_intermediate_size
    return _CARD.format(
        c=config,
        r=recipe,
        total=config.num_parameters(mtp="shared") / 1e6,
        active=(config.num_parameters(mtp=None) - idle) / 1e6,
        digits=MAX_DIGITS,
        n=n,
        rows="\n".join(f"| {mode} | {share:.1%} |" for mode, share in accuracy.items()),
        steps=steps,
        tokens=steps * recipe.batch_size * recipe.length,
        minutes=minutes,
        hardware=hardware,
    )
