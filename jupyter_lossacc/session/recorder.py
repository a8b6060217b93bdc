"""`Recorder`: the live object behind ``%%lossacc`` and `record`."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import warnings
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_lossacc.errors import CaptureError, LossAccWarning, RunNotFoundError
from jupyter_lossacc.session.desk import Desk, View
from jupyter_lossacc.session.elsewhere import Elsewhere
from jupyter_lossacc.session.identity import new_info, status_of
from jupyter_lossacc.session.ledger import Ledger
from jupyter_lossacc.session.notes import closing_notes
from jupyter_lossacc.session.ranks import make_writer, read_back, wait_for_parts
from jupyter_lossacc.session.resume import inherited, run_to_resume
from jupyter_lossacc.session.runs import whole_run
from jupyter_lossacc.session.threads import Clerk
from jupyter_lossacc.session.traces import drop_taps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import ArrayLike

    from jupyter_lossacc.capture.capture import Capture
    from jupyter_lossacc.records import Floats, Pass, Recording, RunInfo
    from jupyter_lossacc.run import Run
    from jupyter_lossacc.session.options import Options
    from jupyter_lossacc.session.ranks import PartWriter
    from jupyter_lossacc.store import RunWriter

__all__ = ["Recorder", "last_recorder", "last_run"]

T = TypeVar("T")
_started: list[Recorder] = []  # the latest recorder only
_count = itertools.count()  # recordings of this process


class Recorder(AbstractContextManager["Recorder"]):
    """Records the training that runs between `start` and `finish`.

    Use `record` to make one. It implements the sink that capture reports to.

    Attributes
    ----------
    stop, stop_later : threading.Event
        Set one to end the training after the current optimiser step; when its epoch is over.
    """

    def __init__(
        self, options: Options, *, view: Callable[[Recorder], View], cell: str = "", token: str = ""
    ) -> None:
        self.options = options
        self._token = token  # of the recorder that started this process (see `launch`)
        self._elsewhere = Elsewhere(options, cell, self._open_elsewhere)
        self.stop, self.stop_later = threading.Event(), threading.Event()
        self._make_view, self._cell = view, cell
        self._desks: list[Desk] = []
        self._desk_of: dict[int, Desk] = {}  # by capture's number of the run; none where it failed to begin
        self._waiting_view: View | None = None  # shown before the first run is recognised
        self._capture: Capture | None = None
        self._clerk = Clerk(self._failed)
        self._early_limits: list[str] = []
        self._failures: dict[str, None] = {}
        self._earlier: Run | None = None
        self._open = False

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs recorded so far, one per model or fold."""
        return tuple(desk.run() for desk in self._desks)

    @property
    def run(self) -> Run:
        """The latest run.

        Raises
        ------
        RunNotFoundError
            When no training has been seen.
        """
        if not self._desks:
            raise RunNotFoundError("Nothing recorded: no training was seen under this recorder.")
        return self._desks[-1].run()

    def start(self) -> None:
        """Begin to watch.

        Raises
        ------
        CaptureError
            When another recording is going on.
        RunNotFoundError
            When the run to resume does not exist.
        """
        _forget_parent()
        if _started and _started[-1]._open:
            raise CaptureError(
                "Another recording is going on in this process. End it first; recordings do not nest."
            )
        if self.options.resume is not None:
            before = _started[-1] if _started else None
            self._earlier = run_to_resume(self.options, before.runs if before else ())
            self.options, said = inherited(self.options, self._earlier, before)
            self._early_limits += said
            self._elsewhere = Elsewhere(self.options, self._cell, self._open_elsewhere)
        _started[:] = [self]
        self._open, self._pid, self._number = True, os.getpid(), next(_count)
        try:
            self._begin()
        except CaptureError:
            self._open = False
            raise
        except Exception as error:  # nothing is recorded then, and the training runs as ever
            self._capture = None
            self._failed(error)

    def _begin(self) -> None:
        from jupyter_lossacc.capture.capture import Capture  # torch is loaded here, not on import

        past = self._earlier.recording.summaries if self._earlier else ()
        self._waiting_view = self._make_view(self)
        self._waiting_view.open(self.options.name or "run")
        self._capture = Capture(
            self,
            splits=self.options.split,
            stop=self.stop,
            stop_later=self.stop_later,
            resume_from=(max(s.epoch for s in past), max(s.step for s in past)) if past else None,
            keep_weights=self.options.keep_weights == "best",
            all_samples=self.options.keep == "all",
            wrap=self._elsewhere.wrap,
        )
        self._capture.__enter__()

    def finish(self, error: BaseException | None = None) -> None:
        """End the recording and show what stays; a second call does nothing.

        Parameters
        ----------
        error : BaseException, optional
            What ended the training early. It is not raised again here.
        """
        if not self._open:
            return
        self._open = False
        if self._capture is not None:
            self._guard(partial(self._capture.__exit__, type(error) if error else None, error, None))
        self._guard(self._elsewhere.close)
        if self._guard(self._clerk.close) is False:
            warnings.warn(
                "lossacc: the store did not keep up; the newest passes may be missing.", LossAccWarning, 2
            )
        status = status_of(error)
        notes = self._guard(partial(self._notes, status)) or [()] * (len(self._desks) + 1)
        for desk, own in zip(self._desks, notes, strict=False):
            self._guard(desk.rest)  # apart from what follows: should that fail, no thread stays
            self._guard(partial(self._close, desk, status, own))
        if not self._desks and self._waiting_view is not None:
            self._guard(partial(self._waiting_view.close, None, (*notes[-1], *self._early_limits)))

    def _notes(self, status: str) -> Sequence[tuple[str, ...]]:
        """Say what this process did not see, unless others saw it."""
        if self._capture is None or self._elsewhere or self._processes[0] > 0:
            return ()
        recordings = [desk.ledger.recording() for desk in self._desks]
        return closing_notes(self._capture.counters, recordings, status, resumed=self._earlier is not None)

    def log_batch(
        self,
        *,
        split: str,
        epoch: int,
        logits: ArrayLike,
        targets: ArrayLike,
        sample_ids: ArrayLike | None = None,
    ) -> None:
        """Record a batch by hand where the loop cannot be seen.

        Parameters
        ----------
        split : str
        epoch : int
            Training passes count from 1.
        logits : array-like of shape (n_samples, n_classes)
            What softmax would be applied to.
        targets : array-like of int, shape (n_samples,)
        sample_ids : array-like of int, shape (n_samples,), optional
            Index of each sample in its dataset; without them samples are not compared over epochs.
        """
        if not self._open:
            raise CaptureError(
                "Expected an open recording; call log_batch inside `with jupyter_lossacc.record(...)`."
            )
        if self._capture is None:
            return  # it could not start, and has said so
        self._capture.log_batch(
            split=split, epoch=epoch, logits=logits, targets=targets, sample_ids=sample_ids
        )

    def __enter__(self) -> Recorder:
        """Call `start`."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Call `finish`; the error goes on."""
        self._guard(partial(drop_taps, error))
        self.finish(error)

    # What capture reports (training thread) ------------------------------------------------------

    def run_started(self, run: int, name_hint: str) -> None:  # noqa: ARG002
        """Open a desk for a new model or fold."""
        name = self.options.name or "run"
        if run == 1 and self._earlier is None and 0 in self._desk_of:
            self._desk_of[0].rename(f"{name}/1")  # only now it is known to be the first of several
        if run > 0:
            name = f"{name}/{run + 1}"
        view = self._view(name)
        earlier = self._earlier if run == 0 else None
        info = earlier.recording.info if earlier else new_info(name, self.options, self._cell)
        writer = self._writer(info, run, resume=earlier)
        ledger = Ledger(info if writer is None else writer.info, earlier.recording if earlier else None)
        if writer is not None:
            ledger.store_is(partial(read_back, writer))
        desk = Desk(ledger, self._clerk, view, writer, keep=self.options.keep, on_error=self._failed)
        self._desks.append(desk)
        self._desk_of[run] = desk
        for sentence in self._early_limits:
            self._desks[-1].limit(sentence)
        self._early_limits.clear()

    def pass_finished(self, run: int, passed: Pass) -> None:
        """Keep a finished pass, and a copy of the weights it was made with where they are asked for."""
        if run in self._desk_of:  # else its beginning failed, and that has been said
            self._desk_of[run].pass_finished(passed, self._weights(passed))

    def steps(self, run: int, columns: Mapping[str, Floats]) -> None:
        """Keep optimiser steps."""
        if run in self._desk_of:
            self._desk_of[run].steps(columns)

    def progress(
        self, run: int, split: str, epoch: int, step: int, batch: int, n_batches: int | None
    ) -> None:
        """Pass on how far the loop is."""
        if run in self._desk_of:
            self._desk_of[run].progress(split, epoch, step, batch, n_batches)

    def limit(self, sentence: str) -> None:
        """Note what could not be recorded."""
        if self._desks:
            self._desks[-1].limit(sentence)
        elif sentence not in self._early_limits:
            self._early_limits.append(sentence)

    def _weights(self, passed: Pass) -> Mapping[str, Any] | None:
        if self.options.keep_weights != "best" or passed.split == "train" or not passed.complete:
            return None
        found = None if self._capture is None else self._capture.weights_at(passed.step)
        if found is None:
            self.limit(
                f"The weights of epoch {passed.epoch} could not be kept: expected an evaluation under "
                "torch.no_grad() of a model that has a name in the calling code. Keep them yourself with "
                "torch.save(model.state_dict(), ...)."
            )
        return found

    @property
    def _processes(self) -> tuple[int, int]:
        """Rank, and how many processes train together."""
        return (0, 1) if self._capture is None else self._capture.group

    def _view(self, name: str) -> View:
        """Return a view for a run: the one that waits for the first, or another one."""
        waiting, self._waiting_view = self._waiting_view, None
        view = waiting or self._make_view(self)
        if waiting is None:
            view.open(name)
        return view

    def _open_elsewhere(self, recording: Recording, path: Path) -> Desk | None:
        """Open a desk for a run that started processes record."""
        if self._waiting_view is None and threading.current_thread() is not threading.main_thread():
            return None  # a view is made by the main thread only: at the end
        stored = None if self.options.store_dir is None else path
        view = self._view(recording.info.name)
        ledger = Ledger(recording.info)
        desk = Desk(ledger, self._clerk, view, None, keep="none", on_error=self._failed, path=stored)
        self._desks.append(desk)
        return desk

    def _close(self, desk: Desk, status: str, notes: Sequence[str]) -> None:
        for note in notes:
            desk.ledger.limit(note)
        status = self._elsewhere.status(desk, status)
        self._guard(partial(self._elsewhere.end, desk, status))
        findings = self._guard(lambda: desk.close(status, self._meeting(desk)))
        desk.view.close(findings, tuple(notes) if findings is not None else (*notes, *self._failures))

    def _meeting(self, desk: Desk) -> Callable[[], Recording] | None:
        """Return what brings the parts of several processes together: rank 0 does, once they have ended."""
        rank, ranks = self._processes
        if ranks == 1 or self._token or desk.path is None or desk.path in self._elsewhere:
            return None
        if rank == 0:
            wait_for_parts(desk.path)
        return partial(whole_run, desk.path)

    def _writer(self, info: RunInfo, run: int, resume: Run | None) -> RunWriter | PartWriter | None:
        directory = self.options.store_dir
        rank, ranks = self._processes
        if directory is None:
            if ranks > 1:
                self.limit(
                    f"Without a store the parts of {ranks} processes cannot meet: this is one of them."
                )
            return None
        try:
            writer = make_writer(
                directory, info, resume.path if resume else None,
                (rank, ranks), self._token, (self._number, run),
            )  # fmt: skip
        except Exception as error:
            self._failed(error, f"The run is not written to disk: it stays in memory. {error}")
            return None
        if ranks > 1 and rank == 0 and not self._token:
            sys.stdout.write(
                f"lossacc: {ranks} processes record the run {writer.info.run_id} in {directory}.\n"
            )
        elif writer.made_store and not self._token:
            sys.stdout.write(f"lossacc: runs are stored in {directory}{os.sep} (git ignores it).\n")
        return writer

    def _failed(self, error: BaseException, text: str = "") -> None:
        """Turn a failure of ours into one warning and one limit."""
        what = f"{type(error).__name__}: {error}"
        text = text or f"lossacc met an internal error ({what}); the training goes on unchanged."
        if text in self._failures:
            return
        self._failures[text] = None
        with suppress(Exception):
            self.limit(text)
        with suppress(LossAccWarning):  # where warnings are errors, ours must not end the training
            warnings.warn(text, LossAccWarning, stacklevel=2)

    def _guard(self, job: Callable[[], T]) -> T | None:
        try:
            return job()
        except Exception as error:  # a failure of ours never reaches the user's cell
            self._failed(error)
            return None


def _forget_parent() -> None:
    """In a process forked from a recording one: that recording goes on there, not here."""
    if _started and _started[-1]._open and _started[-1]._pid != os.getpid():
        _started.clear()


def last_recorder() -> Recorder | None:
    """Return the recorder started last in this process; None before the first."""
    return _started[-1] if _started else None


def last_run() -> Run:
    """Return the run of the latest ``%%lossacc`` or `record` in this process.

    Raises
    ------
    RunNotFoundError
        When nothing has been recorded yet.
    """
    if not _started:
        raise RunNotFoundError(
            "No run yet in this session: put %%lossacc above a training cell, or use load_run(...)."
        )
    return _started[-1].run
