"""What TensorBoard is given, read back from its event files."""

import struct
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from glmkit.errors import TrainingError
from glmkit.train import TensorBoardLog


def events(folder: Path) -> list[Event]:
    """Of all files, in order. A record is its length, a checksum, that many bytes, and another checksum."""
    found = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return found


def test_steps_are_scalars_at_their_number_and_the_run_is_told_in_words(tmp_path):
    log = TensorBoardLog(tmp_path / "board")
    log.begin({"learning_rate": 0.5})
    log.write(1, {"loss": 2.5, "gradient_norm": 0.25})
    log.write(7, {"loss": 1.5})
    log.end("finished")
    values = [(event.step, value) for event in events(tmp_path / "board") for value in event.summary.value]
    scalars = [(step, value.tag, value.simple_value) for step, value in values if not value.HasField("tensor")]
    assert scalars == [(1, "loss", 2.5), (1, "gradient_norm", 0.25), (7, "loss", 1.5)]
    begun, ended = (value.tensor.string_val[0].decode() for _, value in values if value.HasField("tensor"))
    assert '"learning_rate": 0.5' in begun
    assert ended == "finished"


def test_a_run_that_is_gone_on_with_leaves_what_was_written_before(tmp_path):
    log = TensorBoardLog(tmp_path)
    for step in (1, 2):  # within one second
        log.begin({})
        log.write(step, {"loss": float(step)})
        log.end("stopped")
    values = [(event.step, value) for event in events(tmp_path) for value in event.summary.value]
    assert [step for step, value in values if value.tag == "loss"] == [1, 2]


def test_where_the_package_is_missing_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(TrainingError, match=r"pip install 'glmkit\[tensorboard\]'"):
        TensorBoardLog(tmp_path)
