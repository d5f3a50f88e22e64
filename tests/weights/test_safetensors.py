"""Reading: what a checkpoint holds is read exactly, and one that is damaged or of another kind is refused by name."""

import json
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from glmkit.errors import CheckpointError
from glmkit.weights.safetensors import DTYPES, INDEX_FILE, SINGLE_FILE, CheckpointFiles

TENSORS = {
    "embed": np.arange(24, dtype=np.float32).reshape(6, 4).astype(ml_dtypes.bfloat16),
    "bias": np.array([0.1, -7.0], np.float32),
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((0, 4), np.float32),
    "ids": np.arange(5, dtype=np.int64),
}
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def sharded(tmp_path):
    """A checkpoint of two shards: embed and bias in the first, the rest in the second."""
    files = {name: FIRST if name in ("embed", "bias") else SECOND for name in TENSORS}
    for file in (FIRST, SECOND):
        save_file({name: TENSORS[name] for name in TENSORS if files[name] == file}, tmp_path / file)
    write_index(tmp_path, files)
    return tmp_path


def write_index(folder, weight_map):
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def read_index(folder):
    return json.loads((folder / INDEX_FILE).read_text())["weight_map"]


def write_raw(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def refusal(folder):
    with pytest.raises(CheckpointError) as raised:
        CheckpointFiles.open(folder)
    return str(raised.value)


def test_tensors_are_read_as_they_were_written(sharded):
    with CheckpointFiles.open(sharded) as files:
        assert set(files.tensors) == set(TENSORS)
        assert files.nbytes == sum(tensor.nbytes for tensor in TENSORS.values())
        for name, tensor in TENSORS.items():
            read = files.read(name)
            assert (read.dtype, read.shape) == (tensor.dtype, tensor.shape)
            assert read.tobytes() == tensor.tobytes()
            assert read.flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_read(dtype, tmp_path):
    tensor = np.array([[0, 1], [1, 0]]).astype(DTYPES[dtype])
    data = tensor.tobytes()
    write_raw(tmp_path / SINGLE_FILE, {"x": {"dtype": dtype, "shape": [2, 2], "data_offsets": [0, len(data)]}}, data)
    with CheckpointFiles.open(tmp_path) as files:
        np.testing.assert_array_equal(files.read("x"), tensor)


def test_slices_hold_their_part_and_no_more(sharded):
    with CheckpointFiles.open(sharded) as files:
        for index in [(slice(2, 5),), (slice(None), slice(1, 3)), (slice(-2, None), slice(0, 1)), (slice(4, 2),)]:
            part = files.read_slice("embed", index)
            np.testing.assert_array_equal(part, TENSORS["embed"][index])
            assert part.base is None or part.base.nbytes <= TENSORS["embed"][index[0]].nbytes
        assert files.read_slice("empty", (slice(None), slice(0, 2))).shape == (0, 2)
        with pytest.raises(CheckpointError, match="embed: cannot read every 2th row"):
            files.read_slice("embed", (slice(None, None, 2),))


def test_threads_may_read_at_once(tmp_path):
    tensors = {f"t{i}": np.full((64, 128), i, np.int32) for i in range(64)}
    save_file(tensors, tmp_path / SINGLE_FILE)
    with CheckpointFiles.open(tmp_path) as files, ThreadPoolExecutor(8) as pool:
        for name, read in zip(tensors, pool.map(files.read, tensors), strict=True):
            np.testing.assert_array_equal(read, tensors[name])


def test_an_unknown_tensor_is_named(sharded):
    with CheckpointFiles.open(sharded) as files, pytest.raises(CheckpointError, match="no tensor lm_head"):
        files.read("lm_head")


def test_an_index_may_name_the_single_file(tmp_path):
    save_file(TENSORS, tmp_path / SINGLE_FILE)
    write_index(tmp_path, dict.fromkeys(TENSORS, SINGLE_FILE))
    with CheckpointFiles.open(tmp_path) as files:
        assert set(files.tensors) == set(TENSORS)


def test_a_shard_that_is_not_there(sharded):
    (sharded / SECOND).unlink()
    assert f"{sharded / SECOND} is missing" in refusal(sharded)


def test_a_tensor_that_no_shard_holds(sharded):
    write_index(sharded, {**read_index(sharded), "lm_head": SECOND})
    assert f"says that lm_head is in {SECOND}, which does not hold it" in refusal(sharded)


def test_a_tensor_in_another_shard_than_the_index_says(sharded):
    write_index(sharded, {**read_index(sharded), "ids": FIRST})
    assert f"says that ids is in {FIRST}; it is in {SECOND}" in refusal(sharded)


def test_a_tensor_that_the_index_does_not_name(sharded):
    write_index(sharded, {name: file for name, file in read_index(sharded).items() if name != "ids"})
    assert f"{sharded / SECOND} holds ids, which" in refusal(sharded)


def test_a_tensor_in_two_shards(sharded):
    save_file({"embed": TENSORS["embed"], "ids": TENSORS["ids"]}, sharded / SECOND)
    assert f"embed is in {sharded / FIRST} and again in {sharded / SECOND}" in refusal(sharded)


def test_two_checkpoints_in_one_folder(sharded):
    save_file(TENSORS, sharded / SINGLE_FILE)
    assert "remove one of them" in refusal(sharded)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"{", "is corrupt: expected JSON with a weight_map"),
        (b"[]", "is corrupt: expected JSON with a weight_map"),
        (b'{"weight_map": {"a": 1}}', "expected weight_map to map tensor names to files"),
        (b'{"weight_map": {"a": "../model.safetensors"}}', "expected files in the same folder"),
        (b'{"weight_map": {"a": ""}}', "expected files in the same folder"),
        (b'{"weight_map": {"a": "b\\u0000c"}}', "expected files in the same folder"),
        (b'{"weight_map": {"a": ".."}}', "cannot be read: Is a directory"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_corrupt_index(index, message, tmp_path):
    (tmp_path / INDEX_FILE).write_bytes(index)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize("cut", [1, 40, -5, -1])
def test_a_truncated_file(cut, sharded):
    path = sharded / SECOND
    path.write_bytes(path.read_bytes()[:cut])
    message = refusal(sharded)
    assert str(path) in message
    assert "fetch the file again" in message


def test_trailing_bytes(sharded):
    path = sharded / SECOND
    path.write_bytes(path.read_bytes() + b"x")
    assert "is longer than its header says" in refusal(sharded)


def test_a_file_cut_short_after_it_was_opened(sharded):
    with CheckpointFiles.open(sharded) as files:
        with (sharded / FIRST).open("r+b") as file:
            file.truncate(files.tensors["embed"].offset + 3)
        with pytest.raises(CheckpointError, match="ends inside embed"):
            files.read("embed")


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"\xff\xfe{}", "corrupt header"),
        (b"{nonsense", "corrupt header"),
        (b"[]", "no JSON object"),
        (b'{"a": {}, "a": {}}', "a described twice"),
        ({"a": 1}, "corrupt header (a is 1)"),
        ({"a": {**F32, "shape": [-2]}}, "corrupt header (a is"),
        ({"a": {**F32, "dtype": ["F32"]}}, "corrupt header (a is"),
        ({"a": {**F32, "dtype": "F4"}}, "a has dtype F4; expected one of BOOL, "),
        ({"a": {**F32, "shape": [3]}}, "a F32 [3] lies at bytes 0 to 8; expected 0 to 12"),
        ({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, "b F32 [2] lies at bytes 4 to 12; expected 8 to 16"),
        ({"a": F32, "b": {**F32, "data_offsets": [12, 20]}}, "b F32 [2] lies at bytes 12 to 20; expected 8 to 16"),
    ],
)
def test_a_corrupt_header(header, message, tmp_path):
    write_raw(tmp_path / SINGLE_FILE, header, bytes(8))
    text = refusal(tmp_path)
    assert message in text
    assert str(tmp_path / SINGLE_FILE) in text


