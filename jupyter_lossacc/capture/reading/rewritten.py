"""Values of criteria that the user wrote into before they were read: ``loss /= n``, ``loss += penalty``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from jupyter_lossacc.capture.reading.criteria import Call

__all__ = ["is_rewritten", "value_of"]

_TOLD = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")


def is_rewritten(name: str, value: Tensor) -> bool:
    """Whether a criterion's value is lost, and can be told from its values per sample."""
    return name in _TOLD and not value.is_inference() and value._version > 0


def value_of(call: Call, columns: NDArray[np.float32]) -> float:
    """Value of such a criterion, from its values per sample."""
    reported, weight, counted = columns[6].astype(np.float64), columns[7], columns[8]
    total = float((reported * np.maximum(counted, 1)).sum())
    if call.reduction == "sum":
        return total
    divisor = float(weight.sum(dtype=np.float64)) if call.weighted_mean else float(len(reported))
    return total / divisor if divisor else float("nan")
