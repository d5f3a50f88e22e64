import argparse
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from glmkit import cli, loading
from glmkit.engine.answer import Completion, Usage
from glmkit.errors import ConfigError
from glmkit.text import Delta

pytestmark = pytest.mark.smoke


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "glmkit", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
        check=False,
    )


def add_failing(monkeypatch, error: BaseException) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "fail", cli.Command("Fails.", lambda parser: None, fail))


def test_help_lists_every_command():
    done = run_command("--help")
    assert done.returncode == 0
    for name in cli.COMMANDS:
        assert f"    {name} " in done.stdout


def test_wrong_usage_exits_with_2():
    done = run_command("no-such-command")
    assert done.returncode == 2
    assert "no-such-command" in done.stderr


def test_an_error_is_one_line_on_stderr(monkeypatch, capsys):
    add_failing(monkeypatch, ConfigError("hidden_size: expected a positive integer,\n  got 0"))
    assert cli.main(["fail"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "glmkit: error: hidden_size: expected a positive integer, got 0\n")


def test_a_full_disk_is_told_without_a_traceback(monkeypatch, capsys):
    add_failing(monkeypatch, OSError(28, "No space left on device", "out.safetensors"))
    assert cli.main(["fail"]) == 1
    assert capsys.readouterr().err == "glmkit: error: [Errno 28] No space left on device: 'out.safetensors'\n"


def test_a_bug_keeps_its_traceback(monkeypatch):
    add_failing(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["fail"])


def test_ctrl_c_exits_with_130(monkeypatch):
    add_failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(["fail"]) == 130


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["streamed", "object"])
def test_an_answer_that_ctrl_c_ended_is_told_and_exits_with_130(monkeypatch, capsys, flags):
    class Stream:
        completion = Completion("so f", "", (), "interrupted", Usage(1, 2, 0, 0), seed=3, prompt="hi")

        def __iter__(self):
            yield Delta(content="so f")

    monkeypatch.setattr(loading, "load", lambda _: SimpleNamespace(chat=lambda *_, **__: Stream()))
    assert cli.main(["chat", "hi", *flags]) == 130
    assert "so f" in capsys.readouterr().out


def test_a_reader_that_goes_early_is_no_traceback():
    command = f"{sys.executable} -m glmkit doctor | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_a_prompt_that_is_no_text_is_told_in_one_line():
    command = [sys.executable, "-m", "glmkit", "chat", "-", "--max-tokens", "1"]
    env = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, input=b"caf\xe9", capture_output=True, env=env, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"glmkit: error: standard input is not utf-8: 'utf-8' codec can't decode byte 0xe9")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 47.7 GiB"), OSError(5, "Input/output error")])
def test_what_the_system_refuses_is_told_in_one_line(error, monkeypatch, capsys):
    add_failing(monkeypatch, error)
    assert cli.main(["fail"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_character_the_terminal_lacks_is_no_failure(tmp_path):
    done = run_command("chat", "hi", "--model", "nano", "--max-tokens", "1", "--json", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    done = run_command("lab", "--copy-only", str(tmp_path / "nö"), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_device_is_no_checkpoint():
    done = run_command("chat", "hi", "--model", "/dev/null")
    assert done.stderr == "glmkit: error: /dev/null is a file; expected the folder of a checkpoint\n"


def test_a_file_is_no_checkpoint():
    done = run_command("chat", "hi", "--model", __file__)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"glmkit: error: {__file__} is a file; expected the folder of a checkpoint\n"


def test_doctor_tells_versions_devices_and_caches():
    done = run_command("doctor", "--json", JAX_PLATFORMS="cpu", HF_HUB_OFFLINE="1", GLMKIT_CACHE="/nowhere/at/all")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(found["versions"].values())
    assert [device["platform"] for device in found["devices"]] == ["cpu"]
    assert 0 < found["host"]["memory_free"] <= found["host"]["memory_total"]
    assert found["caches"]["glmkit"]["path"] == "/nowhere/at/all"
    assert found["caches"]["glmkit"]["disk_free"] > 0
    assert found["hub"]["offline"] is True


@pytest.mark.parametrize("platform", ["cuda", "abacus"])
def test_doctor_tells_why_no_device_starts(platform):
    done = run_command("doctor", JAX_PLATFORMS=platform)
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if line.startswith("devices"))
    assert platform in line
    assert done.stderr == ""


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_devices_that_do_not_start_are_told_in_one_line(platform):
    done = run_command("chat", "hi", JAX_PLATFORMS=platform)
    assert done.returncode == cli.FAILED
    (line,) = done.stderr.splitlines()
    assert line.startswith("glmkit: error: the devices could not be started: ")
