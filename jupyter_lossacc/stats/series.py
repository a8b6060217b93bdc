"""Trends in short series of epochs: slopes over windows, judged against the wobble between epochs.

The change along a straight line fitted to a window is compared with the standard error that the wobble
(`stats.wobble`) gives it, for all windows at once; `knot_interval` and `ramp_ends` say where one begins
and ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from jupyter_lossacc.stats.wobble import MOST_RHO

__all__ = ["Moments", "Trends", "knot_interval", "ramp_ends", "slope_inflation", "slope_weights"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def slope_weights(length: int) -> Floats:
    """Weights that turn `length` values into the change along their least-squares line, first to last.

    Examples
    --------
    >>> round(float(slope_weights(11) @ (0.1 * np.arange(11))), 6)  # ten steps of 0.1
    1.0
    """
    t = np.arange(length) - (length - 1) / 2
    return np.asarray(t / (t @ t) * (length - 1), dtype=np.float64)


@lru_cache(maxsize=32)
def _inflation_table(longest: int, rho: float) -> Floats:
    length = np.arange(longest + 1, dtype=np.float64)
    spread = np.maximum(length * (length**2 - 1) / 12, 0.5)
    total = np.ones(longest + 1)
    for lag in range(1, 60):
        pairs = np.maximum(length - lag, 0.0)
        total += 2 * rho**lag * pairs * ((pairs**2 - 1) / 12 - lag**2 / 4) / spread
    return total


def slope_inflation(length: int, rho: float = MOST_RHO) -> float:
    r"""How much AR(1) noise inflates the variance of a slope over white noise of equal variance.

    :math:`w^\top R w / w^\top w` with :math:`R_{tu} = \rho^{|t-u|}` and w the slope's weights, from
    a closed sum; it tends to :math:`(1 + \rho) / (1 - \rho)` for long windows.

    Examples
    --------
    >>> slope_inflation(50, 0.0), round(slope_inflation(5000, 0.5), 2)
    (1.0, 3.0)
    """
    return float(_inflation_table(max(64, 1 << length.bit_length()), rho)[length])


@dataclass(frozen=True, slots=True)
class Trends:
    """Straight lines through windows of a series; arrays of shape (n_windows,).

    ``change`` is the change along the line from the window's first epoch to its last, ``error`` the
    standard error that the wobble gives it, ``score`` their ratio.
    """

    change: Floats
    error: Floats

    @property
    def score(self) -> Floats:
        """Change in units of its standard error; 0 where the error is infinite."""
        return np.divide(self.change, self.error, out=np.zeros_like(self.change), where=self.error > 0)


class Moments:
    """Cumulative sums of a series and of its wobble, from which any window's line follows.

    Parameters
    ----------
    values : ndarray of shape (n_epochs,)
    wobbles : ndarray of shape (n_epochs,)
        Standard deviation of the wobble at each epoch, as `wobble` gives it.
    rho : float
    """

    def __init__(self, values: Floats, wobbles: Floats, rho: float = MOST_RHO) -> None:
        t = np.arange(len(values), dtype=np.float64)
        centre = float(np.mean(values))
        variance = np.where(np.isfinite(wobbles), wobbles, 0.0) ** 2
        self._centre = centre
        self._known = bool(np.isfinite(wobbles).all())
        self._inflation = _inflation_table(max(64, 1 << len(values).bit_length()), rho)
        columns = [values - centre, t * (values - centre), variance, t * variance, t**2 * variance]
        self._sums = np.concatenate([np.zeros((5, 1)), np.cumsum(columns, axis=1)], axis=1)

    def _between(self, first: Ints, last: Ints) -> Floats:
        return np.asarray(self._sums[:, np.asarray(last) + 1] - self._sums[:, np.asarray(first)])

    def mean(self, first: Ints, last: Ints) -> Floats:
        """Mean of the series over each window; `first` and `last` are inclusive indices."""
        length = np.asarray(last) - np.asarray(first) + 1
        return np.asarray(self._between(first, last)[0] / length + self._centre)

    def trends(self, first: Ints, last: Ints) -> Trends:
        r"""Fit a line to each window by least squares.

        The error is :math:`\kappa_m \sum_t w_t^2 s_t^2` under the root, with :math:`\kappa_m` from
        `slope_inflation`: exact where the wobble is constant over the window.

        Parameters
        ----------
        first, last : ndarray of int, shape (n_windows,)
            Inclusive indices; windows hold at least two epochs.
        """
        first, last = np.asarray(first), np.asarray(last)
        total, moment, v0, v1, v2 = self._between(first, last)
        length = last - first + 1
        middle = (first + last) / 2
        spread = length * (length**2 - 1.0) / 12
        reach = (length - 1) / spread
        change = (moment - middle * total) * reach
        if not self._known:
            return Trends(change, np.full(change.shape, np.inf))
        variance = np.maximum(v2 - 2 * middle * v1 + middle**2 * v0, 0.0) * self._inflation[length]
        return Trends(change, np.sqrt(variance) * reach)


def knot_interval(
    series: tuple[Floats, ...],
    wobbles: tuple[Floats, ...],
    knots: Ints,
    *,
    rho: float = MOST_RHO,
    level: float = 0.95,
) -> tuple[int, int, int]:
    r"""Where one or several series bend at a common epoch, with a profile-likelihood interval.

    Each series is fitted by two straight lines that meet at the knot; knots whose summed squared
    residuals, in units of the long-run variance :math:`s^2 (1 + \rho) / (1 - \rho)`, lie within the
    chi-squared quantile (1 degree of freedom) of the smallest form the interval.

    Parameters
    ----------
    series, wobbles : tuple of ndarray of shape (n_epochs,)
    knots : ndarray of int, shape (n_knots,)
        Candidate indices, ascending, strictly inside the series.

    Returns
    -------
    best, low, high : int
        Index of the best knot and the ends of the interval.

    Examples
    --------
    >>> hinge = np.maximum(np.arange(40.0) - 15, 0)  # level up to epoch 15
    >>> knot_interval((0.05 * hinge, 0.01 * hinge), (np.full(40, 0.05), np.full(40, 0.02)), np.arange(5, 35))
    (15, 13, 17)
    """
    t = np.arange(len(series[0]), dtype=np.float64)
    line = np.broadcast_to(np.stack([np.ones_like(t), t], axis=1), (len(knots), len(t), 2))
    design = np.concatenate([line, np.maximum(t - knots[:, None], 0.0)[:, :, None]], axis=2)
    profile = np.zeros(len(knots))
    for values, sd in zip(series, wobbles, strict=True):
        weight = (1 - rho) / (1 + rho) / np.maximum(sd, 1e-12) ** 2
        centred = values - np.average(values, weights=weight)
        moments = np.einsum("kti,t,t->ki", design, weight, centred)
        normal = np.einsum("kti,t,ktj->kij", design, weight, design)
        solution = np.linalg.solve(normal, moments[:, :, None])[:, :, 0]
        profile += float(weight @ centred**2) - np.einsum("ki,ki->k", moments, solution)
    inside = np.flatnonzero(profile <= profile.min() + chi2.ppf(level, 1))
    best = int(np.argmin(profile))
    return int(knots[best]), int(knots[inside[0]]), int(knots[inside[-1]])


def ramp_ends(
    series: tuple[Floats, ...],
    wobbles: tuple[Floats, ...],
    knots: Ints,
    *,
    rho: float = MOST_RHO,
) -> tuple[int, int, float]:
    r"""Between which epochs one or several series change, when they are level before and after.

    Each series is fitted by a constant, a straight line between two common knots, and a constant.

    Parameters
    ----------
    series, wobbles : tuple of ndarray of shape (n_epochs,)
    knots : ndarray of int, shape (n_knots,)
        Candidate indices, ascending; the first and the last epoch are always among them.

    Returns
    -------
    start, end : int
        The best pair of knots.
    gain : float
        Summed squared residuals of one straight line through everything less those of the best pair,
        in units of the long-run variance :math:`s^2 (1 + \rho) / (1 - \rho)`.

    Examples
    --------
    >>> ramp = np.clip((np.arange(60) - 20.0) / 10, 0, 1)  # level, up from epoch 20 to 30, level
    >>> ramp_ends((ramp,), (np.full(60, 0.05),), np.arange(60))[:2]
    (20, 30)
    """
    last = len(series[0]) - 1
    knots = np.union1d(knots, [0, last])
    i, j = np.triu_indices(len(knots), 1)
    start, end = knots[i], knots[j]
    t = np.arange(last + 1, dtype=np.float64)
    explained = np.zeros(len(start))
    for values, sd in zip(series, wobbles, strict=True):
        weight = (1 - rho) / (1 + rho) / np.maximum(sd, 1e-12) ** 2
        pull = weight * (values - np.average(values, weights=weight))
        columns = [weight, t * weight, t**2 * weight, pull, t * pull]
        sums = np.concatenate([np.zeros((5, 1)), np.cumsum(columns, axis=1)], axis=1)
        w0, w1, w2, p0, p1 = sums[:, end + 1] - sums[:, start]  # on the ramp itself
        after, pull_after = sums[0, -1] - sums[0, end + 1], sums[3, -1] - sums[3, end + 1]
        length = end - start
        total = (w1 - start * w0) / length + after
        square = (w2 - 2 * start * w1 + start**2 * w0) / length**2 + after
        along = (p1 - start * p0) / length + pull_after
        explained += along**2 / np.maximum(square - total**2 / sums[0, -1], 1e-12)
    best = int(np.argmax(explained))
    whole = int(np.flatnonzero((start == 0) & (end == last))[0])
    return int(start[best]), int(end[best]), float(explained[best] - explained[whole])
