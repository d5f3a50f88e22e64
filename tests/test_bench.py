"""`glmkit bench`: every kind of measurement runs on a folder without a tokenizer and ends in one object."""

import json
from concurrent.futures import Future

import pytest

import glmkit as gk
from glmkit import bench
from glmkit.cli import main
from tiny import small_model

COMMON = {"tokens_per_s", "what", "batch"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "model"
    gk.save_hf(small_model(), path)
    return path


@pytest.mark.parametrize(
    ("what", "options", "keys"),
    [
        ("decode", ["--prompt", "8", "--tokens", "4"], {"prompt"}),
        ("prefill", ["--prompt", "8"], {"prompt"}),
        ("train", ["--length", "16"], {"length", "mib"}),
    ],
)
def test_a_measurement_ends_in_an_object(folder, capsys, what, options, keys):
    assert main(["bench", what, "--model", str(folder), "--batch", "2", *options, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert result.keys() == COMMON | keys
    assert (result["what"], result["batch"]) == (what, 2)
    assert all(result[key] > 0 for key in result if key != "what")


def test_counts_below_one_are_refused_by_name(folder, capsys):
    assert main(["bench", "decode", "--model", str(folder), "--batch", "0"]) == 1
    assert "--batch is 0; expected an integer of at least 1" in capsys.readouterr().err


class Contender:
    """A process that gives this speed, or fails."""

    def __init__(self, speed: float | Exception):
        self._speed = speed

    def submit(self, _) -> Future[float]:
        done: Future[float] = Future()
        if isinstance(self._speed, Exception):
            done.set_exception(self._speed)
        else:
            done.set_result(self._speed)
        return done


def test_a_peer_that_cannot_is_left_out_and_said(capsys):
    large = Contender(RuntimeError("you tried to allocate 34359738368 bytes"))
    assert bench._measure({"glmkit": Contender(3.0), "eager": large, "grouped": Contender(2.0)}) == {
        "glmkit": 3.0,
        "grouped": 2.0,
    }
    assert "eager failed and is left out: you tried to allocate 34359738368 bytes" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="allocate"):
        bench._measure({"glmkit": large})
