"""What another threshold would make of the same two-class predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jupyter_lossacc.causes.cause import percent
from jupyter_lossacc.causes.wording import name_classes
from jupyter_lossacc.stats.calibration import fold_of
from jupyter_lossacc.stats.classes import balanced_threshold

if TYPE_CHECKING:
    from jupyter_lossacc.records import EpochSummary, Predictions, Recording

__all__ = ["Moved", "moved_threshold"]

MIN_CLASS = 20  # samples of either class; fewer choose a threshold by chance


class Moved(NamedTuple):
    """Balanced accuracy at a probability of one half, and where the probability is chosen for it.

    ``after`` is measured on samples that did not choose (five folds).
    """

    probability: float
    before: float
    after: float

    def text(self, recording: Recording) -> str:
        """Say what the threshold gives, with the user's name for the class."""
        return (
            f"Done from the records: {name_classes(recording, [1])} from a probability of "
            f"{self.probability:.3g} on (chosen on four fifths of the samples, measured on the rest) gives a "
            f"balanced accuracy of {percent(self.after, 1)} instead of {percent(self.before, 1)}."
        )


def moved_threshold(p: Predictions, summary: EpochSummary) -> Moved | None:
    """Choose the threshold of a two-class model for balanced accuracy; None where that is not known."""
    if summary.n_classes != 2 or not np.isfinite(p.margin).all():
        return None
    y = p.targets == 1
    if min(int(y.sum()), int((~y).sum())) < MIN_CLASS:
        return None
    logit = np.where(y, p.margin, -p.margin).astype(np.float64)
    fold = fold_of(p.sample_ids)
    said = np.zeros(len(y), bool)
    for f in np.unique(fold):
        rest, mine = fold != f, fold == f
        if y[rest].all() or not y[rest].any():
            return None
        said[mine] = logit[mine] >= balanced_threshold(logit[rest], y[rest])
    chosen = balanced_threshold(logit, y)
    return Moved(
        probability=float(1 / (1 + np.exp(-np.clip(chosen, -700, 700)))),
        before=_balanced(logit > 0, y),
        after=_balanced(said, y),
    )


def _balanced(said: np.ndarray, y: np.ndarray) -> float:
    return float((said[y].mean() + (~said[~y]).mean()) / 2)
