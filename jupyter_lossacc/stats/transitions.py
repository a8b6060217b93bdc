"""Exact splits of a change of the mean loss between two passes over the same samples.

Each function returns parts that add up to the change of the mean, so that nothing is left to
interpretation: who moved (transitions), by how much on which side of right and wrong (Kitagawa,
Journal of the American Statistical Association 1955; Oaxaca, International Economic Review 1973),
through the weights or through the samples, and through how few samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.resampling import bootstrap

__all__ = [
    "TAIL_PARTS",
    "TRANSITIONS",
    "Outcome",
    "outcome_parts",
    "share_of_change",
    "tail_groups",
    "transition_groups",
    "weight_parts",
]

Floats = NDArray[np.float64]
BLOCKS = 2000
TRANSITIONS = ("stayed_right", "became_right", "became_wrong", "stayed_wrong")
TAIL_PARTS = (
    "top_1_percent",
    "next_4_percent",
    "next_5_percent",
    "rest_same_direction",
    "opposite_direction",
)


class Outcome(NamedTuple):
    """Parts of a loss change by right and wrong, nats; they add up to the change of the mean loss."""

    composition: float  # more (or fewer) samples are right
    right: float  # the right ones became surer (negative) or less sure (positive)
    wrong: float  # the wrong ones became less (negative) or more wrong (positive)


def transition_groups(correct_start: ArrayLike, correct_end: ArrayLike) -> NDArray[np.intp]:
    """Sort samples by what became of them, as indices into `TRANSITIONS`.

    Parameters
    ----------
    correct_start, correct_end : array-like of shape (n_samples,)
        0 or 1; a share of labels or positions for multi-label and dense tasks, where any gain
        counts as having become right and any loss as having become wrong.

    Examples
    --------
    >>> transition_groups([1, 0, 1, 0], [1, 1, 0, 0]).tolist()
    [0, 1, 2, 3]
    """
    start, end = np.asarray(correct_start, np.float64), np.asarray(correct_end, np.float64)
    unmoved = np.where(start >= 0.5, 0, 3)
    return np.where(end > start, 1, np.where(end < start, 2, unmoved)).astype(np.intp)


def _mean_where(weights: Floats, loss: Floats) -> float:
    total = weights.sum()
    return float(weights @ loss / total) if total > 0 else float("nan")


def outcome_parts(
    loss_start: ArrayLike, loss_end: ArrayLike, correct_start: ArrayLike, correct_end: ArrayLike
) -> Outcome:
    """Split a loss change into more-are-right, right-became-surer and wrong-became-worse.

    With accuracy A and mean losses c of the right and w of the wrong samples, L = A c + (1 - A) w;
    the change of that product is split at midpoints (two-fold Kitagawa-Oaxaca), which is exact.
    A side that is empty at one end keeps the mean of the other end, so that its arrival is composition.

    Parameters
    ----------
    loss_start, loss_end : array-like of shape (n_samples,)
        Nats.
    correct_start, correct_end : array-like of shape (n_samples,)
        In [0, 1].

    Examples
    --------
    >>> outcome_parts([1.0, 1.0], [0.5, 2.5], [1, 0], [1, 0])
    Outcome(composition=0.0, right=-0.25, wrong=0.75)
    """
    losses = [np.asarray(x, np.float64) for x in (loss_start, loss_end)]
    rights = [np.asarray(x, np.float64) for x in (correct_start, correct_end)]
    accuracy = [float(c.mean()) for c in rights]
    right = _fill([_mean_where(c, x) for c, x in zip(rights, losses, strict=True)])
    wrong = _fill([_mean_where(1.0 - c, x) for c, x in zip(rights, losses, strict=True)])
    middle = (accuracy[0] + accuracy[1]) / 2
    gap = (right[0] + right[1]) / 2 - (wrong[0] + wrong[1]) / 2
    return Outcome(
        (accuracy[1] - accuracy[0]) * gap + 0.0,  # never minus zero
        middle * (right[1] - right[0]),
        (1 - middle) * (wrong[1] - wrong[0]),
    )


def _fill(ends: list[float]) -> list[float]:
    start, end = ends
    start = end if np.isnan(start) else start
    end = start if np.isnan(end) else end
    return [0.0 if np.isnan(x) else x for x in (start, end)]


def weight_parts(
    loss_start: ArrayLike, loss_end: ArrayLike, share_start: ArrayLike, share_end: ArrayLike
) -> tuple[float, float]:
    """Split the change of a weighted mean loss into (weights, samples), exactly.

    Parameters
    ----------
    loss_start, loss_end : array-like of shape (n_samples,)
        Unweighted losses, nats.
    share_start, share_end : array-like of shape (n_samples,)
        The factor of each sample in the weighted mean, e.g. ``w[y] / sum(w[y])``.

    Examples
    --------
    >>> weight_parts([1.0, 3.0], [1.0, 3.0], [0.5, 0.5], [0.25, 0.75])
    (0.5, 0.0)
    """
    a, b = np.asarray(loss_start, np.float64), np.asarray(loss_end, np.float64)
    u, v = np.asarray(share_start, np.float64), np.asarray(share_end, np.float64)
    return float((a + b) / 2 @ (v - u)), float((u + v) / 2 @ (b - a))


def tail_groups(change: ArrayLike) -> NDArray[np.intp]:
    """Sort samples by how much of the change of the mean they carry, as indices into `TAIL_PARTS`.

    Samples are ranked by their change in the direction of the mean; those that moved the other way
    (or not at all) form the last group whatever their rank.

    Parameters
    ----------
    change : array-like of shape (n_samples,)
        Loss at the end minus loss at the start, nats.

    Examples
    --------
    >>> tail_groups([9.0, 0.0, -1.0]).tolist()
    [0, 4, 4]
    """
    along = np.asarray(change, np.float64)
    if along.sum() < 0:
        along = -along
    n = len(along)
    rank = np.empty(n, np.intp)
    rank[np.argsort(-along, kind="stable")] = np.arange(n)
    ends = [max(1, round(share * n)) for share in (0.01, 0.05, 0.10)]
    return np.where(along > 0, np.searchsorted(ends, rank, side="right"), len(TAIL_PARTS) - 1).astype(np.intp)


def share_of_change(part: ArrayLike, change: ArrayLike) -> Estimate:
    """Share of the mean change that `part` carries, with a bootstrap interval over samples.

    Many samples are first averaged in fixed random blocks, which keeps the interval and bounds the
    cost. Where the total change may be zero the share is not defined and the interval is wide: that is
    what it should say.

    Parameters
    ----------
    part, change : array-like of shape (n_samples,)
        `part` is the change where the sample belongs to the part, 0 elsewhere.

    Examples
    --------
    >>> share_of_change([3.0, 0.0], [3.0, 1.0]).value
    0.75
    """
    rows = np.stack([np.asarray(part, np.float64), np.asarray(change, np.float64)], axis=1)
    total = rows.sum(axis=0)
    if not np.isfinite(total).all() or total[1] == 0:
        return Estimate(float("nan"), unit="share")
    if len(rows) > 2 * BLOCKS:
        order = np.random.default_rng(0).permutation(len(rows))
        starts = np.linspace(0, len(rows), BLOCKS, endpoint=False).astype(np.intp)
        rows = np.add.reduceat(rows[order], starts, axis=0)

    def ratio(means: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(means[..., 0] / means[..., 1])

    return bootstrap(rows, ratio, unit="share")
