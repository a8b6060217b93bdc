"""The loss change of a window, split into what one temperature repairs and what it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.stats.calibration import NoiseFloor, fit_noise_floor
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.miscalibration import Miscalibration, miscalibration
from jupyter_lossacc.stats.noise import epoch_noise
from jupyter_lossacc.stats.rescaling import rescaled_nll
from jupyter_lossacc.stats.transitions import share_of_change

if TYPE_CHECKING:
    from jupyter_lossacc.causes.cause import Window
    from jupyter_lossacc.records import Accumulators, EpochSummary, Recording

__all__ = ["Repair", "calibrated_curve", "calibration_of", "few_mistakes", "floor_of", "n_wrong", "repair"]

Floats = NDArray[np.float64]
# Without a mistake no temperature is too low, and of one or two the fold that lacks them knows nothing.
FEWEST_MISTAKES = 5


@dataclass(frozen=True, slots=True)
class Repair:
    """Both ends of a window with calibration repaired.

    Parameters
    ----------
    before, after : Miscalibration
    share : Estimate
        (change of the miscalibration cost) / (change of the loss), interval by bootstrap over
        samples. Exact sums give the value; the interval uses losses rescaled from what is kept of
        each sample, and is NaN without per-sample records.
    trend_share : float
        The same ratio of least-squares trends over all epochs inside.
    refinement : Estimate
        Change of the repaired loss from start to end, nats; the interval adds the sampling error
        of the pairs and the wobble from epoch to epoch.
    """

    before: Miscalibration
    after: Miscalibration
    share: Estimate
    trend_share: float
    refinement: Estimate


def calibration_of(summary: EpochSummary) -> Miscalibration | None:
    """Test the calibration of one pass; None without its sums, or where they are not finite."""
    sums = summary.accumulators
    if sums is None or sums.count.sum() < 2:
        return None
    if not (np.isfinite(sums.nll).all() and np.isfinite(sums.slope).all()):
        return None
    return miscalibration(sums.betas, sums.count, sums.nll, sums.slope, (sums.score_sum, sums.score_square))


def floor_of(sums: Accumulators) -> NoiseFloor:
    """Fit the noise-floor calibrator of one pass."""
    return fit_noise_floor(sums.noise_nll, float(sums.count.sum()), sums.n_classes, sums.betas, sums.etas)


def calibrated_curve(recording: Recording, split: str) -> dict[int, float]:
    """Return the calibrated loss by epoch, to be drawn over the loss (nats)."""
    return {s.epoch: s.calibrated_nll for s in recording.series(split) if np.isfinite(s.calibrated_nll)}


def n_wrong(s: EpochSummary) -> int:
    """Count the wrong predictions of a pass."""
    return round((1 - s.accuracy) * s.n_samples) if np.isfinite(s.accuracy) else 0


def few_mistakes(s: EpochSummary) -> bool:
    """Tell whether a pass has a temperature that its few mistakes, or none, do not determine."""
    return np.isfinite(s.calibrated_nll) and n_wrong(s) < FEWEST_MISTAKES


def repair(w: Window) -> Repair | str:
    """Split the loss change of a window; a clause saying why, where that cannot be done."""
    before, after = calibration_of(w.start), calibration_of(w.end)
    if before is None or after is None:
        return "the sums needed to recalibrate are missing, or not finite, at one of the two ends"
    if not np.isfinite(before.repaired + after.repaired):
        return "a loss at one of the two ends is not finite"
    if few_mistakes(w.start) or few_mistakes(w.end):
        n, where = min((n_wrong(s), s.epoch) for s in (w.start, w.end))
        wrong = "no sample is" if n == 0 else "one sample is" if n == 1 else f"only {n} samples are"
        return f"{wrong} wrong at epoch {where}, too few to tell a temperature from"
    if not w.same_samples:
        return "the two ends were evaluated on different samples"
    nll = np.array([s.nll for s in w.inside])
    repaired = np.array([s.calibrated_nll for s in w.inside])
    fall, rise = w.trend(nll - repaired), w.trend(nll)
    change = after.repaired - before.repaired
    share, sampling = _from_samples(w, before, after)
    noise = epoch_noise(repaired)
    spread = 1.96 * float(np.hypot(sampling, np.sqrt(2) * (0.0 if np.isnan(noise) else noise)))
    return Repair(
        before=before,
        after=after,
        share=share,
        trend_share=fall / rise if rise else float("nan"),
        refinement=Estimate(change, change - spread, change + spread, "nats"),
    )


def _from_samples(w: Window, before: Miscalibration, after: Miscalibration) -> tuple[Estimate, float]:
    """Share with its interval, and the standard error of the change of the repaired loss."""
    change = after.nll - before.nll
    value = (after.cost - before.cost) / change if change else float("nan")
    if w.before is None or w.after is None or not np.isfinite(w.before.margin + w.after.margin).all():
        return Estimate(value, unit="share"), float("nan")
    k = w.end.n_classes
    first = rescaled_nll(w.before.nll, w.before.margin, k, before.temperature)
    last = rescaled_nll(w.after.nll, w.after.margin, k, after.temperature)
    total = w.after.nll.astype(np.float64) - w.before.nll
    refined = last - first
    n = len(total)
    # Centred on the exact sums: the reconstruction only says how samples differ from their mean.
    refined += (after.repaired - before.repaired) - refined.mean()
    share = share_of_change(total - refined, total)
    return share, float(refined.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
