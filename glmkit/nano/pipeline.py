"""From nothing to a checkpoint folder: vocabulary, training with resumption, measurement, export."""

import os
import shutil
import time
from pathlib import Path

import jax
from flax import nnx

from glmkit.bundle import bundle_files
from glmkit.engine.answer import Completion
from glmkit.generation_config import GenerationConfig
from glmkit.loading import load
from glmkit.model import GLM
from glmkit.nano.card import model_card
from glmkit.nano.evaluation import evaluate
from glmkit.nano.recipe import Metrics, Recipe, nano_config
from glmkit.nano.tokenizer import build_tokenizer, curriculum_texts
from glmkit.nano.training import RunState, exact_share, train
from glmkit.text.tokenizer import Tokenizer
from glmkit.weights import save_hf

__all__ = ["make_nano"]

CONTEXT = 1024
EVALUATED = 500
"""Held-out additions behind each number of the card."""

REPORT_EVERY = 20  # steps
MEASURE_EVERY = 200  # steps
SAVE_EVERY = 180.0  # seconds


def make_nano(out: Path, recipe: Recipe) -> dict[str, float]:
    """Train by `recipe` and write the checkpoint to `out`; the accuracies that its card states.

    The state of the run lies in `out` + ".training" until the end: the same call goes on where it was stopped.
    """
    work = out.with_name(out.name + ".training")
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(curriculum_texts(recipe.seed), recipe.vocab_size, CONTEXT)
    config = nano_config(tokenizer, CONTEXT)
    state = _trained(recipe, tokenizer, GLM(config, rngs=nnx.Rngs(recipe.seed)), work / "state.safetensors")

    files = bundle_files(state.model, tokenizer, GenerationConfig.recommended(config), out.name, {})
    save_hf(state.model, work / "draft", files=files, overwrite=True)
    accuracy = _measure(work / "draft")  # what users get: read back, in the stored precision
    hardware = f"{os.cpu_count()} CPU cores" if jax.default_backend() == "cpu" else jax.devices()[0].device_kind
    card = model_card(
        config, recipe, accuracy, EVALUATED, steps=state.step, minutes=state.seconds / 60, hardware=hardware
    )
    save_hf(state.model, out, files={**files, "README.md": card.encode()}, overwrite=True)
    shutil.rmtree(work)
    return accuracy


def _trained(recipe: Recipe, tokenizer: Tokenizer, model: GLM, path: Path) -> RunState:
    """The state after the last step, reached from the one in `path` if there is one.

    A run ends before its last step as soon as a measurement finds every probed sum worked out exactly.
    """
    start = state = RunState.start(recipe, model)
    if path.exists():
        start = state = start.restore(path, recipe)
        print(f"going on from step {start.step} in {path}", flush=True)
    saved = time.monotonic()
    share = 0.0
    for state, metrics in train(recipe, tokenizer, start):
        last = state.step == recipe.steps
        if last or state.step % REPORT_EVERY == 0:
            print(_report(recipe, state, metrics), flush=True)
        if last or state.step % MEASURE_EVERY == 0:
            share = exact_share(state.model, tokenizer)
            print(f"worked out exactly: {share:.1%} of held-out sums", flush=True)
        enough = share == 1.0
        if last or enough or time.monotonic() - saved > SAVE_EVERY:
            state.save(path, recipe)
            saved = time.monotonic()
        if enough:
            break
    return state


def _report(recipe: Recipe, state: RunState, metrics: Metrics) -> str:
    tokens = state.step * recipe.batch_size * recipe.length
    return (
        f"step {state.step}/{recipe.steps}  loss {metrics.loss:.4f}  mtp {metrics.mtp_loss:.4f}  "
        f"imbalance {metrics.imbalance:.2f}  {state.seconds / 60:.1f} min  {tokens / state.seconds:,.0f} tokens/s"
    )


def _measure(checkpoint: Path) -> dict[str, float]:
    """`evaluate` on the model in a folder, through the interface that users have."""
    with load(checkpoint, max_len=256) as lm:

        def generate(conversations: list[list[dict]], thinking: str) -> list[Completion]:
            replies = lm.chat_batch(conversations, thinking=thinking, temperature=0.0, max_tokens=128)
            for reply in replies:
                if reply.error is not None:
                    raise reply.error
            return replies

        return evaluate(generate, EVALUATED)
