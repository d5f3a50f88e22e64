"""Silence for the tasks of an Orbax save that has failed: its error is told once, by whoever called it."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["failed_tasks_unheard"]


@contextmanager
def failed_tasks_unheard() -> Iterator[None]:
    """When one task of a save fails, the others complain one by one on stderr, some of them long after.

    They are not heard in the block, nor after it where it ended in an error; what ends the program always is.
    """
    hook, logs = sys.unraisablehook, [logging.getLogger(name) for name in ("absl", "asyncio")]
    sys.unraisablehook = _deaf(hook)
    for log in logs:
        log.addFilter(_is_heard)
    try:
        yield
    except Exception:
        raise  # what has been silenced stays so
    except BaseException:
        _hear_again(hook, logs)
        raise
    _hear_again(hook, logs)


def _hear_again(hook: Callable[..., None], logs: Sequence[logging.Logger]) -> None:
    sys.unraisablehook = hook
    for log in logs:
        log.removeFilter(_is_heard)


def _deaf(hook: Callable[..., None]) -> Callable[..., None]:
    """`sys.unraisablehook`, deaf to these tasks."""

    def hear(unraisable: Any) -> None:
        if not _is_of_failed_save(unraisable.exc_value):
            hook(unraisable)

    return hear


def _is_heard(record: logging.LogRecord) -> bool:
    return not (record.exc_info and _is_of_failed_save(record.exc_info[1]))


def _is_of_failed_save(error: BaseException | None) -> bool:
    """Whether tensorstore could not write, or has nobody to tell of it."""
    return str(error) == "Event loop is closed" or "Error writing" in str(error)
