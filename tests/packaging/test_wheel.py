"""The wheel alone, in a new environment, used from a folder that is not the repository."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, REPOSITORY])
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A new environment with the wheel in it. What glmkit depends on is lent by the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin/python"
    run([sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps", "--no-index", wheel])
    (site_packages,) = folder.glob("lib/python*/site-packages")
    # A path named in a .pth file is searched for packages, but its own .pth files, the editable install, are not read.
    (site_packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return folder


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: list) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=inherited, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_carries_the_model_the_notebooks_and_the_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder, suffixes in {"checkpoints/glm-nano": [""], "notebooks": [".py", ".ipynb"]}.items():
        files = [path for path in (REPOSITORY / folder).iterdir() if path.is_file()]
        expected = {f"glmkit/_data/{folder}/{path.name}" for path in files if path.name.endswith(tuple(suffixes))}
        assert expected
        assert {name for name in names if name.startswith(f"glmkit/_data/{folder}/")} == expected
    assert "glmkit/py.typed" in names
    assert {name.rpartition("/")[2] for name in names if ".dist-info/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"glmkit"}


def test_the_bundled_model_answers(environment, elsewhere):
    code = """
import glmkit as gk, json
lm = gk.load("nano")
done = lm.chat("What is 27 + 58?", thinking="forced", temperature=0)
print(json.dumps({"file": gk.__file__, "content": done.content, "reasoning": done.reasoning}))
"""
    told = json.loads(run([environment / "bin/python", "-c", code]))
    assert Path(told["file"]).is_relative_to(environment)
    assert "85" in told["content"]
    assert told["reasoning"]


def test_glmkit_chat_prints_one_json_object(environment, elsewhere):
    command = [environment / "bin/glmkit", "chat", "What is 27 + 58?", "--model", "nano", "--thinking", "disabled"]
    told = json.loads(run([*command, "--temperature", "0", "--json"]))
    assert {"content", "reasoning", "tool_calls", "usage", "timing"} <= set(told)
    assert told["content"]
    assert not told["reasoning"]


def test_glmkit_lab_copies_the_notebooks(environment, elsewhere):
    run([environment / "bin/glmkit", "lab", "--copy-only", "nb"])
    bundled = {path.name: path.read_bytes() for path in (REPOSITORY / "notebooks").iterdir() if path.is_file()}
    assert {path.name: path.read_bytes() for path in (elsewhere / "nb").iterdir()} == bundled


def test_glmkit_doctor_runs(environment, elsewhere):
    told = json.loads(run([environment / "bin/glmkit", "doctor", "--json"]))
    assert told["versions"]["glmkit"]
    assert told["devices"]
