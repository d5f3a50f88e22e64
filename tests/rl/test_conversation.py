"""Turns of an episode as rows of a rollout, with scripted answers in the model's place."""

import numpy as np
import pytest

from glmkit.engine.sampling import Sampling
from glmkit.errors import DataError
from glmkit.lm import LM
from glmkit.rl import Problem, Sample, with_tools
from glmkit.rl.conversation import Sampler
from glmkit.rl.rows import Row, assembled
from glmkit.runs import PHASES
from glmkit.turns import Turns
from tiny import CONFIG, one_layer, tokenizer

CALL, TOLD = "\n<tool_call>f\n</tool_call><|observation|>", "\nIt rains.<|user|>"


def f() -> str:
    """The weather."""
    return "rain"


class Scripted(Sampler):
    """Says what it is told to, a text for each turn; tokens that no stop id ends are cut off by the length."""

    script: tuple[str, ...] = ()

    def _answer(self, asked):
        for each in asked:
            said = self.script[sum(message["role"] == "assistant" for message in self._seen(each))]
            for number, token in enumerate(tokenizer().encode(said)):
                passed = np.full(-(-CONFIG.vocab_size // 32), -1, np.int32)
                if each.request.grammar is not None:
                    each.request.grammar.fill(passed)
                taken = each.request.accept(token, -0.5 - number, passed=passed)
                if taken is not None:
                    each.answer.feed(taken)
            if each.request.finish_reason is None:
                each.request.finish("length")

    @staticmethod
    def _seen(each):
        return [{"role": "assistant"}] * (each.text.count("<|assistant|>") - 1)


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM(one_layer(), tokenizer(), max_len=600)


def said(lm, *script, thinking="disabled", budget=None, episode=None, tools=(f,)):
    turns = Turns(lm.tokenizer, lm.generation, lm.config.vocab_size, lm.engine.max_len)
    sampler = Scripted(
        lm.engine, turns, lm.tokenizer, Sampling(), thinking=thinking, budget=budget,
        max_tokens=60, tool_choice="auto", routes=False,
    )  # fmt: skip
    sampler.script = script
    return sampler.sample([Problem("hi", tools=tools)], 1, episode or with_tools(f, max_turns=2), 0)


def texts(rollout, row, where) -> str:
    return tokenizer().decode(rollout.tokens[row][where[row]].tolist())


def test_a_turn_that_goes_on_from_all_before_it_stays_in_its_row(lm):
    drawn = said(lm, CALL, TOLD)
    assert drawn.tokens.shape[0] == len(drawn) == 1
    assert texts(drawn, 0, drawn.mask) == CALL + TOLD  # and nothing of the result, nor of any template
    whole = texts(drawn, 0, drawn.spans >= 0)
    assert whole.endswith(f"{CALL}\n<tool_response>\nrain\n</tool_response><|assistant|>\n<think></think>{TOLD}")
    lps = drawn.logprobs[0][drawn.mask[0]]
    first, second = (len(tokenizer().encode(text)) for text in (CALL, TOLD))
    np.testing.assert_array_equal(lps, [*(-0.5 - np.arange(first)), *(-0.5 - np.arange(second))])
    assert [turn.finish_reason for turn in drawn[0].turns] == ["tool_calls", "stop"]
    assert drawn[0].tool_calls[0].name == "f"
    spans = [PHASES[code] for code in drawn.spans[0][drawn.mask[0]]]
    assert spans[: first - 1].count("tool") == first - 2  # a newline before the call is the answer's
    # A mask for each token that was drawn, which lets it pass.
    for place in np.flatnonzero(drawn.mask[0]):
        word, bit = divmod(int(drawn.tokens[0, place]), 32)
        assert drawn.allowed[0, place, word] >> bit & 1


def test_a_turn_that_was_not_shown_what_was_said_before_begins_a_row(lm):
    """The call is written otherwise than the template writes it, so that the next turn saw other tokens."""
    drawn = said(lm, CALL.removeprefix("\n"), TOLD)
    assert drawn.tokens.shape[0] == 2
    np.testing.assert_array_equal(drawn.sample, [0, 0])
    assert texts(drawn, 0, drawn.mask) == CALL.removeprefix("\n")
    assert texts(drawn, 1, drawn.mask) == TOLD
    assert CALL in texts(drawn, 1, ~drawn.mask & (drawn.spans >= 0))


def test_a_budget_closes_the_thought_by_tokens_that_are_not_learned(lm):
    drawn = said(lm, "abc__\n7<|user|>", thinking="forced", budget=3, tools=(), episode=lambda p: (yield p.messages))
    forced = drawn.spans == PHASES.index("forced")
    assert texts(drawn, 0, forced) == "\n</think>"
    assert texts(drawn, 0, drawn.mask) == "abc\n7<|user|>"  # the budget's tokens stand in the place of two
    assert not (forced & drawn.mask).any()
    assert not drawn.logprobs[forced].any()
    assert (drawn[0].reasoning, drawn[0].content, drawn[0].last.thought) == ("abc", "7", 5)


def test_an_answer_that_the_length_breaks_off_ends_the_episode(lm):
    drawn = said(lm, "a" * 70, tools=())
    assert len(drawn[0].turns) == 1
    assert not drawn[0].finished
    assert drawn.lengths()[0] == 60


def test_an_episode_that_fails_is_named(lm):
    def silent(problem):
        return
        yield

    def failing(problem):
        yield problem.messages
        raise RuntimeError("no more")

    with pytest.raises(DataError, match="sample 0 ended before"):
        said(lm, TOLD, episode=silent)

    def malformed(problem):
        yield problem.messages
        yield [{"role": "tol", "content": "rain"}]

    with pytest.raises(DataError, match="sample 0 raised RuntimeError after 1 turns: no more"):
        said(lm, TOLD, episode=failing)
    with pytest.raises(DataError, match=r"turn 1 of sample 0 cannot be asked .*tol"):
        said(lm, TOLD, episode=malformed)


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("first", [CALL, CALL.removeprefix("\n")], ids=["same row", "new row"])
def test_an_episode_hears_that_there_is_no_room_and_may_return(lm, stubborn, first):
    def long(problem):
        earned, reply = 0.0, (yield problem.messages)
        while stubborn or reply.finish_reason != "length":
            earned += 1
            reply = yield [{"role": "tool", "content": "rain" * 150}]
        return earned

    drawn = said(lm, first, TOLD, episode=long)
    assert drawn.tokens.shape[0] == 1  # no row of a turn that was never taken
    assert texts(drawn, 0, drawn.mask) == first
    assert drawn[0].returned == (None if stubborn else 1.0)
    assert [turn.finish_reason for turn in drawn[0].turns] == ["tool_calls", "length"]
    assert not drawn[0].finished


def test_a_row_without_routes_leaves_the_others_theirs():
    routed, bare = Row(0, tokens=[1, 2], routes=[np.ones((1, 2))]), Row(1, tokens=[3])
    for row in (routed, bare):
        row.spans, row.mask, row.logprobs = ([0] * len(row.tokens) for _ in range(3))
    samples = [Sample(index, 0, Problem("hi"), ()) for index in range(2)]
    routes = assembled([routed, bare], samples, Sampling(), 0).routes
    assert (routes[0, 0] == 1).all()
    assert (routes[0, 1:] == -1).all()
    assert (routes[1] == -1).all()
