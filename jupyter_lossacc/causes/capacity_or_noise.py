"""Capacity or noise: training and validation agree on a plateau that is still high."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jupyter_lossacc.causes.cause import (
    Cause,
    default_split,
    evidence,
    not_tested,
    rounded,
    spoken,
    training_series,
)
from jupyter_lossacc.causes.repair import calibration_of
from jupyter_lossacc.records import Episode, EpochSummary, Evidence, Experiment, Finding, Recording, Verdict
from jupyter_lossacc.stats.noise import epoch_noise, trend_error

__all__ = ["CAUSE"]

ID = "capacity_or_noise"
SHORTEST = 8  # epochs
FLAT = 0.01  # relative change over the plateau
GAP = 0.15  # of the validation loss
MILD = 1.2  # temperature above which the model is too sure to be at its end
REPAIRED = 0.05  # of the loss that a refitted temperature may take away: else calibration is the matter
HIGH = 0.25  # of the loss of guessing with the base rates


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plateau:
    """Both curves over the last epochs."""

    at: EpochSummary
    train: float
    trained_on: str
    train_change: float  # relative
    val_change: float  # relative
    train_error: float  # of that change, one standard error
    val_error: float
    temperature: float
    miscalibrated: float  # share of the loss that one temperature repairs
    chance: float
    train_accuracy: float
    majority: float

    @property
    def gap(self) -> float:
        return (self.at.nll - self.train) / self.at.nll if self.at.nll > 0 else 0.0

    @property
    def level(self) -> float:
        return self.at.nll / self.chance

    @property
    def flat(self) -> bool:
        return abs(self.train_change) < FLAT and abs(self.val_change) < 2 * FLAT

    @property
    def seen_to_be_flat(self) -> bool:
        """Standing still is not the same as wobbling too much to tell."""
        return self.train_error < FLAT and self.val_error < 2 * FLAT

    @property
    def learned(self) -> bool:
        return self.at.accuracy > self.majority + 0.02

    @property
    def rightly_sure(self) -> bool:
        return self.temperature < MILD and self.miscalibrated < REPAIRED

    @property
    def holds(self) -> bool:
        high = self.level > HIGH and self.train_accuracy < 0.95
        return self.flat and self.gap < GAP and self.rightly_sure and high and self.learned


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether the loss has settled where model and data allow no less."""
    if episode is not None and episode.kind != "accuracy_stuck_loss_high":
        return None
    split = episode.split if episode is not None else default_split(recording)
    if split is None or split in ("train", "train_eval"):
        return None
    found = _plateau(recording, split, episode)
    if isinstance(found, str):
        return not_tested(ID, found)
    verdict: Verdict = "rejected"
    if found.holds:
        verdict = "supported" if found.seen_to_be_flat else "undecided"
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=_statement(found, split),
        because="training agrees with it: the model is too small, or the data allow no less",
        evidence=_evidence(found),
        action=(
            "Run the experiment. If a wider network helps, it was capacity: more or larger hidden layers, "
            "longer training. If not, the inputs do not tell more: better features, cleaner labels, or "
            "accept the level."
        ),
        experiment=Experiment(
            code=(
                "# the same loop with every hidden layer four times as wide, same seed and epochs\n"
                "model = make_model(width=4 * width)"
            ),
            prediction=(
                f"Capacity: {spoken(split)} loss falls clearly below {rounded(found.at.nll)}. Noise: it "
                f"stays within {rounded(0.02 * found.at.nll)} nats of it while training loss falls further."
            ),
        ),
        strength=0.2,
    )


def _plateau(recording: Recording, split: str, episode: Episode | None) -> _Plateau | str:
    until = episode.end_epoch if episode is not None else np.inf
    series = [s for s in recording.series(split) if 0 < s.epoch <= until and np.isfinite(s.nll)]
    train = [s for s in training_series(recording, until) if np.isfinite(s.nll)]
    if min(len(series), len(train)) < SHORTEST:
        return f"A plateau needs at least {SHORTEST} epochs with training and validation losses."
    at = series[-1]
    calibration = calibration_of(at)
    if calibration is None or at.classes is None:
        return (
            "Whether the model is rightly unsure is not known: calibration sums or class counts are missing."
        )
    shares = at.classes.support / max(at.classes.support.sum(), 1)
    shares = shares[shares > 0]
    width = max(5, len(series) // 5)
    return _Plateau(
        at=at,
        train=train[-1].nll,
        trained_on=train[-1].split,
        train_change=_relative_change(train[-width:]),
        val_change=_relative_change(series[-width:]),
        train_error=_relative_error(train, width),
        val_error=_relative_error(series, width),
        temperature=calibration.temperature,
        miscalibrated=calibration.cost / calibration.nll if calibration.nll > 0 else 0.0,
        chance=float(-(shares * np.log(shares)).sum()) or float("nan"),
        train_accuracy=train[-1].accuracy,
        majority=float(shares.max()),
    )


def _relative_change(passes: list[EpochSummary]) -> float:
    """Change along the least-squares line, relative to the mean level."""
    x = np.array([s.epoch for s in passes], np.float64)
    y = np.array([s.nll for s in passes])
    change = float(np.polyfit(x, y, 1)[0] * (x[-1] - x[0]))
    return change / float(y.mean()) if y.mean() > 0 else 0.0


def _relative_error(passes: list[EpochSummary], width: int) -> float:
    """Return the standard error of that change, from how the later half of the epochs wobbles."""
    half = np.array([s.nll for s in passes[len(passes) // 2 :]])
    noise = epoch_noise(half) if len(half) > 3 else epoch_noise(np.array([s.nll for s in passes]))
    return trend_error(noise, min(width, len(passes))) / float(half.mean()) if half.mean() > 0 else 0.0


def _statement(p: _Plateau, split: str) -> str:
    levels = (
        f"{spoken(p.trained_on)} loss {rounded(p.train)} and {spoken(split)} loss {rounded(p.at.nll)} nats "
        f"at epoch {p.at.epoch}"
    )
    if not p.holds:
        return f"No plateau on which training and validation agree at a high level: {levels}."
    if not p.seen_to_be_flat:
        return (
            f"Training and validation may agree on a plateau ({levels}), but the curves wobble too much to "
            "say that they stand still."
        )
    return (
        f"Training and validation agree on a plateau ({levels}; guessing with the base rates gives "
        f"{rounded(p.chance)}), and the model is not too sure there: it has too little capacity, or the data "
        "allow no less. These records cannot tell which; the experiment can."
    )


def _evidence(p: _Plateau) -> tuple[Evidence, ...]:
    repaired = p.miscalibrated
    return (
        evidence(
            "training loss, change over the last epochs", p.train_change, "ratio", "within 0.01", p.flat
        ),
        evidence(
            "validation loss, change over the last epochs", p.val_change, "ratio", "within 0.02", p.flat
        ),
        evidence(
            "standard errors of these changes, the larger against its bound",
            max(p.train_error / FLAT, p.val_error / (2 * FLAT)),
            "1",
            "< 1",
            p.seen_to_be_flat,
        ),
        evidence("gap between validation and training", p.gap, "ratio", f"< {GAP}", p.gap < GAP),
        evidence("temperature", p.temperature, "1", f"< {MILD}", p.temperature < MILD),
        evidence(
            "share of the loss that one temperature repairs",
            repaired,
            "share",
            f"< {REPAIRED}",
            repaired < REPAIRED,
        ),
        evidence("loss against guessing with the base rates", p.level, "ratio", f"> {HIGH}", p.level > HIGH),
    )


CAUSE = Cause(id=ID, examine=examine, scope="both")
