"""Writing: the format's own library reads back what was written, the same bytes in whatever order it came."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from glmkit.errors import CheckpointError
from glmkit.weights.safetensors import INDEX_FILE, SINGLE_FILE, CheckpointFiles, dtype_name
from glmkit.weights.shards import ShardWriter, TensorSpec, plan_shards

RANDOM = np.random.default_rng(0)
TENSORS = {
    "layers.0.weight": RANDOM.standard_normal((8, 5)).astype(ml_dtypes.bfloat16),
    "layers.0.bias": RANDOM.standard_normal(3).astype(ml_dtypes.bfloat16),
    "layers.0.correction": RANDOM.standard_normal(3).astype(np.float32),
    "layers.1.weight": RANDOM.standard_normal((8, 5)).astype(ml_dtypes.bfloat16),
    "scale": np.array(2.0, np.float32),
}
SPECS = [TensorSpec(name, dtype_name(tensor.dtype), tensor.shape) for name, tensor in TENSORS.items()]


def write(folder, max_shard_bytes, order=tuple(TENSORS)):
    folder.mkdir()
    plan = plan_shards(SPECS, max_shard_bytes)
    with ShardWriter(folder, plan) as writer:
        for name in order:
            writer.write(name, TENSORS[name])
    assert {shard.file.name: shard.nbytes for shard in plan} == {
        path.name: path.stat().st_size for path in folder.glob("*.safetensors")
    }
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("max_shard_bytes", "shards"), [(10**9, 1), (100, 2), (1, 5)])
def test_the_formats_own_library_reads_what_was_written(max_shard_bytes, shards, tmp_path):
    written = write(tmp_path / "out", max_shard_bytes)
    read = {}
    for name in written:
        if name != INDEX_FILE:
            read.update(load_file(tmp_path / "out" / name))
            with safe_open(tmp_path / "out" / name, "numpy") as file:
                assert file.metadata() == {"format": "pt"}
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        assert read[name].tobytes() == tensor.tobytes()
    if shards == 1:
        assert set(written) == {SINGLE_FILE}
    else:
        index = json.loads(written[INDEX_FILE])
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in TENSORS.values())
        expected = {f"model-{i:05}-of-{shards:05}.safetensors" for i in range(1, shards + 1)}
        assert set(index["weight_map"].values()) == expected == set(written) - {INDEX_FILE}


@pytest.mark.parametrize("max_shard_bytes", [10**9, 100])
def test_the_bytes_do_not_depend_on_the_order_of_writing(max_shard_bytes, tmp_path):
    forward = write(tmp_path / "forward", max_shard_bytes)
    backward = write(tmp_path / "backward", max_shard_bytes, order=tuple(reversed(TENSORS)))
    assert forward == backward


def test_read_and_written_again_the_files_are_the_same(tmp_path):
    first = write(tmp_path / "first", 100)
    (tmp_path / "again").mkdir()
    with (
        CheckpointFiles.open(tmp_path / "first") as files,
        ShardWriter(tmp_path / "again", plan_shards(SPECS, 100)) as writer,
    ):
        for name in files.tensors:
            writer.write(name, files.read(name))
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first


def test_shards_hold_at_most_the_given_bytes_and_every_tensor_is_aligned():
    specs = [TensorSpec(f"t{i}", ["BF16", "F32", "I64"][i % 3], (i % 7 + 1,)) for i in range(50)]
    plan = plan_shards(specs, max_shard_bytes=64)
    assert all(sum(entry.nbytes for entry in shard.tensors) <= 64 for shard in plan)
    for shard in plan:
        assert all(entry.offset % {"BF16": 2, "F32": 4, "I64": 8}[entry.dtype] == 0 for entry in shard.tensors)
    assert sorted(entry.name for shard in plan for entry in shard.tensors) == sorted(spec.name for spec in specs)


def test_a_tensor_that_is_not_contiguous_is_written_in_c_order(tmp_path):
    tensor = np.arange(6, dtype=np.float32).reshape(2, 3).T
    with ShardWriter(tmp_path, plan_shards([TensorSpec("x", "F32", (3, 2))])) as writer:
        writer.write("x", tensor)
    np.testing.assert_array_equal(load_file(tmp_path / SINGLE_FILE)["x"], tensor)


def test_what_was_not_planned_is_refused(tmp_path):
    writer = ShardWriter(tmp_path, plan_shards(SPECS))
    with pytest.raises(CheckpointError, match="lm_head is not among the tensors"):
        writer.write("lm_head", np.zeros(2, np.float32))
    with pytest.raises(CheckpointError, match=r"scale is F32 \[1\]; planned was F32 \[\]"):
        writer.write("scale", np.zeros(1, np.float32))
    with pytest.raises(CheckpointError, match=r"scale is BF16 \[\]; planned was F32 \[\]"):
        writer.write("scale", np.zeros((), ml_dtypes.bfloat16))
    with pytest.raises(CheckpointError, match="complex64 cannot be stored"):
        writer.write("scale", np.zeros((), np.complex64))
    writer.write("scale", TENSORS["scale"])
    with pytest.raises(CheckpointError, match="scale was already written"):
        writer.write("scale", TENSORS["scale"])
    writer.close()
    with pytest.raises(CheckpointError, match=r"4 tensors were not written, the first of them layers\.0\.bias"):
        writer.finish()


def test_a_plan_that_cannot_be_is_refused():
    with pytest.raises(CheckpointError, match="scale is to be written twice"):
        plan_shards([*SPECS, SPECS[-1]])
    with pytest.raises(CheckpointError, match="no tensor to write"):
        plan_shards([])
