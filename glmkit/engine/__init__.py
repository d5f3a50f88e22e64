"""Generation: requests in, tokens out."""

from glmkit.engine.engine import Engine
from glmkit.engine.request import Request, ThinkingBudget
from glmkit.engine.sampling import Sampling

__all__ = ["Engine", "Request", "Sampling", "ThinkingBudget"]
