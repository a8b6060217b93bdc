"""When accuracy should follow: margins carried on along their slopes, judged by how well that did before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Forecast", "crossing_forecast"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Accuracy expected `ahead` epochs on, and how far such forecasts were off in this very run.

    ``error`` and ``no_change_error`` are root mean squared errors of the back-test: of the forecast,
    and of assuming that accuracy stays.
    """

    ahead: int
    accuracy: float
    error: float
    no_change_error: float
    n_tests: int

    @property
    def useful(self) -> bool:
        """Better than assuming no change, on at least three earlier occasions."""
        return self.n_tests >= 3 and self.error < self.no_change_error


def _ahead(margins: Floats, ahead: int) -> float:
    """Accuracy `ahead` rows after the last, from straight lines through each sample's margins.

    The lines give the net number of crossings, which is added to the accuracy as it is.
    """
    t = np.arange(len(margins)) - (len(margins) - 1) / 2
    slope = t @ margins / (t @ t)
    now = margins.mean(axis=0) + slope * t[-1]
    crossings = np.mean(now + slope * ahead > 0) - np.mean(now > 0)
    return float(np.mean(margins[-1] > 0) + crossings)


def crossing_forecast(margins: ArrayLike, *, ahead: int = 5, fit: int = 5) -> Forecast | None:
    """Forecast accuracy from margins that move towards the decision boundary.

    Parameters
    ----------
    margins : array-like of shape (n_epochs, n_samples)
        Consecutive epochs, oldest first; a sample is right where its margin is positive.
    ahead : int
        Epochs to look ahead.
    fit : int
        Epochs through which the lines are drawn.

    Returns
    -------
    Forecast, optional
        None with fewer than ``fit + ahead + 2`` epochs: nothing to test the forecast on.

    Examples
    --------
    >>> crossing_forecast(np.linspace(-2.0, -0.1, 12)[:, None] + [[0.0, 5.0]]).accuracy
    1.0
    """
    m = np.asarray(margins, np.float64)
    if len(m) < fit + ahead + 2:
        return None
    origins = range(fit - 1, len(m) - ahead)
    actual = np.array([np.mean(m[o + ahead] > 0) for o in origins])
    expected = np.array([_ahead(m[o - fit + 1 : o + 1], ahead) for o in origins])
    now = np.array([np.mean(m[o] > 0) for o in origins])
    return Forecast(
        ahead=ahead,
        accuracy=_ahead(m[-fit:], ahead),
        error=float(np.sqrt(np.mean((expected - actual) ** 2))),
        no_change_error=float(np.sqrt(np.mean((now - actual) ** 2))),
        n_tests=len(actual),
    )
