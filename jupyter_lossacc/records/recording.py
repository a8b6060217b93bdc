"""What one run leaves behind: the input of every question asked about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.records.passes import SAMPLE_COLUMNS, EpochSummary, Floats, PassKey, Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from jupyter_lossacc.records.conclusions import Episode

__all__ = ["STEP_COLUMNS", "Recording", "RunInfo"]

# One row per optimiser step. NaN where a value was not taken at that step.
STEP_COLUMNS = (
    "epoch",
    "step",
    "loss",
    "n_samples",
    "learning_rate",
    "grad_norm",
    "update_ratio",  # norm of the last update / norm of the weights
    "dead_unit_share",  # share of hidden units whose incoming gradient row is exactly zero
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Who, when and with what: the head of a recording."""

    run_id: str
    name: str
    started: str  # UTC, ISO 8601
    class_names: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    format_version: int = 1
    cell: str = ""  # the user's cell source; "" outside notebooks


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Everything one run left behind: the input of every question asked about it.

    Parameters
    ----------
    info : RunInfo
    summaries : tuple of EpochSummary
        Finished passes in order of time, each with a loss (`EpochSummary.with_loss`).
    steps : mapping of str to ndarray of shape (n_steps,)
        Columns of `STEP_COLUMNS`.
    limits : tuple of str
        What could not be recorded, in sentences.
    load : callable
        Gives the `Predictions` of a pass key; raises ``KeyError`` when they were not kept.
    status : {"running", "finished", "interrupted", "failed", "cut off"}
    shown : tuple of Episode
        What was on the screen at its last update, withdrawn episodes included; empty when nothing was
        shown while the run went on.
    """

    info: RunInfo
    summaries: tuple[EpochSummary, ...]
    steps: Mapping[str, Floats]
    limits: tuple[str, ...]
    load: Callable[[PassKey], Predictions]
    status: str = "finished"
    shown: tuple[Episode, ...] = ()

    def splits(self) -> tuple[str, ...]:
        """Names of the splits seen, in order of appearance."""
        return tuple(dict.fromkeys(s.split for s in self.summaries))

    def series(self, split: str) -> tuple[EpochSummary, ...]:
        """Complete passes of one split, one per epoch (the last of each), epoch ascending."""
        last = {s.epoch: s for s in self.summaries if s.split == split and s.complete}
        return tuple(last[epoch] for epoch in sorted(last))

    def summary(self, split: str, epoch: int) -> EpochSummary:
        """Return the pass of `split` at `epoch` (negative: from the end).

        Raises
        ------
        KeyError
            When there is no complete pass of that split and epoch.
        TypeError
            When `epoch` is no whole number.
        """
        try:
            epoch = index(epoch)
        except TypeError:
            raise TypeError(
                f"Expected an epoch as a whole number (-1: the last one), got {epoch!r}."
            ) from None
        series = self.series(split)
        if epoch < 0 and -epoch <= len(series):
            return series[epoch]
        for summary in series:
            if summary.epoch == epoch:
                return summary
        have = f"{series[0].epoch}..{series[-1].epoch}" if series else "none"
        raise KeyError(f"no complete pass of split {split!r} at epoch {epoch}; epochs recorded: {have}")

    def predictions(self, split: str, epoch: int) -> Predictions:
        """Per-sample records of the pass of `split` at `epoch`; raises ``KeyError`` if not kept."""
        return self.load(self.summary(split, epoch).key)

    def paired(self, split: str, start: int, end: int) -> tuple[Predictions, Predictions]:
        """Return the predictions of two epochs on the samples that both contain, same order.

        Raises
        ------
        KeyError
            When a pass is missing or sample ids are not known.
        """
        first, last = self.predictions(split, start), self.predictions(split, end)
        if not (first.ids_known and last.ids_known):
            raise KeyError(
                f"sample ids of split {split!r} are not known; epochs cannot be compared by sample"
            )
        if np.array_equal(first.sample_ids, last.sample_ids):
            return first, last
        _, left, right = np.intersect1d(first.sample_ids, last.sample_ids, return_indices=True)
        return _take(first, left), _take(last, right)


def _take(predictions: Predictions, rows: NDArray[np.intp]) -> Predictions:
    columns: dict[str, Any] = {name: getattr(predictions, name)[rows] for name in SAMPLE_COLUMNS}
    return Predictions(**columns, ids_known=predictions.ids_known)
