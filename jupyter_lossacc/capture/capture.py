"""Watch an ordinary, unchanged training loop while it runs.

::

    with Capture(sink):
        train(model)

Everything that is patched is put back on success, error and interrupt. A failure of ours becomes
one warning and one line through ``sink.limit``; the training goes on.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jupyter_lossacc.capture.manual import ManualPasses
from jupyter_lossacc.capture.reading.governor import SENTENCE, Governor
from jupyter_lossacc.capture.reading.reader import Reader
from jupyter_lossacc.capture.rules.interpreter import Interpreter
from jupyter_lossacc.capture.rules.limits import SINGLE
from jupyter_lossacc.capture.rules.sink import Counters, Sink
from jupyter_lossacc.capture.rules.splits import name_of_set
from jupyter_lossacc.capture.taps.backward import install_backward
from jupyter_lossacc.capture.taps.cuda_graphs import install_cuda_graphs
from jupyter_lossacc.capture.taps.datasets import Datasets
from jupyter_lossacc.capture.taps.foreign import ForeignOptimizers
from jupyter_lossacc.capture.taps.indexing import IndexTap
from jupyter_lossacc.capture.taps.journal import Journal
from jupyter_lossacc.capture.taps.lane import Lane, n_noted
from jupyter_lossacc.capture.taps.loaders import install_loaders
from jupyter_lossacc.capture.taps.losses import install_losses
from jupyter_lossacc.capture.taps.models import Models
from jupyter_lossacc.capture.taps.optimizers import OptimizerTaps
from jupyter_lossacc.capture.taps.outputs import OutputTaps
from jupyter_lossacc.capture.taps.own_criteria import CriterionLearner
from jupyter_lossacc.capture.taps.patches import Patches
from jupyter_lossacc.capture.taps.places import Places
from jupyter_lossacc.capture.taps.processes import Wrap, forget_in_forks, install_processes, process_group
from jupyter_lossacc.capture.taps.stopping import Stopper
from jupyter_lossacc.capture.weights import WeightKeeper
from jupyter_lossacc.errors import CaptureError, LossAccWarning

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from types import FrameType, TracebackType

    from numpy.typing import ArrayLike

    from jupyter_lossacc.capture.taps.loaders import LoaderPass

__all__ = ["Capture", "Counters", "Sink"]

_FIRST = 256  # losses within which it has to be seen what is trained on
_active: list[Capture] = []  # torch is patched per process, so there can be one only


class Capture:
    """Record the trainings that run inside the ``with`` block.

    Parameters
    ----------
    sink : Sink
        Receives runs, passes, steps and limits, on the training thread.
    splits : mapping of str to object, optional
        Loaders, datasets or tensors that the user named explicitly.
    stop, stop_later : threading.Event, optional
        When set, `StopTraining` is raised after the current optimiser step; when the epoch is over.
    resume_from : tuple of (epoch, step), optional
        Where an earlier recording of the same run ended.
    namespace : mapping, optional
        The user's global names, to find models and the names of loaders.
    keep_weights : bool
        Copy the model's weights at the beginning of every evaluation, for `weights_at`.
    wrap : callable, optional
        Makes the processes that the watched code starts record too; see `processes.Wrap`.
    all_samples : bool
        Leave out no training sample to save time.
    governor : Governor, optional
        What decides about that.

    Raises
    ------
    CaptureError
        On entering, when another capture is active.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        splits: Mapping[str, object] | None = None,
        stop: threading.Event | None = None,
        stop_later: threading.Event | None = None,
        resume_from: tuple[int, int] | None = None,
        namespace: Mapping[str, Any] | None = None,
        keep_weights: bool = False,
        wrap: Wrap | None = None,
        all_samples: bool = False,
        governor: Governor | None = None,
    ) -> None:
        self.sink = sink
        self._said: set[tuple[int, str]] = set()
        self._failed: set[str] = set()
        self._patches = Patches()
        self._stop = (stop, stop_later)
        self.journal = Journal(self._read, self._contain)
        self.models = Models(self.journal, namespace or {})
        self.governor = governor or Governor(enabled=not all_samples)
        self._reader = Reader({}, self._deliver, self._contain, self.governor)
        self._interpreter = Interpreter(
            sink,
            self._limit,
            self._reader.book,
            explicit=splits or {},
            resume_from=resume_from,
            model_name=self._model_name,
            mode_layers=lambda: self.journal.mode_layers,
            names=self.models.tensor_names,
            called=lambda number: self.models.by_number(number) in self._outputs.called,
        )
        self._index = IndexTap(self.journal)
        self._outputs = OutputTaps(self.journal)
        self._reader.hits.names = lambda index: name_of_set(self.models.held_names(index))
        self._reader.hits.wanted = self._outputs.keep_watching
        self._manual = ManualPasses(sink)
        self._first_step = resume_from[1] if resume_from else 0
        self._wrap = wrap
        self._group = (0, 1)
        self._weights = WeightKeeper(self.journal) if keep_weights else None
        self._places = Places(self.journal)
        self.journal.evaluating = self._evaluating

    @property
    def counters(self) -> Counters:
        """What was seen so far."""
        return self._interpreter.counters

    @property
    def group(self) -> tuple[int, int]:
        """Rank and number of the processes that train together, as long as they were seen together."""
        if self._group[1] == 1:
            self._group = process_group()
        return self._group

    def weights_at(self, step: int) -> Mapping[str, torch.Tensor] | None:
        """Return the weights evaluated after `step` optimiser steps; None when they were not taken."""
        return None if self._weights is None else self._weights.at(step - self._first_step)

    def __enter__(self) -> Capture:
        if _active:
            raise CaptureError(
                "Expected no recording to be active, but one is: end it before starting another."
            )
        _active.append(self)
        try:
            self._install()
        except BaseException:
            _active.clear()
            self.forget()
            raise
        self.governor.begin()
        self.journal.open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _active.clear()
        ending = (self._patches.undo, self._index.close, partial(self._end, complete=error is None))
        for job in ending:
            try:
                job()
            except Exception as failure:  # all the others are done
                self._contain("end", failure)

    def forget(self) -> None:
        """Leave a process that was forked from the recording one as if nothing was ever recorded."""
        self.journal.open = False
        self._index.close()
        self._patches.undo()

    def _install(self) -> None:
        patches, journal = self._patches, self.journal
        if self._wrap is not None:
            install_processes(patches, journal, self._wrap)
        self._reader.calls.originals = install_losses(patches, journal)
        install_backward(patches, journal)
        install_cuda_graphs(patches, journal, self._limit)
        stopper = Stopper(journal, *self._stop, lambda: self._interpreter.run.epoch)
        optimizers = OptimizerTaps(journal, stopper, self.models.hidden_weights)
        optimizers.found = self._optimizer_found
        optimizers.install(patches)
        foreign = ForeignOptimizers(patches, optimizers)
        install_loaders(patches, journal, self.models.names, Datasets(), foreign.look)
        self.models.install(patches)
        self._index.install()
        self._outputs.install(patches)
        self._reader.unseen.covered = self._outputs.covered
        journal.learner = CriterionLearner(journal, patches)
        self._attach(self.models.find_trained(sys._getframe(2)))
        journal.find_model = self._find_model
        journal.first_batch = self._first_batch
        journal.pass_begins = self._pass_begins

    def _optimizer_found(self, parameters: frozenset[int], frame: FrameType | None) -> int | None:
        self.journal.find_model = None
        _ = self.group  # it may be gone when the run is announced
        model = self.models.find(parameters, frame)
        self._attach(model)
        for module in [] if model is None else self.models.siblings(model, frame):
            self._attach(module)
        return None if model is None else self.models.number(model)

    def _first_batch(self) -> None:
        """Loaders tell which samples a batch contains: nothing else has to."""
        self._index.remove()
        self.journal.wants_inputs = False

    def _pass_begins(self, begun: LoaderPass) -> None:
        """Watch for evaluations without a loss on data that were not trained on, even with a graph."""
        trained = self._interpreter.trained_on
        if not trained and 0 < self.journal.n_losses < _FIRST:
            self.journal.flush()
        if trained and not self.counters.steps and self.journal.model is not None:
            self._attach(self.journal.model())  # no optimiser of torch's tells which model is trained
        self._outputs.watching = bool(trained) and (begun.data.root, begun.data.part) not in trained
        model = self.models.trained() if self._outputs.watching else None
        if model is not None:  # another model may be evaluated: made of the trained one's weights
            for module in self.models.siblings(model, sys._getframe(1), self._interpreter.weights):
                self._attach(module)

    def _evaluating(self) -> None:
        """At every loss without gradients."""
        if self._weights is not None:
            self._weights.take()
        if self.journal.source is None:  # no loader tells which set it is
            self._places.look(sys._getframe(1))

    def _attach(self, model: torch.nn.Module | None) -> None:
        if model is not None:
            self._outputs.attach(model)

    def _find_model(self) -> None:
        """At the first loss: a model may be evaluated before any optimiser is seen."""
        self.journal.find_model = None
        if self.journal.model is None:
            model = self.models.find(frozenset(), sys._getframe(1))
            if model is not None:
                self._outputs.units.attach(model, self._patches)

    def _end(self, *, complete: bool) -> None:
        self.journal.flush()
        self.journal.open = False
        try:
            with torch.inference_mode(mode=False), torch.no_grad():
                self._reader.close()
                self._reader.drain(wait=True)
                self._interpreter.finish(complete=complete)
                self._manual.finish(complete=complete)
            if self.journal.other_threads:
                self._limit(
                    "Part of the training ran in another thread than the cell and was not recorded. "
                    "Way out: train in the main thread, or hand batches over with recorder.log_batch(...)."
                )
            if self.counters.unseen * 2 > self.counters.backwards:
                self._limit(
                    f"The loss of {self.counters.unseen} calls of backward() could not be connected to "
                    "predictions: it is computed by hand or inside a compiled function. "
                    "Way out: recorder.log_batch(...)."
                )
            if self._reader.unseen.n_several:
                self._limit(
                    f"In {self._reader.unseen.n_several} batches of evaluations without a criterion the "
                    "model answered more than once (several members or views, say); what was made of the "
                    "answers cannot be seen, so these are not recorded. Way out: compute the loss there too, "
                    "or recorder.log_batch(...)."
                )
            if self._reader.n_overwritten:
                self._limit(
                    f"The predictions or targets of {self._reader.n_overwritten} batches were changed in "
                    "place before they could be read; their samples are missing."
                )
        except Exception as failure:
            self._contain("end", failure)

    def _read(self, entries: list[Any]) -> None:
        governor, n = self.governor, sum(map(n_noted, entries))
        began = governor.clock()
        try:
            self._reader.read(entries)
            self.journal.copies |= self._reader.rewritten
            self.journal.label_copies |= self._reader.relabelled
        finally:
            governor.took(governor.clock() - began, n)
        if governor.every > 1:
            self._limit(SENTENCE)

    def _deliver(self, items: list[Any]) -> None:
        self._interpreter.read(items)
        self.journal.lane = self._lane()
        self._outputs.n_classes = self._interpreter.run.n_classes
        if self.counters.losses:
            self.journal.wants_inputs = self._interpreter.needs_inputs
        self._index.adapt(self._interpreter.uses_loaders)

    def _lane(self) -> Lane | None:
        """Return what notes further steps like the last one in short; None where each is noted in full."""
        journal, governor = self.journal, self.governor
        unsettled = journal.learner is not None or journal.find_model is not None
        if governor.every == 1 or unsettled or journal.label_copies:
            return None
        pattern = self._interpreter.pattern()
        if pattern is None:
            return None
        governor.passes_are(steps=pattern.source is None)
        if pattern.source is None:
            self._limit(SINGLE)
        call = (pattern.call.name, pattern.call.parameters)
        data = (pattern.source, pattern.target, pattern.copied)
        return Lane(journal, pattern, call, pattern.optimizer, *data, governor.takes)

    def log_batch(
        self,
        *,
        split: str,
        epoch: int,
        logits: ArrayLike,
        targets: ArrayLike,
        sample_ids: ArrayLike | None = None,
        step: int | None = None,
    ) -> None:
        """Hand over a batch that cannot be seen from outside.

        Parameters
        ----------
        split : str
        epoch : int
            From 1.
        logits : array-like of shape (n_samples, n_classes)
        targets : array-like of int, shape (n_samples,)
        sample_ids : array-like of int, shape (n_samples,), optional
        step : int, optional
            Optimiser steps taken so far; what was counted by default.
        """
        at = self._interpreter.run.step if step is None else step
        ids = None if sample_ids is None else np.asarray(sample_ids, dtype=np.int64)
        was_open, self.journal.open = self.journal.open, False
        try:
            self._interpreter.start()
            self._manual.add(self._interpreter.run.index, split, epoch, at, logits, targets, ids)
        finally:
            self.journal.open = was_open

    def _model_name(self) -> str:
        model = self.journal.model() if self.journal.model is not None else None
        return type(model).__name__ if model is not None else ""

    def _limit(self, sentence: str) -> None:
        said = (self._interpreter.run.index, sentence)
        if said not in self._said:
            self._said.add(said)
            self.sink.limit(sentence)

    def _contain(self, tap: str, error: Exception) -> None:
        """Turn a failure of ours into one warning and one limit."""
        with contextlib.suppress(Exception):
            self._interpreter.damage()
        if tap in self._failed:
            return
        self._failed.add(tap)
        sentence = (
            f"A part of the recording failed ({tap}: {type(error).__name__}: {error}); what depends on it is "
            "missing. The training is not affected."
        )
        with contextlib.suppress(Exception):
            self._limit(sentence)
        with contextlib.suppress(LossAccWarning):  # where warnings are errors, ours must not end the training
            warnings.warn(sentence, LossAccWarning, stacklevel=2)


def _forget_all() -> None:
    for capture in _active:
        with contextlib.suppress(Exception):
            capture.forget()
    _active.clear()


forget_in_forks(_forget_all)
