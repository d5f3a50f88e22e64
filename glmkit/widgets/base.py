"""What widgets share: numbered messages with binary data, long work in a thread, a picture for a kernel-less reader."""

import base64
import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
from IPython.display import DisplayHandle, display

from glmkit.errors import GLMKitError, RequestError

__all__ = ["Widget", "assets"]

_ESM = Path(__file__).parent / "esm"


def assets(*names: str) -> str:
    """The text of files of `esm/`, one after the other: a module without imports, which needs no network."""
    return "\n".join((_ESM / name).read_text(encoding="utf-8") for name in names)


class Widget(anywidget.AnyWidget):
    """A widget whose state is here and whose views only show it.

    What it tells its views are messages, numbered so that a view that missed one asks for all anew ("hello"); arrays go
    beside them as binary buffers and so are no part of a saved notebook. A subclass answers requests in `on_<kind>`
    methods, tells everything in `snapshot`, and draws `picture`. Long work runs in one thread at a time: the kernel
    stays free, which is how Stop is heard.
    """

    def __init__(self, **traits: Any):
        super().__init__(**traits)
        self._number, self._sending = 0, threading.Lock()
        self._thread: threading.Thread | None = None
        self._doing, self._stopping = "", threading.Event()
        self._still: DisplayHandle | None = None
        self.error: Exception | None = None
        """What the last work failed with."""
        self.on_msg(self._receive)

    # What the views are told.

    def post(self, kind: str, content: dict[str, Any] | None = None, buffers: Sequence[Any] = ()) -> None:
        """Tell all views; any thread may."""
        with self._sending:
            self._number += 1
            self.send({"kind": kind, "number": self._number, **(content or {})}, list(buffers))

    def post_state(self) -> None:
        """Whether something is being done, and what went wrong last."""
        failure = "" if self.error is None else f"{type(self.error).__name__}: {self.error}"
        self.post("state", {"doing": self._doing, "error": failure})

    def snapshot(self) -> None:
        """Post everything that a new view needs."""
        raise NotImplementedError

    # What they ask for.

    def _receive(self, _: Any, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        try:
            if content.get("kind") == "hello":
                self.post("begin")
                self.snapshot()
                self.post_state()
            else:
                getattr(self, f"on_{content['kind']}")(content)
        except Exception as error:  # it would be swallowed otherwise: nobody waits for the answer to a message
            self.error = error
            self.post_state()

    def on_stop(self, _: dict[str, Any]) -> None:
        self.stop()

    # Long work.

    def begin(self, doing: str, work: Callable[[], None]) -> None:
        """Do `work` in a thread. Raises RequestError while other work goes on."""
        if self.busy:
            raise RequestError(f"{self._doing} still goes on; wait for it, or stop it")
        self._doing, self.error = doing, None
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
        """The live view and, in an output of its own, a picture, which the live view hides.

        JupyterLab shows an error for a widget without its kernel, whatever other forms the same output has.
        """
        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True)
        if (still := self._still_data()) is not None:
            self._still = display(still, raw=True, display_id=True)

    def redraw(self) -> None:
        """Draw the picture that the notebook keeps anew, as things are now; where the widget was shown."""
        if self._still is not None and (still := self._still_data()) is not None:
            self._still.update(still, raw=True)

    def _still_data(self) -> dict[str, Any] | None:
        with contextlib.suppress(GLMKitError):
            if (drawn := self.picture()) is not None:
                svg, png = drawn
                source = base64.b64encode(svg.encode()).decode()
                alt = f"{type(self).__name__}, as it was last drawn"
                html = f'<img class="glmkit-still" alt="{alt}" src="data:image/svg+xml;base64,{source}">'
                return {"text/html": html, "image/png": base64.b64encode(png).decode(), "text/plain": alt}
        return None
