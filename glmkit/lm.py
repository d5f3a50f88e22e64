"""LM: a model with its tokenizer and engine; what `glmkit.load` returns and notebooks talk to."""

import gc
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from tqdm.auto import tqdm

from glmkit import heap
from glmkit.agent import AgentStep, run_agent
from glmkit.bundle import bundle_files
from glmkit.checks import check_integer
from glmkit.config import GLMConfig
from glmkit.display import show_live
from glmkit.engine import Engine, Request, Ticket
from glmkit.engine.answer import Answer, ChatStream, Completion
from glmkit.engine.compute import DraftHidden
from glmkit.errors import GLMKitError, RequestError
from glmkit.generation_config import GenerationConfig
from glmkit.model import GLM
from glmkit.origin import Origin
from glmkit.runs.asking import Runs
from glmkit.runs.scoring import token_logprobs
from glmkit.runs.watch import Watch
from glmkit.text import Delta, Tokenizer, normalize_tools, template_variant
from glmkit.text.template import thinking_mode
from glmkit.turns import SAMPLING, TURN, Turns, checked_record, checked_rows, refuse_unknown, stop_strings
from glmkit.weights import save_hf

__all__ = ["LM"]

_LOGPROB_CHUNK = 256  # positions whose logits are held at once
_STREAMED_AHEAD = 16  # tokens that a stream computes before they are read


