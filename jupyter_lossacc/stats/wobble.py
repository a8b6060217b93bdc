"""The wobble of short series of epochs: how large it is around each, and how much it remembers.

A validation curve is a trend plus a *wobble* that the optimiser adds anew at every epoch. The wobble
is taken as a first-order autoregression whose coefficient and local standard deviation are measured
from what a running quadratic leaves over.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_RHO", "running_median", "wobble", "wobble_rho"]

Floats = NDArray[np.float64]

# Largest autocorrelation that the wobble is granted, and assumed where it cannot be measured. Real
# plateaus show about 0.05 (median). Beyond 0.5 a wobble is a slow wander: it does move these curves.
MOST_RHO = 0.5
_RHO_STEP = 0.1
_RHO_EPOCHS = 20  # fewer say too little about the autocorrelation
_RHO_WINDOW = 15
_RHO_MOST = 40  # more residuals make the margin no smaller: a longer run asks more often
_QUADRATIC_EPOCHS = 7  # running quadratic (Savitzky and Golay, Anal. Chem. 36, 1964)
_LOCAL_EPOCHS = 10
_CUT = 12.0
_KEPT = 0.965  # mean of a squared normal variable cut at 12 times its median


def _autocorrelation(length: int, rho: float) -> Floats:
    lags = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    return np.asarray(rho**lags, dtype=np.float64)


@lru_cache(maxsize=8)
def _quadratic_residuals(length: int, rho: float) -> tuple[Floats, Floats]:
    """Residual maker of a quadratic fit, and the variance it leaves at each position of AR(1) noise."""
    t = np.linspace(-1.0, 1.0, length)
    design = np.stack([np.ones(length), t, t**2], axis=1)
    maker = np.eye(length) - design @ np.linalg.pinv(design)
    left = np.einsum("ij,jk,ik->i", maker, _autocorrelation(length, rho), maker)
    return maker, left


def _running_residuals(values: Floats, length: int, rho: float) -> tuple[Floats, Floats]:
    """Residual of each epoch from the quadratic through the nearest `length`, and its unit variance."""
    n = len(values)
    maker, left = _quadratic_residuals(length, rho)
    starts = np.clip(np.arange(n) - length // 2, 0, n - length)
    place = np.arange(n) - starts
    around = np.lib.stride_tricks.sliding_window_view(values, length)[starts]
    return np.asarray(np.einsum("tj,tj->t", maker[place], around)), left[place]


@lru_cache(maxsize=1)
def _residual_correlation() -> tuple[Floats, Floats]:
    """Coefficients, and the lag-one correlation that residuals of AR(1) noise then have."""
    maker, _ = _quadratic_residuals(_RHO_WINDOW, MOST_RHO)
    middle = maker[_RHO_WINDOW // 2]
    here, there = np.append(middle, 0.0), np.append(0.0, middle)
    rhos = np.linspace(0.0, 0.95, 96)
    expected = [
        float(here @ r @ there) / float(here @ r @ here)
        for r in (_autocorrelation(_RHO_WINDOW + 1, rho) for rho in rhos)
    ]
    return rhos, np.array(expected)


def wobble_rho(values: Floats) -> float:
    r"""Autocorrelation to grant the wobble of a series: an upper estimate, at most `MOST_RHO`.

    The lag-one correlation of the residuals from a running quadratic over 15 epochs is turned into
    the coefficient of the AR(1) noise that would leave it, plus :math:`1.5 / \sqrt n` for n residuals
    (40 at most), rounded up to a tenth. The first third of the series is left out: there the trend
    bends more than a quadratic can, which would pass for autocorrelation.

    Parameters
    ----------
    values : ndarray of shape (n_epochs,)

    Returns
    -------
    float
        `MOST_RHO` for series of fewer than 20 epochs and for constant ones.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=300)
    >>> wobble_rho(noise), wobble_rho(np.cumsum(noise))
    (0.3, 0.5)
    """
    n = len(values)
    if n < _RHO_EPOCHS:
        return MOST_RHO
    residuals, _ = _running_residuals(values, _RHO_WINDOW, MOST_RHO)
    scale = wobble(values)
    residuals = np.divide(residuals, scale, out=np.zeros(n), where=scale > 0)[n // 3 :]
    power = float(residuals @ residuals)
    if power <= 0:
        return MOST_RHO
    rhos, expected = _residual_correlation()
    lag_one = float(residuals[1:] @ residuals[:-1]) / power
    estimate = float(np.interp(lag_one, expected, rhos)) + 1.5 / np.sqrt(min(len(residuals), _RHO_MOST))
    return float(min(MOST_RHO, round(np.ceil(max(estimate, 0.0) / _RHO_STEP) * _RHO_STEP, 1)))


def _local_mean(squared: Floats) -> Floats:
    """Mean over the epochs around each, every term cut at `_CUT` times their median."""
    n, reach = len(squared), _LOCAL_EPOCHS
    padded = np.concatenate([np.full(reach, np.nan), squared, np.full(reach, np.nan)])
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    ordered = np.sort(around, axis=1)  # NaN last
    count = np.isfinite(around).sum(axis=1)
    rows = np.arange(n)
    median = (ordered[rows, (count - 1) // 2] + ordered[rows, count // 2]) / 2
    cut = np.minimum(ordered, _CUT * median[:, None])
    return np.asarray(np.nansum(cut, axis=1) / count / _KEPT)


def wobble(values: Floats, *, rho: float = MOST_RHO, floor: float = 0.0) -> Floats:
    r"""Local standard deviation of the epoch-to-epoch wobble of a series.

    At each epoch :math:`r_t` is the residual of a quadratic fitted to the seven nearest epochs, and
    :math:`d_j` its variance under unit AR(1) noise, j being its place among the seven; then :math:`s_t^2`
    is the mean of :math:`r_u^2 / d_j` over the epochs :math:`|u - t| \le 10`, but at least half its
    median over the series. A term counts for no more than 12 times the median of those epochs: a bend of
    the first epochs too steep for the quadratic is not wobble.

    Parameters
    ----------
    values : ndarray of shape (n_epochs,)
    rho : float
        Autocorrelation of the wobble between successive epochs.
    floor : float
        Smallest standard deviation to return.

    Returns
    -------
    ndarray of shape (n_epochs,)
        In units of `values`; infinite for fewer than 5 epochs: no wobble can be told from a trend there.

    Examples
    --------
    >>> noisy = np.linspace(2.0, 0.5, 300) + np.random.default_rng(0).normal(0, 0.02, 300)
    >>> float(wobble(noisy, rho=0.0).mean().round(3))
    0.02
    """
    n = len(values)
    length = min(_QUADRATIC_EPOCHS, n)
    if length < 5:
        return np.full(n, np.inf)
    residuals, left = _running_residuals(values, length, rho)
    squared = residuals**2 / left
    local = _local_mean(squared)
    variance = np.maximum(local, 0.5 * np.median(local))
    return np.asarray(np.sqrt(np.maximum(variance, floor**2)))


def running_median(values: Floats) -> Floats:
    """Median of the seven epochs nearest to each: keeps steps and slopes, drops bursts of three or fewer.

    Returns
    -------
    ndarray of shape (n_epochs,)
        The first and the last four values are those of the first and the last seven epochs.

    Examples
    --------
    >>> running_median(np.array([1.0, 1, 1, 1, 9, 9, 9, 1, 1, 1, 1, 5, 5, 5, 5]))
    array([1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 5., 5., 5., 5.])
    """
    length = min(_QUADRATIC_EPOCHS, len(values))
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, length), axis=1)
    place = np.clip(np.arange(len(values)) - length // 2, 0, len(values) - length)
    return np.asarray(medians[place], dtype=np.float64)
