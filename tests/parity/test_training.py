"""One optimiser step of glmkit beside one of transformers and torch, from the same weights and tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glmkit import load_hf, save_hf
from glmkit.train import Batch, Objective, TrainState, adamw, compiled_step
from golden.cases import CASES, Case, write_checkpoint
from parity.reference import Reference, fused

RATE, DECAY, BETAS = 1e-3, 0.1, (0.9, 0.95)
# Adam divides a gradient by its own size, so that rounding alone decides the update where there is next to none, as for
# the biases of keys (what is added to all keys alike changes no attention). Epsilon is what counts as next to none: a
# rounding error of 7e-8 in a gradient, which one processor had and another had not, moves a weight by 2e-6 at most.
EPSILON = 3e-5
TOLERANCE = 1e-5  # of the parameter's largest value; float32 sums in another order gave 3e-6


def step_of_the_reference(folder: Path, tokens: np.ndarray) -> dict[str, torch.Tensor]:
    """Its parameters by name after a step on the mean loss of the next token; norms and biases are not decayed."""
    model = Reference(folder).model
    groups = [
        {"params": [p for p in model.parameters() if (p.ndim > 1) == decayed], "weight_decay": DECAY * decayed}
        for decayed in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPSILON)
    ids = torch.from_numpy(tokens).long()
    logits = model(ids, use_cache=False).logits[:, :-1]
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


def step_of_glmkit(folder: Path, tokens: np.ndarray, out: Path) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors by name after the same step."""
    optimizer = adamw(RATE, weight_decay=DECAY, b1=BETAS[0], b2=BETAS[1], eps=EPSILON)
    state = TrainState.start(load_hf(folder, dtype=jnp.float32), optimizer)
    batch = Batch(tokens[None], np.ones((1, *tokens.shape), bool), np.zeros((1, *tokens.shape), np.int32))
    state, _ = compiled_step(Objective(mtp_weight=0.0, bias_rate=0.0, balance_weight=0.0), optimizer)(state, batch)
    save_hf(state.model, out)
    return tensors(out)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("name", ["air", "full", "two_groups", "four_groups"])
def test_an_adamw_step_moves_every_parameter_as_the_reference_moves_it(tmp_path, name):
    case: Case = replace(CASES[name], stored="float32", mtp=None)
    write_checkpoint(tmp_path / "in", case)
    tokens = np.random.default_rng(0).integers(case.config["vocab_size"], size=(4, 32), dtype=np.int32)
    theirs = step_of_the_reference(tmp_path / "in", tokens)
    ours = step_of_glmkit(tmp_path / "in", tokens, tmp_path / "out")
    before = tensors(tmp_path / "in")
    for parameter, expected in theirs.items():
        largest = expected.abs().max()
        assert (fused(ours, parameter, like=expected) - expected).abs().max() <= TOLERANCE * largest, parameter
        assert (fused(before, parameter, like=expected) - expected).abs().max() > 10 * TOLERANCE * largest, parameter
