"""Which epoch to keep, at which temperature, and whether to go on.

The epoch is chosen by the loss that is left after refitting one temperature (cross-fitted): it
ignores over-confidence, which a division repairs afterwards, and keeps what no division repairs
(Berta et al., arXiv:2501.19195, 2025; Ranjan et al., NeurIPS 2024). Where the epoch of highest
accuracy is no worse than chance by that loss, it is the one to keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.causes.cause import (
    answers_one_class,
    default_split,
    percent,
    rounded,
    spoken,
    states_proportions,
)
from jupyter_lossacc.causes.repair import few_mistakes, n_wrong
from jupyter_lossacc.diagnosis import going_on
from jupyter_lossacc.records import Alternative, CheckpointAdvice, EpochSummary, Predictions, Recording
from jupyter_lossacc.stats.calibration import cross_fitted_by_fold
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.resampling import mcnemar, paired_difference
from jupyter_lossacc.stats.rescaling import rescaled_nll

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_lossacc.diagnosis.going_on import Stop

__all__ = ["advise", "best_epoch", "stop_or_go"]

Floats = NDArray[np.float64]
NEGLIGIBLE = 0.001  # nats that a temperature must repair to be worth a sentence
MAX_EQUIVALENT = 24  # epochs examined, at most, in the search for an earlier equivalent


@dataclass(frozen=True, slots=True)
class _Curve:
    """The evaluated epochs of one split and the loss by which they are chosen."""

    passes: tuple[EpochSummary, ...]
    chosen_by: Floats
    uncalibrated: str = ""
    """Why the loss was taken as it is; empty where calibration is repaired."""

    @property
    def calibrated(self) -> bool:
        """Whether epochs are chosen by the loss that is left after repairing calibration."""
        return not self.uncalibrated

    @property
    def lowest(self) -> int:
        """Index of the lowest loss."""
        return int(np.nanargmin(self.chosen_by))

    @property
    def most_accurate(self) -> int:
        """Index of the highest accuracy; among equals, of the lowest loss."""
        accuracy = np.array([s.accuracy for s in self.passes])
        top = np.where(accuracy == np.nanmax(accuracy), self.chosen_by, np.nan)
        return int(np.nanargmin(top)) if np.isfinite(top).any() else self.lowest

    @property
    def loss(self) -> str:
        """What the loss is called by which epochs are chosen."""
        return f"{self.plain}calibrated loss" if self.calibrated else f"{self.plain}loss"

    @property
    def plain(self) -> str:
        """Says of a criterion with class weights that epochs are not chosen by its own loss."""
        return "unweighted " if self.passes[-1].loss.weighted else ""


def _curve(recording: Recording) -> _Curve | None:
    split = default_split(recording)
    passes = tuple(s for s in recording.series(split) if s.epoch > 0) if split else ()
    untold = min((s for s in passes if few_mistakes(s)), key=n_wrong, default=None)
    raw = _finite(s.nll for s in passes)
    if untold is not None:
        n = n_wrong(untold)
        wrong = "No sample is" if n == 0 else "One sample is" if n == 1 else f"Only {n} samples are"
        why = f"{wrong} wrong at epoch {untold.epoch}, too few to tell a temperature from: the loss was taken"
        choices = [_Curve(passes, raw, f"{why} as it is.")]
    else:
        why = "Calibration could not be repaired from these records, so the loss was taken as it is."
        choices = [_Curve(passes, _finite(s.calibrated_nll for s in passes)), _Curve(passes, raw, why)]
    enough = max(1, 0.5 * len(passes))
    return next((c for c in choices if np.isfinite(c.chosen_by).sum() >= enough), None)


def _finite(values: Iterable[float]) -> Floats:
    array = np.array(list(values), np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def best_epoch(recording: Recording) -> int | None:
    """Return the epoch to keep so far; None when nothing was evaluated or none is worth keeping."""
    curve = _curve(recording)
    if curve is None:
        return None
    best = curve.passes[_chosen(recording, curve)]
    return None if _knows_nothing(best) else best.epoch


def _knows_nothing(best: EpochSummary) -> bool:
    return answers_one_class(best) or states_proportions(best)


def _chosen(recording: Recording, curve: _Curve) -> int:
    """Index of the epoch to keep: lowest loss, or highest accuracy where the losses differ by chance."""
    lowest, accurate = curve.lowest, curve.most_accurate
    return accurate if accurate != lowest and _equivalent(recording, curve, accurate) else lowest


def _equivalent(recording: Recording, curve: _Curve, i: int) -> bool:
    """Tell whether the loss of an epoch lies within one paired standard error of the lowest."""
    pair = _pair(recording, curve.passes[i], curve.passes[curve.lowest])
    if pair is None:
        return False
    ends = (curve.passes[i], curve.passes[curve.lowest])
    a, b = (
        _repaired(p, s) if curve.calibrated else p.nll.astype(np.float64)
        for p, s in zip(pair, ends, strict=True)
    )
    difference = (a - b)[np.isfinite(a - b)]
    if len(difference) < 2:
        return False
    error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return bool(curve.chosen_by[i] - curve.chosen_by[curve.lowest] <= error)


def advise(recording: Recording, running: bool) -> CheckpointAdvice:
    """Advise which epoch to keep, with paired evidence against the alternatives.

    Parameters
    ----------
    recording : Recording
    running : bool
        Whether training is still going on; changes how the advice is worded.

    Returns
    -------
    CheckpointAdvice
        ``epoch=None`` with the reason when too few complete evaluations have a finite loss.
    """
    curve = _curve(recording)
    if curve is None:
        return CheckpointAdvice(
            epoch=None,
            temperature=float("nan"),
            reason="Too few complete evaluations with a finite loss were recorded to advise an epoch.",
        )
    chosen = _chosen(recording, curve)
    best = curve.passes[chosen]
    stop, stop_reason = stop_or_go(recording)
    if _knows_nothing(best):
        return CheckpointAdvice(
            epoch=None,
            temperature=float("nan"),
            reason=_no_epoch(curve, best, running=running),
            stop=stop,
            stop_reason=stop_reason,
        )
    return CheckpointAdvice(
        epoch=best.epoch,
        temperature=best.temperature if curve.calibrated or np.isnan(best.temperature) else 1.0,
        reason=_reason(curve, chosen, running=running),
        alternatives=_alternatives(recording, curve, chosen),
        stop=stop,
        stop_reason=stop_reason,
        optimism=_optimism(curve),
    )


def _no_epoch(curve: _Curve, best: EpochSummary, *, running: bool) -> str:
    accuracy = percent(best.accuracy, 1)
    what = (
        f"gives (nearly) every sample the same class, and its accuracy of {accuracy} is the share of the "
        "largest class."
        if answers_one_class(best)
        else f"knows no more than the proportions of the classes (accuracy {accuracy})."
    )
    return (
        f"No epoch is worth keeping{' so far' if running else ''}: even epoch {best.epoch}, with the lowest "
        f"{spoken(best.split)} {curve.loss}, {what}"
    )


def _reason(curve: _Curve, chosen: int, *, running: bool) -> str:
    best, lowest = curve.passes[chosen], curve.passes[curve.lowest]
    value = curve.chosen_by[chosen]
    keep = (
        f"Keep epoch {best.epoch}{' so far' if running else ''}: its {curve.plain}{spoken(best.split)} loss"
    )
    rank = f"is the lowest (accuracy {percent(best.accuracy, 1)})."
    if chosen != curve.lowest:
        rank = (
            f"equals the lowest ({rounded(curve.chosen_by[curve.lowest])} at epoch {lowest.epoch}) within "
            f"chance, and its accuracy of {percent(best.accuracy, 1)} is the highest: of equivalent epochs "
            "the most accurate is taken."
        )
    if curve.uncalibrated:
        return f"{keep}, {rounded(value)} nats, {rank} {curve.uncalibrated}"
    apply = (
        "No temperature is needed."
        if 0.95 <= best.temperature <= 1.05 or best.nll - value < NEGLIGIBLE
        else f"Divide its logits by {rounded(best.temperature, 2)} wherever probabilities matter."
    )
    return f"{keep} with calibration repaired, {rounded(value)} nats, {rank} {apply}"


def _alternatives(recording: Recording, curve: _Curve, chosen: int) -> tuple[Alternative, ...]:
    losses = np.array([_shown_loss(s) for s in curve.passes])
    accuracies = np.array([s.accuracy for s in curve.passes])
    named: list[tuple[str, int]] = []
    if np.isfinite(losses).any():
        named.append(("lowest loss", int(np.nanargmin(losses))))
    if np.isfinite(accuracies).any():
        named.append(("highest accuracy", curve.most_accurate))
    named.append(("last", len(curve.passes) - 1))
    earliest = _earliest_equivalent(recording, curve)
    if earliest is not None and earliest < chosen:
        named.append(("earliest equivalent", earliest))
    return tuple(_alternative(recording, curve, chosen, name, i) for name, i in named)


def _shown_loss(s: EpochSummary) -> float:
    """Return the loss as the user's own curve shows it."""
    value = s.reported_loss if np.isfinite(s.reported_loss) else s.nll
    return value if np.isfinite(value) else float("nan")


