"""Widgets for notebooks. They need the `notebook` extra, which is imported when the first is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from glmkit.errors import GLMKitError

if TYPE_CHECKING:
    from glmkit.widgets.cache_explorer import CacheExplorer as CacheExplorer
    from glmkit.widgets.chat import Chat as Chat
    from glmkit.widgets.routing_probe import RoutingProbe as RoutingProbe
    from glmkit.widgets.thinking_explorer import ThinkingExplorer as ThinkingExplorer
    from glmkit.widgets.training_dashboard import TrainingDashboard as TrainingDashboard

_HOME = {
    "CacheExplorer": "glmkit.widgets.cache_explorer",
    "Chat": "glmkit.widgets.chat",
    "RoutingProbe": "glmkit.widgets.routing_probe",
    "ThinkingExplorer": "glmkit.widgets.thinking_explorer",
    "TrainingDashboard": "glmkit.widgets.training_dashboard",
}

__all__ = ["CacheExplorer", "Chat", "RoutingProbe", "ThinkingExplorer", "TrainingDashboard"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'glmkit.widgets' has no attribute {name!r}")
    try:
        import_module("anywidget")
    except ImportError as error:
        raise GLMKitError(f'{name} needs the notebook extra; run: pip install "glmkit[notebook]"') from error
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
