"""What widgets share: numbered messages with binary data, long work in a thread, a picture for a kernel-less reader."""

import base64
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
from IPython.display import DisplayHandle, display

from glmkit.errors import RequestError

__all__ = ["Widget", "assets"]

_ESM = Path(__file__).parent / "esm"
_STILLS = 8  # that are drawn anew, those shown last: a cell that is run again leaves the one before behind
_log = logging.getLogger(__name__)


def assets(*names: str) -> str:
    """The text of files of `esm/`, one after the other: a module without imports, which needs no network.

    Without indentation, and without lines that are comments: a notebook keeps it with every widget.
    """
    text = "\n".join((_ESM / name).read_text(encoding="utf-8") for name in names)
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


class Widget(anywidget.AnyWidget):
    """A widget whose state is here and whose views only show it.

    What it tells its views are messages, numbered so that a view that missed one asks for all anew ("hello"); arrays go
    beside them as binary buffers and so are no part of a saved notebook. A subclass answers requests in `on_<kind>`
    methods, tells everything in `snapshot`, and draws `picture`. Long work runs in one thread at a time: the kernel
    stays free, which is how Stop is heard.
    """

    draw_seconds = 2.0
    """Between two pictures for the notebook, but for those that are drawn when work ends."""

    def __init__(self, **traits: Any):
        super().__init__(**traits)
        self._number, self._sending = 0, threading.RLock()
        self._thread: threading.Thread | None = None
        self._doing, self._stopping = "", threading.Event()
        self._stills: deque[DisplayHandle] = deque(maxlen=_STILLS)
        self._drawing, self._timing, self._drawn = threading.Lock(), threading.Lock(), 0.0
        self._redraws: threading.Timer | None = None
        self.error: Exception | None = None
        """What the last work failed with."""
        self._refused: Exception | None = None  # what a view asked last could not be begun, which is no failure of work
        self.on_msg(self._receive)
        self.observe(lambda _: self.redraw(), names=["_selection", "_changes"])

    # What the views are told.

    def post(self, kind: str, content: dict[str, Any] | None = None, buffers: Sequence[Any] = ()) -> None:
        """Tell all views; any thread may."""
        with self._sending:
            self._number += 1
            self.send({"kind": kind, "number": self._number, **(content or {})}, list(buffers))

    def answer(self, asked: Mapping[str, Any], kind: str, content: dict[str, Any], buffers: Sequence[Any] = ()) -> None:
        """Tell the view that asked for it, which put its name to what it asked; the others pass it over."""
        self.post(kind, {**content, "view": asked.get("view")}, buffers)

    def post_state(self) -> None:
        """Whether something is being done, and what went wrong last."""
        with self._sending:  # so that what is told last is how it is
            wrong = self._refused or self.error
            failure = "" if wrong is None else f"{type(wrong).__name__}: {wrong}"
            self.post("state", {"doing": self._doing, "error": failure})

    def snapshot(self) -> None:
        """Post everything that a new view needs."""
        raise NotImplementedError

    # What they ask for.

    def _receive(self, _: Any, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        """Do what a view asks for; whatever it is, the state is the end of the answer."""
        try:
            getattr(self, f"on_{content['kind']}")(content)
            if content["kind"] not in ("hello", "ping"):
                self._refused = None
        except Exception as error:  # it would be swallowed otherwise: nobody waits for the answer to a message
            self._refused = error
        self.post_state()

    def on_hello(self, _: dict[str, Any]) -> None:
        """A view is new, or has missed something."""
        self.post("begin")
        self.snapshot()

    def on_ping(self, _: dict[str, Any]) -> None:
        """A view has heard nothing for a while: whether anyone is there."""

    def on_stop(self, _: dict[str, Any]) -> None:
        self.stop()

    # Long work.

    def begin(self, doing: str, work: Callable[[], None]) -> None:
        """Do `work` in a thread. Raises RequestError while other work goes on."""
        if self.busy:
            raise RequestError(f"{self._doing} still goes on; wait for it, or stop it")
        self._doing, self.error, self._refused = doing, None, None
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, args=(work,), name=f"glmkit {doing}", daemon=True)
        self.post_state()
        self._thread.start()

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.error = error
        finally:
            self._doing = ""
            self.post_state()
            self._draw()

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._doing != ""

    def stop(self) -> None:
        """End what is being done as soon as it can."""
        self._stopping.set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is being done; interrupted, stop it first. Raises what it failed with."""
        if self._thread is not None:
            try:
                self._thread.join(timeout)
            except KeyboardInterrupt:
                self.stop()
                self._thread.join()
        if self.error is not None:
            raise self.error

    # What a notebook keeps.

    def picture(self) -> tuple[str, bytes] | None:
        """An SVG with words and a PNG without, of what there is to see; None before there is something."""
        return None

    def _ipython_display_(self, **_: Any) -> None:
        """The live view and, in an output of its own, a picture, which the live view hides; in as many cells as it is
        shown in.

        JupyterLab shows an error for a widget without its kernel, whatever other forms the same output has.
        """
        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)
        self._stills.append(display(self._still_data(), raw=True, display_id=True))

    def redraw(self) -> None:
        """Have the picture that the notebook keeps drawn anew in all cells that show it, soon, as things are then."""
        with self._timing:
            if self._stills and self._redraws is None:
                wait = max(0.0, self._drawn + self.draw_seconds - time.monotonic())
                self._redraws = threading.Timer(wait, self._draw)
                self._redraws.daemon = True
                self._redraws.start()

    def _draw(self) -> None:
        with self._drawing:  # one after the other, so that the last that is told is the newest
            with self._timing:
                if self._redraws is not None:
                    self._redraws.cancel()
                self._redraws, self._drawn = None, time.monotonic()
            if not self._stills:
                return
            try:
                drawn = self._still_data()
                for still in tuple(self._stills):
                    still.update(drawn, raw=True)
            except Exception:  # nobody waits for it, and what it is a picture of goes on
                _log.exception("the picture of %s was not told", type(self).__name__)

    def _still_data(self) -> dict[str, Any]:
        """For a notebook; in words where there is nothing to see yet."""
        name, drawn = type(self).__name__, None
        try:
            drawn = self.picture()
        except Exception:
            _log.exception("the picture of %s was not drawn", name)
        if drawn is None:
            words = f"{name}, without anything to see yet"
            return {"text/html": f'<em class="glmkit-still">{words}</em>', "text/plain": words}
        svg, png = drawn
        source, alt = base64.b64encode(svg.encode()).decode(), f"{name}, as it was last drawn"
        html = f'<img class="glmkit-still" alt="{alt}" src="data:image/svg+xml;base64,{source}">'
        return {"text/html": html, "image/png": base64.b64encode(png).decode(), "text/plain": alt}