def _alternative(recording: Recording, curve: _Curve, chosen: int, name: str, i: int) -> Alternative:
    best, other = curve.passes[chosen], curve.passes[i]
    gap = float(curve.chosen_by[chosen] - curve.chosen_by[i])
    accuracy = Estimate(best.accuracy - other.accuracy, unit="share")
    loss = Estimate(gap, unit="nats")
    p = float("nan")
    pair = _pair(recording, other, best)
    if i == chosen:
        accuracy, loss, p = Estimate(0.0, 0.0, 0.0, "share"), Estimate(0.0, 0.0, 0.0, "nats"), 1.0
    elif pair is not None:
        accuracy = paired_difference(
            pair[0].correct.astype(float), pair[1].correct.astype(float), unit="share"
        )
        p = mcnemar(pair[0].correct >= 0.5, pair[1].correct >= 0.5).p
        loss = _paired_loss(pair, (other, best), gap, calibrated=curve.calibrated)
    return Alternative(
        name=name,
        epoch=other.epoch,
        accuracy=other.accuracy,
        nll=other.nll,
        calibrated_nll=other.calibrated_nll,
        accuracy_difference=accuracy,
        calibrated_nll_difference=loss,
        mcnemar_p=p,
        cost=_cost(other, best, accuracy, loss, p, curve.loss),
    )


