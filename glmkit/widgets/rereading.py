"""Reading once more what was written a while ago: by the same model, with what was in use then."""

from collections.abc import Sequence

from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.probe import Plan
from glmkit.runs import Layers, Run

__all__ = ["plan_of", "read_once_more", "require_run_of"]


def read_once_more(lm: LM, what: str, plan: Plan | None, ids: Sequence[int], prompt: int) -> Run:
    """Tokens that were written while `plan` was in use, after a prompt of the first `prompt`, with their routes.

    Raises RequestError, naming `what` they are, where other interventions are in use now.
    """
    using = lm.interventions
    if using is not None and using != plan:
        raise RequestError(f"{what} was made with other interventions than those in use")
    return lm.run(ids, prompt=prompt, interventions=plan if using is None else None)


def require_run_of(lm: LM, run: Run) -> None:
    """Raise RequestError for a run of another model, by its layers and the tokens it has."""
    layers, most = Layers.of(lm.model), int(run.tokens.id.max(initial=0))
    if run.layers != layers or most >= lm.config.vocab_size:
        raise RequestError(
            f"this run is of another model than {lm.name}: it has token ids up to {most} and {run.layers}, {lm.name} "
            f"has {lm.config.vocab_size} tokens and {layers}; RoutingProbe(run=run) shows it without a model"
        )


def plan_of(lm: LM, run: Run) -> Plan | None:
    """What a run was made with, if that is in use; None where it is not, and where it is nothing."""
    return lm.interventions if lm._is_in_use(run) else None
