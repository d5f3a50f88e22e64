"""Reading once more what was written a while ago, with what was in use then."""

from collections.abc import Sequence

from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.probe import Plan
from glmkit.runs import Run

__all__ = ["read_once_more"]


def read_once_more(lm: LM, what: str, plan: Plan | None, ids: Sequence[int], prompt: int) -> Run:
    """Tokens that were written while `plan` was in use, after a prompt of the first `prompt`, with their routes.

    Raises RequestError, naming `what` they are, where other interventions are in use now.
    """
    using = lm.interventions
    if using is not None and using != plan:
        raise RequestError(f"{what} was made with other interventions than those in use")
    return lm.run(ids, prompt=prompt, interventions=plan if using is None else None)
