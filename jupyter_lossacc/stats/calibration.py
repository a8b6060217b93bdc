"""Temperature scaling and its relatives, from sums over a grid of inverse temperatures.

The loss of logits scaled by b is convex in b (Guo et al., ICML 2017), so its minimum lies where the
summed derivative changes sign; a cubic Hermite spline through values and derivatives finds it there
without keeping the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

__all__ = [
    "BETAS",
    "ETAS",
    "NoiseFloor",
    "TemperatureFit",
    "cross_fitted_by_fold",
    "cross_fitted_nll",
    "dense_profile",
    "expected_calibration_error",
    "fit_noise_floor",
    "fit_temperature",
    "fold_of",
    "nll_at",
    "noise_profile",
]

Floats = NDArray[np.float64]
# 33 points keep the temperature within 0.5 % and the loss within 3e-5 nats of an exact fit.
BETAS: Floats = np.exp(np.linspace(np.log(0.05), np.log(20.0), 33))
ETAS: Floats = np.concatenate([[0.0], np.geomspace(0.005, 0.6, 14)])


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """Temperature that minimises the mean loss, and that loss (nats).

    ``at_bound`` says that the minimum lies outside [0.05, 20]: the scale of the logits carries no
    usable information.
    """

    temperature: float
    nll: float
    at_bound: bool


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Fit of ``(1 - eta) softmax(z / T) + eta / K`` beside plain temperature scaling.

    ``flip_rate`` is eta (K - 1) / K, the implied share of uniformly flipped labels; ``llr`` is twice
    the log-likelihood gain over temperature alone (half a chi-squared with one degree of freedom).
    """

    temperature: float
    eta: float
    flip_rate: float
    nll: float
    llr: float


