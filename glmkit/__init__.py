"""A research toolkit for GLM-4.5 in JAX and Flax NNX. Importing it imports neither: a name loads when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmkit import (
        errors as errors,
        examples as examples,
        probe as probe,
        rl as rl,
        text as text,
        train as train,
        widgets as widgets,
    )
    from glmkit.config import GLMConfig as GLMConfig
    from glmkit.lm import LM as LM
    from glmkit.loading import load as load
    from glmkit.model import GLM as GLM
    from glmkit.parallel import mesh as mesh
    from glmkit.probe import (
        RoutingStats as RoutingStats,
        ablate as ablate,
        add as add,
        answer_scores as answer_scores,
        bias as bias,
        collect as collect,
        compare as compare,
        diff as diff,
        expert_effects as expert_effects,
        expert_page as expert_page,
        force as force,
        keep as keep,
        knockout as knockout,
        logit_lens as logit_lens,
        patch as patch,
        replay as replay,
        scale_shared as scale_shared,
        sweep as sweep,
        truncate as truncate,
    )
    from glmkit.runs import Run as Run
    from glmkit.weights import load_hf as load_hf, restore as restore, save as save, save_hf as save_hf

__version__ = "0.1.0.dev0"

# Every public name and the module that has it; None for a module that is public itself. The imports above say the
# same to type checkers.
_HOME: dict[str, str | None] = {
    "GLM": "glmkit.model",
    "GLMConfig": "glmkit.config",
    "LM": "glmkit.lm",
    "RoutingStats": "glmkit.probe",
    "Run": "glmkit.runs",
    "ablate": "glmkit.probe",
    "add": "glmkit.probe",
    "answer_scores": "glmkit.probe",
    "bias": "glmkit.probe",
    "collect": "glmkit.probe",
    "compare": "glmkit.probe",
    "diff": "glmkit.probe",
    "errors": None,
    "examples": None,
    "expert_effects": "glmkit.probe",
    "expert_page": "glmkit.probe",
    "force": "glmkit.probe",
    "keep": "glmkit.probe",
    "knockout": "glmkit.probe",
    "load": "glmkit.loading",
    "load_hf": "glmkit.weights",
    "logit_lens": "glmkit.probe",
    "mesh": "glmkit.parallel",
    "patch": "glmkit.probe",
    "probe": None,
    "replay": "glmkit.probe",
    "restore": "glmkit.weights",
    "rl": None,
    "save": "glmkit.weights",
    "save_hf": "glmkit.weights",
    "scale_shared": "glmkit.probe",
    "sweep": "glmkit.probe",
    "text": None,
    "train": None,
    "truncate": "glmkit.probe",
    "widgets": None,
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'glmkit' has no attribute {name!r}")
    home = _HOME[name]
    value = import_module(f"glmkit.{name}") if home is None else getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
