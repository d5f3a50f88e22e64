import importlib.util
import subprocess
import sys

from glmkit import cli, lab


def test_copy_only_brings_every_notebook_in_both_forms(tmp_path, capsys):
    assert cli.main(["lab", "--copy-only", str(tmp_path / "deep/nb")]) == 0
    names = {path.name for path in (tmp_path / "deep/nb").iterdir()}
    assert {"01_first_token.ipynb", "01_first_token.py"} <= names
    assert f"{len(names)} files copied" in capsys.readouterr().out


def test_what_was_changed_is_kept(tmp_path, capsys):
    changed = tmp_path / "01_first_token.py"
    changed.write_text("mine")
    assert cli.main(["lab", "--copy-only", str(tmp_path)]) == 0
    assert changed.read_text() == "mine"
    assert "1 already there, left as they are" in capsys.readouterr().out


def test_a_file_in_the_way_is_one_error(tmp_path, capsys):
    target = tmp_path / "notes"
    target.write_text("")
    assert cli.main(["lab", "--copy-only", str(target)]) == 1
    assert capsys.readouterr().err == f"glmkit: error: {target} is a file; the notebooks need a folder\n"


def test_without_jupyterlab_the_install_command_is_named_and_nothing_is_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab", str(tmp_path / "nb")]) == 1
    assert 'pip install "glmkit[notebook]"' in capsys.readouterr().err
    assert not (tmp_path / "nb").exists()


def test_jupyterlab_is_started_on_the_folder_and_its_exit_code_is_ours(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(lab, "require_jupyterlab", lambda: None)
    monkeypatch.setattr(subprocess, "call", lambda command: started.append(command) or 3)
    assert cli.main(["lab", str(tmp_path)]) == 3
    assert started == [[sys.executable, "-m", "jupyterlab", str(tmp_path)]]
