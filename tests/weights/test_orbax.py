"""Orbax folders: the same model back, in any dtype, and a clear word on a folder that is none or is damaged."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit import load
from glmkit.errors import CheckpointError, ConfigError
from glmkit.weights import load_hf, restore, save, save_hf
from glmkit.weights.orbax import MANIFEST, is_orbax
from golden.cases import CASES, write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint in the released layout, in bfloat16 and with a prediction layer; not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, CASES["air"])
    return folder


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_hf(checkpoint)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """The model as `save` writes it; not to be changed."""
    folder = tmp_path_factory.mktemp("orbax") / "air"
    save(model, folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def assert_same(model, expected):
    """The same structure, with every declaration, and the same bits."""
    assert jax.tree.structure(model) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(model), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.sharding == theirs.sharding
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def test_the_same_model_comes_back(saved, model):
    assert is_orbax(saved)
    assert_same(restore(saved), model)


def test_a_stacked_model_in_bfloat16_comes_back_as_such(tmp_path, checkpoint):
    model = load_hf(checkpoint, dtype=jnp.bfloat16, stacked=True)
    save(model, tmp_path / "out")
    assert_same(restore(tmp_path / "out"), model)


def test_a_path_that_orbax_cannot_write_to_is_refused(tmp_path, model):
    with pytest.raises(CheckpointError, match="is not UTF-8, all that Orbax writes to"):
        save(model, tmp_path / "x\udcff")


def test_a_truncated_model_is_refused(tmp_path, checkpoint):
    with pytest.raises(CheckpointError, match=r"only layers \[1, 2\] of 3; it is for study and cannot be exported"):
        save(load_hf(checkpoint, layers=slice(1, 3)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_are_converted_and_the_correction_bias_stays_in_float32(saved, model):
    router, expected = restore(saved, dtype=jnp.bfloat16).blocks[1].mlp.router, model.blocks[1].mlp.router
    assert router.kernel.dtype == jnp.bfloat16
    np.testing.assert_array_equal(router.kernel.get_value(), expected.kernel.get_value().astype(jnp.bfloat16))
    assert router.bias.dtype == jnp.float32
    np.testing.assert_array_equal(router.bias.get_value(), expected.bias.get_value())


def test_the_released_layout_survives_the_way_through_orbax(tmp_path, checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    model = load_hf(checkpoint, dtype=jnp.bfloat16)
    save(model, tmp_path / "orbax")
    save_hf(restore(tmp_path / "orbax"), tmp_path / "through")
    save_hf(model, tmp_path / "direct")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "through" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes()
    assert json.loads((tmp_path / "through/config.json").read_text()) == config


def test_a_dtype_that_was_unusual_in_the_checkpoint_is_remembered(tmp_path):
    write_checkpoint(tmp_path / "in", CASES["air"])
    config = json.loads((tmp_path / "in/config.json").read_text()) | {"torch_dtype": "float32"}
    (tmp_path / "in/config.json").write_text(json.dumps(config))  # the tensors are in bfloat16
    save(load_hf(tmp_path / "in"), tmp_path / "orbax")
    save_hf(restore(tmp_path / "orbax"), tmp_path / "through")
    save_hf(load_hf(tmp_path / "in"), tmp_path / "direct")
    assert (tmp_path / "through/model.safetensors").read_bytes() == (tmp_path / "direct/model.safetensors").read_bytes()


def test_files_lie_beside_and_an_existing_folder_is_kept(tmp_path, saved, model):
    with pytest.raises(CheckpointError, match="exists; choose another name or pass overwrite=True"):
        save(model, saved)
    save(model, tmp_path / "out", files={"tokenizer.json": b"{}"})
    assert (tmp_path / "out/tokenizer.json").read_bytes() == b"{}"
    save(model, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out/tokenizer.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_something_else(tmp_path):
    assert not is_orbax(tmp_path)
    with pytest.raises(CheckpointError, match=rf"was not written by glmkit\.save: it holds no {MANIFEST}"):
        restore(tmp_path)
    with pytest.raises(CheckpointError, match=r"was not written by glmkit\.save"):
        restore(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is corrupt"),
        ("[]", "is not of version 2"),
        ('{"version": 99}', "is not of version 2"),
        ('{"version": 2}', "is corrupt: KeyError"),
    ],
)
def test_an_unreadable_manifest(copy, content, told):
    (copy / MANIFEST).write_text(content)
    with pytest.raises(CheckpointError, match=rf"glmkit\.json {told}"):
        restore(copy)


def test_a_manifest_whose_config_calls_for_other_arrays(copy):
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["config"]["vocab_size"] += 1
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"calls for embed of shape \[97, 48\], .* holds of shape \[96, 48\]"):
        restore(copy)


# Orbax abandons its other reads when one fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["all arrays gone", "an array gone", "no data", "data cut short"])
def test_damaged_arrays(copy, damage):
    files = [file for file in copy.rglob("d/*") if file.is_file()]
    if damage == "all arrays gone":
        shutil.rmtree(copy / "arrays")
    elif damage == "an array gone":
        (copy / "arrays/manifest.ocdbt").unlink()
    elif damage == "no data":
        for file in files:
            file.unlink()
    else:
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="arrays is damaged"):
        restore(copy)


def test_load_takes_an_orbax_folder(saved, model):
    with load(saved, max_len=64) as lm:
        assert_same(lm.model, model)
    with pytest.raises(CheckpointError, match=r"layers=.* Orbax folder and read whole"):
        load(saved, layers=slice(0, 1))
    with pytest.raises(ConfigError, match="max_len is 200000; expected 1 to 131072"):
        load(saved, max_len=200_000)


def test_values_that_are_not_finite_are_found_when_asked(model, tmp_path):
    broken = jax.tree.map(lambda leaf: leaf, model)
    broken.norm.scale.set_value(broken.norm.scale.get_value().at[0].set(jnp.nan))
    save(broken, tmp_path / "out")
    restore(tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"norm\.scale in .* holds NaN or infinite values"):
        restore(tmp_path / "out", check_finite=True)
