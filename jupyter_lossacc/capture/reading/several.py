"""Whether the numbers that a criterion written by hand takes are labels, or a distribution of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["are_labels"]


def are_labels(targets: Tensor, logits: Tensor) -> bool:
    """Whether several labels of a sample may be true: zeros and ones, and rows that do not add up to one.

    Read on the host only: elsewhere it would make the training wait.
    """
    if targets.shape != logits.shape or targets.dim() != 2 or targets.shape[1] < 2:
        return False
    if targets.device.type != "cpu" or not targets.is_floating_point():
        return False
    return bool(((targets == 0) | (targets == 1)).all()) and bool((targets.sum(dim=1) != 1).any())
