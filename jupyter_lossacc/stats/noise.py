"""How much a curve moves from epoch to epoch without going anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["epoch_noise", "trend_error", "trend_with_error"]


def epoch_noise(values: NDArray[np.float64], *, robust: bool = False) -> float:
    """Estimate the standard deviation of the epoch-to-epoch noise of a series, free of its straight trend.

    Second differences of white noise have six times its variance.

    Parameters
    ----------
    values : ndarray of shape (n_epochs,)
        Missing epochs (NaN) are left out.
    robust : bool
        Pass over single epochs that jump: 1.4826 times the median size of the differences stands for the root
        of their mean square, as it is for normal noise.

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
    moves = np.diff(kept, 2)
    size = 1.4826 * np.median(np.abs(moves)) if robust else np.sqrt(np.mean(moves**2))
    return float(size / np.sqrt(6))


def trend_error(noise: float, n_epochs: int) -> float:
    """Return the standard error of the change along a straight line through so many epochs.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise of an epoch, as from `epoch_noise`.
    n_epochs : int

    Examples
    --------
    >>> round(trend_error(0.01, 2), 4), round(trend_error(0.01, 50), 4)
    (0.0141, 0.0048)
    """
    t = np.linspace(-0.5, 0.5, n_epochs)
    return float(noise / np.sqrt(t @ t))


def trend_with_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the change along the straight line through a series, and its standard error by `epoch_noise`.

    Examples
    --------
    >>> change, error = trend_with_error(np.array([0.50, 0.49, 0.47, 0.46, 0.44, 0.43]))
    >>> round(change, 3), round(error, 4)
    (-0.073, 0.0049)
    """
    t = np.linspace(-0.5, 0.5, len(values))
    return float(t @ values / (t @ t)), trend_error(epoch_noise(values), len(values))
