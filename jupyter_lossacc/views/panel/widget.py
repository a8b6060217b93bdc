"""The live panel: one anywidget that draws what it is sent and, during a run, sends back nothing but `stop`.

Once the run is over it goes on answering questions (`answer_with`), also for the frozen copy that
stands in its place by then: that copy finds this widget's model in the page.

Updates travel as custom messages. No synced trait ever changes during a run: traits are not
thread-safe, and a widget message that reaches the kernel during a cell makes ipykernel 7 run
``post_execute``, which closes the user's half-drawn figures.
"""

from __future__ import annotations

import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets
from IPython import get_ipython

from jupyter_lossacc.views.panel.assets import module_source
from jupyter_lossacc.views.panel.coding import coded, coded_list, thinned
from jupyter_lossacc.views.panel.delta import delta
from jupyter_lossacc.views.panel.frozen import plain_text
from jupyter_lossacc.views.panel.rows import Packed
from jupyter_lossacc.views.panel.wire import Wire

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INTERVAL", "Answer", "Panel"]

INTERVAL = 0.5  # seconds between live messages; at every step they would triple a short step's time
Answer = Callable[[Mapping[str, Any]], Any]
MAX_STEPS = 110  # per live message, which stays below a kilobyte
RATE_WINDOW = 5.0  # seconds over which throughput is averaged
MEASURED_EVERY = (
    1.0  # seconds between two looks at throughput, time left and learning rate: nobody reads faster
)
UNKNOWN_LENGTH = 100  # steps assumed for a first epoch whose length nobody knows


class _LiveAxis:
    """Positions of steps on the epoch axis while the length of the running epoch is not known."""

    def __init__(self) -> None:
        self._epoch = -1
        self._first = self._newest = 0.0  # step of the running epoch
        self._before = 0.0  # length of the epoch before; 0 where it is not known
        self.announced: int | None = None
        self.guessed = False

    def place(self, epochs: Sequence[float], steps: Sequence[float]) -> list[float]:
        x = []
        for epoch, step in zip(epochs, steps, strict=True):
            if epoch != self._epoch:
                self._before = self._newest - self._first + 1 if epoch == self._epoch + 1 else 0.0
                self._epoch, self._first = int(epoch), step
            self._newest = step
            done = step - self._first + 1
            length = self._before or self.announced or self._guess(done)
            x.append(epoch - 1 + min(1.0, done / length))
        return x

    def _guess(self, done: float) -> float:
        self.guessed = True
        return max(float(UNKNOWN_LENGTH), 2 * done)


class _Pace:
    """Samples per second over the last `RATE_WINDOW` seconds."""

    def __init__(self) -> None:
        self.samples = 0.0
        self._marks: deque[tuple[float, float]] = deque()  # (when, samples until then)

    def rate(self, now: float) -> float | None:
        self._marks.append((now, self.samples))
        while len(self._marks) > 2 and now - self._marks[0][0] > RATE_WINDOW:
            self._marks.popleft()
        began, before = self._marks[0]
        return float(f"{(self.samples - before) / (now - began):.3g}") if now > began else None


def _float32(x: Sequence[float], loss: Sequence[float]) -> list[bytes]:
    """Pack two columns as the browser's Float32Array reads them; what is too large becomes infinite."""
    packed = array("f", [*x, *loss])
    if sys.byteorder == "big":
        packed.byteswap()
    raw, n = packed.tobytes(), len(x) * packed.itemsize
    return [raw[:n], raw[n:]]


def _when_idle(job: Callable[[], None]) -> None:
    """Run `job` in the main thread, between two cells: it may read the user's own objects."""
    shell = get_ipython()
    loop = getattr(getattr(shell, "kernel", None), "io_loop", None)
    if loop is None or threading.current_thread() is threading.main_thread():
        job()
    else:  # a subshell's thread, possibly beside a running cell
        loop.add_callback(job)


