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
- Sums without thinking are far less reliable than with; that difference is what it is there to show.
- Texts of more than a few hundred tokens: it was trained on rows of {length}.
- Tool calls, code, pictures, languages other than English.

## How it was made

`glmkit train nano` writes this folder, card included. {tokens:,} tokens of generated problems (seed {seed}, nothing
downloaded), {steps:,} steps of {batch} x {length} tokens in {minutes:.0f} minutes on {hardware}. Muon for matrices and
AdamW for the rest at learning rate {rate:g}, cosine schedule, multi-token-prediction loss {mtp:g}, experts balanced by
their correction bias alone. Weights are stored in bfloat16.

| | |
|---|---|
| layers | {layers}, the first {dense} dense, and one for multi-token prediction |
| width | {width} |
| attention | {heads} query heads and {kv} key/value heads of {head_dim}, q/k-norm, rotary on half of each head |
| experts | {experts} routed, {top_k} chosen per token, {shared} shared, width {moe_width}; sigmoid router |
| vocabulary | {vocab}: bytes, merges of the curriculum, GLM-4.5's 36 special tokens |
| context | {context} |
"""


def model_card(
    config: GLMConfig, recipe: Recipe, accuracy: dict[str, float], n: int, *, minutes: float, hardware: str
) -> str:
    """README.md of the checkpoint. `accuracy` is what `evaluate` measured over `n` held-out additions."""
    unused = config.num_experts_per_tok - config.n_routed_experts
    expert = 3 * config.hidden_size * config.moe_intermediate_size
    trunk = config.num_parameters(mtp=None)
    return _CARD.format(
        total=config.num_parameters(mtp="shared") / 1e6,
        active=(trunk + unused * expert * config.num_moe_layers) / 1e6,
        digits=MAX_DIGITS,
        n=n,
        rows="\n".join(f"| {mode} | {share:.1%} |" for mode, share in accuracy.items()),
        length=recipe.length,
        tokens=recipe.steps * recipe.batch_size * recipe.length,
        seed=recipe.seed,
        steps=recipe.steps,
        batch=recipe.batch_size,
        minutes=minutes,
        hardware=hardware,
        rate=recipe.learning_rate,
        mtp=recipe.mtp_weight,
        layers=config.num_hidden_layers,
        dense=config.first_k_dense_replace,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        kv=config.num_key_value_heads,
        head_dim=config.head_dim,
        experts=config.n_routed_experts,
        top_k=config.num_experts_per_tok,
        shared=config.n_shared_experts,
        moe_width=config.moe_intermediate_size,
        vocab=config.vocab_size,
        context=config.max_position_embeddings,
    )
