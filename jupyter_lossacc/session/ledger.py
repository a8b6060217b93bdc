"""`Ledger`: the growing records of one run, and snapshots of them.

The training thread never touches it: the clerk thread appends, any thread may take a snapshot.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.records import (
    STEP_COLUMNS,
    Episode,
    EpochSummary,
    Floats,
    PassKey,
    Predictions,
    Recording,
    RunInfo,
)
from jupyter_lossacc.session.notes import is_expectation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Ledger"]

# Per-sample records kept in memory while a run is going on; older passes are read from the store.
MEMORY_CAP_BYTES = 256 * 2**20


class Ledger:
    """Records of one run in memory.

    Parameters
    ----------
    info : RunInfo
    earlier : Recording, optional
        The run that this one continues (``--resume``).
    """

    def __init__(self, info: RunInfo, earlier: Recording | None = None) -> None:
        self.info = info
        self._lock = threading.Lock()
        self._summaries: list[EpochSummary] = list(earlier.summaries) if earlier else []
        self._chunks: list[Mapping[str, Floats]] = [_until_last_pass(earlier)] if earlier else []
        self._limits: dict[str, None] = dict.fromkeys(
            line for line in (earlier.limits if earlier else ()) if not is_expectation(line)
        )
        self._predictions: OrderedDict[PassKey, Predictions] = OrderedDict()
        self._not_kept: set[PassKey] = set()  # asking the store for them would read the whole run
        self._bytes = 0
        self._on_disk: Callable[[PassKey], Predictions] | None = earlier.load if earlier else None
        self.status = "running"
        self.shown: tuple[Episode, ...] = earlier.shown if earlier else ()

    def append(self, summary: EpochSummary, predictions: Predictions | None) -> None:
        """Add a finished pass; `predictions` is None where its samples are not kept."""
        with self._lock:
            self._summaries.append(summary.with_loss())
            if predictions is None:
                self._not_kept.add(summary.key)
            else:
                self._predictions[summary.key] = predictions
                self._bytes += _size(predictions)
                while self._bytes > MEMORY_CAP_BYTES and self._on_disk and len(self._predictions) > 1:
                    self._bytes -= _size(self._predictions.popitem(last=False)[1])

    def append_steps(self, columns: Mapping[str, Floats]) -> None:
        """Add rows of optimiser steps."""
        with self._lock:
            self._chunks.append(columns)
            if len(self._chunks) > 64:  # keep snapshots cheap
                self._chunks = [_joined(self._chunks)]

    def limit(self, sentence: str) -> bool:
        """Note what could not be recorded; return whether it is new."""
        with self._lock:
            new = sentence not in self._limits
            self._limits[sentence] = None
            return new

    def become(self, recording: Recording) -> dict[str, Floats]:
        """Take over what others have recorded so far; return the steps that are new."""
        with self._lock:
            known = sum(len(chunk["step"]) for chunk in self._chunks)
            self.info, self.status = recording.info, recording.status
            self._summaries, self._chunks = list(recording.summaries), [recording.steps]
            self._limits = dict.fromkeys(recording.limits)
            self._on_disk = recording.load
            return {name: values[known:] for name, values in recording.steps.items()}

    def rename(self, name: str) -> None:
        """Give the run another name."""
        with self._lock:
            self.info = replace(self.info, name=name)

    def store_is(self, load: Callable[[PassKey], Predictions]) -> None:
        """From now on every appended pass can also be read back with `load`."""
        self._on_disk = load

    def recording(self) -> Recording:
        """Return a snapshot: later passes do not change it."""
        with self._lock:
            return Recording(
                info=self.info,
                summaries=tuple(self._summaries),
                steps=_joined(self._chunks),
                limits=tuple(self._limits),
                load=self._load,
                status=self.status,
                shown=self.shown,
            )

    def _load(self, key: PassKey) -> Predictions:
        with self._lock:
            found = self._predictions.get(key)
        if found is not None:
            return found
        if self._on_disk is None or key in self._not_kept:
            raise KeyError(f"the per-sample records of pass {key} were not kept (see --keep)")
        return self._on_disk(key)


def _joined(chunks: list[Mapping[str, Floats]]) -> dict[str, Floats]:
    empty = np.empty(0, np.float64)
    # Learning rates of further groups come only with optimisers that have them.
    names = dict.fromkeys([*STEP_COLUMNS, *(name for chunk in chunks for name in chunk)])

    def column(chunk: Mapping[str, Floats], name: str) -> Floats:
        return chunk[name] if name in chunk else np.full(len(chunk["step"]), np.nan)

    return {name: np.concatenate([empty, *(column(chunk, name) for chunk in chunks)]) for name in names}


def _size(predictions: Predictions) -> int:
    return 40 * len(predictions)  # eight columns of four or eight bytes


def _until_last_pass(recording: Recording) -> Mapping[str, Floats]:
    """Return the steps that a resumed run keeps: those after its last pass are taken again."""
    last = recording.summaries[-1].step if recording.summaries else 0
    return {name: column[recording.steps["step"] <= last] for name, column in recording.steps.items()}
