"""The command `glmkit`: its table of subcommands, and how their errors are told.

A subcommand is two functions: one adds its arguments to a parser, the other runs and returns an exit code. Only
running imports JAX, so that `glmkit --help` is quick.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glmkit import __version__, bench, chat, convert, doctor, evaluation, lab, merge, reinforcing, training
from glmkit.errors import GLMKitError

__all__ = ["COMMANDS", "Command", "main"]

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells count; argparse itself exits with 2 for wrong usage
BROKEN_PIPE = 141  # 128 + SIGPIPE


@dataclass(frozen=True)
class Command:
    """One subcommand: a line of help, and the functions that declare its arguments and run it."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS = {
    "chat": Command("Answer a prompt.", chat.add_arguments, chat.run),
    "bench": Command("Measure speed, alone or beside transformers.", bench.add_arguments, bench.run),
    "convert": Command("Write a checkpoint in another layout or dtype.", convert.add_arguments, convert.run),
    "train": Command("Fine-tune a checkpoint, or train it on.", training.add_arguments, training.run),
    "rl": Command("Train a model by reinforcement learning.", reinforcing.add_arguments, reinforcing.run),
    "merge": Command("Write a model with a LoRA adapter merged into it.", merge.add_arguments, merge.run),
    "eval": Command("Measure what a model can do.", evaluation.add_arguments, evaluation.run),
    "lab": Command("Copy the notebooks to a folder and open them in JupyterLab.", lab.add_arguments, lab.run),
    "doctor": Command("Tell versions, devices, memory and caches.", doctor.add_arguments, doctor.run),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `glmkit` with `argv` (the process's own by default) and return its exit code.

    0 is success, 1 an error told in one line on stderr, 130 Ctrl-C. Wrong usage raises SystemExit(2), as argparse does.
    """
    args = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a character is no reason to fail
    try:
        code = COMMANDS[args.command].run(args)
        sys.stdout.flush()  # a reader that has gone is noticed here rather than at exit, where it cannot be caught
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (GLMKitError, OSError, MemoryError) as error:
        return _failed(str(error))
    except (RuntimeError, AssertionError):  # JAX's, when there is no device to run on; anything else is a defect
        if error := doctor.devices_error():
            return _failed(f"the devices could not be started: {error}")
        raise


def _failed(reason: str) -> int:
    print("glmkit: error:", " ".join(reason.split()), file=sys.stderr)
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="glmkit", description="GLM-4.5 in JAX: run it, look inside it, change it.")
    parser.add_argument("--version", action="version", version=f"glmkit {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(subparsers.add_parser(name, help=command.summary, description=command.summary))
    return parser
