"""Requests in, tokens out: batches, chunks and stops do not change what a request gets, and nothing recompiles."""

import jax
import numpy as np
import pytest

from glmkit.engine import Engine, Request, Sampling, ThinkingBudget
from glmkit.errors import RequestError
from glmkit.model import GLM
from tiny import CONFIG, one_layer as model


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(model(), max_len=600)


def ask(prompt, tokens: int = 6, stop_ids=(), **settings) -> Request:
    settings.setdefault("temperature", 0.0)
    return Request(tuple(map(int, prompt)), Sampling(**settings), tokens, frozenset(stop_ids))


def run(engine: Engine, *requests: Request) -> list[Request]:
    for _ in engine.generate(requests):
        pass
    return list(requests)


def prompts(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, length) for length in lengths]


def greedy_by_whole_passes(network: GLM, prompt, tokens: int) -> list[int]:
    """What the network says without a cache, in passes of one padded length so that it compiles once."""
    ids = list(map(int, prompt))
    size = len(ids) + tokens
    for _ in range(tokens):
        padded = np.zeros((1, size), np.int32)
        padded[0, : len(ids)] = ids
        segments = np.where(np.arange(size) < len(ids), 0, -1)[None].astype(np.int32)
        hidden = network(padded, segment_ids=segments).hidden
        ids.append(int(np.asarray(network.logits(hidden[:, len(ids) - 1 : len(ids)])).argmax()))
    return ids[-tokens:]


def test_greedy_tokens_equal_those_of_whole_forward_passes(engine):
    (prompt,) = prompts(9)
    (request,) = run(engine, ask(prompt, tokens=4))
    assert request.tokens == greedy_by_whole_passes(model(), prompt, 4)
    assert request.finish_reason == "length"


def test_a_batch_of_unequal_prompts_gives_each_what_it_gets_alone(engine):
    several = prompts(3, 40, 140)  # one, two and several prefill chunks
    together = run(engine, *(ask(p) for p in several))
    for prompt, request in zip(several, together, strict=True):
        (alone,) = run(engine, ask(prompt))
        assert request.tokens == alone.tokens
        # Another row count may change the last bits of float32 log-probabilities.
        np.testing.assert_allclose(request.logprobs, alone.logprobs, atol=1e-4)


def test_sampled_tokens_depend_on_the_seed_and_on_nothing_else(engine):
    first, second = prompts(7, 11)
    hot = {"temperature": 1.0, "seed": 5}
    (alone,) = run(engine, ask(first, **hot))
    again, _ = run(engine, ask(first, **hot), ask(second, temperature=1.0, seed=6))
    (other,) = run(engine, ask(first, temperature=1.0, seed=7))
    assert alone.tokens == again.tokens
    assert alone.tokens != other.tokens


def test_steps_compile_once_per_row_count_and_chunk_not_per_prompt(engine):
    run(engine, ask(prompts(5)[0]))
    before = engine.compiled_steps
    for prompt in prompts(1, 4, 17, 31):
        run(engine, ask(prompt, tokens=3, temperature=0.7, top_p=0.5, seed=len(prompt)))
    assert engine.compiled_steps == before


def test_a_stop_id_ends_the_request_and_is_not_part_of_it(engine):
    (prompt,) = prompts(9)
    (free,) = run(engine, ask(prompt))
    (stopped,) = run(engine, ask(prompt, stop_ids=[free.tokens[2]]))
    first = free.tokens.index(free.tokens[2])
    assert stopped.tokens == free.tokens[:first]
    assert stopped.finish_reason == "stop"


def test_finishing_a_request_from_outside_leaves_the_others_running(engine):
    one, two = (ask(prompt) for prompt in prompts(4, 5))
    for row, _ in engine.generate([one, two]):
        if row == 0 and len(one.tokens) == 2:
            one.finish("stop")
    assert (len(one.tokens), one.finish_reason) == (2, "stop")
    assert (len(two.tokens), two.finish_reason) == (6, "length")


def test_abandoning_a_generation_leaves_the_engine_healthy(engine):
    (prompt,) = prompts(9)
    expected = run(engine, ask(prompt))[0].tokens
    abandoned = engine.generate([ask(prompt)])
    next(abandoned)
    abandoned.close()
    assert run(engine, ask(prompt))[0].tokens == expected


