"""From nothing to a checkpoint folder: vocabulary, training with resumption, measurement, export."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from glmkit.bundle import COMPANIONS, bundle_files, companions
from glmkit.errors import TrainingError
from glmkit.generation_config import GenerationConfig
from glmkit.loading import load
from glmkit.model import GLM
from glmkit.model.defaults import default_dtype
from glmkit.nano.card import model_card
from glmkit.nano.data import Curriculum
from glmkit.nano.evaluation import evaluate
from glmkit.nano.mixture import MIXTURE
from glmkit.nano.recipe import CONTEXT, Recipe, RunFacts, nano_config
from glmkit.nano.routing_history import RoutingHistory
from glmkit.nano.tokenizer import build_tokenizer, curriculum_texts
from glmkit.text import Tokenizer
from glmkit.train import fit
from glmkit.weights import save_hf
from glmkit.weights.atomic import refuse_existing

__all__ = ["lessons", "make_nano", "trained", "untrained"]

SAVE_EVERY = 300.0  # seconds
BALANCE = Path(__file__).with_name("balance.json")  # what `benchmarks/nano_balance.py` found
RUN = "run.json"  # of a draft: the recipe, and what came of it
OF_THE_RUN = ("training_log.jsonl", "routing_history.npz")
LAST_STEPS = 20  # whose mean loss is the final one


def make_nano(out: Path, recipe: Recipe) -> None:
    """Train by `recipe` and write the checkpoint to `out`, with its card, log, evaluation and routing history.

    The state of the run lies in `out` + ".training" until the end: the same call goes on where it was stopped, to the
    same bits; when all is learned, on another machine too, which then measures. Raises `TrainingError` when the run
    there is another, and `CheckpointError` before anything is computed where `out` holds what is no checkpoint.
    """
    refuse_existing(out, overwrite=True)
    work = out.with_name(out.name + ".training")
    draft = work / "draft"
    if not draft.exists():
        _write_draft(draft, out.name, recipe, work)
    about = _facts_of(draft, recipe)
    with load(draft) as lm:  # what users get: read back, in the stored precision
        results, model = evaluate(lm, long=True), lm.model
    balance = json.loads(BALANCE.read_text(encoding="utf-8"))
    card = model_card(model.config, recipe, results, about, mixture=MIXTURE, balance=balance)
    evaluation = {name: result.record for name, result in results.items()}
    files = companions(draft, (*COMPANIONS, *OF_THE_RUN)) | {
        "README.md": card.encode(),
        "evaluation.json": (json.dumps(evaluation, indent=2) + "\n").encode(),
    }
    save_hf(model, out, files=files, overwrite=True)
    shutil.rmtree(work)


def _write_draft(draft: Path, name: str, recipe: Recipe, work: Path) -> None:
    """The model after the last step with all that tells of the run, before anything is measured."""
    tokenizer, data = lessons(recipe)
    model = trained(recipe, tokenizer, data, work)
    log = _log(work / "log.jsonl")
    run = {"recipe": asdict(recipe), "facts": asdict(_facts(log, data.digest))}
    files = bundle_files(model, tokenizer, GenerationConfig.recommended(model.config), name, {}) | {
        RUN: json.dumps(run).encode(),
        "training_log.jsonl": "".join(json.dumps(line) + "\n" for line in log).encode(),
        "routing_history.npz": (work / "routing_history.npz").read_bytes(),
    }
    save_hf(model, draft, files=files)


def _facts_of(draft: Path, recipe: Recipe) -> RunFacts:
    """Of the run that wrote the draft. Raises `TrainingError` if it was of another recipe."""
    run = json.loads((draft / RUN).read_text(encoding="utf-8"))
    if run["recipe"] != json.loads(json.dumps(asdict(recipe))):
        raise TrainingError(f"{draft} was made by another recipe, {run['recipe']}; give the same arguments")
    return RunFacts(**run["facts"])


def lessons(recipe: Recipe) -> tuple[Tokenizer, Curriculum]:
    """The vocabulary and the examples of a run."""
    tokenizer = build_tokenizer(curriculum_texts(recipe.seed), recipe.vocab_size, CONTEXT)
    return tokenizer, Curriculum(tokenizer, recipe.length, recipe.seed, first_tokens=recipe.first_tokens)


def untrained(recipe: Recipe, tokenizer: Tokenizer) -> GLM:
    """The model before the first step, in the form that this machine trains."""
    stacked = jax.default_backend() != "cpu"  # few large operations, where each costs a launch
    return GLM(nano_config(tokenizer), rngs=nnx.Rngs(recipe.seed), dtype=default_dtype(), stacked=stacked)


def trained(recipe: Recipe, tokenizer: Tokenizer, data: Curriculum, work: Path) -> GLM:
    """The model after the last step, reached from the newest checkpoint in `work` if there is one."""
    run = fit(
        untrained(recipe, tokenizer),
        data,
        objective=recipe.objective,
        out=work,
        save_every=recipe.steps,
        donate=True,
        **recipe.settings,
    )
    history = RoutingHistory(work / "routing_history.npz", tokenizer, recipe.steps)
    history.go_on(run.number)
    if run.number in history.due:
        history.record(run.number, run.model)
    saved = time.monotonic()
    for step in run:
        if step.number in history.due:
            history.record(step.number, step.model)
        if time.monotonic() - saved > SAVE_EVERY:
            run.save()
            saved = time.monotonic()
    return run.model


def _log(path: Path) -> list[dict[str, float]]:
    """The log of the run's steps, each once: one that was taken again after an interruption came out the same."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    steps = {line.pop("step"): line for line in lines if "step" in line}
    rounded = {step: {name: float(f"{value:.6g}") for name, value in line.items()} for step, line in steps.items()}
    return [{"step": step} | rounded[step] for step in sorted(rounded)]


def _facts(log: list[Mapping[str, float]], digest: str) -> RunFacts:
    on_cpu = jax.default_backend() == "cpu"
    return RunFacts(
        tokens=round(sum(line["tokens"] for line in log)),
        learned_tokens=round(sum(line["learned_tokens"] for line in log)),
        steps=len(log),
        minutes=sum(line["seconds"] for line in log) / 60,
        hardware=f"{os.cpu_count()} CPU cores" if on_cpu else jax.devices()[0].device_kind,
        digest=digest,
        loss=float(np.mean([line["loss"] for line in log[-LAST_STEPS:]])),
    )
