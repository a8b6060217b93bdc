"""Paired comparisons of two epochs on the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr  # scipy.stats.binomtest takes milliseconds

from jupyter_lossacc.stats.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["McNemar", "bootstrap", "mcnemar", "paired_difference"]

Floats = NDArray[np.float64]
CHUNK = 1 << 16  # samples drawn at once


@dataclass(frozen=True, slots=True)
class McNemar:
    """Exact McNemar test.

    ``gained`` samples became right, ``lost`` became wrong; ``p`` is two-sided.
    """

    gained: int
    lost: int
    p: float


def mcnemar(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> McNemar:
    """Test whether as many samples became right as became wrong (McNemar, Psychometrika 12, 1947).

    Under the null the smaller count is Binomial(gained + lost, 1/2); the p-value is exact.

    Parameters
    ----------
    before, after : ndarray of bool, shape (n_samples,)
        Whether each sample is right, in the same order.

    Examples
    --------
    >>> mcnemar(np.array([True, False, False, False]), np.array([False, True, True, True]))
    McNemar(gained=3, lost=1, p=0.625)
    """
    gained = int(np.count_nonzero(~before & after))
    lost = int(np.count_nonzero(before & ~after))
    p = min(1.0, float(f"{2 * bdtr(min(gained, lost), gained + lost, 0.5):.12g}"))  # rounding of bdtr's own
    return McNemar(gained, lost, p)


def bootstrap(
    rows: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    unit: str,
    draws: int = 400,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Percentile-bootstrap interval of a function of column means (Efron, Ann. Statist. 7, 1979).

    Samples are drawn with replacement, all columns of a sample together, so that what is paired stays
    paired. The result is a deterministic function of its arguments.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_columns)
    statistic : callable
        Takes column means of shape (..., n_columns) and returns values of shape (...).
    unit : str
        Unit of the estimate.
    draws : int
        Bootstrap samples.
    seed : int

    Returns
    -------
    Estimate
        The statistic of the sample itself, with the interval; no interval for fewer than 2 samples.

    Examples
    --------
    >>> right = np.repeat([[0.0], [1.0]], 50, axis=0)
    >>> share = bootstrap(right, lambda means: means[..., 0], unit="share")
    >>> share.value, round(share.low, 2), round(share.high, 2)  # 0.5 and 1.96 standard errors of 0.05
    (0.5, 0.4, 0.6)
    """
    n = len(rows)
    value = float(statistic(rows.mean(axis=0))) if n else float("nan")
    if n < 2:
        return Estimate(value, unit=unit)
    generator = np.random.default_rng(seed)
    # Many draws at once: a training beside this waits for every line of Python.
    means, at_once = np.empty((draws, rows.shape[1])), max(1, CHUNK // n)
    for i in range(0, draws, at_once):
        k = min(at_once, draws - i)
        drawn = generator.integers(0, n, (k, n)) + n * np.arange(k)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=k * n).reshape(k, n)
        means[i : i + k] = counts @ rows / n
    values = statistic(means)
    values = values[np.isfinite(values)]
    if not values.size:
        return Estimate(value, unit=unit)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), unit)


def paired_difference(
    before: Floats, after: Floats, *, unit: str, draws: int = 400, seed: int = 0
) -> Estimate:
    """Mean of ``after - before`` over the samples, with a bootstrap interval.

    Non-finite differences are left out.

    Parameters
    ----------
    before, after : ndarray of shape (n_samples,)

    Examples
    --------
    >>> before, after = np.zeros(100), np.repeat([1.0, 0.0], [10, 90])
    >>> change = paired_difference(before, after, unit="share")
    >>> change.value, round(change.low, 2), round(change.high, 2)
    (0.1, 0.05, 0.16)
    """
    difference = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    difference = difference[np.isfinite(difference)]
    return bootstrap(difference[:, None], lambda means: means[..., 0], unit=unit, draws=draws, seed=seed)
