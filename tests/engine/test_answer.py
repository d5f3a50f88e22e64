"""An answer as its tokens come: tags that are tokens and tags that are text, stop strings, calls that break off."""

from collections.abc import Sequence

import pytest

from glmkit.engine import Request, Sampling
from glmkit.engine.answer import Answer
from glmkit.engine.request import ThinkingBudget
from glmkit.text import StreamParser
from tiny import tokenizer


@pytest.mark.parametrize(("said", "reason"), [("", "stop"), ("</arg_value></tool_call>", "tool_calls")])
def test_a_call_that_broke_off_is_not_what_the_answer_ended_for(said, reason):
    request = Request((1,), Sampling(temperature=0.0), 100, frozenset())
    answer = Answer(request, tokenizer(), prompt="", parser=StreamParser())
    for token in tokenizer().encode("<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>rm -rf /" + said):
        request.accept(token, -1.0)
        answer.feed(token)
        so_far = answer.completion().tool_calls
    assert [(call.arguments, call.closed) for call in so_far] == [({"a": "rm -rf /"} if said else {}, bool(said))]
    request.finish("stop")
    answer.finish()
    (call,) = answer.completion().tool_calls
    assert (answer.completion().finish_reason, call.closed) == (reason, bool(said))


def test_what_looked_like_a_call_and_was_none_counts_as_thought():
    budget = ThinkingBudget(5, opening=277, closing=tuple(tokenizer().encode("\n</think>")), call=279)
    said = [*tokenizer().encode("a<tool_call>"), *spelled("no call at all, but words on and on")]
    request = Request((1,), Sampling(temperature=0.0), 100, frozenset(), budget=budget, thinking=True)
    answer = Answer(request, tokenizer(), prompt="", parser=StreamParser(thinking_open=True, tags_apart=True))
    for token in said:
        answer.feed(request.accept(token, -1.0))
    answer.finish()
    done = answer.completion()
    assert done.reasoning == "a<tool_call>no c"  # found to be none at the second word, of which one letter is out
    assert done.usage.reasoning_tokens == done.forced.index(True) + 2
    assert sum(done.forced) == 2


def heard(tokens: Sequence[int], stop: Sequence[str] = ()) -> Answer:
    """The answer of these tokens."""
    request = Request((1,), Sampling(temperature=0.0), 1000, frozenset())
    answer = Answer(request, tokenizer(), prompt="", stop=stop, parser=StreamParser(tags_apart=True))
    for token in tokens:
        request.accept(token, -1.0)
        answer.feed(token)
    answer.finish()
    return answer


def spelled(text: str) -> list[int]:
    """In the tokens of its letters, so that no tag is a token."""
    return [token for letter in text for token in tokenizer().encode(letter)]


def test_tags_that_are_spelled_out_are_text():
    document = '{"a": "use <think> here</think> <tool_call>f\n"}'
    done = heard([*tokenizer().encode("<think>so"), *spelled("</think>?"), *tokenizer().encode("</think>")])
    assert done.completion().reasoning == "so</think>?"
    done = heard(spelled(document)).completion()
    assert (done.content, done.reasoning, done.tool_calls) == (document, "", ())
    before, after = "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>", "</arg_value></tool_call>"
    tokens = [*tokenizer().encode(before), *spelled('{"b": "</arg_value>"}'), *tokenizer().encode(after)]
    (call,) = heard(tokens).completion().tool_calls
    assert (call.arguments, call.closed) == ({"a": {"b": "</arg_value>"}}, True)


@pytest.mark.parametrize(
    ("stop", "said"), [("</think>", ""), ("k>\nye", ""), ("</think>\nyes", ""), ("s", "ye"), ("no", "yes")]
)
def test_a_stop_string_may_hold_tags(stop, said):
    done = heard(tokenizer().encode("<think>hm</think>\nyes"), [stop]).completion()
    assert (done.reasoning, done.content) == ("hm", said)
