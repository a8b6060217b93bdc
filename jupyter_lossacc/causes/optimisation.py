"""What the causes about the optimiser share: the course of the training loss, judged from its steps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np

from jupyter_lossacc.causes.cause import evidence, percent, rounded
from jupyter_lossacc.causes.wording import trained_support
from jupyter_lossacc.stats.descent import LONG, Descent, describe_descent

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.records import Evidence, Recording

__all__ = [
    "LARGE_BATCH",
    "SMALL_BATCH",
    "aim",
    "course",
    "descent_of",
    "excuse",
    "instability",
    "symptoms",
    "unproved",
]

SMALL_BATCH = 8.0  # up to here the noise of a batch is the first suspect
LEARNED = 0.05  # of accuracy above the base rate
LARGE_BATCH = 32.0  # from here on the learning rate is
_latest: list[tuple[Callable[[], Recording | None], Descent | str]] = [(lambda: None, "")]  # of which run
LIKELIHOODS = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")


def descent_of(recording: Recording) -> Descent | str:
    """Describe the training loss of a run, or say why that cannot be done.

    Three causes ask one after the other; of a long run the answer takes milliseconds.
    """
    of, found = _latest[0]
    if of() is not recording:
        found = _described(recording)
        _latest[0] = (ref(recording), found)
    return found


def _described(recording: Recording) -> Descent | str:
    steps = recording.steps
    if not len(steps.get("loss", ())):
        return "No optimiser steps were recorded."
    found = describe_descent(steps, _chance(recording))
    if found is None:
        return "Fewer than eight epochs of steps were recorded."
    return replace(found, above_chance=np.inf) if _something_was_learned(recording) else found


def _something_was_learned(recording: Recording) -> bool:
    """Tell whether some evaluation was right clearly more often than the largest class is there."""
    tables = [(s.accuracy, s.classes) for s in recording.summaries if s.complete and not s.training]
    return any(
        accuracy > float(t.support.max() / t.support.sum()) + LEARNED
        for accuracy, t in tables
        if t is not None and t.support.sum()
    )


def _chance(recording: Recording) -> float:
    """Loss of stating the class proportions of the training; 0 where the criterion is not that loss."""
    losses = [s.loss for s in recording.summaries if s.split == "train"]
    support = trained_support(recording)
    plain = losses and losses[-1].name in LIKELIHOODS and losses[-1].reduction == "mean"
    if support is None or not plain:
        return 0.0
    share = support[support > 0] / support.sum()
    return float(-(share * np.log(share)).sum())


def unsteady_weights(recording: Recording) -> bool:
    """Tell whether the training criterion itself changed (weights or smoothing), moving its loss."""
    losses = [s.loss for s in recording.summaries if s.split == "train" and s.complete]
    if len({loss.label_smoothing for loss in losses}) > 1 or len({loss.name for loss in losses}) > 1:
        return True
    weights = [loss.class_weights for loss in losses]
    known = [w for w in weights if w is not None]
    return len(known) not in (0, len(weights)) or any(not np.array_equal(w, known[0]) for w in known)


def excuse(recording: Recording) -> str:
    """Return the sentence on what else moves the training loss by itself; empty when nothing does."""
    if unsteady_weights(recording):
        return " The criterion itself changed during training, which moves its loss too."
    runs = [s.order_runs for s in recording.summaries if s.split == "train" and s.order_runs is not None]
    if runs and np.nanmedian([ratio for ratio, _ in runs]) < 0.5:
        return " The training samples arrive in runs of one class, which makes the loss swing by itself."
    return ""


def instability(d: Descent) -> bool:
    """Tell whether the training loss itself is unstable at a high level."""
    return d.overshoots or d.stalls_swinging or d.killed or d.blows_up


def unproved(d: Descent) -> str:
    """Say why a suspicion is no more than that."""
    if min(d.end, d.progress) > 0.95:
        return (
            " The loss hardly left its start: batches too small, a rate too high, units that died and labels "
            "without a pattern all look like this."
        )
    if d.stalls_swinging:
        return " Its swings are no larger than single batches make them."
    return " Its swings are too small or too rare to say what makes them."


def symptoms(d: Descent) -> tuple[Evidence, ...]:
    """List the numbers behind `instability`."""
    rows = [
        evidence("highest training loss against its start or chance", d.peak, "ratio", "> 1.3", d.peak > 1.3),
        evidence(
            "training loss at the end against its start or chance", d.end, "ratio", "> 0.25", d.end > 0.25
        ),
        evidence(
            "epochs in which the training loss rose", d.rise_share, "share", "> 0.25", d.rise_share > 0.25
        ),
        evidence("share of its movement that went up", d.backward, "share", "> 0.4", d.backward > 0.4),
        evidence("last quarter against second quarter", d.progress, "ratio", "> 0.85", d.progress > 0.85),
        evidence("variation of the gradient norm", d.gradient_cv, "1", "", True),
        evidence(
            "longest update against weights",
            d.longest_update,
            "ratio",
            f"> {LONG:g}",
            d.longest_update > LONG,
        ),
    ]
    if d.killed:
        rows.append(evidence("units without gradient at the start", d.dead[0], "share", "<= 0.5", True))
        rows.append(evidence("units without gradient in the last steps", d.dead[1], "share", "> 0.9", True))
        longest = 10 * LONG
        rows.append(evidence("the longest update again", d.longest_update, "ratio", f"> {longest:g}", True))
    if d.broken_step >= 0:
        grown = d.growth > 10
        rows.append(evidence("gradient norm before the loss broke", d.growth, "ratio", "> 10", grown))
        climb = "loss before it broke, against where it began to climb"
        rows.append(evidence(climb, d.climb, "ratio", "> 10 in three steps or more", d.climb > 10))
    return tuple(row for row in rows if np.isfinite(row.value))


def aim(d: Descent) -> str:
    """Say what a better training should end below: the level now, where there is one."""
    return f"well below {rounded(d.loss[-1])}" if np.isfinite(d.loss[-1]) else "as a finite number"


def course(d: Descent) -> str:
    """Say in one or two sentences how the training loss went, as far as it was a number."""
    changing = d.highest_rate > 1.05 * d.learning_rate  # a schedule: the longest steps were taken at its top
    rate = f"up to {d.highest_rate:.2g}" if changing else f"{d.learning_rate:.2g}"
    with_what = f"(learning rate {rate}, batches of {d.batch_size:.0f})"
    finite = d.loss[np.isfinite(d.loss)]
    if d.broken_step >= 0:
        before = (
            f"; in the last epoch before, the mean training loss was {rounded(finite[-1])}"
            if len(finite)
            else ""
        )
        climbed = f", after it rose {d.climb:.2g}-fold in a few steps" if d.climb > 10 else ""
        return f"The loss is not finite from step {d.broken_step} on{climbed}{before} {with_what}."
    told = (
        [f"rose in {percent(d.rise_share)} of the epochs after the first fifth"] if d.rise_share > 0 else []
    )
    if d.peak > 1.05:
        told.append(f"peaked at {rounded(d.peak, 1)} times its start")
    if np.isfinite(d.progress):
        told.append(f"ended at {percent(d.progress)} of its level after a quarter of the training")
    return (
        f"The mean training loss went from {rounded(d.loss[0])} in the first epoch to {rounded(d.loss[-1])} "
        f"in the last{'; it ' if told else ''}{', '.join(told)} {with_what}.{_killed(d)}"
    )


def _killed(d: Descent) -> str:
    if not d.killed:
        return ""
    return (
        f" Steps of {percent(d.longest_update, 1)} of the weights' length silenced the network: "
        f"{percent(d.dead[0])} of the hidden units let no gradient through at the start, "
        f"{percent(d.dead[1])} in the last steps."
    )
