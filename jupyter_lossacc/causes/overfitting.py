"""Overfitting: the loss rises even with calibration repaired, while the training loss falls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import (
    RISING_LOSS,
    Cause,
    Window,
    answers_one_class,
    epochs_of,
    evidence,
    not_tested,
    points,
    rising_window,
    rounded,
    share_text,
    signed,
    spoken,
    training_series,
)
from jupyter_lossacc.causes.repair import Repair, calibrated_curve, floor_of, repair
from jupyter_lossacc.records import (
    Counterfactual,
    Episode,
    EpochSummary,
    Evidence,
    Experiment,
    Finding,
    Recording,
    Verdict,
)
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.noise import epoch_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAUSE", "SURE_FALL"]

ID = "overfitting"
SURE = 4.0  # standard errors; healthy runs lie far below zero
PART = 0.25  # of the rise; less is a side effect, not its cause
SURE_FALL = "p of as many becoming right as wrong (McNemar)"  # evidence by which it is named first


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether the loss would rise even if calibration were repaired after every epoch."""
    if episode is not None and (episode.kind not in RISING_LOSS or episode.split in ("train", "train_eval")):
        return None
    w = rising_window(recording, episode)
    if w is None and episode is None:
        return None
    found = repair(w) if w is not None else "fewer than two complete passes lie inside this episode"
    if w is None or isinstance(found, str):
        return not_tested(ID, f"Overfitting could not be tested: {found}.")
    train = _training_loss(w)
    floored = _floor_change(w)
    change = found.refinement
    rise = max(w.loss_change, 1e-12)
    share = _share(found)
    best = min(recording.series(w.split), key=_repaired)
    return Finding(
        cause=ID,
        verdict=_verdict(w, found, floored, train),
        share=share,
        statement=_statement(w, found, train),
        because=f"the model overfits: {share_text(share)} of the rise stays when calibration is repaired",
        evidence=_evidence(w, found, floored, train),
        counterfactual=Counterfactual(
            name=f"{spoken(w.split)} loss, had training stopped at epoch {best.epoch}, calibration repaired",
            value=best.calibrated_nll,
            actual=w.end.nll,
        ),
        action=(
            f"Keep the advised epoch (the repaired loss was lowest at epoch {best.epoch}). Then give the "
            "model less room to memorise: augmentation or more data first, then weight decay, dropout, a "
            "smaller network."
        ),
        experiment=_experiment(w, best),
        sample_ids=_lost(w),
        overlay=calibrated_curve(recording, w.split),
        strength=float(change.value / rise),
    )


def _repaired(s: EpochSummary) -> float:
    return s.calibrated_nll if np.isfinite(s.calibrated_nll) else np.inf


def _share(r: Repair) -> Estimate:
    """Return what calibration does not explain: the complement of its share."""
    return Estimate(1 - r.share.value, 1 - r.share.high, 1 - r.share.low, "share")


def _training_loss(w: Window) -> tuple[float, float] | None:
    """Training loss at (or next before) both ends."""
    series = training_series(w.recording, w.end.epoch)
    if len(series) < 2:
        return None
    first = [s for s in series if s.epoch <= w.start.epoch] or [series[0]]
    return (_loss(first[-1]), _loss(series[-1])) if series[-1].epoch > first[-1].epoch else None


def _loss(s: EpochSummary) -> float:
    return s.nll if np.isfinite(s.nll) else s.reported_loss


def _falls(train: tuple[float, float] | None) -> bool:
    return train is not None and train[1] < train[0] - min(0.02, 0.05 * abs(train[0]))


def _floor_change(w: Window) -> Estimate:
    """Change of the loss repaired by temperature *and* noise floor, which also tames far outliers."""
    values = np.array(
        [floor_of(s.accumulators).nll if s.accumulators is not None else np.nan for s in w.inside]
    )
    change = float(values[-1] - values[0])
    noise = epoch_noise(values)
    spread = 1.96 * np.sqrt(2) * (0.0 if np.isnan(noise) else noise)
    return Estimate(change, change - spread, change + spread, "nats")


