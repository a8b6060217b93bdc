"""What a loss call means: its parameters, its task, and its values per sample.

A criterion's input is read as its definition says: cross-entropy takes logits, ``nll_loss``
log-probabilities, BCE probabilities. Squared error, hinge and unknown criteria take logits, unless
every row of their input lies on the simplex.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jupyter_lossacc.capture.reading.reduction import PART, reduce_rows, reduce_soft_rows, two_class_logits
from jupyter_lossacc.capture.reading.several import are_labels
from jupyter_lossacc.capture.taps.journal import MAX_FROZEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "COLUMNS",
    "YES_OR_NO",
    "Call",
    "Calls",
    "Reduced",
    "fold_columns",
    "read_call",
    "reduce_call",
]

# Columns of a reduced batch, per sample: those of reduction.ROW_NAMES, then these.
COLUMNS = ("predicted", "correct", "nll", "confidence", "margin", "target", "reported", "weight", "counted")
N_COLUMNS = len(COLUMNS)
_MAX_CALLS = 64
NO_CLASS = -1.0  # target and prediction of samples that carry several labels or positions
_REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}
_SIMPLEX_ROWS = 256  # rows looked at to tell whether predictions are probabilities

# Arguments after the input, in the order in which torch passes them to the function that is tapped.
_LAYOUTS: dict[str, tuple[str, ...]] = {
    "cross_entropy": ("target", "weight", "reduction", "ignore_index", "label_smoothing"),
    "nll_loss": ("target", "weight", "reduction", "ignore_index"),
    "binary_cross_entropy": ("target", "weight", "reduction"),
    "binary_cross_entropy_with_logits": ("target", "weight", "pos_weight", "reduction"),
    "mse_loss": ("target", "reduction"),
    "l1_loss": ("target", "reduction"),
    "smooth_l1_loss": ("target", "reduction", "beta"),
    "huber_loss": ("target", "reduction", "delta"),
    "multi_margin_loss": ("target", "p", "margin", "weight", "reduction"),
    "soft_margin_loss": ("target", "reduction"),
    "kl_div": ("target", "size_average", "reduce", "reduction", "log_target"),
    "multilabel_margin_loss": ("target", "size_average", "reduce", "reduction"),
    "multilabel_soft_margin_loss": ("target", "weight", "size_average", "reduce", "reduction"),
    "hinge_embedding_loss": ("target", "margin", "size_average", "reduce", "reduction"),
    "poisson_nll_loss": ("target", "log_input", "full", "size_average", "eps", "reduce", "reduction"),
    "gaussian_nll_loss": ("target", "var", "full", "eps", "reduction"),
    "unknown": ("target",),
}
_WEIGHTED_MEAN = ("cross_entropy", "nll_loss")  # their mean divides by the weights of the targets
_ONE_HOT = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
_CONTINUOUS = ("hinge_embedding_loss", "poisson_nll_loss", "gaussian_nll_loss")
YES_OR_NO = ("binary_cross_entropy", "binary_cross_entropy_with_logits", "soft_margin_loss")
_INPUTS = {
    "nll_loss": "log_probabilities",
    "kl_div": "log_probabilities",
    "binary_cross_entropy": "probabilities",
}


@dataclass(frozen=True, slots=True)
class Call:
    """Parameters of one criterion call.

    `unreduced` takes (input, target) and gives the criterion's value for every element.
    """

    name: str
    reduction: str
    weight: Tensor | None = None
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    unreduced: Callable[[Tensor, Tensor], Tensor] | None = None
    key: tuple[Any, ...] = ()
    parameters: tuple[Any, ...] = ()  # as given, after the target

    @property
    def inputs(self) -> str:
        """How the criterion's input is read."""
        return _INPUTS.get(self.name, "logits")

    @property
    def class_weight(self) -> Tensor | None:
        """Weights per class, shape (n_classes,)."""
        return self.weight if self.name in (*_WEIGHTED_MEAN, "multi_margin_loss") else None

    @property
    def weighted_mean(self) -> bool:
        """Whether a mean over the batch divides by the weights of its targets."""
        return self.name in _WEIGHTED_MEAN


@dataclass(slots=True)
class Reduced:
    """A batch after reduction, still on its device.

    Parameters
    ----------
    task : str
        As in `LossInfo`.
    columns : Tensor of float32, shape (len(COLUMNS), n_samples)
    flags : Tensor of float32, shape (2,)
        Whether the input lay on the simplex, and whether targets were one-hot.
    logits, targets : Tensor or None
        What calibration sums are made from, (n_samples * labels, n_classes) and matching; None
        where sums are not kept.
    n_classes : int
    """

    task: str
    columns: Tensor
    flags: Tensor
    logits: Tensor | None
    targets: Tensor | None
    n_classes: int