class LM(Runs):
    """A language model to chat with: configuration, network, tokenizer, engine.

    `max_len` is the longest context, by default the model's own, `kv_memory` the bytes of each device that keys and
    values may take, by default half of what is free; `about` the files that say what the model is (README.md, LICENSE),
    which `save` writes again; `loaded` what `glmkit.load` was given, if the weights are those. With `reproducible=True`
    a request gives the same bits whatever else is asked; `speculative_tokens` of each step are drafted and verified in
    the next; see `Engine`. Any thread may ask, and what is asked at the same time runs together.
    """

    def __init__(
        self,
        model: GLM,
        tokenizer: Tokenizer | None,
        *,
        generation: GenerationConfig | None = None,
        max_len: int | None = None,
        kv_memory: int | None = None,
        reproducible: bool = False,
        speculative_tokens: int = 0,
        draft_hidden: DraftHidden = "normed",
        name: str = "glm",
        about: Mapping[str, bytes] | None = None,
        loaded: Mapping[str, Any] | None = None,
    ):
        if tokenizer is not None:
            tokenizer.check_fits(model.config.vocab_size)
            template_variant(tokenizer.chat_template)
        self.config: GLMConfig = model.config
        self.name = name
        self.generation = generation or GenerationConfig.recommended(model.config)
        self.about = dict(about or {})
        self._origin = None if loaded is None else Origin(loaded, model)
        self.generation.warn_of_missing_stops(model.config.vocab_size)
        self._tokenizer = tokenizer
        self._asked: tuple[GenerationConfig, Turns] | None = None
        self._served = {"kv_memory": kv_memory, "reproducible": reproducible, "draft_hidden": draft_hidden}
        self._served |= {"speculative_tokens": speculative_tokens}
        self._engine: Engine | None = Engine(model, model.config.context(max_len), **self._served)
        self._model: GLM | None = model  # the last, since what has it is closed when it goes

    @property
    def model(self) -> GLM:
        """The network. Raises `RequestError` after `close`."""
        return self._open(self._model)

    @property
    def loaded(self) -> Mapping[str, Any] | None:
        """What gives these weights: `glmkit.load(**lm.loaded)`, without what only says where they lie.

        None for an LM that was made of a model, and once the model was changed in place.
        """
        return None if self._origin is None else self._origin.of(self._model)

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

    @property
    def _turns(self) -> Turns:
        tokenizer, generation, max_len = self.tokenizer, self.generation, self.engine.max_len
        if self._asked is None or self._asked[0] is not generation:
            self._asked = generation, Turns(tokenizer, generation, self.config.vocab_size, max_len)
        return self._asked[1]

    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        stream: bool = False,
        show: bool = False,
        tools: Sequence[Any] | None = None,
        tool_choice: str | Mapping[str, Any] = "auto",
        response_format: Mapping[str, Any] | None = None,
        thinking: Any = "enabled",
        budget: int | None = None,
        stop: str | Sequence[str] = (),
        n: int = 1,
        **sampling: Any,
    ) -> Completion | ChatStream | list[Completion]:
        """Answer a conversation: a string is one user turn, a list is OpenAI-shaped messages.

        `thinking` is "enabled" (the model decides), "disabled" or "forced"; `budget` closes a thought after so many
        tokens. `tools` are schemas or typed functions; calls follow them to the letter: names, parameters, types.
        `tool_choice` is "auto", "none", "required" or a tool by its name,
        `{"type": "function", "function": {"name": ...}}`. With `response_format` the answer is JSON:
        `{"type": "json_object"}`, or `{"type": "json_schema", "json_schema": {"schema": ...}}` for what a schema
        validates. `sampling` takes `max_tokens`, `temperature`, `top_p`, `top_k`, `min_p`, `repetition_penalty` and
        `seed` (None draws one; it is in the result), by default the checkpoint's own, and `top_logprobs`, how many of
        the likeliest tokens are told at each place. `stream=True` returns a `ChatStream` of deltas; `show=True` prints
        them as they come; `n` above 1 returns a list of answers, which share the prompt's computation and have seeds
        that follow one another; one that fails is a `Completion` with `error`, unless all do. Interrupted, an answer is
        what came so far, with `finish_reason` "interrupted". Raises `RequestError` or `TemplateError` before anything
        is computed.
        """
        refuse_unknown(sampling, (*TURN, *SAMPLING))
        turn = {"tools": tools, "tool_choice": tool_choice, "response_format": response_format}
        turn |= {"thinking": thinking, "budget": budget, "stop": stop}
        if check_integer("n", n, 1) > 1:
            if stream or show:
                raise RequestError(f"n is {n}: only one answer can be streamed or shown as it comes")
            return self._samples(messages, n, **turn, **sampling)
        request, answer = self._turns.chat(messages, **turn, **sampling)
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
        refuse_unknown(settings, (*TURN, *SAMPLING))
        if settings.get("seed") is None:
            settings["seed"] = secrets.randbits(32)
        settings["stop"] = stop_strings(settings.get("stop", ()))
        settings["tools"] = normalize_tools(settings.get("tools"))
        # What is wrong for every conversation is told at once, and not in each of their answers.
        settings["thinking"] = thinking_mode(settings.get("thinking", "enabled"))
        shared = {name: settings[name] for name in (*SAMPLING, "budget") if name in settings}
        self._turns.request((0,), thinking="enabled", **shared)
        self._turns.grammar(response_format=settings.get("response_format"), thinking=settings.get("thinking"))
        results: list[Completion | None] = [None] * len(conversations)
        running: list[tuple[int, Request, Answer]] = []
        for index, messages in enumerate(conversations):
            try:
                turn = checked_record(messages) if isinstance(messages, Mapping) else {"messages": messages}
                request, answer = self._turns.chat(call_ids=f"call_{index}_", **{**settings, **turn})
                self.engine.check_fits(self._probed(request))
                running.append((index, request, answer))
            except GLMKitError as error:
                results[index] = Completion(finish_reason="error", error=error)
        answered = self._serve([(request, answer) for _, request, answer in running], progress)
        for (index, *_), completion in zip(running, answered, strict=True):
            results[index] = completion
        return results

    def agent(
        self, messages: str | Sequence[Mapping[str, Any]], tools: Sequence[Any], max_turns: int = 8, **settings: Any
    ) -> Iterator[AgentStep]:
        """Answer with tools: yields a step for each turn of the model and what its calls gave, until it needs none.

        Typed functions are called; `run(name, arguments)` serves tools that are schemas. `settings` as for `chat`, of
        which a `tool_choice` that demands a call is of the turn that answers the user. See `glmkit.agent.run_agent`.
        """
        return run_agent(self.chat, messages, tools, max_turns=max_turns, **settings)

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
        refuse_unknown(sampling, ("stop", *SAMPLING))
        if suffix is not None:
            if not isinstance(prompt, str) or not isinstance(suffix, str):
                raise RequestError(f"suffix is {suffix!r}; with it, both the prompt and the suffix are strings")
            prompt = f"<|code_prefix|>{prompt}<|code_suffix|>{suffix}<|code_middle|>"
        request = self._turns.request(prompt, **sampling)
        text = prompt if isinstance(prompt, str) else self.tokenizer.decode(request.prompt)
        answer = Answer(request, self.tokenizer, prompt=text, stop=stop_strings(stop))
        return self._deliver(request, answer, stream=stream, show=show)

    def prompt(self, messages: Any, *, tools: Any = None, thinking: Any = "enabled") -> str:
        """The text `chat` would show the model: by the checkpoint's own template if it has one, else glmkit's."""
        return self._turns.prompt(messages, tools=tools, thinking=thinking)

    def logprobs(self, tokens: Any) -> Float[Array, "B S"]:
        """Log-probability of each token but the first, `S = T - 1`; raw: temperature 1, no mask.

        `tokens` are rows of one length, an array `[B, T]` or lists. Raises `RequestError` for anything else.
        """
        tokens = jnp.asarray(checked_rows(tokens, self.config))
        hidden = self.model(tokens, interventions=self._changes(tokens)).hidden[:, :-1]
        targets = tokens[:, 1:]
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

    def with_model(self, model: GLM, **options: Any) -> "LM":
        """An LM of another model, such as a trained copy, with all else of this one but the card and what was loaded.

        `options` are as for `LM`. One without the prediction layer drafts nothing, nor, unasked, a reproducible one.
        """
        about = {name: text for name, text in self.about.items() if name != "README.md"}
        given = {"generation": self.generation, "max_len": self.engine.max_len, "name": self.name, "about": about}
        served = self._served | {name: value for name, value in options.items() if name in self._served}
        if model.mtp is None or (served["reproducible"] and "speculative_tokens" not in options):
            served["speculative_tokens"] = 0
        return LM(model, self.tokenizer, **given | options | served)

    @property
    def closed(self) -> bool:
        """Whether `close` was called, after which it can be asked for nothing."""
        return self._model is None

    def close(self) -> None:
        """Give the memory back. What else refers to the model keeps it alive; a stream that is not over ends."""
        if self._engine is not None:
            self._engine.close()
        self._model = self._engine = None
        gc.collect(0)  # which is when JAX lets go of the host's buffers under the arrays that are no more
        heap.give_back()

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

    def _deliver(self, request: Request, answer: Answer, *, stream: bool, show: bool) -> Completion | ChatStream:
        self.engine.check_fits(request)
        if stream and show:
            raise RequestError("a stream is for whoever asks for it, and show= shows an answer as it comes; give one")
        if not stream and not show:
            (completion,) = self._serve([(request, answer)])
            if completion.error is not None:
                raise completion.error
            return completion
        arrived: SimpleQueue[list[Delta] | None] = SimpleQueue()
        watch = Watch()

        def stop() -> None:
            watch.stop()
            arrived.put(None)  # at once, though the step that is computed may take long

        self.engine.refuse_own_thread()
        # With what is in use now, whenever it is read.
        chat = ChatStream(self._deltas(self._probed(request), answer, arrived, watch), answer, stop)
        if stream:
            return chat
        show_live(chat)
        return chat.completion

    def _samples(self, messages: Any, n: int, seed: int | None = None, **settings: Any) -> list[Completion]:
        """Answers to one prompt, each of a seed of its own."""
        first = secrets.randbits(32) if seed is None else seed
        ask = partial(self._turns.chat, messages, **settings)
        asked = [ask(seed=first), *(ask(seed=(int(first) + number) % 2**32) for number in range(1, n))]
        self.engine.check_fits(asked[0][0])
        answered = self._serve(asked)
        if all(completion.error is not None for completion in answered):
            raise answered[0].error
        return answered

    def _serve(
        self, asked: Sequence[tuple[Request, Answer]], progress: bool = False, watch: Watch | None = None
    ) -> list[Completion]:
        """Answer requests that run together. Interrupted, each is what came of it so far."""
        self.engine.refuse_own_thread()
        tickets: list[Ticket] = []
        with tqdm(total=len(asked), desc="answers", disable=not progress, delay=1, leave=False) as bar:
            try:
                for request, answer in asked:
                    hear = answer.feed if watch is None else watch.beside(answer.feed)
                    tickets.append(self.engine.submit(self._probed(request), hear))
                if watch is not None:
                    watch.follow(*tickets)
                for ticket in tickets:
                    ticket.wait_for_answer()
                    bar.update(sum(ticket.is_over for ticket in tickets) - bar.n)
            except BaseException as error:
                _interrupt([request for request, _ in asked], tickets)
                if not isinstance(error, KeyboardInterrupt):
                    raise
        for request, answer in asked:
            answer.finish()
            self._heard(request)
        return [answer.completion() for _, answer in asked]

    def _deltas(
        self, request: Request, answer: Answer, arrived: "SimpleQueue[list[Delta] | None]", watch: Watch
    ) -> Iterator[Delta]:
        """Deltas as they come. Interrupted, the stream ends with what came so far."""
        reader, tickets = self.engine.reader(_STREAMED_AHEAD), []
        try:
            ticket = self.engine.submit(
                request,
                lambda token: arrived.put(answer.feed(token)),
                ended=lambda: arrived.put(None),
                reader=reader,
            )
            tickets.append(ticket)
            watch.follow(ticket)
            while (deltas := arrived.get()) is not None:
                yield from deltas
                reader.take()
        except KeyboardInterrupt:
            pass
        finally:
            _interrupt([request], tickets)
            self._heard(request)
        if request.error is not None:
            raise request.error
        while not arrived.empty():  # what was on its way when it was interrupted
            yield from arrived.get() or ()
        yield from answer.finish()


def _interrupt(requests: Sequence[Request], tickets: Sequence[Ticket]) -> None:
    """End requests. The last of them have no tickets yet, though an engine may have got one that it did not return."""
    for request in requests[len(tickets) :]:
        request.finish("interrupted")
    for ticket in tickets:
        ticket.cancel("interrupted")


_score = jax.jit(token_logprobs)
