"""Generation: requests in, tokens out."""

from glmkit.engine.engine import Engine
from glmkit.engine.request import Request, ThinkingBudget
from glmkit.engine.sampling import Sampling
from glmkit.engine.ticket import Ticket

__all__ = ["Engine", "Request", "Sampling", "ThinkingBudget", "Ticket"]