def read_call(name: str, rest: tuple[Any, ...], original: Callable[..., Any] | None) -> Call:
    """Parameters of a call ``original(input, *rest)``."""
    layout = _LAYOUTS[name]
    given = dict(zip(layout, rest, strict=False))
    reduction = given.get("reduction", "mean" if name != "unknown" else "unknown")
    composite = isinstance(reduction, str)
    if given.get("reduce") is False:
        reduction = "none"
    word = reduction if isinstance(reduction, str) else _REDUCTIONS.get(reduction, "unknown")
    weight = given.get("weight")
    smoothing = float(given.get("label_smoothing", 0.0) or 0.0)
    ignore = given.get("ignore_index")
    extras = [v for k, v in given.items() if k not in ("target", "reduction")]
    key = (name, word, *(id(v) if isinstance(v, Tensor) else v for v in extras))
    unreduced = None
    if original is not None and "reduction" in layout:
        at = layout.index("reduction")
        # Without the target of this call, which would be kept alive.
        tail = [None, *rest[1:]] + [None] * (at + 1 - len(rest))
        tail[at] = "none" if composite else 0
        for i, argument in enumerate(layout):
            if argument in ("size_average", "reduce") and i < len(tail):
                tail[i] = None
        call: Callable[..., Any] = original

        def unreduced(given_input: Tensor, target: Tensor) -> Tensor:
            value: Tensor = call(given_input, target, *tail[1:])
            return value

    return Call(
        name,
        word,
        weight if isinstance(weight, Tensor) else None,
        ignore,
        smoothing,
        unreduced,
        key,
        rest[1:],
    )


class Calls:
    """Remembers what calls of loss functions mean.

    Parameters
    ----------
    originals : dict
        The loss functions behind the taps, by name.
    """

    def __init__(self, originals: dict[str, Callable[..., Any]]) -> None:
        self.originals = originals
        self._known: dict[Any, Call] = {}
        self._last: tuple[str, tuple[Any, ...], Any] = ("", (), None)

    def of(self, name: str, rest: tuple[Any, ...]) -> Call:
        """Return the meaning of a call; `rest` is its target and all that follows."""
        last, parameters = self._last, rest[1:]
        if name == last[0] and len(parameters) == len(last[1]) and all(map(is_, parameters, last[1])):
            known: Call = last[2]
            return known
        # A call that is remembered keeps its class weights alive, so their ids are not used again.
        key = (name, *(id(v) if isinstance(v, Tensor) else v for v in parameters))
        call = self._known.get(key)
        if call is None:
            call = read_call(name, rest, self.originals.get(name))
            if any(v.numel() > MAX_FROZEN for v in parameters if isinstance(v, Tensor)):
                return call  # these may be changed in place
            if len(self._known) >= _MAX_CALLS:
                self._known.clear()
            self._known[key] = call
        self._last = name, parameters, call
        return call


def task_of(name: str, logits: Tensor, targets: Tensor) -> str:
    """Task of a call, from its name and shapes alone: no value is read."""
    several = logits.dim() == 2 and logits.shape[1] > 1
    if name in _CONTINUOUS:
        task = "regression"
    elif name in _ONE_HOT:
        task = "multiclass" if several else "regression"
    elif name in YES_OR_NO:
        per_sample = logits[0].numel() if logits.dim() > 1 and len(logits) else 1
        task = "binary" if per_sample == 1 else "multilabel" if logits.dim() == 2 else "dense"
    elif name == "unknown" and _one_each(logits) and _one_each(targets) and logits.numel() == targets.numel():
        task = "binary"
    elif name.startswith("multilabel_"):
        task = "multilabel"
    elif targets.is_floating_point():
        task = "multiclass" if targets.shape == logits.shape and several else "unknown"
    elif logits.dim() == targets.dim() + 1:
        task = "multiclass" if logits.dim() <= 2 else "dense"
    elif targets.dim() == 1 and logits.dim() <= 2 and logits.numel() == targets.numel():
        task = "binary"
    else:
        task = "unknown"
    return task


def _one_each(tensor: Tensor) -> bool:
    """Whether a tensor has one value per sample: shape (n,) or (n, 1)."""
    return tensor.dim() == 1 or (tensor.dim() == 2 and tensor.shape[1] == 1)