def test_what_is_no_safetensors_file(tmp_path):
    path = tmp_path / SINGLE_FILE
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    assert "is a Git LFS pointer" in refusal(tmp_path)
    path.write_bytes(b"<!DOCTYPE html><html>")
    assert "is no safetensors file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("glm-4.5-air-Q4_K_M.gguf", "GGUF"),
        ("pytorch_model-00001-of-00002.bin", "PyTorch pickle"),
        ("model.pth", "PyTorch pickle"),
    ],
)
def test_other_formats_are_refused_by_name(file, kind, tmp_path):
    (tmp_path / file).write_bytes(b"GGUF")
    assert f"{tmp_path / file} is a {kind} file, which glmkit does not read" in refusal(tmp_path)
    assert f"is a {kind} file" in refusal(tmp_path / file)


@pytest.mark.parametrize(
    ("tensors", "method"),
    [
        (["q_proj.qweight", "q_proj.qzeros", "q_proj.scales", "q_proj.g_idx"], "GPTQ"),
        (["q_proj.qweight", "q_proj.qzeros", "q_proj.scales"], "AWQ or GPTQ"),
        (["q_proj.weight", "q_proj.weight_scale"], "compressed-tensors FP8"),
        (["q_proj.weight_packed"], "compressed-tensors"),
        (["q_proj.weight", "q_proj.weight_scale_inv"], "block-wise FP8"),
    ],
)
def test_quantised_checkpoints_are_refused_by_name(tensors, method, tmp_path):
    save_file({name: np.zeros(2, np.int32) for name in tensors}, tmp_path / SINGLE_FILE)
    message = refusal(tmp_path)
    assert f"weights already quantised ({method})" in message
    assert "released bfloat16" in message


def test_a_folder_without_a_checkpoint(tmp_path):
    assert "is no checkpoint folder" in refusal(tmp_path)
    assert "is no checkpoint folder" in refusal(tmp_path / "nowhere")
