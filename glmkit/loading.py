"""`load`: from a name to an LM."""

import inspect
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import DTypeLike

from glmkit.bundle import ABOUT, companions
from glmkit.checks import file_exists
from glmkit.engine.compute import DraftHidden
from glmkit.engine.settings import Settings
from glmkit.errors import CheckpointError
from glmkit.generation_config import GenerationConfig
from glmkit.lm import LM
from glmkit.model import GLM
from glmkit.model.defaults import default_dtype
from glmkit.parallel.planner import require_fit
from glmkit.resources import compilation_cache_dir, data_path
from glmkit.text import Tokenizer, template_variant
from glmkit.weights import load_adapter, load_hf, restore
from glmkit.weights.hf import declare_hf
from glmkit.weights.orbax import Manifest, is_orbax
from glmkit.weights.peft import declare_adapter

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
    kv_memory: int | None = None,
    reproducible: bool = False,
    speculative_tokens: int = 0,
    draft_hidden: DraftHidden = "normed",
    layers: slice | None = None,
    adapter: str | os.PathLike[str] | None = None,
    fsdp: bool = False,
    check_finite: bool = False,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> LM:
    """Load a bundled name ("nano"), a released model's name, a folder in the released or the Orbax layout, or a Hub id.

    `dtype` defaults to bfloat16 on accelerators and float32 on CPU; `max_len`, the longest context, to the model's own;
    `kv_memory`, the bytes of each device that keys and values may take, to half of what is free. With `reproducible` a
    request gives the same bits alone, among others and after a cache hit, at the cost of speed; `speculative_tokens`,
    up to 4, are drafted by the multi-token-prediction layer and verified together, which changes no answer but at near
    ties, and takes fewer steps; `draft_hidden` is the state that the layer reads. With `fsdp` weights are spread over
    the mesh's data axis too; `check_finite` refuses NaN and infinite values, which takes a pass over all. `revision` is
    a Hub id's, `cache_dir` where its files are kept; more than 20 GB are fetched only with `download`. `layers` keeps
    only these, for study. `adapter` is the folder or the Hub id of a LoRA adapter in PEFT's layout, put beside the
    weights and not merged into them. Before a byte is read, what is needed per device is compared with what is free.
    Compiled programs are kept in glmkit's cache folder unless JAX has been given another (or GLMKIT_COMPILATION_CACHE=0
    is set). Raises `CheckpointError`, `HubError`, `ConfigError`, `TokenizerError`, `TemplateError`, `MemoryPlanError`
    or, for what the engine cannot be, `RequestError`, each naming the cause.
    """
    _keep_compiled_programs()
    asked = {"dtype": dtype, "max_len": max_len, "layers": layers, "adapter": adapter, "revision": revision}
    folder = resolve_source(name, revision=revision, cache_dir=cache_dir, download=download)
    adapter = None if adapter is None else resolve_adapter(adapter, cache_dir=cache_dir, download=download)
    tokenizer = Tokenizer.from_folder(folder) if file_exists(folder / "tokenizer.json") else None
    dtype = default_dtype(mesh) if dtype is None else dtype
    settings = {
        "kv_memory": kv_memory,
        "reproducible": reproducible,
        "speculative_tokens": speculative_tokens,
        "draft_hidden": draft_hidden,
    }
    layout = {"mesh": mesh, "dtype": dtype, "fsdp": fsdp}
    if is_orbax(folder):
        if layers is not None:
            raise CheckpointError(
                f"layers={layers}: {folder} is an Orbax folder and read whole; convert it to hf first"
            )
        abstract, read = Manifest.read(folder).abstract(mesh, dtype, fsdp), partial(restore, folder, **layout)
    else:
        layout["layers"] = layers
        abstract, read = declare_hf(folder, **layout), partial(load_hf, folder, **layout)
    _check(abstract if adapter is None else declare_adapter(abstract, adapter), tokenizer, max_len, settings)
    generation, about = GenerationConfig.from_hf(folder, abstract.config), companions(folder, ABOUT)
    model = read(check_finite=check_finite)
    if adapter is not None:
        model = load_adapter(model, adapter, check_finite=check_finite)
    loaded = {"name": os.fspath(name)} | _not_default(**asked, **settings)
    return LM(
        model, tokenizer, generation=generation, max_len=max_len, name=os.fspath(name), about=about, loaded=loaded,
        **settings,
    )  # fmt: skip


def _not_default(**given: Any) -> dict[str, Any]:
    """Of what `load` was given, what is not its default, as it can be written."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(load).parameters.items()}
    found = {name: value for name, value in given.items() if value is not defaults[name] and value != defaults[name]}
    written = {"dtype": lambda dtype: jnp.dtype(dtype).name, "adapter": os.fspath}
    return {name: written.get(name, lambda value: value)(value) for name, value in found.items()}


def resolve_source(name: str | os.PathLike[str], **hub: Any) -> Path:
    """The folder a name stands for: bundled, a released model's (by its Hub id), or as `glmkit.weights.hub.resolve`.

    A folder that is called as one of these models is meant by a path, such as "./nano".
    """
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        raise CheckpointError(f"{name!r} names no model; expected a name, a Hub id or the path of a folder")
    if isinstance(name, str):
        if name in BUNDLED:
            if hub.get("revision") is not None:
                raise CheckpointError(f"{name} comes with glmkit and has no revisions; leave revision out")
            return data_path(BUNDLED[name])
        name = HUB_IDS.get(name, name)
    from glmkit.weights.hub import resolve  # huggingface_hub takes a moment, which bundled models need not wait for

    return resolve(name, **hub)


def public_name(name: str) -> str:
    """What others can find a model or an adapter by: its Hub id, or of a folder the name."""
    path = Path(name)
    return path.resolve().name if path.is_dir() else HUB_IDS.get(name, name)


def resolve_adapter(name: str | os.PathLike[str], **hub: Any) -> Path:
    """The folder of an adapter: a local one, or as `glmkit.weights.hub.resolve`."""
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        raise CheckpointError(f"{name!r} names no adapter; expected the path of a folder, or a Hub id")
    from glmkit.weights.hub import resolve

    return resolve(name, **hub)


def _check(abstract: GLM, tokenizer: Tokenizer | None, max_len: int | None, settings: Mapping[str, Any]) -> None:
    """Raise now what would be raised once the weights are read: they fit, and an LM of them can be had."""
    longest = abstract.config.context(max_len)
    if tokenizer is not None:
        tokenizer.check_fits(abstract.config.vocab_size)
        template_variant(tokenizer.chat_template)
    Settings(longest, **settings).check(abstract)
    require_fit(abstract, longest)


def _keep_compiled_programs() -> None:
    """Point JAX's persistent compilation cache at glmkit's folder, unless the user has pointed it elsewhere."""
    folder = compilation_cache_dir()
    if folder is not None and jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
