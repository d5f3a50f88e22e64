"""Whether the engine stays whole over many requests, and over one very long answer: `python benchmarks/soak.py`.

`--requests` short random requests in waves, with cancellations, stops, budgets of pages that evict, samples of one
prompt and prompts that go on from earlier answers. After them no page is lost, the tree agrees with itself and nothing
was compiled. `--output` tokens are then answered in one go: the time per token and the memory of the process, in
tenths of the answer. The last line is a JSON object; an AssertionError says what broke.
"""

import argparse
import json
import random
import time
from dataclasses import replace

import psutil

import glmkit as gk
from glmkit.engine import Engine, Request, Sampling
from glmkit.parallel.planner import cache_bytes_per_device

PAGE = 256
WAVE = 100  # requests that are in the engine's hands at once
MAX_LEN = 1024


def check_pages(engine: Engine) -> None:
    """Every page is free or known, once, and with nobody at work all may be had."""
    for tree in engine._pool.trees:
        nodes = list(tree.nodes())
        pages = [*tree._free, *(node.page for node in nodes)]
        assert sorted(pages) == list(range(tree.count)), "a page was lost, or is in two places"
        assert tree.available == tree.count, "a page is held by nobody"
        assert all(node.parent.children[node.tokens] is node for node in nodes), "the tree does not agree with itself"


def random_request(rng: random.Random, known: list[tuple[int, ...]], vocab_size: int) -> Request:
    """A new prompt, one that goes on from an earlier answer, or one that was asked before."""
    fresh = tuple(rng.randrange(vocab_size) for _ in range(rng.choice((3, 20, 60, 300, 700))))
    prompt = rng.choice(known)[: rng.randint(1, 900)] + fresh[:40] if known and rng.random() < 0.4 else fresh
    sampling = Sampling(
        temperature=rng.choice((0.0, 1.0)), top_p=rng.choice((0.9, 1.0)), seed=rng.randrange(2**32)
    )  # fmt: skip
    tokens = rng.randint(1, 24)
    return Request(prompt, sampling, tokens, frozenset(rng.sample(range(vocab_size), rng.choice((0, 40)))))


def soak_requests(lm: gk.LM, count: int, seed: int) -> dict[str, float]:
    engine, rng, known = lm.engine, random.Random(seed), []
    engine.warm_up(tokens=4 * MAX_LEN)
    compiled, started, outcomes = engine.compiled_steps, time.perf_counter(), {}
    for first in range(0, count, WAVE):
        asked = [random_request(rng, known, lm.config.vocab_size) for _ in range(min(WAVE, count - first))]
        asked += [replace(asked[0], sampling=Sampling(seed=number), tokens=[]) for number in range(3)]
        tickets = [engine.submit(request) for request in asked]
        for ticket in rng.sample(tickets, 15):
            time.sleep(rng.random() / 100)
            ticket.cancel("interrupted")
        for ticket in tickets:
            ticket.wait()
            outcome = ticket.request.finish_reason
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        known = [(*request.prompt, *request.tokens) for request in rng.sample(asked, 8)]
        check_pages(engine)
        print(f"{first + len(asked)} requests, {(time.perf_counter() - started):.0f} s, {outcomes}", flush=True)
    assert engine.compiled_steps == compiled, f"{engine.compiled_steps - compiled} steps were compiled in service"
    return {"requests": sum(outcomes.values()), "seconds": round(time.perf_counter() - started), **outcomes}


def soak_output(lm: gk.LM, tokens: int) -> dict[str, list[float]]:
    """Milliseconds per token and MiB of the process in each tenth, beside the MiB of the pages in use."""
    process, spans, resident, pages = psutil.Process(), [], [], []
    per_page = cache_bytes_per_device(lm.model, PAGE) / 2**20
    request = Request((1, 2, 3), Sampling(temperature=1.0, seed=0), tokens, frozenset())
    lm.engine.warm_up(rows=1, tokens=tokens + 3)
    began = time.perf_counter()
    for number, _ in enumerate(lm.engine.generate([request]), 1):
        if number % (tokens // 10) == 0:
            now = time.perf_counter()
            spans.append(round(1000 * (now - began) / (tokens // 10), 3))
            resident.append(round(process.memory_info().rss / 2**20))
            pages.append(round(per_page * -(-number // PAGE)))
            print(f"{number} tokens: {spans[-1]} ms/token, {resident[-1]} MiB, pages {pages[-1]} MiB", flush=True)
            began = now
    assert len(request.tokens) == tokens
    return {"ms_per_token": spans, "mib": resident, "pages_mib": pages}


def with_context(lm: gk.LM, tokens: int) -> gk.LM:
    """The same weights, with a context beyond what they were trained for."""
    lm.model.config = replace(lm.model.config, max_position_embeddings=tokens)
    return gk.LM(lm.model, lm.tokenizer, generation=lm.generation, max_len=tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description="Many requests, then one long answer.")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--output", type=int, default=98_304, help="tokens of the long answer; 0 for none")
    parser.add_argument("--speculative-tokens", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = {}
    if args.requests:
        lm = gk.load("nano", max_len=MAX_LEN, kv_memory=24 << 20, speculative_tokens=args.speculative_tokens)
        found["requests"] = soak_requests(lm, args.requests, args.seed)
    if args.output:
        found["output"] = soak_output(with_context(gk.load("nano"), args.output + PAGE), args.output)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
