"""How much a curve moves from epoch to epoch without going anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["epoch_noise", "trend_with_error"]


def epoch_noise(values: NDArray[np.float64]) -> float:
    """Estimate the standard deviation of the epoch-to-epoch noise of a series, free of its straight trend.

    Second differences of white noise have six times its variance.

    Parameters
    ----------
    values : ndarray of shape (n_epochs,)
        Missing epochs (NaN) are left out.

    Returns
    -------
    float
        NaN with fewer than four values.

    Examples
    --------
    >>> round(epoch_noise(np.array([0.50, 0.52, 0.49, 0.51, 0.50, 0.52])), 3)
    0.017
    """
    kept = values[np.isfinite(values)]
    if len(kept) < 4:
        return float("nan")
    return float(np.sqrt(np.mean(np.diff(kept, 2) ** 2) / 6))


def trend_with_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the change along the straight line through a series, and its standard error by `epoch_noise`.

    Examples
    --------
    >>> change, error = trend_with_error(np.array([0.50, 0.49, 0.47, 0.46, 0.44, 0.43]))
    >>> round(change, 3), round(error, 4)
    (-0.073, 0.0049)
    """
    n = len(values)
    t = (np.arange(n) - (n - 1) / 2) / max(n - 1, 1)
    change = float(t @ values / (t @ t))
    return change, epoch_noise(values) / float(np.sqrt(t @ t))
