"""Logits and targets of a batch → per-sample rows and sums, on the device where they lie.

Nothing here reads a value on the host: results stay tensors until the caller copies them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jupyter_lossacc.records import FOLDS, Accumulators
from jupyter_lossacc.stats.calibration import BETAS, ETAS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PART", "ROW_NAMES", "Sums", "reduce_rows", "reduce_soft_rows", "two_class_logits"]

ROW_NAMES = ("predicted", "correct", "nll", "confidence", "margin")
N_BINS = 15
# Elements of predictions reduced at a time: a device that the training has nearly filled must have room for
# our copies of them, and segmentation or a large vocabulary makes hundreds of megabytes a step.
PART = 1 << 24
_SCRATCH = 1 << 17  # elements of scratch memory per step of the calibration sums: stays in cache
_BLOCK = 1024  # most samples summed in float32 before they are added in float64
# exp() of less leaves the normal numbers of float32, where a processor is a hundred times slower.
_SMALLEST = -87.0
_ONE = len(BETAS) // 2  # the grid is symmetric around an inverse temperature of 1


def two_class_logits(z: Tensor) -> Tensor:
    """One logit per sample, shape (n,) → two-class logits (n, 2) with margin (2y - 1) z."""
    return torch.stack([torch.zeros_like(z), z], dim=1)


def reduce_rows(logits: Tensor, targets: Tensor) -> Tensor:
    """Per-sample columns of `ROW_NAMES`.

    Parameters
    ----------
    logits : Tensor of shape (n_samples, n_classes)
    targets : Tensor of int64, shape (n_samples,)

    Returns
    -------
    Tensor of float32, shape (len(ROW_NAMES), n_samples)
        `nll` is computed in float64 from the logits as float32 (contract.md): the other classes'
        shares are summed in float64, so that a loss near zero keeps its digits.
    """
    width = max(1, PART // max(logits.shape[1], 1))
    if len(logits) > width:
        parts = zip(torch.split(logits, width), torch.split(targets, width), strict=True)
        return torch.cat([reduce_rows(*part) for part in parts], dim=1)
    z = logits.to(torch.float32)
    targets = targets.to(torch.int64)
    top, predicted = z.max(dim=1)
    # The likeliest class has a share of exactly 1; leaving it out keeps what is left exact.
    below = (z - top[:, None]).scatter_(1, predicted[:, None], float("-inf"))
    second = below.amax(dim=1)
    log_total = torch.log1p(below.clamp_min_(_SMALLEST).exp_().sum(dim=1, dtype=torch.float64))
    behind = top.double() - z.gather(1, targets[:, None])[:, 0].double()
    hit = predicted == targets
    rows = torch.empty((len(ROW_NAMES), len(z)), device=z.device)
    rows[0], rows[1] = predicted, hit
    rows[2] = log_total + behind
    rows[3] = torch.exp(-log_total)
    rows[4] = torch.where(hit, 0.0 - second.double(), 0.0 - behind)
    return rows


def reduce_soft_rows(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of `ROW_NAMES` under targets given as probabilities, and the likeliest class of each.

    Parameters
    ----------
    logits, targets : Tensor of shape (n_samples, n_classes)
        `nll` is the cross-entropy against the whole target row.
    """
    labels = targets.argmax(dim=1)
    rows = reduce_rows(logits, labels)
    log_p = torch.log_softmax(logits.to(torch.float32).double(), dim=1)
    rows[2] = -(targets.double() * log_p).sum(dim=1).float()
    return rows, labels


