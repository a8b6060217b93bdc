"""Test whether the scale of the logits is wrong, by how much, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.stats.calibration import cross_fitted_nll, dense_profile, fit_temperature, nll_at

__all__ = ["Miscalibration", "floor_interval", "miscalibration"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Miscalibration:
    """What a wrong temperature costs one pass.

    Parameters
    ----------
    temperature : float
        Temperature with the lowest mean loss; above 1 the model is over-confident.
    at_bound : bool
        The best temperature lies outside the grid: the scale carries no usable information.
    nll, repaired : float
        Mean loss as it is, and with the cross-fitted temperature, nats.
    score_z : float
        Score test of temperature 1: positive when the model is over-confident, standard normal
        when it is calibrated.
    llr : float
        Twice the log-likelihood gained by the temperature; chi-squared with one degree of freedom
        when the model is calibrated.
    """

    temperature: float
    at_bound: bool
    nll: float
    repaired: float
    score_z: float
    llr: float

    @property
    def cost(self) -> float:
        """Loss that repairing the temperature removes, nats; may be slightly negative."""
        return self.nll - self.repaired


def miscalibration(
    betas: Floats, count: Floats, nll: Floats, slope: Floats, score: tuple[float, float]
) -> Miscalibration:
    """Fit the temperature of a pass from its sums and test it against 1.

    Parameters
    ----------
    betas : ndarray of shape (n_betas,)
    count : ndarray of shape (n_folds,)
    nll, slope : ndarray of shape (n_folds, n_betas)
        Summed loss and derivative at each inverse temperature.
    score : tuple of float
        Sum and sum of squares over samples of the derivative at inverse temperature 1.

    Examples
    --------
    >>> betas = np.geomspace(0.05, 20, 33)
    >>> margin = np.array([4.0, 4.0, 4.0, -4.0])  # two classes: three of four right, all equally sure
    >>> nll = np.log1p(np.exp(-betas[:, None] * margin)).sum(axis=1)
    >>> slope = (-margin / (1 + np.exp(betas[:, None] * margin))).sum(axis=1)
    >>> at_one = -margin / (1 + np.exp(margin))
    >>> found = miscalibration(
    ...     betas,
    ...     np.full(5, 4.0),  # five folds of these four
    ...     np.tile(nll, (5, 1)),
    ...     np.tile(slope, (5, 1)),
    ...     (5 * at_one.sum(), 5 * (at_one**2).sum()),
    ... )
    >>> round(found.temperature, 2), round(found.nll, 3), round(found.repaired, 3), round(found.score_z, 2)
    (3.64, 1.018, 0.562, 2.4)
    """
    n = float(count.sum())
    value, derivative = nll.sum(0) / n, slope.sum(0) / n
    fit = fit_temperature(value, derivative, betas)
    actual = nll_at(1.0, value, derivative, betas)
    mean = score[0] / n
    variance = max(score[1] / n - mean**2, 0.0)
    z = mean / np.sqrt(variance / n) if variance > 0 else float("nan")
    return Miscalibration(
        temperature=fit.temperature,
        at_bound=fit.at_bound,
        nll=actual,
        repaired=cross_fitted_nll(count, nll, slope, betas),
        score_z=float(z),
        llr=max(2 * n * (actual - fit.nll), 0.0),
    )


def floor_interval(noise_nll: Floats, betas: Floats, etas: Floats, n_classes: int) -> tuple[float, float]:
    """95 % profile-likelihood interval of the flip rate of the noise-floor calibrator.

    Parameters
    ----------
    noise_nll : ndarray of shape (n_betas, n_etas)
        Summed loss, nats.
    betas : ndarray of shape (n_betas,)
    etas : ndarray of shape (n_etas,)
    n_classes : int

    Returns
    -------
    low, high : float
        In shares of samples.

    Examples
    --------
    >>> betas, etas = np.geomspace(0.05, 20, 33), np.concatenate([[0.0], np.geomspace(0.005, 0.6, 14)])
    >>> off = np.log1p(etas / 0.01) - np.log1p(0.1 / 0.01)  # zero at a floor of 0.1
    >>> low, high = floor_interval(np.log(betas)[:, None] ** 2 + 50 * off**2, betas, etas, n_classes=2)
    >>> round(low, 3), round(high, 3)  # half of 0.01 (11 exp(-0.196) - 1) and of 0.01 (11 exp(0.196) - 1)
    (0.04, 0.062)
    """
    if not np.isfinite(noise_nll).all():
        return float("nan"), float("nan")
    eta, loss, _ = dense_profile(noise_nll, betas, etas)
    inside = np.flatnonzero(2 * (loss - loss.min()) < 3.841)  # 95 % quantile of chi-squared, 1 df
    scale = (n_classes - 1) / n_classes
    return float(eta[inside[0]] * scale), float(eta[inside[-1]] * scale)
