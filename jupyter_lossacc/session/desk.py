"""`Desk`: where the records of one run meet store, diagnosis and view while it is going on."""

from __future__ import annotations

import math
import time
import warnings
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_lossacc.causes.cause import default_split
from jupyter_lossacc.diagnosis.checkpoint import advise
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.episodes import settled
from jupyter_lossacc.diagnosis.memory import Memory
from jupyter_lossacc.diagnosis.summary import summarize
from jupyter_lossacc.errors import LossAccWarning
from jupyter_lossacc.run import Run
from jupyter_lossacc.session.runs import remember_data
from jupyter_lossacc.session.threads import Analyst, Clerk
from jupyter_lossacc.session.weights import keep_best
from jupyter_lossacc.views.live import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from jupyter_lossacc.records import Episode, EpochSummary, Floats, Pass, Predictions, Recording
    from jupyter_lossacc.session.ledger import Ledger
    from jupyter_lossacc.session.ranks import PartWriter
    from jupyter_lossacc.store import RunWriter

__all__ = ["Desk", "View"]

SHORT_PASS = 0.05  # seconds: writing takes 10 to 20 milliseconds, be it one pass or a dozen
# Where passes shorter than that follow each other (one batch that never changes) and writing has taken
# so many seconds, it takes no more than this share of the time; a pass waits so many seconds at most.
WRITING_GRACE = 0.5
WRITING_SHARE = 0.05
LATEST = 1.0
POINTS_EVERY = 0.5  # seconds: no point of a curve waits longer to be drawn
MAX_BEHIND = 256  # short passes that may be on their way to the disk
# A training waits for a disk that is slower than its passes so many seconds, then for this share of its time.
WAITING_GRACE = 5.0
WAITING_SHARE = 0.05
LAST_RESORT = 20.0  # seconds, where MAX_BEHIND passes wait: memory is finite


class View(Protocol):
    """What shows a run while it is going on and when it has ended.

    `live` says whether it shows anything before the end: without it nothing is analysed until then.
    """

    live: bool

    def open(self, name: str) -> None:
        """Appear, before anything is known."""

    def steps(self, columns: Mapping[str, Floats]) -> None:
        """Take new optimiser steps (training thread: must be cheap)."""

    def progress(self, split: str, epoch: int, step: int, batch: int, n_batches: int | None) -> None:
        """Take how far the loop is (training thread: must be cheap)."""

    def passed(self, recording: Callable[[], Recording]) -> None:
        """Take note of new passes; `recording` makes a snapshot if one is wanted (clerk's thread)."""

    def update(self, findings: Findings) -> None:
        """Show what is known now (analyst's thread)."""

    def close(self, findings: Findings | None, notes: tuple[str, ...]) -> None:
        """Show what stays; `findings` is None when nothing was recorded."""


