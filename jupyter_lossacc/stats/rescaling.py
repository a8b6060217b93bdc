"""Per-sample losses at another temperature, reconstructed from what is kept of each sample.

The logits are not stored. A sample's loss and margin still fix three numbers: the target's logit
(set to 0), the largest other logit (minus the margin) and the summed exponentials of all the rest.
Spreading that rest evenly over its classes gives the loss at any temperature: exactly for two
classes, and closely otherwise, because the rest matters only where it is small. Means over a pass
come from the exact sums of `Accumulators`; the reconstruction serves paired differences and their
standard errors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["rescaled_confidence", "rescaled_nll", "sure_errors"]

Floats = NDArray[np.float64]
AnyFloats = NDArray[np.floating[Any]]


def _rest_logit(nll: AnyFloats, margin: AnyFloats, n_classes: int) -> Floats:
    """Logit of each of the other ``n_classes - 2`` classes, relative to the target's."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # log(e^nll - 1 - e^-margin), anchored at nll so that nothing overflows for very wrong samples.
        left = -np.expm1(-nll) - np.exp(-margin - nll)
        return nll + np.log(np.maximum(left, 1e-12)) - np.log(n_classes - 2)


def rescaled_nll(nll: AnyFloats, margin: AnyFloats, n_classes: int, temperature: float) -> Floats:
    """Loss per sample of ``logits / temperature``.

    Parameters
    ----------
    nll, margin : ndarray of shape (n_samples,)
        Loss (nats) and target logit minus the largest other logit.
    n_classes : int
    temperature : float

    Returns
    -------
    ndarray of shape (n_samples,)
        Nats; exact for two classes.

    Examples
    --------
    >>> float(rescaled_nll(np.array([np.log1p(np.exp(2.0))]), np.array([-2.0]), 2, 2.0)[0].round(6))
    1.313262
    """
    nll, margin = np.asarray(nll, np.float64), np.asarray(margin, np.float64)
    beta = 1.0 / temperature
    two = np.logaddexp(0.0, -beta * margin)
    if n_classes <= 2:
        return two
    rest = _rest_logit(nll, margin, n_classes)
    return np.logaddexp(two, beta * rest + np.log(n_classes - 2))


def rescaled_confidence(nll: AnyFloats, margin: AnyFloats, n_classes: int, temperature: float) -> Floats:
    """Largest probability per sample at a temperature, reconstructed like `rescaled_nll`.

    Examples
    --------
    >>> nll, margin = np.array([np.log1p(np.exp(2.0))]), np.array([-2.0])  # wrong, and 88 % sure
    >>> [float(rescaled_confidence(nll, margin, 2, temperature)[0].round(3)) for temperature in (1.0, 2.0)]
    [0.881, 0.731]
    """
    margin = np.asarray(margin, np.float64)
    scaled = rescaled_nll(nll, margin, n_classes, temperature)
    return np.exp(np.minimum(-scaled + np.maximum(-margin / temperature, 0.0), 0.0))


def sure_errors(confidence: Floats, wrong: NDArray[np.bool_]) -> tuple[float, float]:
    """Compare the mistakes among sure predictions with what their confidences promise.

    A calibrated model that is sure to degree c errs in 1 - c of those cases; the excess is what a
    temperature cannot repair, such as wrong labels.

    Parameters
    ----------
    confidence : ndarray of shape (n_sure,)
    wrong : ndarray of bool, shape (n_sure,)

    Returns
    -------
    expected, z : float
        Expected number of mistakes, and the excess in standard deviations of that number
        (Poisson-binomial).

    Examples
    --------
    >>> expected, z = sure_errors(np.full(1000, 0.99), np.arange(1000) < 84)
    >>> round(expected, 6), round(z, 1)
    (10.0, 23.5)
    """
    doubt = 1.0 - confidence
    expected, spread = float(doubt.sum()), float(np.sqrt((doubt * (1.0 - doubt)).sum()))
    z = (float(wrong.sum()) - expected) / spread if spread > 0 else 0.0
    return expected, z
