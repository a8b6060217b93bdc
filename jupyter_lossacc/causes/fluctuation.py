"""Fluctuation: loss and accuracy did not move together beyond what chance does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jupyter_lossacc.causes.cause import Cause, Window, evidence, not_tested, percent, points, spoken, window
from jupyter_lossacc.causes.repair import wobble
from jupyter_lossacc.records import Episode, Evidence, Experiment, Finding, Recording
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.resampling import paired_difference

__all__ = ["CAUSE"]

ID = "fluctuation"
MIN_EPOCHS = 5
MIN_POINTS = 0.005  # smallest rise of accuracy worth a word


@dataclass(frozen=True, slots=True)
class _Movement:
    """Movement since the lowest loss, against the wobble from epoch to epoch."""

    loss: float
    accuracy: Estimate
    loss_wobble: float
    accuracy_wobble: float
    n_needed: int

    @property
    def loss_rises(self) -> bool:
        return bool(self.loss > 3 * np.sqrt(2) * self.loss_wobble)

    @property
    def suspicious(self) -> bool:
        """The loss rose for sure, and accuracy may have risen with it."""
        return self.loss_rises and self.accuracy.value >= MIN_POINTS


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Say that nothing is wrong; or, where both curves seem to rise, how many samples would tell."""
    w = window(recording, episode)
    if w is None or w.end.epoch - w.start.epoch < 1 or len(recording.series(w.split)) < MIN_EPOCHS:
        return not_tested(
            ID, f"Fewer than {MIN_EPOCHS} evaluated epochs: too few to tell a trend from chance."
        )
    m = _movement(w)
    undecided = m.suspicious
    return Finding(
        cause=ID,
        verdict="undecided" if undecided else "supported",
        statement=_statement(w, m),
        because="nothing moved beyond what chance does from epoch to epoch",
        evidence=_evidence(m),
        action=(
            f"Evaluate on more samples (about {m.n_needed:,}) or repeat with other seeds before acting on it."
            if undecided
            else "Nothing needs to be done. Small moves in the same direction from one epoch to the next are normal."
        ),
        experiment=Experiment(
            code="for seed in range(5):\n    torch.manual_seed(seed)\n    train()   # the same cell again",
            prediction="The joint movement comes at other epochs, or not at all, under other seeds.",
        ),
        strength=0.1,
    )


def _movement(w: Window) -> _Movement:
    series = w.recording.series(w.split)
    loss = np.array([s.nll for s in series])
    accuracy = np.array([s.accuracy for s in series])
    discordant = 0.0
    change = Estimate(w.accuracy_change, unit="share")
    if w.before is not None and w.after is not None:
        change = paired_difference(
            w.before.correct.astype(float), w.after.correct.astype(float), unit="share"
        )
        discordant = float(np.mean((w.before.correct >= 0.5) != (w.after.correct >= 0.5)))
    return _Movement(
        loss=w.loss_change,
        accuracy=change,
        loss_wobble=float(np.nan_to_num(wobble(loss))),
        accuracy_wobble=float(np.nan_to_num(wobble(accuracy))),
        n_needed=_samples_needed(discordant, change.value),
    )


def _samples_needed(discordant: float, change: float) -> int:
    """Samples for a one-sided McNemar test at 5 % with 80 % power (Connor, Biometrics 1987)."""
    if change == 0 or discordant <= change**2:
        return 0
    spread = 1.645 * np.sqrt(discordant) + 0.842 * np.sqrt(discordant - change**2)
    return int(np.ceil((spread / change) ** 2))


def _statement(w: Window, m: _Movement) -> str:
    if m.suspicious:
        needed = f"; about {m.n_needed:,} samples would decide it" if m.n_needed > w.end.n_samples else ""
        return (
            f"{spoken(w.split).capitalize()} loss rose by {m.loss:.3f} nats since epoch {w.start.epoch} and accuracy "
            f"moved by {points(m.accuracy.value)} (95 % interval {100 * m.accuracy.low:+.1f} to "
            f"{100 * m.accuracy.high:+.1f}): whether both really rise is not decided with {w.end.n_samples:,} "
            f"samples{needed}."
        )
    return (
        f"Nothing unusual: {spoken(w.split)} loss and accuracy do not contradict each other beyond their wobble "
        f"from epoch to epoch ({m.loss_wobble:.3f} nats, {percent(m.accuracy_wobble, 1)})."
    )


def _evidence(m: _Movement) -> tuple[Evidence, ...]:
    limit = 3 * np.sqrt(2) * m.loss_wobble
    return (
        evidence("loss above its lowest value", m.loss, "nats", f"<= {limit:.3g} (wobble)", not m.loss_rises),
        evidence(
            "accuracy since then", m.accuracy.value, "share", f"< {MIN_POINTS}", m.accuracy.value < MIN_POINTS
        ),
    )


CAUSE = Cause(id=ID, examine=examine, scope="no_episode")
