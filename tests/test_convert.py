"""`glmkit convert`: there and back to the same bytes, the files beside included, and errors in one line."""

import json
import re
import subprocess
import sys

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tiny
from glmkit import cli
from glmkit.weights import restore
from golden.cases import CASES, write_checkpoint

BESIDE = {
    "tokenizer.json": tiny.tokenizer().files["tokenizer.json"],
    "tokenizer_config.json": b'{"model_max_length": 128000}',
    "chat_template.jinja": b"[gMASK]<sop>{{ messages }}",
    "generation_config.json": b'{"temperature": 0.3}',
    "README.md": b"# A card\n",
}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    write_checkpoint(folder, CASES["air"])  # in bfloat16, with a prediction layer
    for name, content in BESIDE.items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("nobody's business")
    return folder


def convert(*arguments) -> int:
    return cli.main(["convert", *map(str, arguments)])


def assert_beside(folder):
    assert {name: (folder / name).read_bytes() for name in BESIDE} == BESIDE
    assert not (folder / "notes.txt").exists()


def test_to_orbax_and_back(source, tmp_path, capsys):
    assert convert(source, tmp_path / "orbax", "--to", "orbax") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'orbax'}\n"
    assert_beside(tmp_path / "orbax")
    assert restore(tmp_path / "orbax").embed.dtype == jnp.bfloat16
    assert convert(tmp_path / "orbax", tmp_path / "back", "--to", "hf") == 0
    assert_beside(tmp_path / "back")
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "back/model.safetensors")
    assert {name: array.tobytes() for name, array in after.items()} == {
        name: array.tobytes() for name, array in before.items()
    }
    assert json.loads((tmp_path / "back/config.json").read_text()) == json.loads((source / "config.json").read_text())


@pytest.mark.parametrize("through", ["hf", "orbax"])
def test_to_another_dtype(source, tmp_path, through):
    assert convert(source, tmp_path / "wide", "--to", through, "--dtype", "float32") == 0
    assert convert(tmp_path / "wide", tmp_path / "out", "--to", "hf") == 0
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    assert before.keys() == after.keys()
    for name, array in after.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, before[name].astype(np.float32))
    assert json.loads((tmp_path / "out/config.json").read_text())["torch_dtype"] == "float32"


def test_what_another_dtype_is_asked_for_stays_asked_through_orbax(source, tmp_path):
    tensors = load_file(source / "model.safetensors")
    save_file({name: array.astype(np.float32) for name, array in tensors.items()}, source / "model.safetensors")
    assert convert(source, tmp_path / "orbax", "--to", "orbax", "--dtype", "bfloat16") == 0
    assert convert(tmp_path / "orbax", tmp_path / "out", "--to", "hf") == 0
    written = load_file(tmp_path / "out/model.safetensors")
    assert {str(array.dtype) for name, array in written.items() if not name.endswith("bias")} == {"bfloat16"}


def test_values_beyond_a_dtype_are_not_made_infinite_by_orbax(source, tmp_path, capsys):
    tensors = load_file(source / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.float32) * 1e6
    save_file(tensors, source / "model.safetensors")
    assert convert(source, tmp_path / "orbax", "--to", "orbax") == 0
    assert convert(tmp_path / "orbax", tmp_path / "out", "--to", "hf", "--dtype", "float16") == 1
    assert "beyond float16" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_without_a_card_get_one(source, tmp_path):
    (source / "README.md").unlink(missing_ok=True)
    assert convert(source, tmp_path / "out", "--to", "hf") == 0
    assert f"Written by glmkit from `{source.name}`" in (tmp_path / "out/README.md").read_text()


def test_weights_wider_than_the_config_says_lose_nothing(source, tmp_path):
    tensors = load_file(source / "model.safetensors")
    name = "model.layers.2.self_attn.o_proj.weight"
    tensors[name] = tensors[name].astype(np.float32) + np.float32(2**-20)
    save_file(tensors, source / "model.safetensors")
    assert convert(source, tmp_path / "out", "--to", "hf") == 0
    written = load_file(tmp_path / "out/model.safetensors")
    np.testing.assert_array_equal(written[name], tensors[name])
    assert written["lm_head.weight"].dtype == ml_dtypes.bfloat16


def test_an_existing_folder_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    assert convert("no/such-model", tmp_path / "out", "--to", "hf") == 1
    assert "out exists; choose another name or pass overwrite=True" in capsys.readouterr().err
    assert (tmp_path / "out/mine").read_text() == "mine"


def test_overwriting_replaces_checkpoints_and_nothing_else(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert convert(source, out, "--to", "hf") == 0
    (out / "mine").write_text("mine")
    assert convert(source, out, "--to", "hf", "--overwrite") == 0
    assert not (out / "mine").exists()
    for other in (out / ".git", tmp_path / "work"):
        other.mkdir()
        (other / "mine").write_text("mine")
        assert convert(source, other if other.name == "work" else out, "--to", "hf", "--overwrite") == 1
        assert "is no checkpoint: it holds " in capsys.readouterr().err
        assert (other / "mine").read_text() == "mine"


def test_a_damaged_source_is_one_line_and_leaves_nothing(source, tmp_path, capsys):
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert convert(source, tmp_path / "out", "--to", "orbax") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("glmkit: error: ")
    assert "model.safetensors is truncated" in error
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_source_that_is_nowhere(tmp_path, capsys):
    assert convert("nowhere-at-all", tmp_path / "out", "--to", "hf") == 1
    assert "there is no folder nowhere-at-all" in capsys.readouterr().err


def test_another_format_is_refused_by_name(tmp_path, capsys):
    (tmp_path / "glm.gguf").write_bytes(b"GGUF")
    assert convert(tmp_path / "glm.gguf", tmp_path / "out", "--to", "hf") == 1
    assert "glm.gguf is a GGUF file" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["hf", "orbax"])
def test_a_disk_that_fills_is_one_line_and_leaves_nothing(layout, tmp_path):
    """Stood in for by a limit on the size of files, of 8 KiB, which raises the same errors as a full disk."""
    write_checkpoint(tmp_path / "source", CASES["air"])
    script = f"ulimit -f 8; {sys.executable} -m glmkit convert source out --to {layout}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[:2] == ["reading source", "writing out"]
    assert len(lines) == 3
    assert re.match(r"glmkit: error: .*out was not written.*nothing is left behind", lines[2])
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
