"""Tell whether the targets of a pass arrive in random order or in runs."""

from __future__ import annotations

from math import nan, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["runs_of_targets"]


def runs_of_targets(targets: ArrayLike) -> tuple[float, float]:
    """Compare the number of runs of equal targets with that of a random order.

    The multi-class runs test of Wald and Wolfowitz (Annals of Mathematical Statistics 11, 1940) with
    the exact permutation mean and variance of Barton and David (Biometrika 44, 1957).

    Parameters
    ----------
    targets : array-like of int, shape (n_samples,)
        Targets in the order seen.

    Returns
    -------
    ratio : float
        Runs counted over runs expected: 1 in random order, near 0 when sorted.
    z : float
        Difference from the expected number in standard deviations; both NaN for fewer than two
        classes or samples.

    Examples
    --------
    >>> ratio, z = runs_of_targets([0] * 50 + [1] * 50)
    >>> round(ratio, 3), z < -9
    (0.039, True)
    """
    y = np.asarray(targets).ravel()
    n = float(len(y))
    counts = _counts(y)
    if len(counts) < 2:
        return nan, nan
    squares, cubes = float((counts.astype(float) ** 2).sum()), float((counts.astype(float) ** 3).sum())
    expected = (n * (n + 1) - squares) / n
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n**2 * (n - 1))
    runs = 1 + int(np.count_nonzero(y[1:] != y[:-1]))
    return runs / expected, (runs - expected) / sqrt(variance) if variance > 0 else nan


def _counts(y: np.ndarray) -> np.ndarray:
    """How often each value occurs, in order of the values."""
    if y.dtype.kind in "iu" and len(y) and y.min() >= 0 and y.max() < 4 * len(y) + 1024:
        counts = np.bincount(y)
        return counts[counts > 0]
    return np.unique(y, return_counts=True)[1]
