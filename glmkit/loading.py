"""`load`: from a name to an LM. Also what lies beside the weights in a checkpoint folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax

from glmkit.config import GLMConfig
from glmkit.generation_config import GenerationConfig
from glmkit.resources import cache_dir as glmkit_cache
from glmkit.resources import data_path
from glmkit.text import GLM45_CHAT_TEMPLATE, Tokenizer
from glmkit.weights import load_hf
from glmkit.weights.hub import resolve

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from jaxtyping import DTypeLike

    from glmkit.lm import LM

BUNDLED = MappingProxyType({"nano": "checkpoints/glm-nano"})
HUB_IDS = MappingProxyType(
    {
        "glm-4.5": "zai-org/GLM-4.5",
        "glm-4.5-base": "zai-org/GLM-4.5-Base",
        "glm-4.5-air": "zai-org/GLM-4.5-Air",
        "glm-4.5-air-base": "zai-org/GLM-4.5-Air-Base",
        "glm-4.6": "zai-org/GLM-4.6",
    }
)


def load(
    name: str | os.PathLike[str],
    *,
    mesh: Mesh | None = None,
    dtype: DTypeLike | None = None,
    max_len: int | None = None,
    layers: slice | None = None,
    fsdp: bool = False,
    check_finite: bool = False,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> LM:
    """Load a bundled name ("nano"), a released model's name, a folder in the released or the Orbax layout, or a Hub id.

    `dtype` defaults to bfloat16 on accelerators and float32 on CPU; `max_len`, the context to allocate for, to the
    model's own. Before a byte is read, what is needed per device is compared with what is free. Compiled programs are
    kept in glmkit's cache folder unless JAX has been given another (or GLMKIT_COMPILATION_CACHE=0 is set).
    Raises `CheckpointError`, `HubError`, `ConfigError`, `TokenizerError` or `MemoryPlanError`, each naming the cause.
    """
    from glmkit.lm import LM
    from glmkit.parallel.planner import require_fit
    from glmkit.weights.orbax import is_orbax, restore

    _keep_compiled_programs()
    folder = resolve_source(name, revision=revision, cache_dir=cache_dir, download=download)
    tokenizer = Tokenizer.from_folder(folder) if (folder / "tokenizer.json").exists() else None
    if is_orbax(folder):
        model = restore(folder, mesh=mesh, dtype=dtype, fsdp=fsdp)
    else:
        require_fit(GLMConfig.from_hf(folder), mesh=mesh, dtype=dtype, max_len=max_len, layers=layers, fsdp=fsdp)
        model = load_hf(folder, mesh, dtype, fsdp=fsdp, layers=layers, check_finite=check_finite)
    generation = GenerationConfig.from_hf(folder, model.config)
    return LM(model, tokenizer, generation=generation, max_len=max_len, name=os.fspath(name))


def resolve_source(name: str | os.PathLike[str], **hub: Any) -> Path:
    """The folder a name stands for: bundled, a released model's (by its Hub id), or as `glmkit.weights.hub.resolve`."""
    text = os.fspath(name)
    if text in BUNDLED and not Path(text).exists():
        return data_path(BUNDLED[text])
    return resolve(HUB_IDS.get(text, name), **hub)


def bundle_files(lm: LM) -> Mapping[str, bytes]:
    """What a saved checkpoint carries beside weights and config: tokenizer, template, generation settings, card."""
    files = dict(lm.tokenizer.files)
    files.setdefault("chat_template.jinja", GLM45_CHAT_TEMPLATE.encode())
    files["generation_config.json"] = (json.dumps(lm.generation.to_hf(), indent=2) + "\n").encode()
    files.setdefault("README.md", _card(lm).encode())
    return files


def _card(lm: LM) -> str:
    config = lm.config
    return (
        "---\nlibrary_name: glmkit\n---\n"
        f"# {Path(lm.name).name}\n\n"
        f"A GLM-4.5-shaped mixture of experts in the released layout: {config.num_hidden_layers} layers, "
        f"{config.n_routed_experts} routed experts with {config.num_experts_per_tok} active, "
        f"{config.num_parameters('own' if lm.model.mtp and lm.model.mtp.embed else None):,} parameters. "
        f"Written by glmkit from `{lm.name}`; its licence is that of the weights it came from.\n"
    )


def _keep_compiled_programs() -> None:
    """Point JAX's persistent compilation cache at glmkit's folder, unless the user has pointed it elsewhere."""
    if jax.config.jax_compilation_cache_dir is None and os.environ.get("GLMKIT_COMPILATION_CACHE") != "0":
        jax.config.update("jax_compilation_cache_dir", str(glmkit_cache() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
