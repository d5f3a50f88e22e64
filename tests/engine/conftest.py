"""Steps of an engine, watched or put aside."""

import numpy as np
import pytest

from glmkit.engine.pool import Pool
from glmkit.engine.steps import Drawn, Outcome, Steps


@pytest.fixture
def steps(monkeypatch) -> list[tuple[int, int]]:
    """Rows in use and tokens of each step that is run."""
    taken, run = [], Steps.run

    def noted(self, rows, *arguments):
        taken.append((int((rows.segment_ids[:, 0] >= 0).sum()), rows.kind.size))
        return run(self, rows, *arguments)

    monkeypatch.setattr(Steps, "run", noted)
    return taken


@pytest.fixture
def empty_steps(monkeypatch) -> list[tuple[int, list[int]]]:
    """Steps that compute nothing, for questions of order: of each how many rows there are, and which are in use."""
    taken = []

    def run(self, rows, *_):
        taken.append((rows.kind.rows, np.flatnonzero(rows.segment_ids[:, 0] >= 0).tolist()))
        return [Outcome([Drawn(5, -1.0)], ())] * rows.kind.rows, None

    monkeypatch.setattr(Steps, "run", run)
    monkeypatch.setattr(Steps, "prepare", lambda *_: None)
    monkeypatch.setattr(Pool, "_empty", lambda *_: ())
    return taken
