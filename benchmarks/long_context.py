"""What a long context costs: `python benchmarks/long_context.py`.

The time of a decoding step of glm-nano at contexts of `--contexts` tokens, beside what the bytes of the attention
explain: the step of the shortest context, and the keys and values of the longer one at the speed at which this machine
reads as many bytes in as large pieces. Then a prompt of `--prompt` tokens with one line to be found in it, in chunks:
its time, its memory, and the answer. `--plot` draws the first into an SVG file. The last line is a JSON object.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from random import Random

import jax
import jax.numpy as jnp
import psutil
from soak import with_context

import glmkit as gk
from glmkit.engine import Request, Sampling
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.nano.skills.retrieval import long_retrieval
from glmkit.parallel.planner import cache_bytes_per_device

STEPS = 48  # of which the median is taken


def seconds_per_step(lm: gk.LM, tokens: int) -> float:
    """The median over steps of an answer that begins after so many tokens."""
    line = lm.tokenizer.encode("A small bird waited quietly by the sea. ")
    prompt = (line * (tokens // len(line) + 1))[:tokens]
    request = Request(tuple(prompt), Sampling(temperature=0.0), STEPS + 1, frozenset())
    times = []
    for _ in lm.engine.generate([request]):
        times.append(time.perf_counter())
    return statistics.median(after - before for before, after in itertools.pairwise(times))


def bytes_per_second(pages: int, shape: tuple[int, ...]) -> float:
    """How fast one program reads so many pages of keys and values, one after the other."""
    memory = jnp.ones((pages, *shape), jnp.float32)

    @jax.jit
    def read(memory):
        return jax.lax.fori_loop(0, pages, lambda i, total: total + memory[i].sum(), jnp.float32(0))

    read(memory).block_until_ready()
    times = []
    for _ in range(9):
        started = time.perf_counter()
        read(memory).block_until_ready()
        times.append(time.perf_counter() - started)
    return memory.nbytes / statistics.median(times)


def decoding(contexts: list[int]) -> list[dict[str, float]]:
    lm = with_context(gk.load("nano"), max(contexts) + 2 * PAGE)
    config, per_token = lm.config, cache_bytes_per_device(lm.model, PAGE) / PAGE
    shape = (config.num_key_value_heads, PAGE, config.head_dim)
    seconds_per_step(lm, max(contexts))  # compiles, and makes the pages that the others use
    measured = {tokens: seconds_per_step(lm, tokens) for tokens in contexts}
    found, least = [], min(contexts)
    for tokens, seconds in measured.items():
        pages = -(-tokens // PAGE) * 2 * len(lm.model.layer_numbers)
        more = per_token * (tokens - least)
        explained = measured[least] + more / bytes_per_second(pages, shape)
        found.append(
            {
                "tokens": tokens,
                "ms": round(1000 * seconds, 3),
                "explained_ms": round(1000 * explained, 3),
                "ratio": round(seconds / explained, 2),
            }
        )
        print(found[-1], flush=True)
    return found


def needle(tokens: int) -> dict[str, object]:
    """A prompt of about so many tokens: what it took, and whether the line was found."""
    lm = with_context(gk.load("nano"), tokens + 8 * PAGE)
    task = long_retrieval(Random(7), "held_out", tokens - 3 * PAGE, questions=1)
    process, per_page = psutil.Process(), cache_bytes_per_device(lm.model, PAGE) / 2**20
    before, started = process.memory_info().rss, time.perf_counter()
    done = lm.chat(list(task.messages[:-1]), thinking=task.thinking, max_tokens=64, temperature=0.0)
    seconds = time.perf_counter() - started
    return {
        "prompt_tokens": done.usage.prompt_tokens,
        "seconds": round(seconds, 1),
        "tokens_per_s": round(done.usage.prompt_tokens / seconds),
        "mib_more": round((process.memory_info().rss - before) / 2**20),
        "pages_mib": round(per_page * lm.engine.cache.tokens / PAGE),
        "expected": task.messages[-1]["content"],
        "answered": done.content,
    }


def plot(found: list[dict[str, float]], path: Path) -> None:
    """Time per step against context: measured, and explained by bytes."""
    width, height, margin = 640, 360, 50
    most = max(max(each["ms"], each["explained_ms"]) for each in found) * 1.1
    longest = max(each["tokens"] for each in found)

    def point(tokens: float, ms: float) -> str:
        x, y = margin + tokens / longest * (width - 2 * margin), height - margin - ms / most * (height - 2 * margin)
        return f"{x:.1f},{y:.1f}"

    lines = []
    for name, colour, dash in (("ms", "#0072b2", ""), ("explained_ms", "#d55e00", "6 4")):
        points = " ".join(point(each["tokens"], each[name]) for each in found)
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-dasharray="{dash}" points="{points}"/>')
    ticks = "".join(
        f'<text x="{point(each["tokens"], 0).split(",")[0]}" y="{height - 30}" text-anchor="middle">'
        f"{each['tokens'] // 1024}K</text>"
        for each in found[1:]
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(lines)}{ticks}'
        f'<text x="{margin}" y="20">ms per token: measured (blue), explained by the bytes of attention (orange)</text>'
        f'<text x="{margin - 6}" y="{margin}" text-anchor="end">{most:.0f}</text>'
        f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">tokens of context</text></svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Decoding and prefill at long contexts.")
    parser.add_argument("--contexts", type=int, nargs="*", default=[256, 2048, 4096, 8192, 16384, 32768])
    parser.add_argument("--prompt", type=int, default=131_072, help="tokens; 0 for none (default: %(default)s)")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    result: dict[str, object] = {"decoding": decoding(args.contexts)} if args.contexts else {}
    if args.plot:
        plot(result["decoding"], args.plot)
    if args.prompt:
        result["needle"] = needle(args.prompt)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