def _on_simplex(rows: Tensor) -> Tensor:
    """Whether rows of shape (n, n_classes) are probabilities; a 0-dim tensor, nothing is read."""
    head = rows[:_SIMPLEX_ROWS].float()
    return ((head >= 0).all() & ((head.sum(dim=1) - 1).abs() < 1e-3).all()).float()


def _flags(simplex: Tensor | None, one_hot: Tensor | None, like: Tensor) -> Tensor:
    zero = torch.zeros((), device=like.device)
    return torch.stack([zero if simplex is None else simplex, zero if one_hot is None else one_hot])


def _columns(rows: Tensor, target: Tensor, reported: Tensor, weight: Tensor, counted: Tensor) -> Tensor:
    tail = torch.stack([c.to(torch.float32) for c in (target, reported, weight, counted)])
    return torch.cat([rows, tail])


def _per_element(call: Call, logits: Tensor, targets: Tensor) -> Tensor:
    """Value of the criterion for every element; NaN where it cannot be computed."""
    if call.unreduced is None:
        return torch.full(targets.shape, float("nan"), device=logits.device)
    upcast = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    if targets.is_floating_point():
        targets = targets.to(upcast.dtype)
    return call.unreduced(upcast, targets)


def _as_logits(call: Call, z: Tensor, simplex: Tensor) -> Tensor:
    """Read (n, n_classes) as logits: probabilities on the simplex become their logarithms."""
    if call.name in ("cross_entropy", "nll_loss", "kl_div"):
        return z
    return torch.where(simplex > 0, z.float().clamp_min(1e-38).log(), z.float())


def _multiclass(call: Call, logits: Tensor, targets: Tensor) -> Reduced:
    if logits.dim() == 1:
        logits, targets = logits[None], targets.reshape(1, *targets.shape)
    simplex = _on_simplex(logits)
    z = _as_logits(call, logits, simplex)
    if targets.is_floating_point():
        return _soft(call, z, targets, _per_element(call, logits, targets), simplex)
    valid = targets != call.ignore_index if call.ignore_index is not None else torch.ones_like(targets).bool()
    safe = torch.where(valid, targets, torch.zeros_like(targets))
    rows = reduce_rows(z, safe)
    plain = call.name == "cross_entropy" and call.weight is None and not call.label_smoothing
    values = rows[2] * valid if plain else _per_element(call, logits, targets)
    weight = valid if not call.weighted_mean or call.weight is None else call.weight[safe] * valid
    columns = _columns(rows, safe, values, weight, valid)
    return Reduced("multiclass", columns, _flags(simplex, None, z), z, safe, z.shape[1])


def _soft(call: Call, z: Tensor, targets: Tensor, values: Tensor, simplex: Tensor) -> Reduced:
    """Targets given as probabilities or one-hot rows, shape (n, n_classes)."""
    target = targets.exp() if call.name == "kl_div" and "log_target" in call.key else targets.float()
    one_hot = (((targets == 0) | (targets == 1)).all() & (targets.sum(dim=1) == 1).all()).float()
    rows, labels = reduce_soft_rows(z, target)
    # kl_div sums over classes what mean would divide by; the others average as their mean does.
    sums = call.name == "kl_div" or call.reduction == "sum"
    per_sample = values if values.dim() == 1 else values.sum(dim=1) if sums else values.mean(dim=1)
    ones = torch.ones_like(per_sample)
    columns = _columns(rows, labels, per_sample, ones, ones)
    return Reduced("multiclass", columns, _flags(simplex, one_hot, z), z, labels, z.shape[1])