class Desk:
    """One run: its ledger, its writer, its view, and the analysis that connects them.

    Parameters
    ----------
    ledger : Ledger
    clerk : Clerk
        Shared by the runs of one recorder.
    view : View
    writer : RunWriter, optional
        None when the run stays in memory.
    keep : {"val", "all", "none"}
        Whose per-sample records go to the store.
    on_error : callable
        Receives exceptions of the analysis.
    path : Path, optional
        Folder of a run that other processes write.
    """

    def __init__(
        self,
        ledger: Ledger,
        clerk: Clerk,
        view: View,
        writer: RunWriter | PartWriter | None,
        *,
        keep: str,
        on_error: Callable[[BaseException], None],
        path: Path | None = None,
    ) -> None:
        self.ledger = ledger
        self.view = view
        self._clerk = clerk
        self._writer = writer
        self._path = path
        self._keep = keep
        self._on_error = on_error
        self._store_failed = False
        self._last_pass, self._began = -math.inf, time.monotonic()
        self._waited = 0.0  # seconds that the training thread waited for the disk
        self._n_queued = self._n_kept = 0  # passes given to the clerk, and taken by it
        self._unwritten: list[tuple[EpochSummary, Predictions | None]] = []  # the clerk's
        self._writing = self._written = 0.0  # seconds of the clerk that the last writing took, and all
        self._intervals = (math.inf, math.inf)  # seconds between the last three passes
        self._data: dict[str, Callable[[], object]] = {}  # weak: see `Pass.data`
        self._evaluated = True  # since the training pass before
        self._said = Memory()
        self._drawn = -math.inf
        self._n_steps = 0
        self._analyst = Analyst(self._analyse, self._glance, on_error, self._step) if view.live else None

    @property
    def path(self) -> Path | None:
        """Folder of the run; None when it stays in memory."""
        return self._path if self._writer is None else self._writer.path

    def run(self) -> Run:
        """Return the run as of now."""
        return Run(self.ledger.recording(), path=self.path, data=self._data)

    def pass_finished(self, passed: Pass, weights: Mapping[str, Any] | None = None) -> None:
        """Keep a pass and its weights.

        The pass before it is on disk when this returns, unless the disk is so slow that the training would
        be. Only passes that follow each other faster than files can be written go to disk together, a
        moment later.
        """
        now, before = time.monotonic(), self._last_pass
        self._last_pass = now
        self._intervals = (self._intervals[1], now - before)
        behind = self._n_queued - self._n_kept >= MAX_BEHIND
        if now - before >= SHORT_PASS or behind:
            self._clerk.do(self._write_passes)  # in most cases they were written in the meantime
            patience = WAITING_GRACE + WAITING_SHARE * (now - self._began) - self._waited
            if not self._clerk.wait(timeout=LAST_RESORT if behind else max(patience, 0.0)):
                self.limit(
                    "The disk is slower than the training: the newest passes may be missing after a crash."
                )
            self._waited += time.monotonic() - now
        self._n_queued += 1
        self._clerk.do(lambda: self._keep_pass(passed, weights))

    def steps(self, columns: Mapping[str, Floats]) -> None:
        """Keep and show optimiser steps."""
        self._n_steps += len(columns["step"])
        self._shown(partial(self.view.steps, columns))
        self._clerk.do(lambda: self._keep_steps(columns))

    def progress(self, split: str, epoch: int, step: int, batch: int, n_batches: int | None) -> None:
        """Show how far the loop is."""
        self._shown(partial(self.view.progress, split, epoch, step, batch, n_batches))

    def _shown(self, show: Callable[[], None]) -> None:
        """Show something; a view that fails costs the recording nothing."""
        try:
            show()
        except Exception as error:
            self._on_error(error)

    def show(self, recording: Recording) -> None:
        """Take over what other processes have recorded so far."""
        self._shown(partial(self.view.steps, self.ledger.become(recording)))
        if self._analyst is not None:
            self.view.passed(self.ledger.recording)
            self._analyst.wake()

    def rename(self, name: str) -> None:
        """Give the run another name: it turned out to be the first of several."""
        self.ledger.rename(name)
        if self._writer is not None:
            self._clerk.do(lambda: self._stored(lambda writer: writer.rename(name)))

    def limit(self, sentence: str) -> None:
        """Note what could not be recorded."""
        if self.ledger.limit(sentence) and self._writer is not None:
            self._clerk.do(self._write_limits)

    def rest(self) -> None:
        """End the analysis in progress and its thread."""
        if self._analyst is not None:
            self._analyst.close()

    def close(self, status: str, whole: Callable[[], Recording] | None = None) -> Findings:
        """End the run and return what is known about it; the clerk and the analyst must have finished.

        Parameters
        ----------
        status : str
        whole : callable, optional
            Gives the run with what other processes recorded of it.
        """
        if self._analyst is not None:
            self._write_shown()
        self.ledger.status = status
        if self._writer is not None:
            self._write_passes()
            self._write_limits()
            self._stored(lambda writer: writer.set_status(status))
            self._stored(lambda writer: writer.close())
        if whole is not None:
            self.ledger.become(whole())
        return self._findings()

    def _keep_pass(self, passed: Pass, weights: Mapping[str, Any] | None) -> None:
        self._n_kept += 1
        summary = summarize(passed)
        if passed.data is not None:
            self._data[passed.split] = passed.data
            remember_data(self.path, self._data)
        # Samples seen in training mode are recorded mid-update: kept only when asked for.
        wanted = self._keep == "all" or not (passed.training and passed.split == "train")
        predictions = passed.predictions if wanted else None
        self._unwritten.append((summary, None if self._keep == "none" else predictions))
        self.ledger.append(summary, predictions)
        if weights is not None or len(self._unwritten) >= MAX_BEHIND:
            self._write_passes()
        else:
            self._clerk.later(self._write_passes, self._delay())
        if weights is not None:
            recording = self.ledger.recording()
            if summary.split == default_split(recording):  # what others say of an epoch advises none
                series = recording.series(summary.split)
                self._stored(lambda writer: keep_best(writer, series, summary.epoch, weights))
        if self._analyst is not None:
            wait = self._drawn + POINTS_EVERY - time.monotonic()
            if wait > 0:  # what ends within a moment is drawn together
                self._clerk.later(self._draw_points, wait)
            else:
                self._draw_points()
            # An evaluation follows most training passes in a moment, and is read together with them.
            if summary.split != "train" or not self._evaluated:
                self._analyst.wake()
            self._evaluated = summary.split != "train"

    def _step(self) -> float:
        """Seconds of a step so far, evaluations included."""
        return (time.monotonic() - self._began) / max(self._n_steps, 1)

    def _draw_points(self) -> None:
        self._drawn = time.monotonic()
        self.view.passed(self.ledger.recording)

    def _delay(self) -> float:
        """Seconds that a pass may wait for others to be written with."""
        if max(self._intervals) >= SHORT_PASS or self._written < WRITING_GRACE:
            return SHORT_PASS / 2
        return min(max(SHORT_PASS / 2, self._writing / WRITING_SHARE), LATEST)

    def _write_passes(self) -> None:
        passes, self._unwritten = self._unwritten, []
        if passes:
            began = time.thread_time()
            self._stored(lambda writer: writer.append_all(passes))
            self._writing = time.thread_time() - began
            self._written += self._writing

    def _keep_steps(self, columns: Mapping[str, Floats]) -> None:
        self._stored(lambda writer: writer.append_steps(columns))
        self.ledger.append_steps(columns)

    def _write_limits(self) -> None:
        self._stored(lambda writer: writer.set_limits(self.ledger.recording().limits))

    def _write_shown(self) -> None:
        shown = self.ledger.shown
        self._stored(lambda writer: writer.set_shown(shown))

    def _stored(self, write: Callable[[RunWriter | PartWriter], None]) -> None:
        """Write to the store; when that fails, say so once and try again with the next pass."""
        if self._writer is None:
            return
        try:
            write(self._writer)
        except Exception as error:
            if not self._store_failed:
                self._store_failed = True
                text = f"Writing to the store failed ({error}); the rest stays in memory."
                self.ledger.limit(text)
                with suppress(LossAccWarning):  # where warnings are errors
                    warnings.warn(text, LossAccWarning, stacklevel=2)

    def _findings(self) -> Findings:
        recording = self.ledger.recording()
        # What `Run.episodes` finds too, now and when the stored run is loaded again.
        episodes = settled(recording)
        standing = tuple(e for e in episodes if not e.retracted)
        return Findings(
            recording=recording,
            episodes=episodes,
            diagnoses=diagnose(recording, standing, self._said if recording.status == "running" else None),
            advice=advise(recording, recording.status == "running"),
            look=lambda *args, **options: self.run().look(*args, **options),
        )

    def _glance(self) -> bool:
        """Whether a band has come or gone since the last analysis: a tenth of the time that one takes."""

        def bands(episodes: Iterable[Episode]) -> set[tuple[object, ...]]:
            return {(e.split, e.kind, e.retracted) for e in episodes}

        return bands(settled(self.ledger.recording())) != bands(self.ledger.shown)

    def _analyse(self) -> None:
        findings = self._findings()
        if findings.episodes != self.ledger.shown:
            self.ledger.shown = findings.episodes
            self._clerk.do(self._write_shown)
        self.view.update(findings)
