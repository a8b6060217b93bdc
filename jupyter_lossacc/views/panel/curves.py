"""Curves, reference lines and marks of the two charts."""

from __future__ import annotations

from math import isfinite, log
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.causes.cause import default_split
from jupyter_lossacc.views.panel.coding import coded, coded_list, thinned
from jupyter_lossacc.views.words import capitalized, loss_unit, number, percent, quantity, split_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_lossacc.records import CheckpointAdvice, EpochSummary, Recording

__all__ = [
    "Positions",
    "best_marks",
    "curves",
    "non_finite_words",
    "rate_changes",
    "references",
    "steps_curve",
]

Floats = NDArray[np.float64]
MAX_STEP_POINTS = 1500
MAX_RATE_TICKS = 30


class Positions:
    """Where on the epoch axis a moment lies: epoch e is over at x = e."""

    def __init__(self, recording: Recording) -> None:
        epochs = recording.steps.get("epoch", np.empty(0))
        steps = recording.steps.get("step", np.empty(0))
        self._last: dict[int, float] = {}
        first: dict[int, float] = {}
        for epoch in np.unique(epochs):
            mine = steps[epochs == epoch]
            first[int(epoch)], self._last[int(epoch)] = float(mine.min()), float(mine.max())
        self._count = {e: self._last[e] - first[e] + 1 for e in first}
        # The epoch that is still running is as long as the longest one so far.
        if recording.status == "running" and len(self._count) > 1:
            newest = max(self._count)
            self._count[newest] = max(self._count.values())
        self._first = first

    def of(self, epoch: int, step: float) -> float:
        """Position of a step, or of a pass that ended after it."""
        if epoch not in self._first or epoch == 0:
            return float(epoch)
        done = (step - self._first[epoch] + 1) / self._count[epoch]
        return epoch - 1 + float(np.clip(done, 0.0, 1.0))

    def of_steps(self, epochs: Floats, steps: Floats) -> Floats:
        """Positions of all steps, shape (n_steps,)."""
        known = np.array(sorted(self._first))
        if not len(known):
            return epochs.astype(np.float64)
        at = np.minimum(np.searchsorted(known, epochs), len(known) - 1)
        first, count = (np.array([of[e] for e in known.tolist()]) for of in (self._first, self._count))
        x = epochs - 1 + np.clip((steps - first[at] + 1) / count[at], 0.0, 1.0)
        return np.where((known[at] == epochs) & (epochs != 0), x, epochs)


def _passes(recording: Recording, split: str) -> list[EpochSummary]:
    return [s for s in recording.summaries if s.split == split and s.complete]


def curves(recording: Recording, positions: Positions) -> list[dict[str, Any]]:
    """One entry per split: a point per complete pass.

    `loss` is the reported loss, `calibrated` the loss with the degree of confidence repaired.
    """
    found = []
    for split in recording.splits():
        passes = _passes(recording, split)
        if not passes:
            continue
        calibrated = [s.calibrated_nll for s in passes]
        found.append(
            {
                "id": split,
                "label": split_word(split),
                "name": passes[-1].name,
                "samples": passes[-1].n_samples,
                "x": coded_list([_position(s, positions) for s in passes], 7),
                "epoch": [s.epoch for s in passes],
                "loss": coded_list(s.reported_loss for s in passes),
                # Where it was not taken (short training steps are counted now and then) there is a gap.
                "accuracy": [coded(s.accuracy) if isfinite(s.accuracy) else None for s in passes],
                "calibrated": coded_list(calibrated) if np.isfinite(calibrated).any() else [],
            }
        )
    return found


def _position(summary: EpochSummary, positions: Positions) -> float:
    # A training pass is over at the end of its epoch, also when its last steps are not flushed yet.
    return float(summary.epoch) if summary.split == "train" else positions.of(summary.epoch, summary.step)


def steps_curve(recording: Recording, positions: Positions) -> dict[str, list[Any]]:
    """Loss of every optimiser step, thinned with its extremes kept."""
    steps = recording.steps
    if not len(steps.get("loss", ())):
        return {"x": [], "loss": []}
    # Thinning by rank first: positions are costly and only needed for what is kept.
    rank, loss = thinned(np.arange(len(steps["loss"]), dtype=np.float64), steps["loss"], MAX_STEP_POINTS)
    rows = rank.astype(int)
    x = positions.of_steps(steps["epoch"][rows], steps["step"][rows])
    return {"x": coded_list(x, 7), "loss": coded_list(loss, 4)}