def _error(change: Estimate) -> float:
    return (change.high - change.low) / 3.92


def _z(change: Estimate) -> float:
    error = _error(change)
    return change.value / error if error > 0 else float("nan")


def _verdict(w: Window, r: Repair, floored: Estimate, train: tuple[float, float] | None) -> Verdict:
    change = r.refinement
    # A smaller part of a rise counts where accuracy goes with it: that is no side effect.
    part = 0.0 if _loses_accuracy(w) else PART
    if w.loss_change <= 0 or change.high < max(0.01, part * w.loss_change) or floored.value <= 0:
        return "rejected"
    real = change.value > 0.01 and _z(change) > SURE and floored.low > 0 and floored.value > 0.005
    if real and _falls(train) and change.value > part * w.loss_change:
        return "supported"
    return "undecided"


def _loses_accuracy(w: Window) -> bool:
    """Tell whether clearly more samples became wrong than right (McNemar, one point at least).

    A model that still answered one class had no accuracy to lose.
    """
    return w.accuracy_change <= -0.01 and w.accuracy_p < 0.001 and not answers_one_class(w.start)


def _statement(w: Window, r: Repair, train: tuple[float, float] | None) -> str:
    a, b = r.before, r.after
    which = spoken(training_series(w.recording)[0].split) if train is not None else ""
    beside = (
        "" if train is None else f" while {which} loss goes from {rounded(train[0])} to {rounded(train[1])}"
    )
    return (
        f"With calibration repaired after every epoch, {spoken(w.split)} loss still goes from "
        f"{rounded(a.repaired)} to {rounded(b.repaired)} nats ({signed(r.refinement.value)}) "
        f"{epochs_of(w)}{beside}; accuracy changes by {points(w.accuracy_change)}."
    )


def _evidence(
    w: Window, r: Repair, floored: Estimate, train: tuple[float, float] | None
) -> tuple[Evidence, ...]:
    z = _z(r.refinement)
    part = r.refinement.value / w.loss_change if w.loss_change > 0 else float("nan")
    rows = [
        evidence(
            "rise of the repaired loss", r.refinement.value, "nats", "> 0.01", r.refinement.value > 0.01
        ),
        evidence("its share of the rise", part, "share", f"> {PART}", part > PART),
        evidence("the same in standard errors", z, "z", f"> {SURE:.0f}", z > SURE),
        evidence(
            "rise with a noise floor repaired too", floored.value, "nats", "> 0.005", floored.value > 0.005
        ),
        evidence(
            "change of accuracy",
            w.accuracy_change,
            "share",
            "<= 0; where it surely falls, no share is asked",
            w.accuracy_change <= 0,
        ),
    ]
    if w.before is not None:
        rows.append(evidence(SURE_FALL, w.accuracy_p, "1", "< 0.001, and a fall", _loses_accuracy(w)))
    if train is not None:
        fall = train[0] - train[1]
        rows.append(evidence("fall of the training loss", fall, "nats", "> 0", _falls(train)))
    return tuple(rows)


def _lost(w: Window) -> NDArray[np.int64]:
    """List samples that were right and became wrong, the largest loss increase first."""
    if w.before is None or w.after is None:
        return np.empty(0, np.int64)
    rows = np.flatnonzero((w.before.correct >= 0.5) & (w.after.correct < 0.5))
    increase = (w.after.nll - w.before.nll)[rows]
    return w.after.sample_ids[rows[np.argsort(-increase, kind="stable")]][:200]


def _experiment(w: Window, best: EpochSummary) -> Experiment:
    return Experiment(
        code=(
            "# the same loop with a regulariser; everything else, the seed included, as before\n"
            "optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)\n"
            "# and, between the hidden layers of the model: nn.Dropout(0.3)"
        ),
        prediction=(
            f"The calibrated {spoken(w.split)} loss reaches its minimum later than epoch {best.epoch} or "
            "stays within 0.01 nats of it, and training loss falls more slowly than before."
        ),
    )


CAUSE = Cause(id=ID, examine=examine, scope="episode_or_run")
