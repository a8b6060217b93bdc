"""Fluctuation: loss and accuracy did not move together beyond what chance does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import (
    MEDIAN_OF,
    Cause,
    Window,
    answers_one_class,
    evidence,
    not_tested,
    percent,
    points,
    rising_window,
    rounded,
    signed,
    spoken,
    states_proportions,
    training_series,
    window,
)
from jupyter_lossacc.records import Episode, EpochSummary, Evidence, Experiment, Finding, Recording
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.noise import epoch_noise
from jupyter_lossacc.stats.resampling import paired_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAUSE"]

ID = "fluctuation"
MIN_EPOCHS = 5
MIN_POINTS = 0.005  # smallest rise of accuracy worth a word
FADES = 5  # epochs after which a loss that is no longer seen above its lowest is not said to be
LOOKED_BACK = 50  # epochs: what was seen before them no longer matters
FALLEN = 0.02  # share of the samples; less of a fall of accuracy is not told as one
FEW = 10  # samples that became wrong
MUCH = 1.25  # mean of the later half over that of the earlier, from which on a loss is not called usual


@dataclass(frozen=True, slots=True)
class _Movement:
    """Movement since the lowest loss, against the wobble from epoch to epoch."""

    loss: float
    accuracy: Estimate
    loss_wobble: float
    accuracy_wobble: float
    loss_rises: bool
    n_needed: int
    fall: float  # of accuracy from its highest level, where that is no wobble; else 0
    highest: int  # epoch in the middle of that level

    @property
    def accuracy_rises(self) -> bool:
        """Accuracy may have risen by enough to be worth a word."""
        return self.accuracy.value >= MIN_POINTS


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Say that nothing is wrong; or, where a curve seems to move, that and why it is not decided."""
    w = window(recording, episode)
    if w is None or len(recording.series(w.split)) < MIN_EPOCHS:
        return not_tested(
            ID, f"Fewer than {MIN_EPOCHS} evaluated epochs: too few to tell a trend from chance."
        )
    last = recording.series(w.split)[-1]
    if not (np.isfinite(last.nll) and np.isfinite(w.loss_change) and np.isfinite(w.accuracy_change)):
        return not_tested(
            ID,
            f"The {spoken(w.split)} loss is not finite at epoch {last.epoch}: there is no wobble to measure.",
        )
    m = _movement(w, rises=rising_window(recording, episode) is not None or _much_higher(w))
    blank = _learned_nothing(recording, last) and not m.loss_rises
    return Finding(
        cause=ID,
        verdict="undecided" if m.loss_rises or blank or m.fall else "supported",
        statement=_nothing_learned(last) if blank else _statement(w, m),
        because="nothing moved beyond what chance does from epoch to epoch",
        evidence=_evidence(m),
        action=(
            "Look at the learning rate, the initialisation and the labels: a constant answer is stuck."
            if blank
            else "Keep an epoch from before the fall. Accuracy that falls while training goes on is as a "
            "rule a matter of overfitting, of wrong training labels above all: look at these, regularise, or "
            "train for a shorter time."
            if m.fall
            else "Watch the calibrated loss, not the loss, to decide whether to go on. To know what accuracy "
            "does, evaluate on more samples or repeat with other seeds."
            if m.loss_rises
            else "Nothing needs to be done: small moves the same way from one epoch to the next are normal."
        ),
        experiment=Experiment(
            code="for seed in range(5):\n    torch.manual_seed(seed)\n    train()   # the same cell again",
            prediction="The joint movement comes at other epochs, or not at all, under other seeds.",
        ),
        strength=0.1,
    )


def _learned_nothing(recording: Recording, last: EpochSummary) -> bool:
    """Tell whether the last epoch knows no more than the proportions of the classes, in training either."""
    train = [s.nll for s in training_series(recording) if np.isfinite(s.nll)][-1:]
    # Too sure of too little, and learned by heart, are other matters.
    return answers_one_class(last) or states_proportions(last, *train)


def _much_higher(w: Window) -> bool:
    """Tell whether the loss has grown far above its lowest though single epochs wobble too much to say so."""
    losses = np.array([s.nll for s in w.inside if np.isfinite(s.nll)])
    half = len(losses) // 2
    if half < MIN_EPOCHS:
        return False
    early, late = losses[:half].mean(), losses[-half:].mean()
    return bool(late > MUCH * early and late - early > 3 * np.sqrt(2 / half) * epoch_noise(losses))


