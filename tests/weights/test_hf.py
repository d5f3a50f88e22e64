"""Checkpoints of the released layout: read, written back to the same bytes, and refused when anything is off."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.errors import CheckpointError, ConfigError, RequestError
from glmkit.weights import load_hf, save_hf
from glmkit.weights.safetensors import CheckpointFiles
from golden.cases import CASES, tensor_shapes, write_checkpoint
from weights.samples import EXPERT, ROUND_TRIPS, SAMPLE, assert_same, stored, write


def values(model):
    return [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(model)]


@pytest.mark.parametrize("stacked", [False, True], ids=["list", "stacked"])
@pytest.mark.parametrize("case", ROUND_TRIPS.values(), ids=list(ROUND_TRIPS))
def test_what_was_read_is_written_back_bit_for_bit(tmp_path, case, stacked):
    tensors = write_checkpoint(tmp_path / "in", case)
    save_hf(load_hf(tmp_path / "in", stacked=stacked), tmp_path / "out")
    assert_same(stored(tmp_path / "out"), tensors)
    assert json.loads((tmp_path / "out/config.json").read_text()) == case.config


def test_a_model_held_in_bfloat16_is_written_back_bit_for_bit(tmp_path):
    tensors = write_checkpoint(tmp_path / "in", SAMPLE)
    save_hf(load_hf(tmp_path / "in", dtype=jnp.bfloat16), tmp_path / "out")
    assert_same(stored(tmp_path / "out"), tensors)


def test_a_model_stacked_later_is_written_as_one_stacked_when_loaded(tmp_path):
    tensors = write_checkpoint(tmp_path / "in", SAMPLE)
    model = load_hf(tmp_path / "in")
    save_hf(model.stacked(), tmp_path / "stacked")
    save_hf(model.stacked().unstacked(), tmp_path / "unstacked")
    assert_same(stored(tmp_path / "stacked"), tensors)
    assert_same(stored(tmp_path / "unstacked"), tensors)


def test_shards_and_their_index(tmp_path):
    tensors = write_checkpoint(tmp_path / "in", SAMPLE)
    save_hf(load_hf(tmp_path / "in"), tmp_path / "shards", max_shard_bytes=8000)
    weight_map = json.loads((tmp_path / "shards/model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(weight_map.values())) > 3
    assert set(weight_map) == set(tensors)
    save_hf(load_hf(tmp_path / "shards"), tmp_path / "single")
    assert_same(stored(tmp_path / "single"), tensors)
    assert not (tmp_path / "single/model.safetensors.index.json").exists()


def test_a_prediction_layer_announced_but_absent_stays_absent(tmp_path, tensors):
    prefix = f"model.layers.{SAMPLE.config['num_hidden_layers']}."
    kept = {name: array for name, array in tensors.items() if not name.startswith(prefix)}
    model = load_hf(write(tmp_path / "in", kept))
    assert model.mtp is None
    save_hf(model, tmp_path / "out")
    assert_same(stored(tmp_path / "out"), kept)
    assert json.loads((tmp_path / "out/config.json").read_text())["num_nextn_predict_layers"] == 1


def test_files_are_put_beside_and_an_existing_folder_is_kept(tmp_path):
    write_checkpoint(tmp_path / "in", SAMPLE)
    model = load_hf(tmp_path / "in")
    save_hf(model, tmp_path / "out", files={"tokenizer.json": b"{}"})
    assert (tmp_path / "out/tokenizer.json").read_bytes() == b"{}"
    with pytest.raises(CheckpointError, match="exists; choose another name or pass overwrite=True"):
        save_hf(model, tmp_path / "out")
    save_hf(model, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out/tokenizer.json").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
def test_files_that_are_written_from_the_model_are_not_to_be_given(tmp_path, name):
    write_checkpoint(tmp_path / "in", SAMPLE)
    with pytest.raises(CheckpointError, match=f"files: {name} is written from the model"):
        save_hf(load_hf(tmp_path / "in"), tmp_path / "out", files={name: b"{}"})
    assert not (tmp_path / "out").exists()


def test_some_layers_only_and_no_export_of_them(tmp_path):
    write_checkpoint(tmp_path / "in", SAMPLE)
    whole, part = load_hf(tmp_path / "in"), load_hf(tmp_path / "in", layers=slice(0, 2))
    assert part.truncated
    assert part.mtp is None
    assert part.layer_numbers == (0, 1)
    for block, same in zip(part.blocks, whole.blocks, strict=False):
        for a, b in zip(values(block), values(same), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(CheckpointError, match=r"holds only layers \[0, 1\] of 3"):
        save_hf(part, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="expected a slice that names some of the 3 layers"):
        load_hf(tmp_path / "in", layers=slice(3, 9))


def test_a_missing_tensor_is_named(tmp_path, tensors):
    del tensors[EXPERT]
    with pytest.raises(CheckpointError, match=f"{EXPERT} is missing from the checkpoint"):
        load_hf(write(tmp_path / "in", tensors))


def test_a_superfluous_tensor_is_named(tmp_path, tensors):
    tensors["model.layers.1.mlp.experts.4.up_proj.weight"] = tensors[EXPERT].copy()
    with pytest.raises(CheckpointError, match=r"experts\.4\.up_proj\.weight is in the checkpoint and not part of"):
        load_hf(write(tmp_path / "in", tensors))


def test_a_misnamed_tensor_is_named(tmp_path, tensors):
    tensors["transformer.norm.weight"] = tensors.pop("model.norm.weight")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is missing"):
        load_hf(write(tmp_path / "in", tensors))


def test_a_misshapen_tensor_is_named_with_both_shapes(tmp_path, tensors):
    tensors[EXPERT] = tensors[EXPERT].T.copy()
    with pytest.raises(CheckpointError, match=rf"{EXPERT} has shape \[16, 8\]; expected \[8, 16\]"):
        load_hf(write(tmp_path / "in", tensors))


def test_a_tensor_of_integers_is_refused(tmp_path, tensors):
    tensors[EXPERT] = np.zeros(tensors[EXPERT].shape, np.int8)
    with pytest.raises(CheckpointError, match=f"{EXPERT} has dtype I8; expected one of BF16"):
        load_hf(write(tmp_path / "in", tensors))


def test_a_prediction_layer_that_is_not_whole_is_refused(tmp_path, tensors):
    del tensors["model.layers.3.eh_proj.weight"]
    with pytest.raises(CheckpointError, match=r"model\.layers\.3\.eh_proj\.weight is missing"):
        load_hf(write(tmp_path / "in", tensors))


def test_a_truncated_file_is_named(tmp_path, tensors):
    file = write(tmp_path / "in", tensors) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
        load_hf(tmp_path / "in")


def test_an_index_that_names_an_absent_file(tmp_path):
    write_checkpoint(tmp_path / "in", SAMPLE)
    save_hf(load_hf(tmp_path / "in"), tmp_path / "shards", max_shard_bytes=8000)
    next((tmp_path / "shards").glob("model-00002-of-*")).unlink()
    with pytest.raises(
        CheckpointError, match=r"model-00002-of-\d+\.safetensors is missing, though .*index.json names it"
    ):
        load_hf(tmp_path / "shards")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_found_when_asked(tmp_path, tensors, value):
    tensors[EXPERT][3, 5] = value
    folder = write(tmp_path / "in", tensors)
    load_hf(folder)
    with pytest.raises(CheckpointError, match=f"{EXPERT} holds NaN or infinite values"):
        load_hf(folder, check_finite=True)


def test_another_format_is_refused_by_name_though_there_is_no_config(tmp_path):
    (tmp_path / "glm-q4.gguf").write_bytes(b"GGUF")
    for path in (tmp_path, tmp_path / "glm-q4.gguf"):
        with pytest.raises(CheckpointError, match=r"glm-q4\.gguf is a GGUF file, which glmkit does not read"):
            load_hf(path)


def test_another_model_type_is_refused_before_its_weights_are_looked_at(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SAMPLE.config | {"model_type": "llama"}))
    with pytest.raises(ConfigError, match="llama"):
        load_hf(tmp_path)


def test_the_golden_cases_name_every_layer_of_a_deep_model(tmp_path):
    """Layer 10 comes after layer 9 in a stack, though not in the alphabet."""
    tensors = write_checkpoint(tmp_path / "in", CASES["many_layers"])
    model = load_hf(tmp_path / "in", stacked=True)
    scale = model.blocks[1].attention_norm.scale.get_value()
    expected = [tensors[f"model.layers.{i}.input_layernorm.weight"] for i in range(1, 46)]
    np.testing.assert_array_equal(scale, expected)


def test_saving_leaves_no_copy_of_the_model_behind(tmp_path):
    """JAX keeps the host's copy of an array that lies on several devices; nobody else would ever use it."""
    script = """
import sys, jax
from glmkit.parallel import mesh
from glmkit.weights import load_hf, save_hf
model = load_hf(sys.argv[1], mesh(expert=2))
save_hf(model, sys.argv[2])
print(sum(leaf._npy_value is not None for leaf in jax.tree.leaves(model)))
"""
    tensors = write_checkpoint(tmp_path / "in", SAMPLE)
    assert in_subprocess(script, tmp_path / "in", tmp_path / "out", devices=2) == "0"
    assert_same(stored(tmp_path / "out"), tensors)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_loading_takes_the_memory_of_the_model_and_of_one_tensor(tmp_path):
    """JAX adopts the buffers that tensors were read into, so that nothing is there twice.

    The allowance above the model's own bytes: the largest tensor, 16 MiB, read before it is copied to its place, and
    24 MiB for programs, threads and what the allocator holds back. A second copy of all would be 200 MiB, of the
    experts of one layer 64 MiB.
    """
    changes = {"vocab_size": 8192, "hidden_size": 512, "num_attention_heads": 4, "head_dim": 64, "num_hidden_layers": 4}
    changes |= {"moe_intermediate_size": 512, "intermediate_size": 1024, "n_routed_experts": 24}
    config = SAMPLE.config | changes
    write(tmp_path / "in", {name: np.ones(shape, np.float32) for name, shape in tensor_shapes(config)}, config)
    write_checkpoint(tmp_path / "small", SAMPLE)
    script = """
import sys, jax
from glmkit.weights import load_hf

def status(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field + ":"))

load_hf(sys.argv[2])  # imports, starts the device
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = status("VmRSS")
model = load_hf(sys.argv[1], stacked=sys.argv[3] == "stacked")
print(sum(leaf.nbytes for leaf in jax.tree.leaves(model)), status("VmHWM") - before)
"""
    for form in ("list", "stacked"):
        model_bytes, grown = map(int, in_subprocess(script, tmp_path / "in", tmp_path / "small", form).split())
        assert model_bytes > 200 * 2**20
        assert 0.9 * model_bytes < grown < model_bytes + 40 * 2**20


