"""LM: a model with its tokenizer and engine; what `glmkit.load` returns and notebooks talk to."""

import ctypes
import difflib
import gc
import os
import secrets
import sys
import warnings
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm.auto import tqdm

from glmkit.bundle import bundle_files
from glmkit.checks import check_integer, is_integer
from glmkit.config import GLMConfig
from glmkit.display import show_live
from glmkit.engine import Engine, Request, Sampling, ThinkingBudget
from glmkit.engine.answer import Answer, ChatStream, Completion
from glmkit.errors import GLMKitError, RequestError
from glmkit.generation_config import GenerationConfig
from glmkit.model import GLM
from glmkit.text import Delta, StreamParser, Tokenizer, normalize_tools, render, render_jinja, template_variant
from glmkit.text.template import thinking_mode
from glmkit.weights import save_hf

__all__ = ["LM"]

_LOGPROB_CHUNK = 256  # positions whose logits are held at once
_TURN = ("tools", "tool_choice", "thinking", "budget", "stop")
_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop_ids")


class LM:
    """A language model to chat with: configuration, network, tokenizer, engine.

    `max_len` is the context it allocates for, by default the model's own; `about` the files that say what the model is
    (README.md, LICENSE), which `save` writes again. Not thread-safe.
    """

    def __init__(
        self,
        model: GLM,
        tokenizer: Tokenizer | None,
        *,
        generation: GenerationConfig | None = None,
        max_len: int | None = None,
        name: str = "glm",
        about: Mapping[str, bytes] | None = None,
    ):
        if tokenizer is not None:
            tokenizer.check_fits(model.config.vocab_size)
            template_variant(tokenizer.chat_template)
        self.config: GLMConfig = model.config
        self.name = name
        self.generation = generation or GenerationConfig.recommended(model.config)
        self.about = dict(about or {})
        _warn_of_missing_stops(self.generation.eos_token_id, model.config.vocab_size)
        self._tokenizer = tokenizer
        self._engine: Engine | None = Engine(model, model.config.context(max_len))
        self._streaming = weakref.WeakSet[Generator]()  # what generates for streams, and holds weights and cache
        self._model: GLM | None = model  # the last, since what has it is closed when it goes

    @property
    def model(self) -> GLM:
        """The network. Raises `RequestError` after `close`."""
        return self._open(self._model)

    @property
    def engine(self) -> Engine:
        """What generates. Raises `RequestError` after `close`."""
        return self._open(self._engine)

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises `RequestError` for a checkpoint that came without one."""
        if self._tokenizer is None:
            raise RequestError(f"{self.name} has no tokenizer: its folder holds no tokenizer.json")
        return self._tokenizer

    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        stream: bool = False,
        show: bool = False,
        tools: Sequence[Any] | None = None,
        tool_choice: str = "auto",
        thinking: Any = "enabled",
        budget: int | None = None,
        stop: str | Sequence[str] = (),
        **sampling: Any,
    ) -> Completion | ChatStream:
        """Answer a conversation: a string is one user turn, a list is OpenAI-shaped messages.

        `thinking` is "enabled" (the model decides), "disabled" or "forced"; `budget` closes a thought after so many
        tokens. `tools` are schemas or typed functions, `tool_choice` "auto" or "none". `sampling` takes `max_tokens`,
        `temperature`, `top_p`, `top_k`, `min_p`, `repetition_penalty` and `seed` (None draws one; it is in the
        result), by default the checkpoint's own. `stream=True` returns a `ChatStream` of deltas; `show=True` prints
        them as they come. Raises `RequestError` or `TemplateError` before anything is computed.
        """
        _refuse_unknown(sampling, (*_TURN, *_SAMPLING))
        turn = {"tools": tools, "tool_choice": tool_choice, "thinking": thinking, "budget": budget, "stop": stop}
        request, answer = self._turn(messages, **turn, **sampling)
        return self._deliver(request, answer, stream=stream, show=show)

    def chat_batch(
        self,
        conversations: Sequence[str | Sequence[Mapping[str, Any]] | Mapping[str, Any]],
        *,
        progress: bool = True,
        **settings: Any,
    ) -> list[Completion]:
        """Answer many conversations at once, in their order; `settings` as for `chat`.

        A conversation that brings its own tools or mode is a record, as training reads them: `{"messages": ...,
        "tools": ..., "thinking": ...}`. One that cannot be served is a `Completion` with `error`; the others go on.
        They share one seed. Raises `RequestError` for settings that are wrong for all of them.
        """
        if isinstance(conversations, str | Mapping) or not isinstance(conversations, Sequence):
            raise RequestError(f"conversations: expected a list of conversations, got {type(conversations).__name__}")
        _refuse_unknown(settings, (*_TURN, *_SAMPLING))
        if settings.get("seed") is None:
            settings["seed"] = secrets.randbits(32)
        settings["stop"] = _stop_strings(settings.get("stop", ()))
        settings["tools"] = normalize_tools(settings.get("tools"))
        # What is wrong for every conversation is told at once, and not in each of their answers.
        thinking_mode(settings.get("thinking", "enabled"))
        shared = {name: settings[name] for name in (*_SAMPLING, "budget") if name in settings}
        self._request((0,), thinking="enabled", **shared)
        results: list[Completion | None] = [None] * len(conversations)
        running: list[tuple[int, Request, Answer]] = []
        for index, messages in enumerate(conversations):
            try:
                turn = _record(messages) if isinstance(messages, Mapping) else {"messages": messages}
                request, answer = self._turn(call_ids=f"call_{index}_", **{**settings, **turn})
                self.engine.check_fits(request)
                running.append((index, request, answer))
            except GLMKitError as error:
                results[index] = Completion(finish_reason="error", error=error)
        with tqdm(total=len(running), desc="answers", disable=not progress, delay=1, leave=False) as bar:
            previous = -1
            for row, token in self.engine.generate([request for _, request, _ in running]):
                running[row][2].feed(token)
                if row <= previous:  # a new step has begun
                    bar.update(sum(r.finish_reason is not None for _, r, _ in running) - bar.n)
                previous = row
        for index, _, answer in running:
            answer.finish()
            results[index] = answer.completion()
        return results

    def complete(
        self,
        prompt: str | Sequence[int],
        suffix: str | None = None,
        *,
        stream: bool = False,
        show: bool = False,
        stop: str | Sequence[str] = (),
        **sampling: Any,
    ) -> Completion | ChatStream:
        """Go on from a text or token ids, without a template: for Base models. `sampling` as for `chat`.

        With `suffix` the model fills in what is between the two (fill-in-the-middle).
        """
        _refuse_unknown(sampling, ("stop", *_SAMPLING))
        if suffix is not None:
            if not isinstance(prompt, str) or not isinstance(suffix, str):
                raise RequestError(f"suffix is {suffix!r}; with it, both the prompt and the suffix are strings")
            prompt = f"<|code_prefix|>{prompt}<|code_suffix|>{suffix}<|code_middle|>"
        request = self._request(prompt, **sampling)
        text = prompt if isinstance(prompt, str) else self.tokenizer.decode(request.prompt)
        answer = Answer(request, self.tokenizer, prompt=text, stop=_stop_strings(stop))
        return self._deliver(request, answer, stream=stream, show=show)

    def prompt(self, messages: Any, *, tools: Any = None, thinking: Any = "enabled") -> str:
        """The text `chat` would show the model: by the checkpoint's own template if it has one, else glmkit's."""
        template = self.tokenizer.chat_template
        if template is None:
            return render(messages, tools=tools, thinking=thinking)
        return render_jinja(template, messages, tools=tools, thinking=thinking)

    def logprobs(self, tokens: Any) -> Float[Array, "B S"]:
        """Log-probability of each token but the first, `S = T - 1`; raw: temperature 1, no mask.

        `tokens` are rows of one length, an array `[B, T]` or lists. Raises `RequestError` for anything else.
        """
        tokens = self._token_rows(tokens)
        hidden, targets = self.model(tokens).hidden[:, :-1], tokens[:, 1:]
        pieces = [
            _score(self.model, hidden[:, at : at + _LOGPROB_CHUNK], targets[:, at : at + _LOGPROB_CHUNK])
            for at in range(0, targets.shape[1], _LOGPROB_CHUNK)
        ]
        return jnp.concatenate(pieces, axis=1)

    def save(self, path: str | os.PathLike[str], *, card: str | bytes | None = None, **options: Any) -> None:
        """Write a folder in the released layout that `glmkit.load` and the reference library open.

        `card` is its README.md, by default the one it was loaded with. `options` as for `glmkit.save_hf`.
        """
        files = bundle_files(self.model, self.tokenizer, self.generation, self.name, self.about)
        if card is not None:
            files["README.md"] = card.encode() if isinstance(card, str) else card
        save_hf(self.model, path, files=files, **options)

    def close(self) -> None:
        """Give the memory back. What else refers to the model keeps it alive; a stream that is not over ends."""
        if self._engine is not None:
            for generation in list(self._streaming):
                with suppress(ValueError):  # the one that is running now, which will find this LM closed
                    generation.close()
            self._engine.release()
        self._model = self._engine = None
        gc.collect(0)  # which is when JAX lets go of the host's buffers under the arrays that are no more
        _trim_heap()

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # A default, because at the interpreter's end this module's names may be gone, which `close` needs too.
        if getattr(self, "_model", None) is not None and not ending():
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LM({self.name!r}, closed)" if self._model is None else f"LM({self.name!r}, {self._model!r})"

    def _open(self, part):
        if part is None:
            raise RequestError(f"this LM ({self.name}) was closed; load it again")
        return part

    def _turn(
        self,
        messages: Any,
        *,
        tools: Any = None,
        tool_choice: str = "auto",
        thinking: Any = "enabled",
        budget: int | None = None,
        stop: str | Sequence[str] = (),
        call_ids: str | None = None,
        **sampling: Any,
    ) -> tuple[Request, Answer]:
        """The request for the next turn of a conversation, and what assembles its answer; tool calls get `call_ids`."""
        if tool_choice not in ("auto", "none"):
            raise RequestError(f'tool_choice is {tool_choice!r}; expected "auto" or "none"')
        tools = normalize_tools(tools) if tool_choice == "auto" else []
        prompt = self.prompt(messages, tools=tools, thinking=thinking)
        request = self._request(prompt, thinking=thinking, budget=budget, **sampling)
        prefix = call_ids or f"call_{request.sampling.seed:08x}_"
        parser = StreamParser(tools, thinking_open=request.thinking, id_prefix=prefix)
        return request, Answer(request, self.tokenizer, prompt=prompt, stop=_stop_strings(stop), parser=parser)

    def _request(
        self,
        prompt: str | Sequence[int],
        *,
        thinking: Any = None,
        budget: int | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float = 0.0,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        stop_ids: Sequence[int] = (),
    ) -> Request:
        ids = self._ids("the prompt", self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt)
        if max_tokens is not None:
            max_tokens = check_integer("max_tokens", max_tokens, 1)
        own = self.generation
        sampling = Sampling(
            temperature=(own.temperature if own.do_sample else 0.0) if temperature is None else temperature,
            top_p=own.top_p if top_p is None else top_p,
            top_k=own.extra.get("top_k") or 0 if top_k is None else top_k,
            min_p=min_p,
            repetition_penalty=own.extra.get("repetition_penalty") or 1.0
            if repetition_penalty is None
            else repetition_penalty,
            seed=secrets.randbits(32) if seed is None else seed,
        )  # fmt: skip
        return Request(
            prompt=ids,
            sampling=sampling,
            max_tokens=max(1, self.engine.max_len - len(ids)) if max_tokens is None else max_tokens,
            stop_ids=frozenset(own.eos_token_id) | frozenset(self._ids("stop_ids", stop_ids)),
            budget=None if budget is None else self._budget(budget, thinking),
            thinking=thinking is not None and thinking_mode(thinking) == "forced",
        )

    def _token_rows(self, tokens: Any) -> Int[Array, "B T"]:
        try:
            rows = np.asarray(tokens)
        except ValueError as error:
            raise RequestError("tokens: rows differ in length; expected [batch, length >= 2]") from error
        if rows.ndim != 2 or not len(rows) or rows.shape[1] < 2 or not np.issubdtype(rows.dtype, np.integer):
            raise RequestError(f"tokens: {rows.dtype} {list(rows.shape)}; expected integers [batch, length >= 2]")
        if rows.shape[1] > self.config.max_position_embeddings:
            raise RequestError(
                f"tokens: rows of {rows.shape[1]}, more than the context of {self.config.max_position_embeddings}"
            )
        if rows.size and (rows.min() < 0 or rows.max() >= self.config.vocab_size):
            raise RequestError(f"tokens holds ids outside 0 to {self.config.vocab_size - 1}")
        return jnp.asarray(rows, jnp.int32)

    def _ids(self, name: str, tokens: Any) -> tuple[int, ...]:
        """Token ids, checked to be this model's."""
        size = self.config.vocab_size
        if isinstance(tokens, str | bytes | Mapping) or not isinstance(tokens, Iterable):
            raise RequestError(f"{name} is {tokens!r}; expected token ids")
        ids = tuple(tokens)
        for token in ids:
            if not is_integer(token) or not 0 <= token < size:
                raise RequestError(f"{name} holds {token!r}; expected token ids, 0 to {size - 1}")
        return tuple(map(int, ids))

    def _budget(self, limit: int, thinking: Any) -> ThinkingBudget | None:
        limit = check_integer("budget", limit, 0)
        if thinking_mode(thinking) == "disabled":
            raise RequestError('budget= limits a thought, but thinking is "disabled"')
        closing = (*self.tokenizer.encode("\n"), self.tokenizer.token_id("</think>"))
        return ThinkingBudget(
            limit, self.tokenizer.token_id("<think>"), closing, self.tokenizer.token_id("<tool_call>")
        )

    def _deliver(self, request: Request, answer: Answer, *, stream: bool, show: bool) -> Completion | ChatStream:
        self.engine.check_fits(request)
        chat = ChatStream(self._deltas(request, answer), answer)
        if stream:
            return chat
        if show:
            show_live(chat)
        return chat.completion

    def _deltas(self, request: Request, answer: Answer) -> Iterator[Delta]:
        generation = self.engine.generate([request])
        self._streaming.add(generation)
        for _, token in generation:
            yield from answer.feed(token)
        self._open(self._engine)  # closed between two deltas, which ends the generation
        yield from answer.finish()


