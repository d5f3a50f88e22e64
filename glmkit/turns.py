"""What users ask, checked and made a request: prompts, tools, the form of the answer, and how it is sampled."""

import difflib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

from glmkit.checks import check_integer, is_integer
from glmkit.config import GLMConfig
from glmkit.engine import Request, Sampling, ThinkingBudget
from glmkit.engine.answer import Answer
from glmkit.errors import RequestError
from glmkit.generation_config import GenerationConfig
from glmkit.text import StreamParser, Tokenizer, normalize_tools, render, render_jinja
from glmkit.text.grammar import GrammarVocabulary, Thought, TurnMatcher, answer_grammar, chosen_tools
from glmkit.text.template import thinking_mode

__all__ = [
    "SAMPLING",
    "TURN",
    "Turns",
    "as_data",
    "checked_ids",
    "checked_record",
    "checked_rows",
    "refuse_unknown",
    "stop_strings",
]

TURN = ("tools", "tool_choice", "response_format", "thinking", "budget", "stop")
SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "top_logprobs",
            "stop_ids")  # fmt: skip
_MOST_STOPS = 16  # each is looked for after every token
_THOUGHTS: Mapping[str, Thought] = {"enabled": "free", "forced": "open", "disabled": "over"}


class Turns:
    """Requests to one model: its tokenizer, its vocabulary, the context it has room for, and its own settings."""

    def __init__(self, tokenizer: Tokenizer, generation: GenerationConfig, vocab_size: int, max_len: int):
        self._tokenizer, self._own, self._vocab_size, self._max_len = tokenizer, generation, vocab_size, max_len
        stops = [token for token in generation.eos_token_id if token < vocab_size]
        self._vocabulary = GrammarVocabulary(tokenizer, vocab_size, stops) if stops and tokenizer.tags else None

    def prompt(
        self, messages: Any, *, tools: Any = None, thinking: Any = "enabled", add_generation_prompt: bool = True
    ) -> str:
        """The text that the model is shown: by the checkpoint's own template if it has one, else glmkit's."""
        template = self._tokenizer.chat_template
        if template is None:
            return render(messages, tools, thinking, add_generation_prompt)
        return render_jinja(template, messages, tools, thinking, add_generation_prompt)

    def known(self, x: Any, *, tools: Any = None, thinking: Any = "enabled") -> tuple[int, ...]:
        """The ids of what is only to be read: of a string, which is one user turn, of messages, or ids as they are.

        Messages that end in an assistant turn are shown as they are, others with the prompt for the next turn.
        """
        if isinstance(x, str) or (isinstance(x, Sequence) and x and isinstance(x[0], Mapping)):
            answered = not isinstance(x, str) and x[-1].get("role") == "assistant"
            x = self._tokenizer.encode(
                self.prompt(x, tools=tools, thinking=thinking, add_generation_prompt=not answered)
            )
        return checked_ids("x", x, self._vocab_size)

    def chat(
        self,
        messages: Any,
        *,
        tools: Any = None,
        tool_choice: Any = "auto",
        response_format: Any = None,
        thinking: Any = "enabled",
        budget: int | None = None,
        stop: str | Sequence[str] = (),
        call_ids: str | None = None,
        **sampling: Any,
    ) -> tuple[Request, Answer]:
        """The request for the next turn of a conversation, and what assembles its answer.

        The ids of tool calls begin with `call_ids`, by default of the seed, and with how many messages there are.
        """
        declared = normalize_tools(tools)
        callable_tools, required = chosen_tools(declared, tool_choice)
        shown = declared if callable_tools else []
        prompt = self.prompt(messages, tools=shown, thinking=thinking)
        grammar = self.grammar(
            callable_tools, required, tool_choice == "none", response_format=response_format, thinking=thinking
        )
        request = self.request(prompt, thinking=thinking, budget=budget, grammar=grammar, **sampling)
        said = 1 if isinstance(messages, str) else len(messages)
        prefix = f"{call_ids or f'call_{request.sampling.seed:08x}_'}{said}_"
        apart = bool(self._tokenizer.tags)
        parser = StreamParser(shown, thinking_open=request.thinking, id_prefix=prefix, tags_apart=apart)
        return request, Answer(request, self._tokenizer, prompt=prompt, stop=stop_strings(stop), parser=parser)

    def request(
        self,
        prompt: str | Sequence[int],
        *,
        thinking: Any = None,
        budget: int | None = None,
        grammar: TurnMatcher | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float = 0.0,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        top_logprobs: int = 0,
        drawn_logprobs: bool = False,
        stop_ids: Sequence[int] = (),
    ) -> Request:
        """The request for what follows a text or token ids; what is left out is the checkpoint's own."""
        ids = checked_ids(
            "the prompt", self._tokenizer.encode(prompt) if isinstance(prompt, str) else prompt, self._vocab_size
        )
        if max_tokens is not None:
            max_tokens = check_integer("max_tokens", max_tokens, 1)
        own = self._own
        sampling = Sampling(
            temperature=(own.temperature if own.do_sample else 0.0) if temperature is None else temperature,
            top_p=own.top_p if top_p is None else top_p,
            top_k=own.extra.get("top_k") or 0 if top_k is None else top_k,
            min_p=min_p,
            repetition_penalty=own.extra.get("repetition_penalty") or 1.0
            if repetition_penalty is None
            else repetition_penalty,
            seed=secrets.randbits(32) if seed is None else seed,
            top_logprobs=top_logprobs,
            drawn_logprobs=drawn_logprobs,
        )  # fmt: skip
        return Request(
            prompt=ids,
            sampling=sampling,
            max_tokens=max(1, self._max_len - len(ids)) if max_tokens is None else max_tokens,
            stop_ids=frozenset(own.eos_token_id) | frozenset(checked_ids("stop_ids", stop_ids, self._vocab_size)),
            budget=None if budget is None else self._budget(budget, thinking),
            thinking=thinking is not None and thinking_mode(thinking) == "forced",
            grammar=grammar,
        )

    def grammar(
        self,
        tools: Sequence[Mapping[str, Any]] = (),
        required: bool = False,
        forbidden: bool = False,
        *,
        response_format: Any,
        thinking: Any,
    ) -> TurnMatcher | None:
        """What the answer has to follow, as `answer_grammar` says it.

        Calls of a model without tokens for them are as free as its text. Raises `RequestError` for what cannot be
        followed.
        """
        grammar = answer_grammar(tools, required=required, forbidden=forbidden, response_format=response_format)
        asked = "response_format" if response_format is not None else "tools"
        if grammar is None:
            return None
        if self._vocabulary is not None:
            return self._vocabulary.matcher(grammar, asked, _THOUGHTS[thinking_mode(thinking)])
        if required or response_format is not None:
            raise RequestError(f"{asked}: this tokenizer has no tokens for thoughts, calls and the end of a turn")
        return None

    def _budget(self, limit: int, thinking: Any) -> ThinkingBudget:
        limit = check_integer("budget", limit, 0)
        if thinking_mode(thinking) == "disabled":
            raise RequestError('budget= limits a thought, but thinking is "disabled"')
        token_id = self._tokenizer.token_id
        closing = (*self._tokenizer.encode("\n"), token_id("</think>"))
        return ThinkingBudget(limit, token_id("<think>"), closing, token_id("<tool_call>"))


