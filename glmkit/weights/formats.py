"""The weight formats glmkit does not read, recognised by file and tensor names and refused with the way to go."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from glmkit.errors import CheckpointError

_RELEASE = "the released bfloat16 safetensors (for example zai-org/GLM-4.5-Air)"

_FILES = {
    "*.gguf": ("GGUF", f"Load {_RELEASE}"),
    "*.bin": ("PyTorch pickle", "Write the model again with save_pretrained(..., safe_serialization=True)"),
    "*.pt": ("PyTorch pickle", "Write the model again as safetensors"),
    "*.pth": ("PyTorch pickle", "Write the model again as safetensors"),
}
# Tensors that only a quantised checkpoint holds; the first ending that occurs names the method.
_TENSORS = {
    ".g_idx": "GPTQ",
    ".qweight": "AWQ or GPTQ",
    ".weight_packed": "compressed-tensors",
    ".weight_scale": "compressed-tensors FP8",
    ".weight_scale_inv": "block-wise FP8",
}


def refuse_other_formats(path: Path) -> None:
    """Raise CheckpointError when `path`, a file or a folder without safetensors, holds a format known by name."""
    candidates = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    for pattern, (kind, advice) in _FILES.items():
        found = next((file for file in candidates if Path(file.name.lower()).match(pattern)), None)
        if found is not None:
            raise CheckpointError(f"{found} is a {kind} file, which glmkit does not read. {advice}")


def refuse_quantized_tensors(folder: Path, names: Iterable[str]) -> None:
    """Raise CheckpointError when a tensor name says that the weights are already quantised."""
    names = list(names)
    for ending, method in _TENSORS.items():
        found = next((name for name in names if name.endswith(ending)), None)
        if found is not None:
            raise CheckpointError(
                f"{folder} holds {found}: weights already quantised ({method}), which glmkit does not read. "
                f"Load {_RELEASE}"
            )
