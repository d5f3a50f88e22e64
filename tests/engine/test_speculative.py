"""Drafts change how many steps an answer takes, and nothing of what it says."""

import numpy as np
import pytest

from glmkit import LM
from glmkit.engine import Engine, Request, Sampling, ThinkingBudget
from glmkit.engine.steps import Steps
from glmkit.errors import RequestError
from glmkit.generation_config import GenerationConfig
from glmkit.model.ops.attention.blocked import PAGE
from tiny import one_layer, small_model, tokenizer

LONG = [int(token) for token in np.random.default_rng(4).integers(0, 256, 300)]
NETWORK = one_layer()


def ask(prompt=(5, 6, 7), tokens: int = 24, **settings) -> Request:
    settings.setdefault("temperature", 0.0)
    return Request(tuple(prompt), Sampling(**settings), tokens, frozenset())


def run(engine: Engine, *requests: Request) -> list[list[int]]:
    for _ in engine.generate(requests):
        pass
    return [request.tokens for request in requests]


@pytest.fixture(scope="module")
def plain() -> Engine:
    return Engine(NETWORK, max_len=600)


@pytest.fixture(scope="module")
def drafting() -> Engine:
    return Engine(NETWORK, max_len=600, speculative_tokens=3)


@pytest.fixture
def right(monkeypatch, plain):
    """Makes drafts right, or wrong at a place: random weights guess too seldom to test what follows a right guess."""
    run_steps = Steps.run

    def right(request: Request, wrong_at: int | None = None) -> list[int]:
        (answer,) = run(plain, ask(request.prompt, request.max_tokens + 4, temperature=0.0))

        def drafted(self, rows, pool, fill):
            outcomes, kept = run_steps(self, rows, pool, fill)
            drawn, valid = [each.token for each in outcomes[0].drawn], (rows.segment_ids[0] >= 0).sum()
            fed = rows.tokens[0, 1:valid].tolist() if rows.kind.size == 4 else []
            right = next((place for place, draft in enumerate(fed) if draft != drawn[place]), len(fed))
            start = rows.length[0] + valid - len(fed) - len(request.prompt) + right + 1
            drafts = answer[start : start + 3]
            if wrong_at is not None:
                drafts[wrong_at] = (drafts[wrong_at] + 1) % 256
            return [outcomes[0]._replace(drafts=tuple(drafts)), *outcomes[1:]], kept

        monkeypatch.setattr(Steps, "run", drafted)
        return answer[: request.max_tokens]

    return right


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 3}, {"repetition_penalty": 3.0}])
def test_answers_are_those_without_drafts(plain, drafting, settings):
    several = [LONG, LONG[:40], LONG[:3]]
    assert run(drafting, *(ask(p, **settings) for p in several)) == run(plain, *(ask(p, **settings) for p in several))


def test_right_drafts_are_taken_several_at_a_step(drafting, right):
    request = ask(tokens=22)
    expected = right(request)
    assert run(drafting, request) == [expected]
    assert request.accepted == request.drafted == 15  # five steps of four tokens each, between two of one
    request = ask(tokens=22)
    right(request, wrong_at=1)
    assert run(drafting, request) == [expected]
    assert (request.accepted, request.drafted) == (10, 29)


def test_right_drafts_do_not_go_beyond_a_stop_or_a_budget(drafting, plain, right):
    request = ask(tokens=22)
    expected = right(request)
    stopped = Request(request.prompt, request.sampling, 22, frozenset([expected[9]]))
    first = expected.index(expected[9])
    assert run(drafting, stopped) == [expected[:first]]
    limited = ask(tokens=22)
    limited.budget, limited.thinking = ThinkingBudget(6, opening=277, closing=(10, 278), call=279), True
    (said,) = run(drafting, limited)
    assert said[:8] == [*expected[:6], 10, 278]
    unaided = ask(tokens=22)
    unaided.budget, unaided.thinking = ThinkingBudget(6, opening=277, closing=(10, 278), call=279), True
    assert said == run(plain, unaided)[0]


def test_answers_of_a_grammar_are_those_without_drafts():
    def answers(**options) -> list[str]:
        lm = LM(NETWORK, tokenizer(), generation=GenerationConfig(eos_token_id=(256,)), max_len=600, **options)
        schema = {"type": "object", "properties": {"a": {"enum": ["left", "right"]}}, "required": ["a"]}
        form = {"type": "json_schema", "json_schema": {"schema": schema}}
        settings = {"response_format": form, "thinking": "disabled", "max_tokens": 60, "temperature": 1.0}
        return [lm.chat("hi", seed=seed, **settings).content for seed in range(3)]

    assert answers(speculative_tokens=2) == answers()


def test_pages_are_shared_and_none_is_lost(drafting):
    drafting.cache.clear()
    first, second = ask(LONG), ask([*LONG, 1, 2])
    run(drafting, first, second)
    assert second.cached_tokens == PAGE
    (tree,) = drafting._pool.trees
    assert tree.free + tree.cached == tree.count


def test_an_answer_up_to_the_end_of_the_context(plain):
    engine = Engine(NETWORK, max_len=40, speculative_tokens=3)
    request = ask(LONG[:20], tokens=20)
    assert run(engine, request) == run(plain, ask(LONG[:20], tokens=20))


def test_the_other_reading_of_the_hidden_state_changes_drafts_and_no_answer(plain):
    requests = [ask(LONG[:60], tokens=30) for _ in range(2)]
    engine = Engine(NETWORK, max_len=600, speculative_tokens=1, draft_hidden="raw")
    assert run(engine, requests[0]) == run(plain, requests[1])


def test_what_cannot_be_drafted_is_told():
    with pytest.raises(RequestError, match="no multi-token-prediction layer"):
        Engine(small_model(), max_len=600, speculative_tokens=1)
    with pytest.raises(RequestError, match="speculative_tokens is 5"):
        Engine(NETWORK, max_len=600, speculative_tokens=5)
    with pytest.raises(RequestError, match="draft_hidden is 'other'"):
        Engine(NETWORK, max_len=600, speculative_tokens=1, draft_hidden="other")
    with pytest.raises(RequestError, match="exclude each other"):
        Engine(NETWORK, max_len=600, speculative_tokens=1, reproducible=True)
