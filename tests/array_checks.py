"""The type checker the tests run glmkit under (`--jaxtyping-packages` in pyproject.toml)."""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def check_arrays(function: Callable) -> Callable:
    """beartype, for the parameters and results whose annotation names an array, and for no others.

    What else a caller may get wrong is for glmkit's own errors, which tests provoke by passing the wrong type.
    """
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if _names_an_array(hint)}
    return beartype(function)


def _names_an_array(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_names_an_array(part) for part in get_args(hint))
