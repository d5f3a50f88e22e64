"""What several tests of checkpoints start from."""

import pytest

from golden.cases import random_tensors
from weights.samples import SAMPLE


@pytest.fixture
def tensors():
    case = SAMPLE
    return random_tensors(case.config, case.seed, case.routing, case.mtp, case.stored)