class _EpochClock:
    """Time left in the running epoch, from the length of the one before, else from its batches."""

    def __init__(self) -> None:
        self._epoch: int | None = None
        self._began = 0.0
        self._whole: float | None = None  # seconds of the epoch before, evaluation included
        self.share: float | None = None  # of the training batches that are done

    def reached(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        now = time.monotonic()
        if self._epoch is not None and epoch == self._epoch + 1:
            self._whole = now - self._began
        self._epoch, self._began = epoch, now

    def left(self, now: float) -> float | None:
        spent = now - self._began
        if self._whole is not None:
            return max(0.0, self._whole - spent)
        if self.share and spent > 1:
            return spent * (1 / self.share - 1)
        return None


class Panel(anywidget.AnyWidget):
    """The panel of one run.

    Parameters
    ----------
    state : dict
        First state, from `panel_state`.
    stop, stop_later : threading.Event, optional
        Set when the reader asks to stop at once, or at the end of the epoch, on whatever thread the
        message comes in; the only thing that a click changes in the kernel during a run.
    uid : str
        Name under which the browser knows this panel; the run's id by default.
    """

    _esm = module_source()
    run = traitlets.Unicode().tag(sync=True)
    # Never assigned, so never pushed: `get_state` fills it when a page opens or reloads.
    snapshot = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        state: Mapping[str, Any],
        *,
        stop: threading.Event | None = None,
        stop_later: threading.Event | None = None,
        uid: str = "",
    ) -> None:
        self.stop = stop or threading.Event()
        self.stop_later = stop_later or threading.Event()
        self._lock = threading.RLock()
        self._state: dict[str, Any] = dict(state)
        self._answers: dict[str, Answer] = {}
        self._axis = _LiveAxis()
        # (x, loss) of steps as lists: of the few that a message carries, arrays would cost the most.
        self._pending: tuple[list[float], list[float]] = ([], [])
        self._since_state: tuple[list[float], list[float]] = ([], [])
        self._progress: dict[str, Any] = {}
        self._progress_is_new = False
        self._pace, self._clock = _Pace(), _EpochClock()
        self._sent = self._measured = 0.0
        self._rate = float("nan")  # of learning
        super().__init__(run=uid or str(state["run"]["id"]))
        self._wire = Wire()
        self.on_msg(self._on_message)
        # ipykernel 7.4 sends a click back to the main shell, which the cell keeps busy. The hook is
        # private there, so without it the click still arrives by the browser's own interrupt.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = self._route

    @property
    def state(self) -> dict[str, Any]:
        """The state as last pushed."""
        return self._state

    # ------------------------------------------------------------------ kernel → browser

    def push_steps(self, columns: Mapping[str, NDArray[np.float64]]) -> None:
        """Add optimiser steps to the thin curve (columns of `STEP_COLUMNS`: epoch, step, loss, n_samples)."""
        loss: list[float] = columns["loss"].tolist()
        if not loss:
            return
        epochs, steps = columns["epoch"].tolist(), columns["step"].tolist()
        samples = columns["n_samples"].tolist() if "n_samples" in columns else []
        with self._lock:
            self._pending[0].extend(self._axis.place(epochs, steps))
            self._pending[1].extend(loss)
            self._pace.samples += sum(n for n in samples if isfinite(n))
            epoch = int(epochs[-1])
            self._clock.reached(epoch)
            self._progress.update(epoch=epoch, step=int(steps[-1]))
            if "learning_rate" in columns:
                self._rate = float(columns["learning_rate"][-1])
            self._progress_is_new = True
            self._flush_if_due()

    def push_progress(
        self, split: str, epoch: int, step: int, batch: int, n_batches: int | None = None
    ) -> None:
        """Say which batch of which pass is running."""
        with self._lock:
            if split == "train" and n_batches:
                self._axis.announced = n_batches
            self._clock.reached(epoch)
            self._clock.share = batch / n_batches if n_batches and split == "train" else None
            self._progress.update(split=split, epoch=epoch, step=step, batch=batch, batches=n_batches)
            self._progress_is_new = True
            self._flush_if_due()

    def push_state(self, state: Mapping[str, Any]) -> None:
        """Show a new state; only what changed travels."""
        with self._lock:
            change = delta(self._state, state)
            ended = state["status"] != "running"
            if ended or self._axis.guessed:
                change["set"]["steps"] = state["steps"]
                self._pending, self._axis.guessed = ([], []), False
            self._state, self._since_state = dict(state), ([], [])
            self.flush()
            if change["set"] or change["grow"]:
                self.send({"t": "delta", **change})

    def push_curves(self, curves: Sequence[Mapping[str, Any]]) -> None:
        """Show new points of the curves at once; what is concluded from them follows with `push_state`."""
        with self._lock:
            newer = {**self._state, "curves": curves}
            change = delta(self._state, newer)
            self._state = newer
            self.flush()
            if change["set"] or change["grow"]:
                self.send({"t": "delta", **change})

    def push_points(self, find: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any] | None]) -> bool:
        """Add to the curves what `find` says they lack; False when it cannot say and all must travel."""
        with self._lock:
            drawn = self._state["curves"]
            grown = find(drawn)
            if grown is None:
                return False
            for curve in drawn:
                for column, values in grown.get(curve["id"], {}).items():
                    if column != "from":
                        curve[column] += values
            self.flush()
            if grown:
                self.send({"t": "delta", "set": {}, "grow": grown})
            return True

    def answer_with(self, answers: Mapping[str, Answer]) -> None:
        """From now on answer ``{"t": "ask", "what": ..., "id": ...}`` with what these functions return.

        Parameters
        ----------
        answers : mapping of str to callable
            By kind of question; each takes the message and returns what JSON can hold, or `Packed`.
        """
        self._answers = dict(answers)

    def flush(self) -> None:
        """Send what waits, whatever the time since the last message."""
        with self._lock:
            x, loss = self._pending
            if not x and not self._progress_is_new:
                return
            if len(x) > MAX_STEPS:  # of many short steps the extremes are enough
                x, loss = (row.tolist() for row in thinned(np.array(x), np.array(loss), MAX_STEPS))
            self._since_state[0].extend(x)
            self._since_state[1].extend(loss)
            now = time.monotonic()
            self._pending, self._progress_is_new, self._sent = ([], []), False, now
            content, buffers = {"t": "live", "progress": self._shown_progress(now)}, _float32(x, loss)
            if not self._wire.send(self.comm, content, buffers):
                self.send(content, buffers)

    def _flush_if_due(self) -> None:
        if time.monotonic() - self._sent >= INTERVAL:
            self.flush()

    def _shown_progress(self, now: float) -> dict[str, Any]:
        if now - self._measured >= MEASURED_EVERY:
            self._measured = now
            left, rate = self._clock.left(now), self._pace.rate(now)
            self._progress["left"] = None if left is None else round(left, 1)
            self._progress["rate"] = rate
            if isfinite(self._rate):
                self._progress["lr"] = coded(self._rate, 3)
        return dict(self._progress)

    # ------------------------------------------------------------------ page opened, reloaded, printed

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the widget's state, with a snapshot of everything shown so far."""
        state: dict[str, Any] = super().get_state(key=key, drop_defaults=drop_defaults)
        asked = key is None or key == "snapshot" or (not isinstance(key, str) and "snapshot" in key)
        if asked and hasattr(self, "_lock"):
            with self._lock:
                state["snapshot"] = {
                    **self._state,
                    "steps": self._steps_so_far(),
                    "progress": self._shown_progress(time.monotonic()),
                }
        return state

    def _steps_so_far(self) -> dict[str, Sequence[Any]]:
        steps = self._state["steps"]
        end = steps["x"][-1] if steps["x"] else -1.0
        shown, waiting = self._since_state, self._pending
        pairs = zip(shown[0] + waiting[0], shown[1] + waiting[1], strict=True)
        more = [(x, loss) for x, loss in pairs if x > end]
        return {
            "x": [*steps["x"], *coded_list((x for x, _ in more), 7)],
            "loss": [*steps["loss"], *coded_list((loss for _, loss in more), 4)],
        }

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add a text that is worth reading where no widget can be shown."""
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, "text/plain": plain_text(self._state)}, metadata

    def __repr__(self) -> str:
        """Not ipywidgets' own, which prints every trait."""
        return f"<Panel of run {self.run!r}: {self._state['status']}>"

    # ------------------------------------------------------------------ browser → kernel

    def _on_message(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if content.get("run") != self.run:
            return
        if content.get("t") == "ask":
            _when_idle(lambda: self._answer(content))
        else:
            self._stop_if_asked(content)

    def _answer(self, question: Mapping[str, Any]) -> None:
        answer = self._answers.get(str(question.get("what")))
        if answer is None:
            return
        try:
            value = answer(question)
            packed = value if isinstance(value, Packed) else Packed(value)
            told: Mapping[str, Any] = {"value": packed.value}
        except Exception as error:  # the reader is told, the kernel stays clean
            packed = Packed({})
            told = {"error": str(error.args[0] if error.args else error) or type(error).__name__}
        self.send({"t": "answer", "id": question.get("id"), **told}, packed.buffers or None)

    def push_rows(self, packed: Packed) -> None:
        """Hand over all samples of one pass."""
        self.send({"t": "rows", **packed.value}, packed.buffers)

    def _stop_if_asked(self, content: Mapping[str, Any]) -> None:
        # May run on a subshell thread beside the user's cell: flip the event, answer, nothing else.
        # A click queued for an earlier run arrives late and must not stop this one.
        if content.get("t") == "stop" and content.get("run") == self.run:
            at = "epoch" if content.get("at") == "epoch" else "step"
            (self.stop_later if at == "epoch" else self.stop).set()
            self.send({"t": "ack", "at": at})

    def _route(self, data: Any, default: Any = None) -> Any:
        # Called in the shell-channel thread for every message, also where no subshell exists.
        content = (data or {}).get("content")
        if isinstance(content, Mapping):
            self._stop_if_asked(content)
        return default
