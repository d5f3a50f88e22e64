"""The multi-token-prediction layer against a NumPy reference, itself checked against the reference library."""

from typing import Any

import numpy as np
import pytest

from glmkit import load_hf
from golden import numpy_reference
from golden.cases import CASES, Inputs, write_checkpoint
from golden.compare import LOGITS_TOLERANCE, relative_error
from golden.files import Golden, kept_steps
from golden.programs import mtp


def numpy_mtp(config: dict[str, Any], tensors: dict[str, np.ndarray], inputs: Inputs) -> np.ndarray:
    """Logits `[B, T - 1, V]` of the token after next."""
    states = numpy_reference.forward(config, tensors, inputs)
    after = Inputs(inputs.tokens[:, 1:], inputs.positions[:, 1:], inputs.segment_ids[:, 1:])
    return numpy_reference.mtp_logits(config, tensors, states.hidden[:, :-1], after)


@pytest.mark.parametrize("name", ["full", "four_groups"])  # with the model's embedding and head, and with its own
def test_logits_equal_the_numpy_reference(name, tmp_path):
    case = CASES[name]
    expected = numpy_mtp(case.config, write_checkpoint(tmp_path, case), case.inputs)
    assert relative_error(mtp(load_hf(tmp_path), case.inputs), expected) < LOGITS_TOLERANCE


def test_logits_equal_the_reference_implementations(tmp_path):
    case, golden = CASES["many_layers"], Golden.load("many_layers")  # it has this layer for 46 layers and for 92 only
    inputs = case.inputs.followed_by(golden.greedy)
    steps = kept_steps(inputs)[:-1]
    tensors = write_checkpoint(tmp_path, case)
    by_numpy = numpy_mtp(case.config, tensors, inputs)[:, steps]
    assert relative_error(by_numpy, golden.mtp_logits) < LOGITS_TOLERANCE
    by_glmkit = mtp(load_hf(tmp_path, stacked=True), inputs)[:, steps]
    assert relative_error(by_glmkit, golden.mtp_logits) < LOGITS_TOLERANCE


@pytest.mark.parametrize("name", ["full", "two_groups", "four_groups", "far", "left_padded", "packed"])
def test_the_numpy_network_has_the_reference_implementations_numbers(name, tmp_path):
    case, golden = CASES[name], Golden.load(name)
    inputs = case.inputs.followed_by(golden.greedy)
    tensors = write_checkpoint(tmp_path, case)
    states = numpy_reference.forward(case.config, tensors, inputs)
    for ours, theirs in zip(states.experts, golden.experts, strict=True):
        np.testing.assert_array_equal(ours[inputs.valid], theirs[inputs.valid])
    steps = kept_steps(inputs)
    valid = inputs.valid[:, steps]
    logits = numpy_reference.logits(tensors, states.hidden)[:, steps]
    assert relative_error(logits[valid], golden.logits[valid]) < LOGITS_TOLERANCE