def _pair(recording: Recording, a: EpochSummary, b: EpochSummary) -> tuple[Predictions, Predictions] | None:
    try:
        return recording.paired(a.split, a.epoch, b.epoch)
    except KeyError:
        return None


def _paired_loss(
    pair: tuple[Predictions, Predictions],
    of: tuple[EpochSummary, EpochSummary],
    gap: float,
    *,
    calibrated: bool,
) -> Estimate:
    """Difference of the losses by which epochs are chosen, bootstrapped over samples.

    The value is the exact one; per-sample losses at the fitted temperatures are reconstructed from
    loss and margin and give the width of the interval alone.
    """
    before, after = (
        _repaired(p, s) if calibrated else p.nll.astype(np.float64) for p, s in zip(pair, of, strict=True)
    )
    raw = paired_difference(before, after, unit="nats")
    return Estimate(gap, gap + raw.low - raw.value, gap + raw.high - raw.value, "nats")


def _repaired(p: Predictions, s: EpochSummary) -> Floats:
    if not np.isfinite(p.margin).all() or not np.isfinite(s.temperature):
        return p.nll.astype(np.float64)
    return rescaled_nll(p.nll.astype(np.float64), p.margin.astype(np.float64), s.n_classes, s.temperature)


def _cost(
    other: EpochSummary, best: EpochSummary, accuracy: Estimate, loss: Estimate, p: float, what: str
) -> str:
    if other.epoch == best.epoch:
        return "It is the advised epoch."
    worse = -loss.value
    if not np.isfinite(worse):
        parts = [f"Epoch {other.epoch} has no {what} to compare"]
    elif abs(worse) < 0.0005:
        parts = [f"Keeping epoch {other.epoch} instead costs no {what}"]
    elif worse >= 0:
        parts = [f"Keeping epoch {other.epoch} instead costs {rounded(worse)} nats of {what}"]
    else:
        parts = [f"Keeping epoch {other.epoch} instead wins {rounded(-worse)} nats of {what}"]
    lost = 100 * accuracy.value
    if abs(lost) >= 0.05:
        parts.append(f"{'loses' if lost > 0 else 'wins'} {rounded(abs(lost), 1)} points of accuracy")
    sure = "" if np.isnan(p) else f" (McNemar p = {p:.2g})"
    decided = (
        "; the difference of loss is within chance"
        if np.isfinite(loss.low) and not loss.excludes_zero and abs(worse) >= 0.0005
        else ""
    )
    return " and ".join(parts) + sure + decided + "."


