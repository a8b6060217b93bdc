"""The causes, one module and one page each, in reading order."""

from __future__ import annotations

from jupyter_lossacc.causes import (
    class_imbalance,
    confident_errors,
    fluctuation,
    label_noise,
    overconfidence,
    overfitting,
)
from jupyter_lossacc.causes.cause import Cause

__all__ = ["CAUSES", "Cause"]

CAUSES: tuple[Cause, ...] = (
    overconfidence.CAUSE,
    overfitting.CAUSE,
    label_noise.CAUSE,
    confident_errors.CAUSE,
    class_imbalance.CAUSE,
    fluctuation.CAUSE,
)
