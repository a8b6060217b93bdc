"""The two threads beside the training: a clerk that keeps records, an analyst that reads them.

Both are daemons that never touch the user's objects, and neither uses a global random generator.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Analyst", "Clerk"]

# Share of the time that the analysis may compute (CPU: a busy machine makes it slower, not dearer). While
# it holds Python's lock the training waits for it: at 15 % steps of 2 ms took an eighth more of the training
# thread's own time.
DUTY = 0.03
# Seconds that are saved up, at the beginning and in slow trainings, and may be spent faster: else a training
# of twenty seconds would be explained when it is over. As much may be borrowed for what is seen at a glance.
SAVED = 0.5
FAST = 0.1
GLANCES = 0.01  # share of the time for glances while nothing is left
# Long steps compute without Python's lock. Of a step shorter than this the analysis takes its seconds one to
# one, so its shares are as much smaller, down to this part of them.
LONG_STEP, LEAST = 0.01, 0.25
SHORTEST, LONGEST = 0.25, 20.0  # seconds between two looks at the records


class Clerk:
    """Runs jobs in order on its own thread.

    Parameters
    ----------
    on_error : callable
        Called with the exception of a failed job; later jobs still run.
    """

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._on_error = on_error
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._due: dict[Callable[[], None], float] = {}  # the thread's own
        self._thread: threading.Thread | None = None

    def do(self, job: Callable[[], None] | None) -> None:
        """Queue a job; the first one starts the thread."""
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="lossacc-clerk", daemon=True)
            self._thread.start()

    def later(self, job: Callable[[], None], delay: float) -> None:
        """Do `job` once, at latest `delay` seconds after it was first asked for; other jobs call this."""
        self._due.setdefault(job, time.monotonic() + delay)

    def wait(self, timeout: float) -> bool:
        """Block until every job queued so far is done; False after `timeout` seconds."""
        done = threading.Event()
        self.do(done.set)
        return done.wait(timeout)

    def close(self, timeout: float = 60.0) -> bool:
        """Finish the queued jobs and end the thread; False if it did not end in time.

        What was put off is not done any more.
        """
        if self._thread is None:
            return True
        self.do(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _next(self) -> Callable[[], None] | None:
        while True:
            put_off = min(self._due, key=self._due.__getitem__, default=None)
            if put_off is None:
                return self._jobs.get()
            left = self._due[put_off] - time.monotonic()
            if left <= 0:
                del self._due[put_off]
                return put_off
            with suppress(queue.Empty):
                return self._jobs.get(timeout=left)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except (
                BaseException
            ) as error:  # a failure of ours never reaches the training, nor ends the thread
                with suppress(Exception):
                    self._on_error(error)


class Analyst:
    """Calls `analyse` again after each `wake`, never more often than the budget of computing time allows.

    Parameters
    ----------
    analyse : callable
    glance : callable
        Says, for much less, whether there is something that the reader should not wait for.
    on_error : callable
        Called with the exception of either.
    step : callable, optional
        Gives the seconds that a step of the training takes.
    """

    def __init__(
        self,
        analyse: Callable[[], None],
        glance: Callable[[], bool],
        on_error: Callable[[BaseException], None],
        step: Callable[[], float] = lambda: LONG_STEP,
    ) -> None:
        self._step = step
        self._analyse = analyse
        self._glance = glance
        self._on_error = on_error
        self._news = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lossacc-analyst", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something new."""
        self._news.set()

    def close(self, timeout: float = 30.0) -> None:
        """End the thread after the analysis in progress."""
        self._end.set()
        self._news.set()
        self._thread.join(timeout)

    def _work(self) -> None:
        saved, since = SAVED, time.monotonic()
        while True:
            self._news.wait()
            if self._end.is_set():
                return
            self._news.clear()
            began = time.thread_time()
            part = min(1.0, max(LEAST, self._step() / LONG_STEP))
            share = FAST
            try:
                if saved > 0 or (saved > -SAVED and self._glance()):
                    self._analyse()
                else:
                    share = GLANCES
                    self._news.set()  # they are not forgotten
            except Exception as error:  # a failure of ours never reaches the training
                with suppress(Exception):
                    self._on_error(error)
            spent = time.thread_time() - began
            self._end.wait(min(max(spent / (part * share), SHORTEST), LONGEST))
            now = time.monotonic()
            saved, since = min(SAVED, saved - spent + part * DUTY * (now - since)), now