def fold_of(sample_ids: NDArray[np.int64], folds: int = 5) -> NDArray[np.int64]:
    """Assign samples to cross-fitting folds by a fixed hash of their id.

    Examples
    --------
    >>> fold_of(np.arange(3)).shape
    (3,)
    """
    # Knuth's multiplicative hash: neighbouring ids (sorted classes, video frames) spread evenly.
    hashed = (np.asarray(sample_ids).astype(np.uint64) * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    return ((hashed >> np.uint64(16)) % np.uint64(folds)).astype(np.int64)


def _hermite_basis(t: Any) -> tuple[Any, Any, Any, Any]:
    """Cubic Hermite polynomials: weights of value and slope on the left, of value and slope on the right."""
    return 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2, t**3 - t**2


def _hermite(betas: Floats, value: Floats, slope: Floats, i: int, basis: tuple[Any, Any, Any, Any]) -> Any:
    width = betas[i + 1] - betas[i]
    a, b, c, d = basis
    return a * value[i] + b * width * slope[i] + c * value[i + 1] + d * width * slope[i + 1]


# Where the lowest loss between two grid points is looked for; the same for every fit.
_BETWEEN = np.linspace(0.0, 1.0, 2001)
_BASIS_BETWEEN = _hermite_basis(_BETWEEN)


def fit_temperature(value: Floats, slope: Floats, betas: Floats = BETAS) -> TemperatureFit:
    """Find the temperature with the lowest mean loss.

    Parameters
    ----------
    value, slope : ndarray of shape (n_betas,)
        Mean loss (nats) and its mean derivative at each inverse temperature.
    betas : ndarray of shape (n_betas,)

    Returns
    -------
    TemperatureFit
        NaN throughout when the loss is not finite.

    Examples
    --------
    >>> margin = np.array([4.0, 4.0, 4.0, -4.0])  # two classes: three of four right, all equally sure
    >>> nll = np.log1p(np.exp(-BETAS[:, None] * margin))
    >>> slope = -margin / (1 + np.exp(BETAS[:, None] * margin))
    >>> fit = fit_temperature(nll.mean(axis=1), slope.mean(axis=1))
    >>> round(fit.temperature, 2), round(fit.nll, 3)  # 4 / log 3, and the entropy of three to one
    (3.64, 0.562)
    """
    if not (np.isfinite(value).all() and np.isfinite(slope).all()):
        return TemperatureFit(np.nan, np.nan, False)
    if slope[0] >= 0:
        return TemperatureFit(1 / betas[0], float(value[0]), True)
    if slope[-1] <= 0:
        return TemperatureFit(1 / betas[-1], float(value[-1]), True)
    i = int(np.flatnonzero(slope <= 0)[-1])
    spline = _hermite(betas, value, slope, i, _BASIS_BETWEEN)
    best = int(np.argmin(spline))
    beta = betas[i] + _BETWEEN[best] * (betas[i + 1] - betas[i])
    return TemperatureFit(float(1 / beta), float(spline[best]), False)


def nll_at(temperature: float, value: Floats, slope: Floats, betas: Floats = BETAS) -> float:
    """Mean loss of ``logits / temperature``, interpolated on the grid (nats).

    Examples
    --------
    >>> margin = np.array([4.0, 4.0, 4.0, -4.0])  # two classes: three of four right, all equally sure
    >>> nll = np.log1p(np.exp(-BETAS[:, None] * margin))
    >>> slope = -margin / (1 + np.exp(BETAS[:, None] * margin))
    >>> round(nll_at(1.0, nll.mean(axis=1), slope.mean(axis=1)), 3)  # as it is: 1 + log(1 + exp(-4))
    1.018
    >>> round(nll_at(4 / np.log(3), nll.mean(axis=1), slope.mean(axis=1)), 3)
    0.562
    """
    beta = float(np.clip(1 / temperature, betas[0], betas[-1]))
    i = int(np.clip(np.searchsorted(betas, beta, side="right") - 1, 0, len(betas) - 2))
    t = (beta - betas[i]) / (betas[i + 1] - betas[i])
    return float(_hermite(betas, value, slope, i, _hermite_basis(t)))


def cross_fitted_by_fold(count: Floats, nll: Floats, slope: Floats, betas: Floats = BETAS) -> Floats:
    """Mean loss of each fold at the temperature of all other folds (nats); NaN for an empty fold.

    Parameters
    ----------
    count : ndarray of shape (n_folds,)
    nll, slope : ndarray of shape (n_folds, n_betas)
        Sums over the samples of each fold.

    Returns
    -------
    ndarray of shape (n_folds,)

    Examples
    --------
    >>> margin = np.array([4.0, 4.0, 4.0, -4.0])  # two classes: three of four right, all equally sure
    >>> nll = np.log1p(np.exp(-BETAS[:, None] * margin))
    >>> slope = -margin / (1 + np.exp(BETAS[:, None] * margin))
    >>> nll, slope = (np.tile(sums.sum(axis=1), (2, 1)) for sums in (nll, slope))  # two folds of these four
    >>> cross_fitted_by_fold(np.array([4.0, 4.0]), nll, slope).round(3)
    array([0.562, 0.562])
    """
    losses = np.full(len(count), np.nan)
    for fold in np.flatnonzero(count > 0):
        n_rest = count.sum() - count[fold]
        if n_rest == 0:
            continue
        rest = fit_temperature(
            (nll.sum(0) - nll[fold]) / n_rest, (slope.sum(0) - slope[fold]) / n_rest, betas
        )
        if not np.isnan(rest.temperature):
            losses[fold] = nll_at(rest.temperature, nll[fold] / count[fold], slope[fold] / count[fold], betas)
    return losses


def cross_fitted_nll(count: Floats, nll: Floats, slope: Floats, betas: Floats = BETAS) -> float:
    """Mean loss after temperature scaling, each fold with the temperature of the others (nats).

    Parameters
    ----------
    count : ndarray of shape (n_folds,)
    nll, slope : ndarray of shape (n_folds, n_betas)
        Sums over the samples of each fold.

    Examples
    --------
    >>> margin = np.array([4.0, 4.0, 4.0, -4.0])  # two classes: three of four right, all equally sure
    >>> nll = np.log1p(np.exp(-BETAS[:, None] * margin))
    >>> slope = -margin / (1 + np.exp(BETAS[:, None] * margin))
    >>> nll, slope = (np.tile(sums.sum(axis=1), (2, 1)) for sums in (nll, slope))  # two folds of these four
    >>> round(cross_fitted_nll(np.array([4.0, 4.0]), nll, slope), 3)
    0.562
    """
    filled = count > 0
    if not filled.any():
        return float("nan")
    losses = cross_fitted_by_fold(count, nll, slope, betas)
    return float(count[filled] @ losses[filled] / count.sum())


def noise_profile(noise_nll: Floats, betas: Floats = BETAS) -> tuple[Floats, Floats]:
    """Lowest loss over temperatures for every floor level, by a parabola through the best grid points.

    Parameters
    ----------
    noise_nll : ndarray of shape (n_betas, n_etas)
        Summed loss under each (beta, eta), nats.
    betas : ndarray of shape (n_betas,)

    Returns
    -------
    loss, beta : ndarray of shape (n_etas,)

    Examples
    --------
    >>> noise_nll = (np.log(BETAS)[:, None] - np.log(2)) ** 2 + ETAS  # lowest at 2, whatever the floor
    >>> loss, beta = noise_profile(noise_nll)
    >>> bool(np.allclose(beta, 2.0)), bool(np.allclose(loss, ETAS))
    (True, True)
    """
    log_beta = np.log(betas)
    i = np.clip(np.argmin(noise_nll, axis=0), 1, len(betas) - 2)
    columns = np.arange(noise_nll.shape[1])
    low, middle, high = (noise_nll[i + k, columns] for k in (-1, 0, 1))
    step = log_beta[1] - log_beta[0]  # the grid is log-spaced
    curvature = low - 2 * middle + high
    shift = np.divide(low - high, 2 * curvature, out=np.zeros_like(low), where=curvature > 0)
    shift = np.clip(shift, -1.0, 1.0)
    loss = middle + shift * (high - low) / 2 + shift**2 * curvature / 2
    return np.minimum(loss, noise_nll.min(axis=0)), np.exp(log_beta[i] + shift * step)


def dense_profile(
    noise_nll: Floats, betas: Floats = BETAS, etas: Floats = ETAS
) -> tuple[Floats, Floats, Floats]:
    """Profile of the floor level on 2001 levels, by a cubic spline through the grid.

    Returns
    -------
    eta, loss, beta : ndarray of shape (2001,)

    Examples
    --------
    >>> off = np.log1p(ETAS / 0.01) - np.log1p(0.1 / 0.01)  # zero at a floor of 0.1
    >>> eta, loss, beta = dense_profile((np.log(BETAS)[:, None] - np.log(2)) ** 2 + off**2)
    >>> float(eta[np.argmin(loss)].round(3)), float(beta[0].round(3))
    (0.1, 2.0)
    """
    loss, beta = noise_profile(noise_nll, betas)
    # In this variable the grid is about evenly spaced, zero included.
    warped = np.log1p(etas / 0.01)
    fine = np.linspace(0.0, warped[-1], 2001)
    return 0.01 * np.expm1(fine), CubicSpline(warped, loss)(fine), np.interp(fine, warped, beta)


def fit_noise_floor(
    noise_nll: Floats, n_samples: float, n_classes: int, betas: Floats = BETAS, etas: Floats = ETAS
) -> NoiseFloor:
    """Fit the noise-floor calibrator from its loss on a grid.

    Parameters
    ----------
    noise_nll : ndarray of shape (n_betas, n_etas)
        Summed loss under each (beta, eta), nats.
    n_samples : float
    n_classes : int

    Examples
    --------
    >>> off = np.log1p(ETAS / 0.01) - np.log1p(0.1 / 0.01)  # zero at a floor of 0.1
    >>> noise_nll = 500 + (np.log(BETAS)[:, None] - np.log(2)) ** 2 + 10 * off**2
    >>> fit = fit_noise_floor(noise_nll, n_samples=1000, n_classes=10)
    >>> round(fit.temperature, 3), round(fit.eta, 3), round(fit.flip_rate, 3), round(fit.nll, 3)
    (0.5, 0.1, 0.09, 0.5)
    >>> round(fit.llr, 1)  # 2 * 10 * log(11)^2
    115.0
    """
    if not np.isfinite(noise_nll).all():
        return NoiseFloor(np.nan, np.nan, np.nan, np.nan, np.nan)
    eta, loss, beta = dense_profile(noise_nll, betas, etas)
    j = int(np.argmin(loss))
    llr = max(2 * float(loss[0] - loss[j]), 0.0)
    rate = float(eta[j]) * (n_classes - 1) / n_classes
    return NoiseFloor(float(1 / beta[j]), float(eta[j]), rate, float(loss[j]) / n_samples, llr)


def expected_calibration_error(bins: Floats) -> float:
    """Return the expected calibration error of top-label reliability bins (Naeini et al., AAAI 2015).

    Parameters
    ----------
    bins : ndarray of shape (n_bins, 3)
        Count, sum of confidence and sum of correct per bin.

    Returns
    -------
    float
        In [0, 1]; NaN without samples.

    Examples
    --------
    >>> bins = np.array([[80, 76.0, 72.0], [20, 12.0, 12.0]])  # 95 % sure and 90 % right; 60 % and 60 %
    >>> round(expected_calibration_error(bins), 3)
    0.04
    """
    total = bins[:, 0].sum()
    return float(np.abs(bins[:, 2] - bins[:, 1]).sum() / total) if total else float("nan")