def test_an_edit_of_the_model_in_place_is_heard_at_the_next_request():
    network = jax.tree.map(lambda leaf: leaf, model())  # its own modules around the same arrays
    engine, (prompt,) = Engine(network, max_len=64), prompts(5)
    before = run(engine, ask(prompt))[0].logprobs
    original = network.norm.scale[...]
    network.norm.scale[...] = original * 2
    doubled = run(engine, ask(prompt))[0].logprobs
    network.norm.scale[...] = original
    router = next(block.mlp.router for block in network.blocks if hasattr(block.mlp, "router"))
    router.scaling *= 3
    scaled = run(engine, ask(prompt))[0].logprobs
    router.scaling /= 3
    assert before != doubled
    assert before != scaled
    assert run(engine, ask(prompt))[0].logprobs == before


def test_a_context_of_no_tokens_is_refused():
    with pytest.raises(RequestError, match="max_len is 0"):
        Engine(model(), max_len=0)


def test_a_thinking_budget_forces_the_thought_closed_and_marks_what_it_forced(engine):
    (prompt,) = prompts(9)
    request = ask(prompt, tokens=8)
    request.budget, request.thinking = ThinkingBudget(3, opening=277, closing=(10, 278), call=279), True
    run(engine, request)
    assert request.tokens[3:5] == [10, 278]
    assert request.forced == [False] * 3 + [True] * 2 + [False] * 3
    assert np.isnan(request.logprobs).tolist() == request.forced  # what is dictated was not drawn


def test_a_thinking_budget_leaves_a_tool_call_whole():
    request = ask([1, 2], tokens=20)
    request.budget, request.thinking = ThinkingBudget(3, opening=277, closing=(10, 278), call=279), True
    said = [5, 6, 279, 7, 8, 9, 10, 11]
    assert [request.accept(token, -1.0) for token in said] == said
    assert not any(request.forced)


def test_what_was_said_counts_more_than_the_length_reached_with_it():
    request = ask([1, 2], tokens=1)
    request.accept(5, -1.0)
    assert request.finish_reason == "length"
    request.finish("stop")
    assert request.finish_reason == "stop"


def test_the_stop_id_that_ends_a_request_is_told_beside_its_tokens():
    request = ask([1, 2], tokens=5)
    request.stop_ids = frozenset({9})
    assert [request.accept(5, -1.0), request.accept(9, -0.5)] == [5, None]
    assert (request.tokens, request.end, request.finish_reason) == ([5], (9, -0.5), "stop")


def test_requests_that_are_submitted_together_share_their_first_step(engine):
    several = [ask(prompt) for prompt in prompts(3, 4, 5)]
    heard = {number: [] for number in range(3)}
    tickets = engine.submit_all([(request, heard[number].append) for number, request in enumerate(several)])
    for ticket in tickets:
        ticket.wait()
    alone = [run(engine, ask(prompt))[0].tokens for prompt in prompts(3, 4, 5)]
    assert [request.tokens for request in several] == alone == list(heard.values())


def test_more_requests_than_rows_are_served_in_turn(engine, monkeypatch):
    monkeypatch.setattr("glmkit.engine.scheduler.MAX_ROWS", 2)
    several = prompts(3, 4, 5)
    assert [r.tokens for r in run(engine, *map(ask, several))] == [run(engine, ask(p))[0].tokens for p in several]


def test_a_prompt_that_does_not_fit_says_by_how_much(engine):
    with pytest.raises(RequestError, match="max_tokens=20 exceed the context of 600 tokens by 10"):
        next(engine.generate([ask(np.zeros(590), tokens=20)]))
    with pytest.raises(RequestError, match="prompt is empty"):
        next(engine.generate([ask([])]))


def test_repetition_penalty_keeps_the_prompt_from_coming_back(engine):
    prompt = np.arange(200)
    (request,) = run(engine, ask(prompt, tokens=5, repetition_penalty=1e6))
    assert not set(request.tokens) & set(range(200))
    assert len(set(request.tokens)) == 5
    assert CONFIG.vocab_size > 205
