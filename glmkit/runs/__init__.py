"""Runs: what was kept of a model while it read or wrote a sequence, and how it is asked for."""

from glmkit.runs.layers import Layers
from glmkit.runs.routing import LayerRouting, Routing
from glmkit.runs.run import Run
from glmkit.runs.sites import Selection
from glmkit.runs.tokens import PHASES, Token, Tokens
from glmkit.runs.watch import Watch

__all__ = ["PHASES", "LayerRouting", "Layers", "Routing", "Run", "Selection", "Token", "Tokens", "Watch"]