def _dense(call: Call, logits: Tensor, targets: Tensor) -> Reduced:
    """One class per position: logits (n, n_classes, ...), targets (n, ...)."""
    n, k = logits.shape[:2]
    width = max(1, PART // max(logits[0].numel(), 1))
    if n > width:
        parts = zip(torch.split(logits, width), torch.split(targets, width), strict=True)
        reduced = [_dense(call, *part) for part in parts]
        return replace(reduced[0], columns=torch.cat([r.columns for r in reduced], dim=1))
    values = _per_element(call, logits, targets).reshape(n, -1)
    flat = Call("cross_entropy", "mean", call.weight, call.ignore_index)
    inner = _multiclass(flat, logits.movedim(1, -1).reshape(-1, k), targets.reshape(-1))
    columns = inner.columns.reshape(N_COLUMNS, n, -1)
    counted = columns[8]
    columns = torch.cat([columns[:6], values.float()[None], columns[7:]])
    folded = fold_positions(columns, counted)
    return Reduced("dense", folded, inner.flags, None, None, k)


def fold_positions(columns: Tensor, counted: Tensor) -> Tensor:
    """Columns (n_columns, n_samples, n_positions) → means over each sample's counted positions."""
    total = counted.sum(dim=1)
    mean = torch.where(counted > 0, columns, torch.zeros_like(columns)).sum(dim=2) / total.clamp_min(1)
    mean[0] = mean[5] = NO_CLASS
    mean[4] = float("nan")
    mean[7] = columns[7].sum(dim=1)
    mean[8] = total
    return mean


def fold_columns(columns: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """Rows of several positions per sample, (len(COLUMNS), n_rows) → (len(COLUMNS), n_samples)."""
    parts = torch.from_numpy(np.ascontiguousarray(columns)).reshape(N_COLUMNS, n_samples, -1)
    folded: NDArray[np.float32] = fold_positions(parts, parts[8]).numpy()
    return folded


def _labels(call: Call, logits: Tensor, targets: Tensor) -> Reduced:
    """Yes-or-no labels: one per sample (binary) or several (multi-label, dense)."""
    n = len(targets) if targets.dim() else 1
    z, y = logits.reshape(n, -1), targets.reshape(n, -1)
    if z.shape != y.shape:
        raise ValueError(f"{call.name}: input {tuple(logits.shape)} against target {tuple(targets.shape)}")
    values = _per_element(call, logits, targets)
    values = values.reshape(n, -1) if values.numel() == z.numel() else values.reshape(n, 1).expand_as(z)
    if call.name == "binary_cross_entropy":
        p = z.double()
        # As torch does it: logarithms are clamped at -100, so a sure mistake costs 100 nats.
        two = torch.stack([(1 - p).log().clamp_min(-100), p.log().clamp_min(-100)], dim=2).float()
    else:
        two = two_class_logits(z.reshape(-1)).reshape(n, -1, 2)
    flags = _flags(None, None, z)
    if call.name == "unknown":  # of a criterion that is not known, say whether these can be classes
        head = z[:_SIMPLEX_ROWS].float()
        simplex = ((head >= 0) & (head <= 1)).all()
        p = z.float().clamp(1e-38, 1)
        sure = torch.stack([(1 - p).clamp_min(1e-38).log(), p.log()], dim=2)
        two = torch.where(simplex, sure, two)
        flags = _flags(simplex.float(), ((y == 0) | (y == 1)).all().float(), z)
    labels = (y > (0.0 if call.name == "soft_margin_loss" else 0.5)).long()
    flat, flat_labels = two.reshape(-1, 2), labels.reshape(-1)
    rows = reduce_rows(flat, flat_labels)
    ones = torch.ones_like(rows[0])
    columns = _columns(rows, flat_labels, values.reshape(-1), ones, ones)
    if z.shape[1] == 1:
        return Reduced("binary", columns, flags, flat, flat_labels, 2)
    columns = columns.reshape(N_COLUMNS, n, -1)
    folded = fold_positions(columns, columns[8])
    folded[7:9] = 1
    if call.reduction == "sum":
        folded[6] = values.sum(dim=1)
    return Reduced("multilabel", folded, flags, flat, flat_labels, z.shape[1])


def _without_classes(task: str, logits: Tensor) -> Reduced:
    """Continuous or unreadable targets: nothing about classes is made up."""
    n = len(logits) if logits.dim() else 1
    columns = torch.full((N_COLUMNS, n), float("nan"), device=logits.device)
    columns[7:9] = 1
    return Reduced(task, columns, _flags(None, None, logits), None, None, 0)


def reduce_call(call: Call, logits: Tensor, targets: Tensor) -> Reduced:
    """Reduce the batches of one flush that share a criterion and a shape.

    Parameters
    ----------
    call : Call
    logits, targets : Tensor
        As the criterion received them, batches concatenated along the first axis.
    """
    several = call.reduction == "labels" or (call.name == "unknown" and are_labels(targets, logits))
    task = "multilabel" if several else task_of(call.name, logits, targets)
    if task == "multiclass":
        return _multiclass(call, logits, targets)
    if task == "dense" and logits.dim() > 2 and not targets.is_floating_point():
        return _dense(call, logits, targets)
    if task in ("binary", "multilabel", "dense"):
        return _labels(call, logits, targets)
    return _without_classes(task, logits)
