"""Labels that the model contradicts: how many, how surely, and which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.repair import floor_of
from jupyter_lossacc.stats.miscalibration import floor_interval
from jupyter_lossacc.stats.rescaling import rescaled_confidence, sure_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from jupyter_lossacc.records import Accumulators, EpochSummary, Predictions, Recording
    from jupyter_lossacc.stats.calibration import NoiseFloor

__all__ = ["Comparison", "Noise", "SureMistakes", "compare_epochs", "measure_noise"]

SURE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SureMistakes:
    """Mistakes among the predictions that stay sure at the temperature of the noise floor.

    Parameters
    ----------
    n_sure, observed : int
    expected, z : float
        Number of mistakes that the confidences promise, and the excess in standard deviations.
    piled : float
        Total variation between the classes predicted in the mistakes and in the right ones: 0 where
        wrong labels fall at random, towards 1 where the mistakes pile up on few predicted classes.
    """

    n_sure: int
    observed: int
    expected: float
    z: float
    piled: float

    @property
    def excess(self) -> float:
        """How many times as many mistakes as promised."""
        return self.observed / max(self.expected, 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What the noise floor says at one epoch, and what the sure predictions say about it.

    `low` and `high` bound the rate of flipped labels (95 %); `learned` says that the model is better
    than always naming the largest class; `sure` is None without per-sample records.
    """

    at: EpochSummary
    floor: NoiseFloor
    low: float
    high: float
    sure: SureMistakes | None
    learned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """False predictions at the epoch of lowest loss and at the one of highest accuracy.

    Where these are one epoch, the last one stands for the second, and `second` says so.
    `both` counts samples wrong at both, `agreeing` those of them wrong for the same other class, `one`
    those wrong at only one of the two; `suspects` are the agreeing ones, most doubtful label first.
    """

    lowest: int
    highest: int
    second: str
    both: int
    agreeing: int
    one: int
    suspects: NDArray[np.int64]


def measure_noise(recording: Recording, at: EpochSummary, sums: Accumulators) -> Noise:
    """Fit the noise floor of one pass and look at its sure mistakes."""
    floor = floor_of(sums)
    low, high = floor_interval(sums.noise_nll, sums.betas, sums.etas, sums.n_classes)
    majority = 0.0
    if at.classes is not None and at.classes.support.sum():
        majority = float(at.classes.support.max() / at.classes.support.sum())
    return Noise(
        at=at,
        floor=floor,
        low=low,
        high=high,
        sure=_sure_mistakes(recording, at, floor, sums.n_classes),
        learned=at.accuracy > majority + 0.02,
    )


def _sure_mistakes(
    recording: Recording, at: EpochSummary, floor: NoiseFloor, n_classes: int
) -> SureMistakes | None:
    try:
        p = recording.load(at.key)
    except KeyError:
        return None
    if not (np.isfinite(floor.temperature) and np.isfinite(p.margin).all()):
        return None
    confidence = rescaled_confidence(p.nll, p.margin, n_classes, floor.temperature)
    sure, wrong = confidence >= SURE, p.margin <= 0
    expected, z = sure_errors(confidence[sure], wrong[sure])
    counts = [np.bincount(p.predicted[sure & side], minlength=n_classes) for side in (wrong, ~wrong)]
    shares = [c / max(c.sum(), 1) for c in counts]
    return SureMistakes(
        n_sure=int(sure.sum()),
        observed=int(counts[0].sum()),
        expected=expected,
        z=z,
        piled=float(0.5 * np.abs(shares[0] - shares[1]).sum()),
    )


def compare_epochs(recording: Recording, passes: Sequence[EpochSummary]) -> Comparison | None:
    """Run the experiment of question 282160: who is wrong at both epochs, and as what."""
    lowest = min(passes, key=lambda s: s.nll if np.isfinite(s.nll) else np.inf)
    highest = max(passes, key=lambda s: s.accuracy)
    second = "highest accuracy"
    if lowest.epoch == highest.epoch:
        highest, second = passes[-1], "the last one"
    try:
        a, b = recording.paired(lowest.split, lowest.epoch, highest.epoch)
    except KeyError:
        return None
    if len(a) < 2:
        return None
    wrong_a, wrong_b = a.correct < 0.5, b.correct < 0.5
    both = wrong_a & wrong_b
    same = both & (a.predicted == b.predicted)
    return Comparison(
        lowest=lowest.epoch,
        highest=highest.epoch,
        second=second,
        both=int(both.sum()),
        agreeing=int(same.sum()),
        one=int((wrong_a ^ wrong_b).sum()),
        suspects=_ranked(a, b, same),
    )


def _ranked(a: Predictions, b: Predictions, same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank samples with one plausible other class, the most contradicted label first.

    The margin against the label, in units of what is typical of the epoch, averages both epochs
    without letting the surer one decide alone.
    """
    rows = np.flatnonzero(same)
    against = sum(-p.margin / max(float(np.median(np.abs(p.margin))), 1e-12) for p in (a, b))
    order = np.argsort(-np.asarray(against)[rows], kind="stable")
    return a.sample_ids[rows[order]][:500]
