"""The multi-token-prediction layer against a NumPy reference, itself held against the reference implementation."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from glmkit import load_hf
from golden import numpy_reference
from golden.cases import CASES, Inputs, write_checkpoint
from golden.compare import LOGITS_TOLERANCE, relative_error
from golden.files import Golden, kept_steps
from golden.programs import mtp


def numpy_mtp(config: dict, tensors: dict[str, np.ndarray], inputs: Inputs) -> np.ndarray:
    states = numpy_reference.forward(config, tensors, inputs)
    after = Inputs(inputs.tokens[:, 1:], inputs.positions[:, 1:], inputs.segment_ids[:, 1:])
    return numpy_reference.mtp_logits(config, tensors, states.hidden[:, :-1], after)


@pytest.mark.parametrize("name", ["full", "four_groups"])  # tables of the model; tables of the layer's own
def test_logits_equal_the_numpy_reference(name, tmp_path):
    case = CASES[name]
    tensors = write_checkpoint(tmp_path, case)
    expected = numpy_mtp(case.config, tensors, case.inputs)
    assert relative_error(mtp(load_hf(tmp_path), case.inputs), expected) < LOGITS_TOLERANCE