def _movement(w: Window, *, rises: bool) -> _Movement:
    series = w.recording.series(w.split)
    discordant = 0.0
    change = Estimate(w.accuracy_change, unit="share")
    if w.before is not None and w.after is not None:
        change = paired_difference(
            w.before.correct.astype(float), w.after.correct.astype(float), unit="share"
        )
        discordant = float(np.mean((w.before.correct >= 0.5) != (w.after.correct >= 0.5)))
    fall, highest = _accuracy_fallen(series)
    return _Movement(
        loss=w.loss_change,
        accuracy=change,
        loss_wobble=float(np.nan_to_num(epoch_noise(_late(np.array([s.nll for s in series]))))),
        accuracy_wobble=float(np.nan_to_num(epoch_noise(_late(np.array([s.accuracy for s in series]))))),
        loss_rises=rises,
        n_needed=_samples_needed(discordant, change.value),
        fall=fall,
        highest=highest,
    )


def _accuracy_fallen(series: tuple[EpochSummary, ...]) -> tuple[float, int]:
    """Return by how much the median accuracy of the last five epochs lies below the highest of five before.

    And the middle of these; (0, 0) unless it is past the wobble, by the rule that rises of the loss go by,
    and no epoch of the last quarter is as accurate as any of those five: accuracy wanders, too.
    """
    accuracy = np.array([s.accuracy for s in series])
    if len(accuracy) < 3 * MEDIAN_OF or not np.isfinite(accuracy).all():
        return 0.0, 0
    levels = np.median(np.lib.stride_tricks.sliding_window_view(accuracy, MEDIAN_OF), axis=1)
    at = int(np.argmax(levels[:-MEDIAN_OF]))
    fall = float(levels[at] - levels[-1])
    error = np.sqrt(np.pi / MEDIAN_OF) * epoch_noise(accuracy[at:], robust=True)
    few = FEW / max(series[-1].n_samples, 1)  # on a small set the next ones may as well be right
    lost = accuracy[-max(MEDIAN_OF, len(accuracy) // 4) :].max() < accuracy[at : at + MEDIAN_OF].min()
    if not lost or fall <= max(FALLEN, 5 * error, few):
        return 0.0, 0
    return fall, series[at + MEDIAN_OF // 2].epoch


def _samples_needed(discordant: float, change: float) -> int:
    """Return the samples that a one-sided McNemar test at 5 % needs for 80 % power (Connor 1987)."""
    if change == 0 or discordant <= change**2:
        return 0
    spread = 1.645 * np.sqrt(discordant) + 0.842 * np.sqrt(discordant - change**2)
    return int(np.ceil((spread / change) ** 2))


def _nothing_learned(last: EpochSummary) -> str:
    what = (
        f"(nearly) every {spoken(last.split)} sample is given the same class"
        if answers_one_class(last)
        else f"the {spoken(last.split)} loss ({rounded(last.nll)} nats) is no lower than that of always "
        "stating the class proportions"
    )
    return (
        f"Nothing moves beyond chance, and nothing is learned: at epoch {last.epoch} {what}; accuracy is "
        f"{percent(last.accuracy, 1)}."
    )


def _seen_above(w: Window) -> bool:
    """Tell whether a reader sees the loss above its lowest; what was seen is until it is gone for a while.

    The epochs are gone through as the reader did: an answer for the newest one alone would change with it.
    """
    losses = np.array([s.nll for s in w.recording.series(w.split) if s.epoch <= w.end.epoch])
    seen, since = False, 0
    for n in range(max(MIN_EPOCHS, len(losses) - LOOKED_BACK), len(losses) + 1):
        before = losses[: n - 1][np.isfinite(losses[: n - 1])]
        if not before.size:
            continue
        lowest = float(before.min())
        above = float(losses[n - 1]) - lowest
        wobble = float(np.nan_to_num(epoch_noise(_late(losses[:n]))))
        if above > max(2 * wobble, 0.01, 0.02 * lowest):
            seen, since = True, 0
        else:
            since += 1
            seen = seen and since < FADES
    return seen


def _late(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out the first epochs, which fall steeply: what bends there is not wobble."""
    return values[-max(MIN_EPOCHS, 2 * len(values) // 3) :]


def _statement(w: Window, m: _Movement) -> str:
    split = spoken(w.split)
    if m.fall:
        loss = (
            f"the loss has risen by {rounded(m.loss)} nats since epoch {w.start.epoch}"
            if m.loss_rises
            else f"the loss stands {rounded(m.loss)} nats above its lowest, which its wobble may do"
            if m.loss > 0
            else "the loss is at its lowest"
        )
        return (
            f"{split.capitalize()} accuracy has fallen by {rounded(100 * m.fall, 1)} points since about "
            f"epoch {m.highest} (medians of {MEDIAN_OF} epochs), more than its wobble of "
            f"{rounded(100 * m.accuracy_wobble, 1)} points from epoch to epoch, while {loss}."
            f"{_repaired(w)}"
        )
    if not m.loss_rises:
        nats = f"{rounded(m.loss_wobble)}" if m.loss_wobble >= 0.0005 else "under 0.001"
        if _seen_above(w) and m.loss <= 0:
            return (
                f"No rise beyond chance so far: {split} loss is at its lowest at epoch {w.end.epoch}; what "
                f"it rose by before is undone. It wobbles by {nats} nats from epoch to epoch."
            )
        if _seen_above(w):
            since = sum(s.epoch > w.start.epoch for s in w.inside)
            return (
                f"No rise beyond chance so far: {split} loss is {rounded(m.loss)} nats above its lowest, at "
                f"epoch {w.start.epoch}. It wobbles by {nats} nats from epoch to epoch, and the lowest of "
                f"several is partly luck, so the {since} epochs since then do not make that a rise."
            )
        return (
            f"Nothing unusual: {split} loss and accuracy do not part beyond their wobble from epoch to epoch "
            f"({nats} nats, {rounded(100 * m.accuracy_wobble, 1)} points)."
        )
    enough = m.n_needed > w.end.n_samples and m.accuracy_rises
    needed = f" About {rounded(m.n_needed)} samples would decide it." if enough else ""
    low, high = (signed(100 * bound, 1) for bound in (m.accuracy.low, m.accuracy.high))
    interval = f" (95 % interval {low} to {high})" if np.isfinite(m.accuracy.low) else ""
    samples = f"{w.end.n_samples:,} sample{'s' if w.end.n_samples > 1 else ''}"
    return (
        f"{split.capitalize()} loss has risen by {rounded(m.loss)} nats since epoch {w.start.epoch}; "
        f"accuracy moved by {points(m.accuracy.value)}{interval}, and with {samples} and a wobble of "
        f"{rounded(100 * m.accuracy_wobble, 1)} points it is not decided whether it rises, stays or "
        f"falls.{needed}"
    )


def _repaired(w: Window) -> str:
    """Say what the loss would have done with calibration repaired, where that has grown a good deal."""
    known = [s for s in w.recording.series(w.split) if np.isfinite(s.calibrated_nll)]
    low = min(known, key=lambda s: s.calibrated_nll, default=None)
    if low is None or known[-1].calibrated_nll <= MUCH * low.calibrated_nll:
        return ""
    return (
        f" With calibration repaired it went from {rounded(low.calibrated_nll)} nats at epoch {low.epoch} to "
        f"{rounded(known[-1].calibrated_nll)}."
    )


def _evidence(m: _Movement) -> tuple[Evidence, ...]:
    return (
        evidence("loss above its lowest value", m.loss, "nats", "within wobble", not m.loss_rises),
        evidence("wobble of the loss", m.loss_wobble, "nats", "", True),
        evidence(
            "change of accuracy since then",
            m.accuracy.value,
            "share",
            f"< {MIN_POINTS}",
            not m.accuracy_rises,
        ),
        evidence("wobble of accuracy", m.accuracy_wobble, "share", "", True),
        evidence("fall of accuracy from its highest level", m.fall, "share", "within wobble", not m.fall),
    )


CAUSE = Cause(id=ID, examine=examine, scope="no_episode")
