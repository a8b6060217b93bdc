"""Numbers for JSON: few digits, and nothing that JSON cannot say."""

from __future__ import annotations

from math import isfinite, isnan
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["Coded", "coded", "coded_list", "thinned"]

Coded = float | int | str


def coded(value: float, digits: int = 5) -> Coded:
    """Code one number; ``"nan"``, ``"inf"`` and ``"-inf"`` are strings because JSON lacks them.

    Examples
    --------
    >>> coded(0.1234567), coded(3.0), coded(float("-inf"))
    (0.12346, 3, '-inf')
    """
    value = float(value)
    if not isfinite(value):
        return "nan" if isnan(value) else "inf" if value > 0 else "-inf"
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def coded_list(values: Iterable[float], digits: int = 5) -> list[Coded]:
    """Code a column."""
    return [coded(v, digits) for v in values]


def thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], limit: int = 1500
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep at most `limit` points of a dense curve, with the extremes of every stretch.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        `x` ascending. A stretch's first non-finite value counts as an extreme.

    Returns
    -------
    x, y : ndarray of shape (<= limit,)
    """
    n = len(x)
    if n <= limit:
        return x, y
    edges = np.linspace(0, n, max(1, (limit - 1) // 3) + 1).astype(int)
    starts, stretch = edges[:-1], np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    finite = np.isfinite(y)
    kept = [np.array([n - 1]), _first_of_each(~finite, stretch)]
    for extreme, fill in ((np.minimum, np.inf), (np.maximum, -np.inf)):
        found = extreme.reduceat(np.where(finite, y, fill), starts)
        kept.append(_first_of_each(finite & (y == found[stretch]), stretch))
    rows = np.unique(np.concatenate(kept))
    return x[rows], y[rows]


def _first_of_each(chosen: NDArray[np.bool_], stretch: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first chosen row of every stretch that has one."""
    rows = np.flatnonzero(chosen)
    return rows[np.unique(stretch[rows], return_index=True)[1]]
