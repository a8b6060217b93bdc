"""Logits and targets of a batch → per-sample rows and sums, on the device where they lie.

Nothing here reads a value on the host: results stay tensors until the caller copies them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jupyter_lossacc.records import FOLDS, Accumulators
from jupyter_lossacc.stats.calibration import BETAS, ETAS

__all__ = ["ROW_NAMES", "Sums", "reduce_rows", "two_class_logits"]

ROW_NAMES = ("predicted", "correct", "nll", "confidence", "margin")
N_BINS = 15


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
        `nll` is computed in float64 from the logits as float32 (contract.md).
    """
    z = logits.to(torch.float32)
    log_p = torch.log_softmax(z.double(), dim=1)
    nll = -log_p.gather(1, targets[:, None])[:, 0]
    predicted = z.argmax(dim=1)
    others = z.scatter(1, targets[:, None], float("-inf")).amax(dim=1)
    margin = z.gather(1, targets[:, None])[:, 0] - others
    confidence = log_p.amax(dim=1).exp()
    columns = (predicted, predicted == targets, nll, confidence, margin)
    return torch.stack([c.to(torch.float32) for c in columns])


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
        return cls(zeros(2, FOLDS, m), zeros(FOLDS), zeros(m, len(ETAS)), zeros(2), zeros(N_BINS, 3), n_classes)

    def add(self, logits: Tensor, targets: Tensor, folds: Tensor, rows: Tensor) -> None:
        """Add a batch.

        Parameters
        ----------
        logits : Tensor of shape (n_samples, n_classes)
        targets, folds : Tensor of int64, shape (n_samples,)
        rows : Tensor of shape (len(ROW_NAMES), n_samples)
            From `reduce_rows` on the same batch.
        """
        z = logits.to(torch.float32)
        z = z - z.gather(1, targets[:, None])  # the target's logit is 0: nll(b) = logsumexp(b z)
        member = torch.nn.functional.one_hot(folds, FOLDS).double()  # (n, FOLDS)
        self.count += member.sum(dim=0)
        etas = torch.as_tensor(ETAS, device=z.device, dtype=torch.float64)
        # One inverse temperature at a time: scratch memory stays (n, n_classes) for any grid.
        for m, beta in enumerate(BETAS):
            scaled = z * float(beta)
            lse = torch.logsumexp(scaled, dim=1)
            slope = ((scaled - lse[:, None]).exp_() * z).sum(dim=1).double()
            loss = lse.double()
            self.grid[0, :, m] += loss @ member
            self.grid[1, :, m] += slope @ member
            p_target = torch.exp(-loss)
            mixed = p_target[:, None] * (1 - etas) + etas / self.n_classes
            # eta = 0 keeps the exact loss: exp(-loss) underflows where the model is very wrong.
            self.noise[m, 0] += loss.sum()
            self.noise[m, 1:] -= mixed[:, 1:].log().sum(dim=0)
        score = (torch.softmax(z, dim=1) * z).sum(dim=1).double()
        self.score += torch.stack([score.sum(), (score * score).sum()])
        correct, confidence = rows[1].double(), rows[3].double()
        # Right-closed bins (i/15, (i+1)/15], as netcal and torchmetrics draw them.
        index = (torch.ceil(confidence * N_BINS) - 1).clamp(0, N_BINS - 1).long()
        binned = torch.nn.functional.one_hot(index, N_BINS).double()
        self.bins += torch.stack([binned.sum(0), confidence @ binned, correct @ binned], dim=1)

    def to_accumulators(self) -> Accumulators:
        """Copy to the host. Call it only where waiting for the device is allowed."""

        def host(t: Tensor) -> np.ndarray:  # type: ignore[type-arg]
            return t.detach().cpu().numpy().copy()

        grid, score = host(self.grid), host(self.score)
        return Accumulators(
            betas=BETAS,
            count=host(self.count),
            nll=grid[0],
            slope=grid[1],
            etas=ETAS,
            noise_nll=host(self.noise),
            score_sum=float(score[0]),
            score_square=float(score[1]),
            bins=host(self.bins),
            n_classes=self.n_classes,
        )
