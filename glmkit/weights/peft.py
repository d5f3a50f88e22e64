"""LoRA adapters in PEFT's layout, in and out: `adapter_config.json` and `adapter_model.safetensors`.

A factor's name and layout come from its own declaration (`glmkit.model.adapter`), but for one thing said here: PEFT
keeps the factors of all routed experts of a layer in one tensor.
"""

import dataclasses
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save

from glmkit.errors import CheckpointError
from glmkit.model import GLM
from glmkit.model.adapter import Adapted, LoRAParam, Place, adapted_places, low_rank, places, shallow_copy
from glmkit.model.params import HFTensor, hf_tensors
from glmkit.weights.adapter_config import CONFIG_FILE, AdapterConfig, Update, routed
from glmkit.weights.atomic import atomic_folder, total_bytes, write_beside
from glmkit.weights.card import derived_card
from glmkit.weights.formats import refuse_other_formats
from glmkit.weights.safetensors import CheckpointFiles, narrowed, read_header

__all__ = ["declare_adapter", "load_adapter", "save_adapter"]

WEIGHTS_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # PEFT's, of every tensor
_FACTOR = re.compile(r"(?P<module>.*)\.lora_[AB]\.weight")
_EXPERT = re.compile(r"(?P<experts>.*\.mlp\.experts)\.\d+(?P<projection>\..*)")


