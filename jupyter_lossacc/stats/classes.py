"""Per-class counts, recall, precision and F1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["balanced_threshold", "class_counts", "f1_from_counts"]


def class_counts(
    targets: NDArray[np.int32], predicted: NDArray[np.int32], n_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count samples per class.

    Returns
    -------
    support, predictions, hits : ndarray of int64, shape (n_classes,)
        Samples of the class, samples predicted as the class, and both at once.

    Examples
    --------
    >>> class_counts(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), 3)
    (array([2, 1, 1]), array([1, 3, 0]), array([1, 1, 0]))
    """
    support = np.bincount(targets, minlength=n_classes)
    predictions = np.bincount(predicted, minlength=n_classes)
    hits = np.bincount(targets[targets == predicted], minlength=n_classes)
    return support, predictions, hits


def f1_from_counts(
    support: NDArray[np.int64], predictions: NDArray[np.int64], hits: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Per-class F1, 2 hits / (support + predictions); NaN for a class neither present nor predicted.

    Examples
    --------
    >>> f1_from_counts(np.array([2, 1, 1, 0]), np.array([1, 3, 0, 0]), np.array([1, 1, 0, 0])).round(3)
    array([0.667, 0.5  , 0.   ,   nan])
    """
    total = support + predictions
    return np.divide(2.0 * hits, total, out=np.full(len(total), np.nan), where=total > 0)


def balanced_threshold(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the score from which on to say yes, so that the mean of both recalls is highest.

    Parameters
    ----------
    score : ndarray of shape (n_samples,)
    positive : ndarray of bool, shape (n_samples,)
        Both kinds must occur.

    Examples
    --------
    >>> balanced_threshold(np.array([-3.0, -2.5, -2.0, -1.0]), np.array([False, False, True, True]))
    -2.25
    """
    order = np.argsort(score, kind="stable")
    s, y = score[order], positive[order]
    # Yes from the i-th sample on: all positives from there are found, all negatives before are spared.
    found = np.append(np.cumsum(y[::-1])[::-1], 0) / y.sum()
    spared = np.insert(np.cumsum(~y), 0, 0) / (~y).sum()
    possible = np.concatenate([[True], s[1:] > s[:-1], [True]])  # equal scores stay together
    best = int(np.argmax(np.where(possible, found + spared, -np.inf)))
    if best == 0:
        return float(s[0])
    if best == len(s):
        return float(np.nextafter(s[-1], np.inf))
    return float((s[best - 1] + s[best]) / 2)