def as_data(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are given, as what a file takes, or code: tools as schemas, numbers of NumPy as Python's."""
    given = {name: value for name, value in settings.items() if value is not None}
    forms = {"tools": normalize_tools, "stop": stop_strings, "stop_ids": lambda ids: [int(token) for token in ids]}
    given |= {name: form(given[name]) for name, form in forms.items() if name in given}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}


def checked_ids(name: str, tokens: Any, vocab_size: int) -> tuple[int, ...]:
    """Token ids as they are. Raises RequestError naming what is no id of such a vocabulary."""
    if isinstance(tokens, str | bytes | Mapping) or not isinstance(tokens, Iterable):
        raise RequestError(f"{name} is {tokens!r}; expected token ids")
    ids = tuple(tokens)
    for token in ids:
        if not is_integer(token) or not 0 <= token < vocab_size:
            raise RequestError(f"{name} holds {token!r}; expected token ids, 0 to {vocab_size - 1}")
    return tuple(map(int, ids))


def checked_rows(tokens: Any, config: GLMConfig) -> Int32[np.ndarray, "B T"]:
    """Rows of token ids, of one length. Raises RequestError for what is none, or longer than the context."""
    try:
        rows = np.asarray(tokens)
    except ValueError as error:
        raise RequestError("tokens: rows differ in length; expected [batch, length >= 2]") from error
    if rows.ndim != 2 or not len(rows) or rows.shape[1] < 2 or not np.issubdtype(rows.dtype, np.integer):
        raise RequestError(f"tokens: {rows.dtype} {list(rows.shape)}; expected integers [batch, length >= 2]")
    if rows.shape[1] > (most := config.max_position_embeddings):
        raise RequestError(f"tokens: rows of {rows.shape[1]}, more than the context of {most}")
    if rows.min() < 0 or rows.max() >= config.vocab_size:
        raise RequestError(f"tokens holds ids outside 0 to {config.vocab_size - 1}")
    return rows.astype(np.int32)


def refuse_unknown(settings: Iterable[str], known: Sequence[str]) -> None:
    """Raise RequestError for a setting that there is not, naming the one that may be meant."""
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise RequestError(f"there is no setting {name}; {meant}")


def checked_record(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A conversation that brings its own tools or mode. Raises RequestError for other keys."""
    known = {"messages", "tools", "thinking"}
    if "messages" not in record or not record.keys() <= known:
        raise RequestError(f"a record has the keys {list(record)}; expected messages, and maybe tools and thinking")
    return record


def stop_strings(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """One stop string, several or none, as a tuple. Raises RequestError for anything else."""
    strings = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(strings, Sequence) or any(not isinstance(s, str) or not s for s in strings):
        raise RequestError(f"stop is {stop!r}; expected a string or a list of non-empty strings")
    if len(strings) > _MOST_STOPS:
        raise RequestError(f"stop has {len(strings)} strings; expected at most {_MOST_STOPS}")
    return tuple(strings)
