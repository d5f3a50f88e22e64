"""The cache explorer: which pages the engine knows, who found and who reads them, and going on from any token."""

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from traitlets import Dict, Unicode

from glmkit.checks import check_integer
from glmkit.engine.snapshot import CacheTree
from glmkit.errors import GLMKitError, RequestError
from glmkit.lm import LM
from glmkit.probe import Plan
from glmkit.runs import Run
from glmkit.runs.tokens import texts
from glmkit.text.phases import numbered, phases
from glmkit.turns import SAMPLING, checked_ids, refuse_unknown
from glmkit.widgets.base import Widget, assets
from glmkit.widgets.branches import tree_message, words_of
from glmkit.widgets.cache_picture import cache_picture
from glmkit.widgets.cache_requests import CacheRequest, cache_code
from glmkit.widgets.code import Source
from glmkit.widgets.pace import Paced
from glmkit.widgets.rereading import read_once_more

__all__ = ["CacheExplorer", "CacheSelection"]

SETTINGS = {"max_tokens": 64, "temperature": 0.0, "thinking": "enabled"}
ESM = ("base.js", "tokens.js", "cache_explorer.js")
_LOOK_SECONDS = 0.3  # between two looks at the tree while it changes
_VIEWED_SECONDS = 600  # that a view is taken to be there for: while a cell runs, none is heard
_MOST_TOKENS = 2048  # of what is not in full pages, shown at once


@dataclass(frozen=True)
class CacheSelection:
    """What is picked: a page by its name, "part:page", or the tokens of a request that no page holds, "r0".

    `context` are all tokens up to the one that is picked, the last of the page if none is; `request` is the number of
    one that this explorer asked for.
    """

    page: str | None = None
    token: int | None = None
    context: tuple[int, ...] = ()
    request: int | None = None


