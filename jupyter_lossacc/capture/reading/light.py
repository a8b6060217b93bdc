"""What is taken from a training batch that is not recorded sample by sample: its weights and targets.

They are what the mean of its pass and the order of its targets need; nothing is computed from the
predictions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jupyter_lossacc.capture.reading.criteria import N_COLUMNS, NO_CLASS, Call, Reduced, task_of

__all__ = ["reduce_light", "thinnable"]

_CLASS_TARGETS = ("cross_entropy", "nll_loss", "multi_margin_loss", "unknown")
_LABEL_TARGETS = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
_TARGET, _WEIGHT, _COUNTED = 5, 7, 8  # rows of criteria.COLUMNS


def thinnable(call: Call, logits: Tensor, targets: Tensor) -> bool:
    """Whether a batch can do without its per-sample values: nothing about its kind is read from them."""
    if not logits.dim() or not targets.dim():
        return False
    if call.name in _LABEL_TARGETS:
        return True
    return (
        call.name in _CLASS_TARGETS
        and logits.dim() > 1
        and not targets.is_floating_point()
        and task_of(call.name, logits, targets) in ("multiclass", "dense")
    )


def reduce_light(call: Call, logits: Tensor, targets: Tensor) -> Reduced:
    """Columns of `criteria.COLUMNS` with targets and weights only, NaN elsewhere.

    Parameters
    ----------
    call : Call
    logits : Tensor
        Of one of the batches: only its shape is looked at.
    targets : Tensor
        Batches concatenated along the first axis.
    """
    task = task_of(call.name, logits, targets)
    n = len(targets)
    columns = torch.full((N_COLUMNS, n), float("nan"), device=targets.device)
    if call.name in _LABEL_TARGETS:
        binary = task == "binary"
        columns[_TARGET] = (targets.reshape(n, -1)[:, 0] > 0.5).float() if binary else NO_CLASS
        columns[_WEIGHT:] = 1
        n_classes = 2 if binary else logits[0].numel()
    else:
        flat = targets.reshape(n, -1)
        valid = (
            torch.ones_like(flat, dtype=torch.bool)
            if call.ignore_index is None
            else flat != call.ignore_index
        )
        safe = flat.where(valid, torch.zeros_like(flat))
        weight = valid.float()
        if call.weight is not None and call.weighted_mean:
            weight = weight * call.weight[safe]
        columns[_TARGET] = safe[:, 0] if task == "multiclass" else NO_CLASS
        columns[_WEIGHT], columns[_COUNTED] = weight.sum(dim=1), valid.sum(dim=1)
        n_classes = logits.shape[1]
    return Reduced(task, columns, torch.zeros(2, device=targets.device), None, None, n_classes)