@dataclasses.dataclass(frozen=True)
class _Stored:
    """One tensor of the file: factor A or B of a module, held in one part of a parameter or in one for each expert."""

    module: str  # as in `glmkit.weights.adapter_config`
    letter: str
    parts: tuple[HFTensor, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        outputs, inputs = self.parts[0].shape
        count = len(self.parts)
        return (outputs * count, inputs) if self.letter == "A" else (outputs, inputs * count)

    def pack(self, value: np.ndarray) -> np.ndarray:
        """The tensor, from the parameter's value: A's of experts one below the other, columns of their B's in turn."""
        parts = [part.to_hf(value[part.index]) for part in self.parts]
        return np.concatenate(parts) if self.letter == "A" else np.stack(parts, axis=-1).reshape(self.shape)

    def unpack(self, tensor: np.ndarray, value: np.ndarray) -> None:
        """Put the tensor into its place in the parameter's value."""
        count = len(self.parts)
        split = np.split(tensor, count) if self.letter == "A" else [tensor[:, i::count] for i in range(count)]
        for part, array in zip(self.parts, split, strict=True):
            value[part.index] = part.from_hf(array, value[part.index].shape)

    def name(self, adapted: Collection[str]) -> str:
        """Its name in the file, which depends on what else is `adapted`.

        Where both parameters of a layer's experts are, PEFT wraps the module twice, first for gate and up.
        """
        module = self.module
        if routed(module):
            experts, _, projection = module.rpartition(".")
            inner = projection == "gate_up_proj" and f"{experts}.down_proj" in adapted
            module = f"{experts}.base_layer" if inner else experts
        return f"{_PREFIX}{module}.lora_{self.letter}.weight"


def save_adapter(
    model: GLM,
    path: str | os.PathLike[str],
    *,
    base_model: str | None = None,
    licence: str | None = None,
    facts: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the adapter of a model as PEFT does, to be opened by PEFT on the reference model or by `load_adapter`.

    `base_model` is the Hub id or folder of what was adapted; it goes into the configuration and, with `licence` and
    `facts` (the data's hash, the steps), into a card. The folder appears under its name whole or not at all.
    Raises `CheckpointError` for a model without an adapter or without some of its layers, for an adapter on what PEFT
    cannot reach, for an existing folder without `overwrite`, and for a full disk.
    """
    adapted = adapted_places(model)
    _require_expressible(model, adapted)
    held = [(variable, stored) for place in adapted for variable, stored in _factors(place, place.parameter)]
    updates = {
        stored.module: Update(place.parameter.rank, place.parameter.scale)
        for place in adapted
        for _, stored in _factors(place, place.parameter)
    }
    host = {id(variable): np.asarray(jax.device_get(variable.get_value())) for variable, _ in held}
    tensors = {s.name(updates): np.ascontiguousarray(s.pack(host[id(variable)])) for variable, s in held}
    config = AdapterConfig.of(updates, _modules(model), base_model)
    told = {"rank": config.hf["r"], "alpha": config.hf["lora_alpha"], "on": ", ".join(config.targets), **(facts or {})}
    card = derived_card(
        f"A LoRA adapter for {base_model or 'GLM-4.5'}",
        "In PEFT's layout: opened by `PeftModel.from_pretrained` on the base model, and by `glmkit.load(base, "
        'adapter="...")`.',
        base_model=base_model,
        licence=licence,
        library="peft",
        facts=told,
    )
    files = {CONFIG_FILE: config.to_json(), "README.md": card, WEIGHTS_FILE: save(tensors, metadata={"format": "pt"})}
    with atomic_folder(path, nbytes=total_bytes(files), overwrite=overwrite) as folder:
        write_beside(folder, files)


def load_adapter(model: GLM, path: str | os.PathLike[str], *, check_finite: bool = False) -> GLM:
    """The model, sharing its arrays, with the adapter in the folder `path`, which PEFT or `save_adapter` wrote.

    Raises `CheckpointError` naming what is missing or superfluous, what is of another base model, and what is no plain
    LoRA, and (with `check_finite`) what holds NaN or infinite values; also for an adapter on some of the layers of a
    stack, which a model of single blocks can have.
    """
    config = AdapterConfig.read(path)
    with _opened(path) as files:
        adapted = _declared_on(model, config, files)
        held = [pair for place in adapted_places(adapted) for pair in _factors(place, place.parameter)]
        modules = {stored.module for _, stored in held}
        values = {id(variable): np.empty(variable.shape, variable.dtype) for variable, _ in held}
        for variable, stored in held:
            tensor = files.read(name := stored.name(modules))
            if check_finite and not np.isfinite(tensor).all():
                raise CheckpointError(f"{name} holds NaN or infinite values")
            stored.unpack(narrowed(name, tensor, variable.dtype), values[id(variable)])
    for variable in {id(variable): variable for variable, _ in held}.values():
        variable.set_value(jax.device_put(values[id(variable)], variable.get_value().sharding))
    return adapted


def declare_adapter(model: GLM, path: str | os.PathLike[str]) -> GLM:
    """As `load_adapter`, of shapes and shardings alone: all is checked, no value read. `model` may be abstract."""
    config = AdapterConfig.read(path)
    with _opened(path) as files:
        return _declared_on(model, config, files)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[CheckpointFiles]:
    file = Path(path) / WEIGHTS_FILE
    if not file.is_file():
        refuse_other_formats(Path(path))
        raise CheckpointError(f"{file} not found; expected the folder of an adapter as PEFT writes it")
    with file.open("rb", buffering=0) as opened:
        yield CheckpointFiles({entry.name: entry for entry in read_header(file, opened)}, {file: opened})


def _factors(place: Place, adapted: Adapted) -> Iterator[tuple[LoRAParam, _Stored]]:
    """The tensors that hold the factors of an adapter which stands, or would stand, in `place`."""
    for letter, variable in (("A", adapted.a), ("B", adapted.b)):
        modules: dict[str, list[HFTensor]] = {}
        for tensor in hf_tensors(variable, place.prefix, place.layer_numbers):
            module = _FACTOR.fullmatch(tensor.name)["module"]
            modules.setdefault(_EXPERT.sub(r"\g<experts>\g<projection>", module), []).append(tensor)
        for module, parts in modules.items():
            yield variable, _Stored(module, letter, tuple(parts))


def _modules(model: GLM) -> set[str]:
    """All that could be adapted and the reference has."""
    return {module for place in places(model) if not place.in_mtp for module in _modules_at(place)}


def _modules_at(place: Place) -> set[str]:
    return {stored.module for _, stored in _factors(place, _declared(place, Update(1, 1.0)))}


def _declared(place: Place, update: Update) -> Adapted:
    return Adapted(place.base, *low_rank(place.base, update.rank), update.scale)


def _require_expressible(model: GLM, adapted: list[Place]) -> None:
    if not adapted:
        raise CheckpointError("this model has no adapter; save_hf writes its weights")
    if model.truncated:
        raise CheckpointError(f"this model holds only layers {list(model.layer_numbers)}; it is for study")
    beyond = sorted(
        {stored.module for place in adapted if place.in_mtp for _, stored in _factors(place, place.parameter)}
    )
    if beyond:
        raise CheckpointError(
            f"{', '.join(beyond)}: adapted in the multi-token-prediction layer, which the reference model lacks and "
            "PEFT cannot adapt; use glmkit.train.lora.merge_lora and save_hf"
        )


def _declared_on(model: GLM, config: AdapterConfig, files: CheckpointFiles) -> GLM:
    """The model with the adapter's factors declared. Raises `CheckpointError` unless the files hold just these."""
    if adapted_places(model):
        raise CheckpointError("this model has an adapter already; merge it before loading another")
    model = shallow_copy(model)
    modules = _modules(model)
    unknown = config.unmatched(modules)
    if unknown and not model.truncated:
        raise CheckpointError(f"{CONFIG_FILE} names {unknown[0]}, which is nothing glmkit can adapt in this model")
    named = {module for module in modules if config.names(module)}
    # Of routed experts the names in the file do not tell which parameter a tensor is for: `_check_tensors` counts them.
    told = {module for module in modules if not routed(module)}
    present = {module for module in told if f"{_PREFIX}{module}.lora_A.weight" in files.tensors}
    if missing := named & told - present:
        raise CheckpointError(f"{CONFIG_FILE} names {min(missing)}, but {WEIGHTS_FILE} holds nothing for it")
    if unnamed := present - named:
        raise CheckpointError(f"{WEIGHTS_FILE} adapts {min(unnamed)}, which {CONFIG_FILE} does not name")
    for place in places(model):
        if not place.in_mtp and (here := _modules_at(place)) & named:
            place.put(_declared(place, _common_update(here, named, config)))
    _check_tensors(model, named, files)
    return model


def _common_update(modules: set[str], adapted: set[str], config: AdapterConfig) -> Update:
    """Rank and scale of the modules that make up one parameter."""
    if absent := modules - adapted:
        raise CheckpointError(
            f"{WEIGHTS_FILE} adapts {min(modules & adapted)} and not {min(absent)}; glmkit holds them in one parameter "
            "(gate and up are one, and so are layers of a stack): unstack the model, or merge the adapter with PEFT"
        )
    updates = {config.update(module) for module in modules}
    if len(updates) > 1:
        raise CheckpointError(
            f"{CONFIG_FILE} gives {', '.join(sorted(modules))} different ranks or scales; glmkit holds them in one "
            "parameter: merge the adapter with PEFT"
        )
    return updates.pop()


def _check_tensors(model: GLM, adapted: set[str], files: CheckpointFiles) -> None:
    """Raise `CheckpointError` naming a tensor that is missing, misshapen, or for nothing that is adapted."""
    held = (stored for place in adapted_places(model) for _, stored in _factors(place, place.parameter))
    expected = {stored.name(adapted): stored.shape for stored in held}
    for name, shape in expected.items():
        if name not in files.tensors:
            raise CheckpointError(f"{name} is missing from {WEIGHTS_FILE}")
        files.tensors[name].require_weights()
        if files.tensors[name].shape != shape:
            raise CheckpointError(
                f"{name} has shape {list(files.tensors[name].shape)}; expected {list(shape)}: the adapter is of "
                f"another base model, or {CONFIG_FILE} of another adapter"
            )
    extra = sorted(name for name in files.tensors if name not in expected and not _of_left_out_layer(name, model))
    if extra:
        raise CheckpointError(f"{WEIGHTS_FILE} holds {extra[0]}, which adapts nothing that glmkit can")


def _of_left_out_layer(name: str, model: GLM) -> bool:
    number = re.match(rf"{re.escape(_PREFIX)}model\.layers\.(\d+)\.", name)
    return number is not None and model.truncated and int(number[1]) not in model.layer_numbers
