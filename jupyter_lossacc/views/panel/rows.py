"""Every sample of a pass for the browser: columns as raw numbers, which need no parsing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.errors import DiagnosisError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_lossacc.records import PassKey, Recording

__all__ = ["COLUMNS", "Packed", "RowFeed", "pass_rows"]

# Name in the browser, attribute of `Predictions`, type. Ids as float64, which is exact up to 2**53.
COLUMNS = (
    ("id", "sample_ids", "<f8"),
    ("target", "targets", "<i4"),
    ("predicted", "predicted", "<i4"),
    ("nll", "nll", "<f4"),
    ("confidence", "confidence", "<f4"),
    ("correct", "correct", "<f4"),
)
BYTES_PER_ROW = 28


@dataclass(frozen=True, slots=True)
class Packed:
    """A message whose numbers travel beside its JSON."""

    value: dict[str, Any]
    buffers: list[memoryview] = field(default_factory=list)


def pass_rows(recording: Recording, split: str, epoch: int) -> Packed:
    """Pack all samples of one pass.

    Raises
    ------
    DiagnosisError
        When the pass or its samples were not kept, or samples cannot be told apart between epochs.
    """
    try:
        predictions = recording.predictions(split, epoch)
    except KeyError:
        raise DiagnosisError(f"The samples of epoch {epoch} ({split}) were not kept.") from None
    if not predictions.ids_known:
        raise DiagnosisError("Samples cannot be followed between epochs: their ids are not known.")
    columns = (np.ascontiguousarray(getattr(predictions, of), dtype=kind) for _, of, kind in COLUMNS)
    value = {
        "split": split,
        "epoch": epoch,
        "n": len(predictions),
        "columns": [[name, kind] for name, _, kind in COLUMNS],
    }
    return Packed(value, [column.data.cast("B") for column in columns])


class RowFeed:
    """Chooses which passes travel to a live panel: those of its cards, new ones only, within a budget.

    Parameters
    ----------
    interval : float
        Seconds between two deliveries.
    budget : int
        Bytes per delivery. What does not fit follows when the run is over, on request.
    """

    def __init__(self, interval: float = 5.0, budget: int = 2_000_000) -> None:
        self._interval, self._budget = interval, budget
        self._sent: set[PassKey] = set()
        self._last = -np.inf

    def due(self, recording: Recording, ends: Iterable[tuple[str, int]], now: float) -> list[Packed]:
        """Return what to send now; `ends` are (split, epoch) of the cards, most important first."""
        if now - self._last < self._interval:
            return []
        room, found = self._budget, []
        for split, epoch in ends:
            try:
                summary = recording.summary(split, epoch)
            except KeyError:
                continue
            room -= 0 if summary.key in self._sent else BYTES_PER_ROW * summary.n_samples
            if summary.key in self._sent or room < 0:
                continue
            try:
                found.append(pass_rows(recording, split, epoch))
            except DiagnosisError:
                continue
            self._sent.add(summary.key)
            self._last = now
        return found
