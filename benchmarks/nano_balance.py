"""Two ways to balance glm-nano's experts, by its recipe on a small budget: `python benchmarks/nano_balance.py`.

By the correction biases alone, and with the sequence-level loss beside them. Tells how many bits the chosen expert
tells of the family of skills of held-out conversations, beside the same with shuffled labels, and the least load of an
expert. The last line is a JSON object; `--out glmkit/nano/balance.json` is what the model card tells of it.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import jax
import numpy as np

from glmkit.model import GLM
from glmkit.nano.evaluation.inside import expert_figures
from glmkit.nano.pipeline import lessons, trained
from glmkit.nano.recipe import Recipe
from glmkit.nano.skills import FAMILIES, SKILLS
from glmkit.text import Tokenizer
from glmkit.train.examples import encode_record

WAYS = {"correction biases": 0.0, "correction biases and sequence loss": Recipe().balance_weight}
LENGTH = 1024  # tokens of a conversation at most


def conversations(tokenizer: Tokenizer, per_family: int) -> Iterator[tuple[str, np.ndarray]]:
    """The family and the tokens of held-out tasks."""
    for family, names in FAMILIES.items():
        rng, left = Random(f"balance/{family}"), per_family
        while left:
            task = SKILLS[rng.choice(names)](rng, "held_out")
            tokens = encode_record(task.record, tokenizer)[0].tokens
            if len(tokens) <= LENGTH:
                yield family, tokens
                left -= 1


@jax.jit
def load_of(model: GLM, tokens: jax.Array, segments: jax.Array) -> jax.Array:
    return model(tokens, segment_ids=segments).load


def measured(model: GLM, tokenizer: Tokenizer, per_family: int) -> dict[str, dict[str, float]]:
    families, loads = [], []
    for family, ids in conversations(tokenizer, per_family):
        tokens, segments = np.zeros((1, LENGTH), np.int32), np.full((1, LENGTH), -1, np.int32)
        tokens[0, : len(ids)], segments[0, : len(ids)] = ids, 0
        families.append(family)
        loads.append(np.asarray(load_of(model, tokens, segments)))
    return {name: result.record for name, result in expert_figures(np.stack(loads), families).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare two ways to balance glm-nano's experts.")
    parser.add_argument("--tokens", type=int, default=800_000, help="of each run (default: %(default)s)")
    parser.add_argument("--per-family", type=int, default=24, help="conversations measured (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="file for the result")
    args = parser.parse_args()
    found = {"tokens": args.tokens, "conversations": args.per_family * len(FAMILIES), "ways": {}}
    for way, weight in WAYS.items():
        recipe = dataclasses.replace(Recipe(), tokens=args.tokens, balance_weight=weight)
        tokenizer, data = lessons(recipe)
        with tempfile.TemporaryDirectory() as work:
            model = trained(recipe, tokenizer, data, Path(work))
        figures = measured(model, tokenizer, args.per_family)
        found["ways"][way] = {"balance_weight": weight, "figures": figures}
        print(way, json.dumps(found["ways"][way]))
    text = json.dumps(found)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
