"""How much of a stretch's change is due to which samples the split happens to hold.

The per-sample slopes of one stretch give the sampling error of its change with all pairing between
epochs accounted for. Only the stretches already found are examined, at no more than `MOST_EPOCHS`
epochs and `MOST_ROWS` rows each, so the cost does not grow with the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.stats.calibration import fold_of

if TYPE_CHECKING:
    from jupyter_lossacc.records import EpochSummary, Predictions, Recording

__all__ = ["MOST_EPOCHS", "SamplingError", "loss_contributions", "samples_needed", "sampling_error"]

Floats = NDArray[np.float64]
Rows = slice | NDArray[np.intp]

MOST_EPOCHS = 32
MOST_ROWS = 4_000_000  # of all passes together: those that are not in memory any more are read from disk
MOST_SAMPLES = 25_000  # a larger split is judged from about so many, chosen by a hash of their ids


@dataclass(frozen=True, slots=True)
class SamplingError:
    """Standard errors of a stretch's change of loss (nats) and accuracy over `n_samples` samples."""

    loss: float
    accuracy: float
    n_samples: int


def loss_contributions(
    predictions: Predictions, summary: EpochSummary, rows: Rows = slice(None)
) -> Floats | None:
    r"""Each sample's part in the reported loss; their mean is the reported loss.

    For a weighted mean this is :math:`w_{y_i} \ell_i n / \sum_j w_{y_j}`.

    Parameters
    ----------
    predictions : Predictions
    summary : EpochSummary
        The same pass.
    rows : slice or ndarray of int
        Samples to take.

    Returns
    -------
    ndarray of shape (n_rows,) or None
        None when the reported loss cannot be traced to the samples.
    """
    reported = predictions.reported_loss[rows].astype(np.float64)
    finite = np.isfinite(reported)
    if not finite.any():
        reported = predictions.nll[rows].astype(np.float64)
        finite = np.isfinite(reported)
        if not np.isclose(summary.nll, summary.reported_loss, rtol=0.02, atol=1e-6):
            return None
    weights = summary.loss.class_weights
    if weights is not None:
        reported = _weighted(reported, predictions, np.asarray(weights), rows)
        finite = np.isfinite(reported)
    mean = float(np.mean(reported if finite.all() else reported[finite])) if finite.any() else 0.0
    if mean == 0 or not np.isfinite(summary.reported_loss):
        return reported
    scale = summary.reported_loss / mean
    # A scale far from one means that the criterion adds a term which is no property of a sample.
    return reported * scale if weights is not None or 0.5 < scale < 2 else None


def _weighted(reported: Floats, predictions: Predictions, weights: Floats, rows: Rows) -> Floats:
    """Losses times the weight of their class, where they were recorded without it."""
    targets, nll = predictions.targets[rows], predictions.nll[rows]
    unweighted = np.allclose(reported, nll, rtol=1e-3, atol=1e-6)
    known = unweighted and 0 <= targets.min() <= targets.max() < len(weights)
    return np.asarray(reported * weights[targets]) if known else reported


def sampling_error(recording: Recording, passes: tuple[EpochSummary, ...]) -> SamplingError | None:
    r"""Estimate the sampling error of a stretch, :math:`\sqrt{\mathrm{var}_i(\sum_t w_t x_{ti}) / n}`.

    Parameters
    ----------
    recording : Recording
    passes : tuple of EpochSummary
        The stretch's passes, one per epoch.

    Returns
    -------
    SamplingError or None
        None when the samples were not kept, cannot be matched, or changed.
    """
    epochs = min(len(passes), MOST_EPOCHS, max(MOST_ROWS // max(passes[-1].n_samples, 1), 4))
    chosen = np.unique(np.linspace(0, len(passes) - 1, epochs).round().astype(int))
    centred = chosen - chosen.mean()
    weights = centred / float(centred @ centred) * (len(passes) - 1)
    ids: NDArray[np.int64] | None = None
    rows: Rows = slice(None)
    loss = accuracy = np.empty(0)
    for weight, index in zip(weights, chosen, strict=True):
        try:
            predictions = recording.load(passes[index].key)
        except KeyError:
            return None
        if not predictions.ids_known or len(predictions) < 2:
            return None
        if ids is None:
            ids = predictions.sample_ids
            rows = _some(ids)
        elif ids is not predictions.sample_ids and not np.array_equal(ids, predictions.sample_ids):
            return None
        part = loss_contributions(predictions, passes[index], rows)
        if part is None:
            return None
        with np.errstate(invalid="ignore"):  # samples with an infinite loss are left out below
            part *= weight
            loss = part if not loss.size else np.add(loss, part, out=loss)
        right = np.multiply(predictions.correct[rows], weight, dtype=np.float64)
        accuracy = right if not accuracy.size else np.add(accuracy, right, out=accuracy)
    finite = np.isfinite(loss)
    kept = ids[rows][finite] if ids is not None else np.empty(0, np.int64)
    n = 0 if ids is None else _count(ids)  # a sample that a pass holds twice is one sample still
    if _count(kept) < 2:
        return None
    errors = [float(_by_sample(part[finite], kept).std(ddof=1)) / sqrt(n) for part in (loss, accuracy)]
    return SamplingError(errors[0], errors[1], n)


def _count(ids: NDArray[np.int64]) -> int:
    return len(ids) if (np.diff(ids) > 0).all() else len(np.unique(ids))


def _by_sample(values: Floats, ids: NDArray[np.int64]) -> Floats:
    """One value per sample, with the same mean, from one per visit."""
    if _count(ids) == len(ids):
        return values
    _, sample, visits = np.unique(ids, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(sample, values) * len(visits) / len(values), dtype=np.float64)


def _some(sample_ids: NDArray[np.int64]) -> Rows:
    """Rows of about `MOST_SAMPLES` samples, the same ones in every pass."""
    if len(sample_ids) <= MOST_SAMPLES:
        return slice(None)
    parts = -(-len(sample_ids) // MOST_SAMPLES)
    return np.flatnonzero(fold_of(sample_ids, parts) == 0)


def samples_needed(
    distance: float, wobble_error: float, sampling: float, n_samples: int, bar: float
) -> int | None:
    r"""Count the samples at which a change of this size would pass the bar in four of five runs.

    Solves :math:`d = (c + 0.84) \sqrt{\sigma_w^2 + \sigma_s^2 n / n'}` for n'.

    Parameters
    ----------
    distance : float
        The change, or its distance from the limit that it must keep.
    wobble_error, sampling : float
        Standard errors from the wobble and from the sampling of `n_samples` samples.
    bar : float
        Critical value c.

    Returns
    -------
    int or None
        None when the wobble alone is too large, whatever the number of samples.
    """
    room = (distance / (bar + 0.8416)) ** 2 - wobble_error**2
    if distance <= 0 or room <= 0:
        return None
    return max(ceil(sampling**2 * n_samples / room), n_samples + 1)
