"""A loss change by right and wrong, with intervals: what the benign causes read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.stats.resampling import bootstrap
from jupyter_lossacc.stats.transitions import Outcome, outcome_parts

if TYPE_CHECKING:
    from jupyter_lossacc.records import Predictions
    from jupyter_lossacc.stats.estimate import Estimate

__all__ = ["Outcomes", "outcomes"]

Floats = NDArray[np.float64]
BLOCKS = 2000


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The exact parts, the shares of two of them, and the change of the median margin (logits)."""

    parts: Outcome
    right_share: Estimate
    wrong_share: Estimate
    margin_change: float


def outcomes(before: Predictions, after: Predictions) -> Outcomes:
    """Split a loss change by right and wrong; shares carry a bootstrap interval over samples."""
    rows = np.stack(
        [
            before.correct * before.nll,
            after.correct * after.nll,
            (1 - before.correct) * before.nll,
            (1 - after.correct) * after.nll,
            before.correct,
            after.correct,
        ],
        axis=1,
    ).astype(np.float64)
    if len(rows) > 2 * BLOCKS:  # averages over random blocks keep the interval and bound the cost
        order = np.random.default_rng(0).permutation(len(rows))
        rows = np.stack([block.mean(axis=0) for block in np.array_split(rows[order], BLOCKS)])
    margins = [float(np.median(p.margin)) for p in (before, after)]
    return Outcomes(
        parts=outcome_parts(before.nll, after.nll, before.correct, after.correct),
        right_share=bootstrap(rows, lambda m: _share(m, right=True), unit="share"),
        wrong_share=bootstrap(rows, lambda m: _share(m, right=False), unit="share"),
        margin_change=margins[1] - margins[0] if np.isfinite(margins).all() else float("nan"),
    )


def _share(means: Floats, *, right: bool) -> Floats:
    """Kitagawa's within-part over the total, from means of loss and correctness at both ends."""
    loss_a, loss_b = (means[..., 0], means[..., 1]) if right else (means[..., 2], means[..., 3])
    a, b = means[..., 4], means[..., 5]
    if not right:
        a, b = 1 - a, 1 - b
    total = means[..., 1] + means[..., 3] - means[..., 0] - means[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.where((a > 0) & (b > 0), loss_b / b - loss_a / a, 0.0)
        return np.asarray((a + b) / 2 * change / total)