def _refuse_unknown(settings: Iterable[str], known: Sequence[str]) -> None:
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise RequestError(f"there is no setting {name}; {meant}")


def _record(record: Mapping[str, Any]) -> Mapping[str, Any]:
    known = {"messages", "tools", "thinking"}
    if "messages" not in record or not record.keys() <= known:
        raise RequestError(f"a record has the keys {list(record)}; expected messages, and maybe tools and thinking")
    return record


def _warn_of_missing_stops(ids: Sequence[int], vocab_size: int) -> None:
    if beyond := [token for token in ids if token >= vocab_size]:
        warnings.warn(
            f"eos_token_id names {beyond}, but the vocabulary has {vocab_size} tokens: generation cannot stop at these",
            stacklevel=3,
        )


def _stop_strings(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    strings = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(strings, Sequence) or any(not isinstance(s, str) or not s for s in strings):
        raise RequestError(f"stop is {stop!r}; expected a string or a list of non-empty strings")
    return tuple(strings)


def _trim_heap() -> None:
    """glibc keeps what was freed in pieces until it is asked for it."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


@jax.jit
def _score(model: GLM, hidden: Float[Array, "B T D"], targets: Int[Array, "B T"]) -> Float[Array, "B T"]:
    logprobs = jax.nn.log_softmax(model.logits(hidden))
    chosen = jnp.arange(logprobs.shape[-1]) == targets[..., None]
    return jnp.where(chosen, logprobs, 0).sum(-1)