class CacheExplorer(Widget):
    """The pages that an engine knows as a tree of contexts, the requests that have them, and forks at any token.

    `x`, if given, is asked at once: a string, messages or token ids; `settings` are those of `lm.complete`, and
    `thinking`, by default temperature 0 and up to 64 tokens. What is picked is in `selection`, what was asked for here
    in `requests`, the tree in `tree`, which is drawn as it changes, whoever asks the model. Raises RequestError for a
    model that was closed and for a request that cannot be served.
    """

    _esm = assets(*ESM)
    _css = assets("style.css", "cache_explorer.css")
    _selection = Dict().tag(sync=True)
    _code = Unicode().tag(sync=True)

    def __init__(self, lm: LM, x: Any = None, **settings: Any):
        refuse_unknown(settings, ("thinking", *SAMPLING))
        self._lm, self._settings = lm, {**SETTINGS, **settings}
        self._tree, self._words = lm.engine.cache.tree(), words_of(lm.tokenizer)
        self._requests: list[CacheRequest] = []
        self._runs: dict[int, Run] = {}
        self._telling = threading.RLock()
        self._stream: Any = None
        self._looks: threading.Thread | None = None
        self._viewed = 0.0  # when a view said last that it is there
        super().__init__()
        self.observe(self._write_code, names=["_selection"])
        if x is not None:
            self._answer(self._asked(x))
        self._write_code()

    # What the next cell reads.

    @property
    def tree(self) -> CacheTree:
        """As it is now. Raises RequestError for a model that was closed."""
        return self._look()

    @property
    def requests(self) -> tuple[CacheRequest, ...]:
        """What was asked for here, once nothing goes on."""
        self._join()
        return tuple(self._requests)

    @property
    def run(self) -> Run | None:
        """The request that is picked, or the last: its tokens, read once more for their routes, however many.

        Raises RequestError for one that failed, and where other interventions are in use than it was asked with.
        """
        self._join()
        if not self._requests:
            return None
        request = self._requests[-1 if (picked := self._selection.get("request")) is None else picked]
        if request.number not in self._runs:
            if request.completion is None:
                raise RequestError(f"request {request.number} failed: {request.error}")
            what, prompt = f"request {request.number}", len(request.prompt)
            self._runs[request.number] = read_once_more(self._lm, what, request.plan, request.ids, prompt)
        return self._runs[request.number]

    @property
    def interventions(self) -> Plan:
        """What `lm.using` has in use: pages computed with it are known to requests with the same alone."""
        return Plan() if self._lm.interventions is None else self._lm.interventions

    @property
    def selection(self) -> CacheSelection:
        """What is picked."""
        page, token = (self._selection.get(name) for name in ("page", "token"))
        found = self._find(page)
        if found is None:
            return CacheSelection(request=self._selection.get("request"))
        before, own = found
        end = len(own) if token is None else min(token + 1, len(own))
        return CacheSelection(page, token, before + own[:end], self._selection.get("request"))

    def select(self, page: str | None = None, token: int | None = None, request: int | None = None) -> None:
        """Pick a page by its name in the tree, or "r0" for what of request 0 is in no page; a token of it; a request.

        Raises RequestError for what there is not.
        """
        found = self._find(page, self.tree)
        if page is not None and found is None:
            raise RequestError(f"there is no page {page!r}; its name is that of a page of `tree`, or r0 for request 0")
        if token is not None and (found is None or not 0 <= check_integer("token", token, 0) < len(found[1])):
            raise RequestError(f"token is {token}; expected a token of a page, 0 to {self._tree.page_size - 1}")
        if request is not None and check_integer("request", request, 0) >= len(self._requests):
            raise RequestError(f"there is no request {request}; {len(self._requests)} were asked for here")
        self._selection = {"page": page, "token": token, "request": request}

    # Doing.

    def ask(self, x: Any, **settings: Any) -> None:
        """Ask something, in the background; `wait` waits for it. Raises RequestError for what cannot be asked."""
        request = self._asked(x, **settings)
        self.begin("answering", lambda: self._answer(request))

    def fork(self, text: str = "", *, context: Sequence[int] | None = None, **settings: Any) -> None:
        """Go on with `text` after a context, by default up to the token that is picked, in the background.

        Its full pages are found and not computed again. Raises RequestError if nothing is picked, and for settings
        that there are not.
        """
        refuse_unknown(settings, SAMPLING)
        if context is None:
            context = self.selection.context
        context = checked_ids("context", context, self._lm.config.vocab_size)
        if not context:
            raise RequestError("nothing to go on from; pick a token, or give context=")
        prompt = context + tuple(self._lm.tokenizer.encode(text)) if text else context
        known = [request for request in self._requests if request.ids[: len(context)] == context]
        source = known[-1].number if known else None
        given = {**self._settings, **settings}
        request = CacheRequest(len(self._requests), prompt, given, text=text, kept=len(context), source=source)
        self.begin("going on", lambda: self._answer(request))

    def clear(self) -> None:
        """Have the engine forget all pages; requests that run are not disturbed."""
        self._lm.engine.cache.clear()
        self._tell_tree()

    def stop(self) -> None:
        super().stop()
        if self._stream is not None:
            self._stream.stop()

    def close(self) -> None:
        """Look no more."""
        self._looks = None
        super().close()

    def picture(self) -> tuple[str, bytes] | None:
        return cache_picture(self._tree, self._words, self._lm.name)

    # Messages.

    def snapshot(self) -> None:
        with self._telling:
            given = {name: self._settings[name] for name in SETTINGS}
            self.post("about", {"live": True, "model": self._lm.name, "settings": given})
            self.post("tree", tree_message(self._tree, self._words))
            self._post_requests()
        self._look_on()

    def on_ping(self, _: Mapping[str, Any]) -> None:
        """A view says once a minute that it is there."""
        self._look_on()

    def on_ask(self, content: Mapping[str, Any]) -> None:
        self.ask(content["text"], thinking=content["thinking"], max_tokens=content["max_tokens"])

    def on_fork(self, content: Mapping[str, Any]) -> None:
        self.fork(content["text"], max_tokens=content["max_tokens"], temperature=content["temperature"])

    def on_clear(self, _: Mapping[str, Any]) -> None:
        self.clear()

    def on_page(self, content: Mapping[str, Any]) -> None:
        """The tokens of a page, which the tree has only the beginnings of."""
        found = self._find(content["page"])
        if found is None:
            return
        before, own = found
        known, tokenizer = phases(before + own, self._lm.tokenizer)[len(before) :], self._lm.tokenizer
        told = {"page": content["page"], "start": len(before), "text": list(texts(own, tokenizer))}
        self.answer(content, "page", told | {"phase": numbered(known)})

    def _post_requests(self) -> None:
        with self._telling:
            self.post("requests", {"requests": [self._request_message(request) for request in self._requests]})

    def _request_message(self, request: CacheRequest) -> dict[str, Any]:
        found = self._tree.find(request.ids, request.scope)
        done = request.completion
        return {
            "number": request.number,
            "title": request.title,
            "text": "".join(texts(request.prompt[-80:], self._lm.tokenizer)),
            "answer": request.answer,
            "count": request.count,
            "prompt": len(request.prompt),
            "cached": None if done is None else done.usage.cached_tokens,
            "names": [self._tree.pages[place].name for place in found],
            "tail": len(request.ids) - len(found) * self._tree.page_size,
            "finish": "" if done is None else done.finish_reason,
            "error": request.error,
        }

    # Work, in the background or not.

    def _asked(self, x: Any, **settings: Any) -> CacheRequest:
        refuse_unknown(settings, ("thinking", *SAMPLING))
        given, ids = {**self._settings, **settings}, x
        if isinstance(x, str) or (isinstance(x, Sequence) and x and isinstance(x[0], Mapping)):
            ids = self._lm.tokenizer.encode(self._lm.prompt(x, thinking=given["thinking"]))
        ids = checked_ids("x", ids, self._lm.config.vocab_size)
        self._settings = given  # once it is known that it can be asked
        return CacheRequest(len(self._requests), ids, dict(given), x=x)

    def _answer(self, request: CacheRequest) -> None:
        given = {name: value for name, value in request.settings.items() if name != "thinking"}
        request.plan, request.scope = self._lm.interventions, self._lm._page_scope
        stream = self._stream = self._lm.complete(request.prompt, stream=True, **given)
        with self._telling:
            self._requests.append(request)
            self._selection = {**self._selection, "request": request.number}
            self._post_requests()
        if self._stopping.is_set() and self.busy:
            stream.stop()
        try:
            with Paced(lambda pieces: self._say(request, pieces)) as paced:
                for delta in stream:
                    paced.add(delta.content)
            request.completion = stream.completion
            request.settings = {**request.settings, "seed": request.completion.seed}
        except Exception as error:
            request.error = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._stream = None
            self._write_code()
            if not self._stopping.is_set():  # else at once; it is looked at soon enough
                self._tell_tree()
            self._post_requests()

    def _say(self, request: CacheRequest, pieces: Sequence[str]) -> None:
        with self._telling:
            at, text = len(request.answer), "".join(pieces)
            request.answer, request.count = request.answer + text, request.count + len(pieces)
            self.post("stream", {"request": request.number, "at": at, "text": text, "count": request.count})

    # Looking at the tree.

    def _look(self) -> CacheTree:
        self._tree = self._lm.engine.cache.tree()
        return self._tree

    def _tell_tree(self) -> None:
        tree = self._look()  # which may wait for a step
        with self._telling:
            self.post("tree", tree_message(tree, self._words))
            self._post_requests()
        self.redraw()

    def _look_on(self) -> None:
        """See to it that somebody looks, for a while."""
        self._viewed = time.monotonic()
        if self._looks is None or not self._looks.is_alive():
            known = weakref.ref(self)
            self._looks = threading.Thread(target=_keep_looking, args=(known,), name="glmkit cache", daemon=True)
            self._looks.start()

    def _tell_changes(self, seen: Any) -> Any:
        """Tell of the tree if it has changed since `seen`, and while requests run; None once nobody needs to look."""
        unseen = time.monotonic() - self._viewed > _VIEWED_SECONDS
        if self._looks is not threading.current_thread() or unseen:
            return None
        try:
            now = self._lm.engine.cache.changes
            if now != seen or self._tree.requests:
                self._tell_tree()
            return now
        except GLMKitError as error:  # closed, or changed while requests run
            if not self._lm.closed:
                return -1
            self.post("about", {"live": False, "model": self._lm.name, "note": str(error)})
            return None

    # Small things.

    def _find(self, page: Any, tree: CacheTree | None = None) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The tokens before a page, and its own; of what was last seen of the tree."""
        tree = tree or self._tree
        if isinstance(page, str) and page.startswith("r") and page[1:].isdecimal():
            if int(page[1:]) >= len(self._requests):
                return None
            request = self._requests[int(page[1:])]
            ids, found = request.ids, tree.find(request.ids, request.scope)
            start = max(len(found) * tree.page_size, len(ids) - _MOST_TOKENS)
            return ids[:start], ids[start:]
        place = next((at for at, known in enumerate(tree.pages) if known.name == page), None)
        if place is None:
            return None
        context = tree.context(place)
        return context[: -tree.page_size], context[-tree.page_size :]

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _write_code(self, _: Any = None) -> None:
        self._code = cache_code(Source.of(self._lm), self._requests, self._selection.get("request"))


def _keep_looking(known: weakref.ref[CacheExplorer]) -> None:
    """Have an explorer look until it or the model is closed, or nobody is there to see it; it may go meanwhile."""
    seen = -1  # of the changes, which are counted
    while threading.main_thread().is_alive():  # at the end engines forget, and views need not
        explorer = known()
        seen = None if explorer is None else explorer._tell_changes(seen)
        del explorer
        if seen is None:
            return
        time.sleep(_LOOK_SECONDS)
