"""The kernel's interrupt, made gentle: the first one stops the training at a step boundary."""

from __future__ import annotations

import _thread
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["SoftInterrupt"]

GRACE = 3.0  # seconds that a first interrupt may wait for an optimiser step
HANDOVER = 0.02  # seconds in which a handler returns before the signal comes again


class SoftInterrupt:
    """While it is installed, the first SIGINT only sets `stop`; capture then stops at the next step.

    A second SIGINT, or none of it heeded within `grace` seconds (`stop` still set: no step was
    taken), interrupts as it would without us.

    Parameters
    ----------
    stop : threading.Event
        Whoever stops the training clears it.
    grace : float
        Seconds.
    """

    def __init__(self, stop: threading.Event, grace: float = GRACE) -> None:
        self.stop = stop
        self.grace = grace
        self.installed = False
        self._before: Any = None
        self._timer: threading.Timer | None = None

    def install(self) -> None:
        """Take over SIGINT; does nothing outside the main thread, where Python forbids it."""
        if threading.current_thread() is not threading.main_thread() or self.installed:
            return
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        self.installed = True

    def remove(self) -> None:
        """Give SIGINT back, unless somebody else has taken it since."""
        if self._timer is not None:
            self._timer.cancel()
        self._give_back()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.stop.is_set():
            self.stop.set()
            self._after(self.grace, self._insist)
            return
        # The earlier handler is put back and gets the signal anew, rather than being called from
        # here: so no frame of ours stands in the user's traceback.
        self._give_back()
        self._after(HANDOVER, _interrupt_main)

    def _insist(self) -> None:
        if self.stop.is_set():
            _interrupt_main()

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, call)
        self._timer.daemon = True
        self._timer.start()

    def _give_back(self) -> None:
        ours = threading.current_thread() is threading.main_thread() and self.installed
        if ours and signal.getsignal(signal.SIGINT) == self._on_signal:
            signal.signal(signal.SIGINT, self._before)
        self.installed = False


def _interrupt_main() -> None:
    """Send SIGINT to the main thread; a real signal also wakes it from a blocking call."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # Windows
        _thread.interrupt_main()
