"""Where a training ends that the user asked to stop: at once, or at the end of the epoch."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from jupyter_lossacc.capture.taps.journal import BATCH, Journal
from jupyter_lossacc.errors import StopTraining

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.taps.loaders import LoaderPass

__all__ = ["Stopper"]


class Stopper:
    """Raises `StopTraining` around optimiser steps.

    Parameters
    ----------
    journal : Journal
    now, later : threading.Event, optional
        Set by other threads: stop after the current optimiser step; stop when the epoch that is
        running is over, its evaluation included.
    epoch : callable
        The training epoch as far as the journal was read.
    """

    def __init__(
        self,
        journal: Journal,
        now: threading.Event | None,
        later: threading.Event | None,
        epoch: Callable[[], int],
    ) -> None:
        self._now = now or threading.Event()
        self._later = later or threading.Event()
        self._journal = journal
        self._epoch = epoch
        self._source: LoaderPass | None = None  # what the last step's batch came from
        self._asked_in: int | None = None

    def before(self) -> None:
        """Before a step: with a loader, the first step of the next epoch is not taken any more.

        Raises
        ------
        StopTraining
        """
        previous, self._source = self._source, self._journal.source
        if not self._later.is_set():
            return
        new = self._source
        if previous is None or new is previous or not (previous.exhausted or previous.ended):
            return
        # The batch of the next epoch was seen, and is not trained on: it never happened.
        entries = self._journal.entries
        first = (i for i, e in enumerate(entries) if e[0] == BATCH and e[1].source is new)
        del entries[next(first, len(entries)) :]
        self._stop()

    def after(self) -> None:
        """After a step: stop where it was asked; without loaders, the new epoch is known by now.

        Raises
        ------
        StopTraining
        """
        if self._now.is_set():
            self._stop()
        if not self._later.is_set():
            self._asked_in = None
            return
        self._journal.flush()  # every step, from the request to the end of one epoch
        epoch = self._epoch()
        if self._asked_in is None:
            self._asked_in = epoch
        elif epoch > self._asked_in:
            self._stop()

    def _stop(self) -> None:
        # One press stops one training: a loop that catches the stop may go on, or train the next fold.
        self._now.clear()
        self._later.clear()
        self._asked_in = None
        raise StopTraining(self._journal.n_steps)
