"""`glmkit chat`: one prompt, answered as it streams, or as one JSON object."""

import argparse
import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING

from glmkit.errors import RequestError

if TYPE_CHECKING:
    from glmkit.engine.answer import ChatStream


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="what to say; '-' reads it from standard input")
    parser.add_argument("--model", default="nano", help="a bundled name, a folder, or a Hub id (default: %(default)s)")
    parser.add_argument("--thinking", default="enabled", choices=("enabled", "disabled", "forced"))
    parser.add_argument("--budget", type=int, help="close a thought after so many tokens")
    parser.add_argument("--system", help="a system prompt")
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--json", action="store_true", help="print one object instead of streaming")


def run(args: argparse.Namespace) -> int:
    """Answer on standard output. With `--json`: content, reasoning, tool_calls, usage, timing and more."""
    from glmkit.display import write_live
    from glmkit.loading import load

    started = time.perf_counter()
    lm = load(args.model)
    loaded = time.perf_counter()
    system = [{"role": "system", "content": args.system}] if args.system else []
    text = _standard_input() if args.prompt == "-" else args.prompt
    stream = lm.chat(
        [*system, {"role": "user", "content": text}],
        stream=True,
        thinking=args.thinking,
        budget=args.budget,
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        seed=args.seed,
    )
    if args.json:
        _print_object(stream, args.model, started, loaded)
    else:
        write_live(stream, sys.stdout)
    if stream.completion.finish_reason == "interrupted":
        raise KeyboardInterrupt  # which the stream has heard, and the shell is to be told of
    return 0


def _print_object(stream: "ChatStream", model: str, started: float, loaded: float) -> None:
    """The answer and how long it took, once it has ended."""
    first = None
    for _ in stream:
        first = first or time.perf_counter()
    ended = time.perf_counter()
    done = stream.completion
    timing = {
        "load_s": loaded - started,
        "first_token_s": (first or ended) - loaded,
        "total_s": ended - started,
    }
    answer = {
        "content": done.content,
        "reasoning": done.reasoning,
        "tool_calls": [dataclasses.asdict(call) for call in done.tool_calls],
        "finish_reason": done.finish_reason,
        "usage": {**dataclasses.asdict(done.usage), "total_tokens": done.usage.total_tokens},
        "seed": done.seed,
        "model": model,
        "timing": {name: round(seconds, 4) for name, seconds in timing.items()},
    }
    print(json.dumps(answer, ensure_ascii=False))


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise RequestError(f"standard input is not {error.encoding}: {error}") from error