def _earliest_equivalent(recording: Recording, curve: _Curve) -> int | None:
    """First epoch whose loss lies within one paired standard error of the best one's."""
    if not curve.calibrated:
        return None
    order = [i for i in range(curve.lowest) if np.isfinite(curve.chosen_by[i])]
    # A difference of more than 0.1 nats or 10 % is never within one standard error of interest.
    least = curve.chosen_by[curve.lowest]
    order = [i for i in order if curve.chosen_by[i] - least < max(0.1 * least, 0.01)]
    step = max(1, len(order) // MAX_EQUIVALENT)
    return next((i for i in order[::step] if _equivalent(recording, curve, i)), None)


def stop_or_go(recording: Recording) -> tuple[Stop, str]:
    """Say whether going on pays: the trend of the calibrated loss decides, not the raw loss."""
    curve = _curve(recording)
    if curve is None:
        return "undecided", "Fewer than four evaluated epochs: too early to say."
    epochs = np.array([s.epoch for s in curve.passes], np.int64)
    stop, why = going_on.stop_or_go(epochs, curve.chosen_by, curve.loss)
    return stop, why + (_in_spite(curve) if stop == "keep going" else "")


def _in_spite(curve: _Curve) -> str:
    losses = np.array([_shown_loss(s) for s in curve.passes])
    if not np.isfinite(losses).any():
        return ""
    low = int(np.nanargmin(losses))
    rising = len(losses) - 1 - low >= 5 and losses[-1] > losses[low] * 1.02
    return " The rise of the loss itself is no reason to stop." if rising else ""


@lru_cache(maxsize=4096)
def _by_fold(count: bytes, nll: bytes, slope: bytes, betas: bytes) -> Floats:
    """Cross-fitted losses of a pass, kept: an update asks again for all epochs, and one takes 0.8 ms."""
    counts, grid = np.frombuffer(count, np.float64), np.frombuffer(betas, np.float64)
    losses, slopes = (np.frombuffer(v, np.float64).reshape(len(counts), -1) for v in (nll, slope))
    return cross_fitted_by_fold(counts, losses, slopes, grid)


def _optimism(curve: _Curve) -> str:
    """Say how much choosing the best of many epochs on these samples flatters the number."""
    plain = "The epoch was chosen on these samples, so its numbers flatter it; report them on a test set."
    sums = [s.accumulators for s in curve.passes if np.isfinite(s.nll)]
    counts = [a.count for a in sums if a is not None]
    there = counts[0] > 0 if counts else np.zeros(0, bool)  # of few samples none may be in a fold
    same = len(counts) == len(sums) and all(np.array_equal(c, counts[0]) for c in counts)
    if not curve.calibrated or not same or there.sum() < 2:
        return plain
    folds = np.array(
        [
            _by_fold(*(np.asarray(v, np.float64).tobytes() for v in (a.count, a.nll, a.slope, a.betas)))
            for a in sums
            if a is not None
        ]
    )[:, there]
    folds, weights = folds[np.isfinite(folds).all(axis=1)], counts[0][there] / counts[0].sum()
    if not len(folds):
        return plain
    honest = 0.0
    for f in range(len(weights)):
        rest = np.delete(weights, f)
        chosen = int(np.argmin(np.delete(folds, f, axis=1) @ rest))
        honest += weights[f] * folds[chosen, f]
    optimism = max(float(honest - (folds @ weights).min()), 0.0)
    amount = "less than 0.001" if optimism < 0.001 else f"about {rounded(optimism)}"
    return (
        f"Chosen as the best of {len(folds)} epochs on the very samples it is measured on, it looks {amount} "
        "nats better than it is (choosing on four fifths, measuring on the rest); the number to report is a "
        "test set's."
    )
