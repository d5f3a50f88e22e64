"""What functions of a run remember from step to step, taken down and given back."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from glmkit.errors import ConfigError

__all__ = ["restore", "states"]


def states(kind: str, functions: Sequence[Callable]) -> dict[str, Any]:
    """What those with a `state()` give, by their places, as JSON gives it back; `kind` is for messages.

    Raises `ConfigError` for a state that JSON cannot hold, or that there is no `restore(state, run)` for.
    """
    found = {}
    for at, function in enumerate(functions):
        if not hasattr(function, "state"):
            continue
        if not hasattr(function, "restore"):
            raise ConfigError(f"{kind}[{at}] has state() and no restore(state, run), which a run goes on by")
        state = function.state()
        try:
            found[str(at)] = json.loads(json.dumps(state))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"what {kind}[{at}] gives as its state() is kept as JSON: {error}") from error
    return found


def restore(functions: Sequence[Callable], saved: Mapping[str, Any], run: Any) -> None:
    """Give each what `states` had of it."""
    for at, state in saved.items():
        functions[int(at)].restore(state, run)