def in_subprocess(script, *arguments, devices=1):
    """What a Python script prints, run on so many virtual devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": ":".join(sys.path)},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"max_shard_bytes": 0}, RequestError, "max_shard_bytes is 0; expected an integer of at least 1"),
        ({"max_shard_bytes": "5GB"}, RequestError, "max_shard_bytes is '5GB'"),
        ({"dtype": "foo"}, ConfigError, "dtype is 'foo'; expected one of bfloat16, float16, float32"),
        ({"files": {"../escaped": b""}}, CheckpointError, r"'\.\./escaped' is not the name of a file"),
    ],
)
def test_wrong_options_of_an_export(tmp_path, options, error, told):
    write_checkpoint(tmp_path / "in", SAMPLE)
    model = load_hf(tmp_path / "in")
    with pytest.raises(error, match=told):
        save_hf(model, tmp_path / "out", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_large_tensor_is_read_in_blocks_of_rows(tmp_path, tensors, monkeypatch):
    folder, read, largest = write(tmp_path / "in", tensors), CheckpointFiles.read_slice, 128
    whole = load_hf(folder)
    sizes = {}

    def recorded(files, name, index):
        part = read(files, name, index)
        sizes.setdefault(name, []).append(part.nbytes)
        return part

    monkeypatch.setattr("glmkit.weights.hf._LARGEST_READ", largest)
    monkeypatch.setattr(CheckpointFiles, "read_slice", recorded)
    for stacked in (False, True):
        blocks = jax.tree.leaves(load_hf(folder, stacked=stacked))
        expected = jax.tree.leaves(whole.stacked() if stacked else whole)
        for one, other in zip(blocks, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    for name in ("model.embed_tokens.weight", "lm_head.weight", EXPERT, "model.layers.0.mlp.down_proj.weight"):
        assert len(sizes[name]) > 1
        assert max(sizes[name]) <= largest