def _grid(z: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and slope at every inverse temperature, each of shape (n_betas, n_samples).

    `z` has shape (n_classes, n_samples), the target's logit being 0: sums over few classes run along
    the long axis.
    """
    betas = torch.as_tensor(BETAS, device=z.device, dtype=torch.float32)
    shift = z.amax(dim=0)
    below = z - shift
    # Several inverse temperatures at a time, as many as the scratch memory holds.
    width = max(1, _SCRATCH // max(z.numel(), 1))
    losses, slopes = [], []
    for start in range(0, len(BETAS), width):
        beta = betas[start : start + width, None, None]
        weights = (below * beta).clamp_min_(_SMALLEST).exp_()  # (m, n_classes, n)
        total = weights.sum(dim=1)
        slopes.append(weights.mul_(z).sum(dim=1).div_(total))
        losses.append(total.log_().add_(shift * beta[:, 0]))
    return torch.cat(losses), torch.cat(slopes)


def _noise(loss: Tensor, n_classes: int) -> Tensor:
    """Sum over samples of the loss with a floor under the probabilities, shape (n_betas, n_etas - 1).

    `loss` has shape (n_betas, n_samples); the first of `ETAS` is 0, where nothing changes.
    """
    etas = torch.as_tensor(ETAS[1:], device=loss.device, dtype=torch.float32)[:, None, None]
    p_target = loss.neg().clamp_min_(_SMALLEST).exp_()
    width = max(1, _SCRATCH // max(loss.numel(), 1))
    sums = []
    for start in range(0, len(etas), width):
        eta = etas[start : start + width]
        sums.append(torch.addcmul(eta / n_classes, p_target, 1 - eta).log_().sum(dim=2))
    return torch.cat(sums).T.neg()


@dataclass
class Sums:
    """Running sums of one pass on one device; see `Accumulators` for their meaning."""

    grid: Tensor  # (2, FOLDS, n_betas): loss and slope
    count: Tensor  # (FOLDS,)
    noise: Tensor  # (n_betas, n_etas)
    score: Tensor  # (2,)
    bins: Tensor  # (N_BINS, 3)
    n_classes: int

    @classmethod
    def empty(cls, n_classes: int, device: torch.device | str = "cpu") -> Sums:
        """Return zeroed sums for a pass with `n_classes` classes."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        m = len(BETAS)
        return cls(
            zeros(2, FOLDS, m), zeros(FOLDS), zeros(m, len(ETAS)), zeros(2), zeros(N_BINS, 3), n_classes
        )

    def add(self, logits: Tensor, targets: Tensor, folds: Tensor, rows: Tensor | None = None) -> None:
        """Add a batch.

        Parameters
        ----------
        logits : Tensor of shape (n_samples, n_classes)
        targets, folds : Tensor of int64, shape (n_samples,)
        rows : Tensor of shape (len(ROW_NAMES), n_samples), optional
            From `reduce_rows` on the same batch; made here when not given.
        """
        rows = reduce_rows(logits, targets) if rows is None else rows
        size = _BLOCK
        if logits.device.type == "cpu":  # what is gone over 33 times has to stay in the processor's cache
            size = max(1, min(_BLOCK, _SCRATCH // max(logits.shape[1], 1)))
        for first in range(0, len(targets), size):
            part = slice(first, first + size)
            self._add_block(logits[part], targets[part], folds[part])
        correct, confidence = rows[1].double(), rows[3].double()
        # Right-closed bins (i/15, (i+1)/15], as netcal and torchmetrics draw them.
        index = (torch.ceil(confidence.nan_to_num(0.0) * N_BINS) - 1).clamp(0, N_BINS - 1).long()
        binned = _one_hot(index, N_BINS)
        self.bins += binned.T @ torch.stack([torch.ones_like(confidence), confidence, correct], dim=1)

    def _add_block(self, logits: Tensor, targets: Tensor, folds: Tensor) -> None:
        z = logits.to(torch.float32)
        z = z - z.gather(1, targets[:, None])  # the target's logit is 0: nll(b) = logsumexp(b z)
        member = _one_hot(folds, FOLDS)
        self.count += member.sum(dim=0)
        loss, slope = _grid(z.T.contiguous())  # (n_betas, n)
        self.grid += (torch.stack([loss, slope]).double() @ member).mT
        # eta = 0 keeps the exact loss: exp(-loss) underflows where the model is very wrong.
        self.noise[:, 0] += loss.sum(dim=1, dtype=torch.float64)
        self.noise[:, 1:] += _noise(loss, self.n_classes)
        score = slope[_ONE].double()
        self.score += torch.stack([score.sum(), score @ score])

    def packed(self) -> Tensor:
        """All sums in one flat tensor, for one copy to the host."""
        return torch.cat([t.flatten() for t in (self.grid, self.count, self.noise, self.score, self.bins)])

    def unpack(self, host: Tensor) -> Accumulators:
        """Return the sums from a host copy of what `packed` gave."""
        flat: list[NDArray[np.float64]] = []
        at = 0
        for part in (self.grid, self.count, self.noise, self.score, self.bins):
            flat.append(host[at : at + part.numel()].reshape(part.shape).numpy().copy())
            at += part.numel()
        grid, count, noise, score, bins = flat
        return Accumulators(
            betas=BETAS,
            count=count,
            nll=grid[0],
            slope=grid[1],
            etas=ETAS,
            noise_nll=noise,
            score_sum=float(score[0]),
            score_square=float(score[1]),
            bins=bins,
            n_classes=self.n_classes,
        )

    def to_accumulators(self) -> Accumulators:
        """Copy to the host. Call it only where waiting for the device is allowed."""
        return self.unpack(self.packed().cpu())


def _one_hot(index: Tensor, n: int) -> Tensor:
    """Return indicator columns (n_samples, n) in float64; torch's own one_hot reads values on the host."""
    return (index[:, None] == torch.arange(n, device=index.device)).double()
