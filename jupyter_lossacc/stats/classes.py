"""Per-class counts, recall, precision and F1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["class_counts", "f1_from_counts"]


def class_counts(
    targets: NDArray[np.int32], predicted: NDArray[np.int32], n_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count samples per class.

    Returns
    -------
    support, predictions, hits : ndarray of int64, shape (n_classes,)
        Samples of the class, samples predicted as the class, and both at once.
    """
    support = np.bincount(targets, minlength=n_classes)
    predictions = np.bincount(predicted, minlength=n_classes)
    hits = np.bincount(targets[targets == predicted], minlength=n_classes)
    return support, predictions, hits


def f1_from_counts(
    support: NDArray[np.int64], predictions: NDArray[np.int64], hits: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Per-class F1, 2 hits / (support + predictions); NaN for a class neither present nor predicted."""
    total = support + predictions
    return np.divide(2.0 * hits, total, out=np.full(len(total), np.nan), where=total > 0)
