"""The causes, one module and one page each, in reading order."""

from __future__ import annotations

from jupyter_lossacc.causes import (
    capacity_or_noise,
    class_imbalance,
    confident_errors,
    fluctuation,
    growing_confidence,
    label_noise,
    outlier_inputs,
    overconfidence,
    overfitting,
    tail_relief,
    underconfidence,
)
from jupyter_lossacc.causes.cause import Cause

__all__ = ["CAUSES", "Cause"]

CAUSES: tuple[Cause, ...] = (
    overconfidence.CAUSE,
    underconfidence.CAUSE,
    overfitting.CAUSE,
    confident_errors.CAUSE,
    label_noise.CAUSE,
    outlier_inputs.CAUSE,
    class_imbalance.CAUSE,
    growing_confidence.CAUSE,
    tail_relief.CAUSE,
    capacity_or_noise.CAUSE,
    fluctuation.CAUSE,
)
