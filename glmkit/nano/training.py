"""The training run of glm-nano: a loop over `recipe.train_step` that goes on where it stopped.

Holds what a run needs besides the recipe: its state on disk and a measure of progress that needs no generation.
"""

import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Int
from safetensors import safe_open
from safetensors.numpy import save_file

from glmkit.errors import CheckpointError
from glmkit.model import GLM
from glmkit.nano.curriculum import Example
from glmkit.nano.evaluation import held_out_sums
from glmkit.nano.packing import Batch, batch, encode
from glmkit.nano.recipe import Metrics, Recipe, make_optimizer, train_step
from glmkit.text.tokenizer import Tokenizer

__all__ = ["RunState", "compiled_step", "exact_share", "train"]


class RunState(NamedTuple):
    """All that changes in a run."""

    model: GLM
    opt_state: optax.OptState
    step: int = 0
    """Steps done; the data of the next one follows from it."""
    seconds: float = 0.0
    """Time spent in `train`, compilation included, over all the times it was started."""

    @classmethod
    def start(cls, recipe: Recipe, model: GLM) -> Self:
        """The state before the first step; committed to its devices, as the states after it are."""
        opt_state = jax.jit(make_optimizer(recipe).init)(nnx.state(model, nnx.Param))
        return cls(*_commit((model, opt_state)))

    def save(self, path: Path, recipe: Recipe) -> None:
        """Write the state as one safetensors file that takes its name when it is whole."""
        tensors = {name: np.asarray(leaf) for name, leaf in self._named()}
        about = {"recipe": _json(recipe), "step": str(self.step), "seconds": str(self.seconds)}
        part = path.with_name(path.name + ".part")
        save_file(tensors, part, metadata=about)
        os.replace(part, path)

    def restore(self, path: Path, recipe: Recipe) -> Self:
        """The state in `path`, in the structure and on the devices of this one.

        Raises CheckpointError when it belongs to another recipe: the data and the schedule would not continue.
        """
        with safe_open(path, framework="numpy") as file:
            about = file.metadata()
            if about["recipe"] != _json(recipe):
                raise CheckpointError(
                    f"{path} holds a run of another recipe, {about['recipe']}; go on with that one, or remove the "
                    "file to start afresh"
                )
            leaves = [jax.device_put(file.get_tensor(name), leaf.sharding) for name, leaf in self._named()]
        model, opt_state = jax.tree.unflatten(jax.tree.structure((self.model, self.opt_state)), leaves)
        return type(self)(model, opt_state, int(about["step"]), float(about["seconds"]))

    def _named(self) -> list[tuple[str, jax.Array]]:
        leaves = jax.tree_util.tree_leaves_with_path((self.model, self.opt_state))
        return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def _commit(tree):
    return jax.device_put(tree, jax.tree.map(lambda leaf: leaf.sharding, tree))


def _json(recipe: Recipe) -> str:
    return json.dumps(dataclasses.asdict(recipe))


@functools.lru_cache(maxsize=1)
def compiled_step(recipe: Recipe) -> Callable[[GLM, optax.OptState, Batch], tuple[GLM, optax.OptState, Metrics]]:
    """`train_step` compiled on first use. It takes the memory of the model and the optimiser state it is given."""
    return jax.jit(functools.partial(train_step, recipe), donate_argnums=(0, 1))


def train(recipe: Recipe, tokenizer: Tokenizer, state: RunState) -> Iterator[tuple[RunState, Metrics]]:
    """Run the steps that are left, yielding after each. A state given or yielded is consumed by the step after it."""
    step = compiled_step(recipe)
    for index in range(state.step, recipe.steps):
        began = time.monotonic()
        rows = batch(tokenizer, recipe.seed, index, recipe.batch_size, recipe.length)
        model, opt_state, metrics = step(state.model, state.opt_state, rows)
        metrics = Metrics(*map(float, metrics))  # waits for the step
        state = RunState(model, opt_state, index + 1, state.seconds + time.monotonic() - began)
        yield state, metrics


def exact_share(model: GLM, tokenizer: Tokenizer, n: int = 128, seed: int = 1) -> float:
    """The share of held-out additions that greedy decoding would work out token for token as the curriculum does.

    One forward pass over the model answers instead of `n` generations: if every token of a right completion is the
    most likely one after those before it, greedy decoding says just that. A lower bound on right answers, since
    another thought may lead to the same sum.
    """
    encoded = []
    for question, problem in held_out_sums(n, seed):
        answer = {"role": "assistant", "content": str(problem.answer), "reasoning_content": problem.reasoning}
        encoded.append(encode(tokenizer, Example(({"role": "user", "content": question}, answer), "forced")))
    width = -(-max(len(prompt) + len(completion) for prompt, completion in encoded) // 32) * 32
    tokens = np.zeros((n, width), np.int32)
    segments = np.full((n, width), -1, np.int32)
    learned = np.zeros((n, width), bool)
    for row, (prompt, completion) in enumerate(encoded):
        end = len(prompt) + len(completion)
        tokens[row, :end] = prompt + completion
        segments[row, :end] = 0
        learned[row, len(prompt) : end] = True
    likeliest = np.asarray(_likeliest(model, tokens, segments))
    return float(np.mean(((likeliest[:, :-1] == tokens[:, 1:]) | ~learned[:, 1:]).all(axis=1)))


@jax.jit
def _likeliest(model: GLM, tokens: Int[Array, "N T"], segments: Int[Array, "N T"]) -> Int[Array, "N T"]:
    return jnp.argmax(model.logits(model(tokens, segment_ids=segments).hidden), axis=-1)
