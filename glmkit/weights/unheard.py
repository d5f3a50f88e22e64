"""Silence for the tasks of an Orbax save that has failed: its error is told once, by whoever called it."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from glmkit.errors import GLMKitError

__all__ = ["failed_tasks_unheard"]


@contextmanager
def failed_tasks_unheard() -> Iterator[None]:
    """When one task of a save fails, the others complain one by one on stderr, some of them long after.

    They are not heard in the block, nor after it where it ended in an error.
    """
    hooks, logs = (sys.unraisablehook, sys.excepthook), [logging.getLogger(name) for name in ("absl", "asyncio")]
    sys.unraisablehook, sys.excepthook = (_deaf(hook) for hook in hooks)
    for log in logs:
        log.addFilter(_is_heard)
    yield  # no `finally`: what has been silenced stays so after an error
    sys.unraisablehook, sys.excepthook = hooks
    for log in logs:
        log.removeFilter(_is_heard)


def _deaf(hook: Callable[..., None]) -> Callable[..., None]:
    """`sys.excepthook` or `sys.unraisablehook`, deaf to these tasks."""

    def hear(*args) -> None:
        if not _is_of_failed_save(args[1] if len(args) == 3 else args[0].exc_value):
            hook(*args)

    return hear


def _is_heard(record: logging.LogRecord) -> bool:
    return not (record.exc_info and _is_of_failed_save(record.exc_info[1]))


def _is_of_failed_save(error: BaseException | None) -> bool:
    """Whether tensorstore could not write, or has nobody to tell of it."""
    if isinstance(error, GLMKitError):  # what the caller is told
        return False
    return str(error) == "Event loop is closed" or "Error writing" in str(error)
