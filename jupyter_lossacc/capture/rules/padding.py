"""Copies of samples that a distributed sampler adds to fill up: trained on, but counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.capture.rules.assembly import REPORTED, WEIGHT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_lossacc.capture.reading.events import LossEvent
    from jupyter_lossacc.capture.reading.sample_ids import Match

__all__ = ["without_padding"]


def without_padding(
    event: LossEvent, columns: NDArray[np.float32], ids: NDArray[np.int64] | None, value: float
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None, float]:
    """Leave out the copies at the end of a batch; return its columns, ids and value to report.

    The criterion's value covers the copies too: where its value is known by sample, the mean over
    the others takes its place.
    """
    n = columns.shape[1]
    keep = n if event.match is None else min(max(_own(event.match) - event.match.first, 0), n)
    if keep == n:
        return columns, ids, value
    if event.logits is not None and event.targets is not None:
        labels = len(event.targets) // n
        event.logits, event.targets = event.logits[: keep * labels], event.targets[: keep * labels]
    own = columns[:, :keep]
    whole, rest = _value(event, columns), _value(event, own)
    if abs(whole - value) <= 1e-3 * max(1.0, abs(value)):  # false for NaN: not known by sample
        value = rest
    return own, None if ids is None else ids[:keep], value


def _own(match: Match) -> int:
    """Count the samples of a batch before the copies."""
    batch = match.batch
    share = batch.source.data.share
    return batch.size if share is None else min(share.n_samples - batch.number * share.batch_size, batch.size)


def _value(event: LossEvent, columns: NDArray[np.float32]) -> float:
    """Value of the criterion from its values by sample."""
    by_sample = columns[REPORTED].astype(np.float64)
    if event.call.reduction == "sum":
        return float(by_sample.sum())
    weighted = event.call.reduction == "mean" and event.call.weighted_mean
    weights = columns[WEIGHT].astype(np.float64) if weighted else np.ones(by_sample.size)
    return float(by_sample @ weights / weights.sum()) if weights.sum() > 0 else float("nan")
