"""Silence for the tasks of an Orbax save that has failed: its error is told once, by whoever called it."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["failed_tasks_unheard"]


@contextmanager
def failed_tasks_unheard() -> Iterator[None]:
    """When one task of a save fails, the others complain one by one on stderr, some of them long after.

    They are not heard in the block, nor after it where it ended in an error; what ends the program always is.
    """
    hooks, logs = (sys.unraisablehook, sys.excepthook), [logging.getLogger(name) for name in ("absl", "asyncio")]
    sys.unraisablehook, sys.excepthook = map(_deaf, hooks)
    for log in logs:
        log.addFilter(_is_heard)
    try:
        yield
    except Exception:
        raise  # what has been silenced stays so
    except BaseException:
        _hear_again(hooks, logs)
        raise
    _hear_again(hooks, logs)


def _hear_again(hooks: Sequence[Callable[..., None]], logs: Sequence[logging.Logger]) -> None:
    sys.unraisablehook, sys.excepthook = hooks
    for log in logs:
        log.removeFilter(_is_heard)


def _deaf(hook: Callable[..., None]) -> Callable[..., None]:
    """`sys.unraisablehook` or `sys.excepthook`, deaf to these tasks; what ends the main thread is none of them."""

    def hear(*args: Any) -> None:
        ends_program = len(args) == 3 and threading.current_thread() is threading.main_thread()
        if ends_program or not _is_of_failed_save(args[1] if len(args) == 3 else args[0].exc_value):
            hook(*args)

    return hear


def _is_heard(record: logging.LogRecord) -> bool:
    return not (record.exc_info and _is_of_failed_save(record.exc_info[1]))


def _is_of_failed_save(error: BaseException | None) -> bool:
    """Whether tensorstore could not write, or has nobody to tell of it."""
    return str(error) == "Event loop is closed" or "Error writing" in str(error)
