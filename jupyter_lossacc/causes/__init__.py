"""The causes, one module and one page each, in reading order."""

from __future__ import annotations

from jupyter_lossacc.causes import class_imbalance
from jupyter_lossacc.causes.cause import Cause

__all__ = ["CAUSES", "Cause"]

CAUSES: tuple[Cause, ...] = (class_imbalance.CAUSE,)
