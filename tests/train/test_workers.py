"""Training data that other processes read: each its share, in turn, and from where a run stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest
from flax import nnx

from glmkit.errors import RequestError, TrainingError
from glmkit.train import TokenDataset, fit
from glmkit.train.data import ReadAhead, batches
from tiny import small_model, tokenizer

TEXTS = [{"text": letter * (3 + n % 5)} for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")]
WORKERS = 2


@pytest.fixture(scope="module")
def data() -> TokenDataset:
    return TokenDataset.encode(TEXTS, tokenizer(), 8)


def test_every_example_is_in_the_batches_of_one_worker(data):
    read = list(batches(data, length=8, batch_size=2, shuffle=False, workers=WORKERS))
    rows = np.concatenate([batch.tokens[batch.segment_ids >= 0] for batch in read])
    assert sorted(rows.tolist()) == sorted(token for at in range(len(data)) for token in data[at]["tokens"].tolist())
    first, second = (batch.tokens[0] for batch in read[:WORKERS])  # the worker's first example each
    assert first[: len(data[0]["tokens"])].tolist() == data[0]["tokens"].tolist()
    assert second[: len(data[1]["tokens"])].tolist() == data[1]["tokens"].tolist()


def test_a_stream_of_workers_goes_on_at_the_exact_batch(data):
    def stream() -> ReadAhead:
        return ReadAhead(batches(data, length=8, batch_size=2, epochs=None, workers=WORKERS))

    straight, resumed = stream(), stream()
    for _ in range(3):
        next(straight)
    resumed.set_state(straight.get_state())
    expected = [next(straight).tokens for _ in range(4)]
    np.testing.assert_array_equal([next(resumed).tokens for _ in range(4)], expected)


def test_a_run_goes_on_with_as_many_workers_to_the_same_bits(data, tmp_path):
    given = {"steps": 4, "batch_size": 2, "length": 8, "workers": WORKERS, "progress": False}
    straight = fit(small_model(), data, **given).run()
    for _, _ in zip(range(2), fit(small_model(), data, out=tmp_path, **given), strict=False):
        pass
    resumed = fit(small_model(), data, out=tmp_path, **given)
    assert resumed.number == 2
    ours, theirs = (jax.tree.leaves(nnx.state(run.model)) for run in (resumed.run(), straight))
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
    with pytest.raises(TrainingError, match="workers"):
        fit(small_model(), data, out=tmp_path, **given | {"workers": 1})


def test_a_number_of_workers_that_there_cannot_be_is_refused(data):
    with pytest.raises(RequestError, match="workers"):
        fit(small_model(), data, workers=-1)


READING = """
import os, signal, multiprocessing
from glmkit.train import TokenDataset
from glmkit.train.data import batches
from tiny import tokenizer

if __name__ == "__main__":
    data = TokenDataset.encode([{"text": "abc"}] * 9, tokenizer(), 8)
    stream = batches(data, length=8, batch_size=2, epochs=None, workers=2)
    next(stream)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_the_process_that_they_read_for_however_it_ends(tmp_path):
    script = tmp_path / "reading.py"
    script.write_text(READING)
    path = os.pathsep.join(map(str, (Path(__file__).parents[1], Path(__file__).parents[2])))
    done = subprocess.run([sys.executable, script], env=os.environ | {"PYTHONPATH": path}, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == WORKERS
    deadline = time.monotonic() + 60
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, workers))
