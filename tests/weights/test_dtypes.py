"""The dtypes of weights: as stored, as held, as written back, and where a value does not fit into one."""

import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from glmkit.errors import CheckpointError, ConfigError
from glmkit.weights import load_hf, save_hf
from glmkit.weights.hf import stored_dtype
from golden.cases import Case, Routing, write_checkpoint
from weights.samples import BIAS, EXPERT, FULL, GATE, SAMPLE, SMALL, assert_same, stored, write


def test_dtypes_that_are_unusual_for_the_layout_are_kept(tmp_path, tensors):
    tensors[BIAS] = tensors[BIAS].astype(ml_dtypes.bfloat16)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.float32)
    tensors["lm_head.weight"] = tensors["lm_head.weight"].astype(np.float16)
    save_hf(load_hf(write(tmp_path / "in", tensors)), tmp_path / "out")
    assert_same(stored(tmp_path / "out"), tensors)


def test_one_parameter_of_tensors_in_several_dtypes_loses_nothing(tmp_path, tensors):
    tensors[EXPERT] = np.float32(1) + np.arange(tensors[EXPERT].size, dtype=np.float32).reshape(8, 16) / 2**20
    save_hf(load_hf(write(tmp_path / "in", tensors)), tmp_path / "out")
    written = stored(tmp_path / "out")
    assert_same({EXPERT: written[EXPERT]}, {EXPERT: tensors[EXPERT]})
    other = EXPERT.replace("experts.2", "experts.1")
    np.testing.assert_array_equal(written[other], tensors[other].astype(np.float32))


@pytest.mark.parametrize(
    ("held", "dtype"), [("float32", jnp.float32), ("bfloat16", jnp.bfloat16), ("float16", jnp.float16)]
)
def test_weights_are_held_in_the_dtype_asked_for_and_the_correction_bias_in_float32(tmp_path, held, dtype):
    case = Case(SMALL | FULL, routing=Routing(bias_mean=6.9))
    tensors = write_checkpoint(tmp_path / "in", case)
    model = load_hf(tmp_path / "in", dtype=dtype)
    router = model.blocks[1].mlp.router
    np.testing.assert_array_equal(router.bias.get_value(), tensors[BIAS])
    assert router.bias.dtype == jnp.float32
    assert str(router.kernel.dtype) == held
    np.testing.assert_array_equal(router.kernel.get_value(), tensors[GATE].T.astype(dtype))


def test_saving_in_another_dtype_says_so_in_the_config(tmp_path):
    tensors = write_checkpoint(tmp_path / "in", Case(SMALL, mtp="own"))
    save_hf(load_hf(tmp_path / "in"), tmp_path / "out", dtype=jnp.bfloat16)
    narrow = {
        name: array if name.endswith("_bias") else array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()
    }
    assert_same(stored(tmp_path / "out"), narrow)
    assert json.loads((tmp_path / "out/config.json").read_text())["torch_dtype"] == "bfloat16"


def test_a_dtype_asked_for_wins_over_an_unusual_one_read(tmp_path, tensors):
    tensors["lm_head.weight"] = tensors["lm_head.weight"].astype(np.float32)
    save_hf(load_hf(write(tmp_path / "in", tensors)), tmp_path / "out", dtype="bfloat16")
    assert stored(tmp_path / "out")["lm_head.weight"].dtype == ml_dtypes.bfloat16


def test_a_dtype_that_no_config_can_state_is_refused(tmp_path):
    write_checkpoint(tmp_path / "in", SAMPLE)
    with pytest.raises(ConfigError, match=r"dtype is .*int8.*; expected one of bfloat16"):
        save_hf(load_hf(tmp_path / "in"), tmp_path / "out", dtype=jnp.int8)
    assert not (tmp_path / "out").exists()


def test_the_stored_dtype_holds_every_weight(tmp_path, tensors):
    assert stored_dtype(write(tmp_path / "in", tensors)) == ml_dtypes.bfloat16  # the bias in float32 aside
    tensors[GATE] = tensors[GATE].astype(np.float32)
    assert stored_dtype(write(tmp_path / "wide", tensors)) == np.float32


def test_a_model_says_which_tensors_were_stored_otherwise_than_its_config_has_it(tmp_path, tensors):
    assert load_hf(write(tmp_path / "usual", tensors)).stored_dtypes == ()
    tensors["lm_head.weight"] = tensors["lm_head.weight"].astype(np.float32)
    assert load_hf(write(tmp_path / "head", tensors)).stored_dtypes == (("lm_head.weight", "F32"),)
    wide = {name: array.astype(np.float32) for name, array in tensors.items()}
    assert load_hf(write(tmp_path / "wide", wide)).stored_dtypes == (("", "F32"),)


@pytest.mark.parametrize("stacked", [False, True], ids=["list", "stacked"])
def test_tensors_of_one_parameter_keep_each_its_own_dtype(tmp_path, tensors, stacked):
    for name in list(tensors)[::3]:
        tensors[name] = tensors[name].astype(np.float32)
    model = load_hf(write(tmp_path / "in", tensors))
    save_hf(model.stacked() if stacked else model, tmp_path / "out")
    assert_same(stored(tmp_path / "out"), tensors)


def test_a_value_beyond_the_range_of_the_dtype_is_refused_both_ways(tmp_path, tensors):
    tensors[GATE][0, 0] = 1e6
    model = load_hf(write(tmp_path / "in", tensors))
    told = r"layers\.1\.mlp\.gate\.weight has values up to 9\.994e\+05, beyond float16, which ends at 6\.55e\+04"
    with pytest.raises(CheckpointError, match=told):
        save_hf(model, tmp_path / "out", dtype=jnp.float16)
    with pytest.raises(CheckpointError, match=told):
        load_hf(tmp_path / "in", dtype=jnp.float16)
    assert not (tmp_path / "out").exists()