def references(recording: Recording) -> list[dict[str, Any]]:
    """Say what knowing nothing gives: chance loss ln K, and the accuracy of always naming one class."""
    found: list[dict[str, Any]] = []
    split = default_split(recording)  # a test set at the end has a majority of its own
    newest = next((s for s in reversed(recording.summaries) if s.split == split and s.complete), None)
    if newest is None or newest.n_classes < 2 or newest.loss.task not in ("multiclass", "binary"):
        return found
    chance = log(newest.n_classes)
    # Where the criterion is no likelihood, its axis has no place for nats.
    if loss_unit(recording) == "nats":
        found.append(
            {
                "pane": "loss",
                "value": coded(chance),
                "label": f"chance {number(chance)}",
                "title": f"Guessing evenly among {newest.n_classes} classes costs ln {newest.n_classes} = "
                f"{quantity(chance, 'nats')}.",
            }
        )
    if newest.classes is not None and newest.classes.support.sum() > 0:
        share = float(newest.classes.support.max() / newest.classes.support.sum())
        found.append(
            {
                "pane": "accuracy",
                "value": coded(share),
                "label": f"majority {percent(share)}",
                "title": f"Always naming the most frequent {split_word(newest.split)} class "
                f"gives {percent(share)}.",
            }
        )
    return found


def rate_changes(recording: Recording, positions: Positions) -> list[dict[str, Any]]:
    """Where the learning rate changed; empty when it changes all the time."""
    rates = recording.steps.get("learning_rate", np.empty(0))
    if len(rates) < 2:
        return []
    moved = np.flatnonzero(np.diff(rates) != 0)
    if len(moved) > MAX_RATE_TICKS:
        return []
    epochs, steps = recording.steps["epoch"], recording.steps["step"]
    return [
        {
            "x": coded(positions.of(int(epochs[i]), float(steps[i])), 7),
            "text": f"learning rate {number(float(rates[i]))} → {number(float(rates[i + 1]))}",
        }
        for i in moved.tolist()
    ]


def best_marks(
    recording: Recording, positions: Positions, advice: CheckpointAdvice | None
) -> list[dict[str, Any]]:
    """Lowest loss, lowest calibrated loss and highest accuracy, each with a shape of its own."""
    split = next((s for s in ("val", "test") if recording.series(s)), None)
    if split is None:
        return []
    series = [s for s in recording.series(split) if s.epoch > 0]
    wanted: Sequence[tuple[str, str, str, str, int]] = (
        ("loss", "reported_loss", "triangle-down", "lowest loss", 1),
        ("loss", "calibrated_nll", "diamond", "lowest calibrated loss", 1),
        ("accuracy", "accuracy", "triangle-up", "highest accuracy", -1),
    )
    marks = []
    for pane, column, shape, label, sign in wanted:
        finite = [s for s in series if isfinite(getattr(s, column))]
        if len(finite) < 2:
            continue
        best = min(finite, key=lambda s: sign * getattr(s, column))
        value = getattr(best, column)
        said = percent(value) if pane == "accuracy" else number(value)
        marks.append(_mark(best, positions, split, pane, value, shape, f"{label} {said}, epoch {best.epoch}"))
    if advice is not None and advice.epoch is not None:
        kept = next((s for s in series if s.epoch == advice.epoch), None)
        if kept is not None:
            marks.append(_mark(kept, positions, split, "both", kept.accuracy, "keep", f"keep {kept.epoch}"))
    return marks


def _mark(
    summary: EpochSummary, positions: Positions, split: str, pane: str, value: float, shape: str, text: str
) -> dict[str, Any]:
    x = coded(_position(summary, positions), 7)
    return {"pane": pane, "split": split, "x": x, "y": coded(value), "shape": shape, "text": text}


def non_finite_words(recording: Recording) -> list[str]:
    """Say where a curve has no finite value, split by split."""
    said = []
    for split in recording.splits():
        passes = _passes(recording, split)
        bad = [s for s in passes if not isfinite(s.reported_loss)]
        if not bad:
            continue
        value, first = number(bad[0].reported_loss), bad[0].epoch
        lasting = all(not isfinite(s.reported_loss) for s in passes if s.epoch >= first)
        when = (
            f"from epoch {first} on" if lasting and len(bad) > 1 else f"at {_listed([s.epoch for s in bad])}"
        )
        said.append(
            f"{capitalized(split_word(split))} loss is {value} {when}; "
            "the curve ends at its last finite value."
        )
    losses = recording.steps.get("loss", np.empty(0))
    broken = np.flatnonzero(~np.isfinite(losses))
    if len(broken):
        i = int(broken[0])
        where = f"step {int(recording.steps['step'][i]):,} (epoch {int(recording.steps['epoch'][i])})"
        said.append(
            f"The batch loss is {number(float(losses[i]))} at {where}, "
            f"{len(broken):,} of {len(losses):,} steps in all."
        )
    return said


def _listed(epochs: list[int], most: int = 3) -> str:
    named = ", ".join(map(str, epochs[:most]))
    word = "epoch" if len(epochs) == 1 else "epochs"
    return f"{word} {named}" + (f" and {len(epochs) - most} more" if len(epochs) > most else "")
