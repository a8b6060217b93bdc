"""Class weights changed: the reported loss moved because its weights did."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.causes.cause import (
    Cause,
    Window,
    default_split,
    epochs_of,
    evidence,
    not_tested,
    percent,
    rounded,
    signed,
    spoken,
    window,
)
from jupyter_lossacc.causes.wording import CLASS_TASKS
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
from jupyter_lossacc.stats.transitions import weight_parts

__all__ = ["CAUSE", "examine"]

ID = "class_weights_changed"
CHANGED = 1.2  # largest relative change of a weight; smaller changes move nothing
LARGE = 0.3  # of the change of the reported loss
MIN_EFFECT = 0.01  # nats

Floats = NDArray[np.float64]


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Split the change of the reported loss into what the weights and what the samples did."""
    w = window(recording, episode) if episode is not None else _across_the_change(recording)
    if w is None:
        return not_tested(ID, "Fewer than two complete passes lie in this stretch.")
    if w.end.loss.class_weights is None and w.start.loss.class_weights is None:
        return Finding(
            cause=ID,
            verdict="rejected",
            statement=f"The loss of the {spoken(w.split)} split carries no class weights that could change.",
        )
    if w.end.loss.task not in CLASS_TASKS or w.start.classes is None or w.end.classes is None:
        return not_tested(ID, "The losses per class, which the weights multiply, were not recorded.")
    ends = (_weights(w.start), _weights(w.end))
    if any(len(x) != len(w.end.classes.support) for x in ends):
        return not_tested(ID, "The class weights do not match the number of classes.")
    return _split(w, *ends)


def _across_the_change(recording: Recording) -> Window | None:
    """Return the window from the last pass with the first weights to the last pass of the run."""
    split = default_split(recording)
    series = recording.series(split) if split is not None else ()
    if split is None or len(series) < 2:
        return None
    same = [s for s in series[:-1] if np.array_equal(_weights(s), _weights(series[0]))]
    return Window(recording=recording, split=split, start=same[-1], end=series[-1])


def _weights(summary: EpochSummary) -> Floats:
    weights = summary.loss.class_weights
    return np.ones(max(summary.n_classes, 1)) if weights is None else np.asarray(weights, np.float64)


def _shares(summary: EpochSummary, weights: Floats) -> tuple[Floats, Floats]:
    """Factor of each class in the reported mean, and its mean loss."""
    table = summary.classes
    assert table is not None  # noqa: S101 - the caller checks
    mass = table.support * weights
    total = float(table.support.sum()) if summary.loss.reduction in ("sum", "none") else float(mass.sum())
    return mass / total, np.where(table.support > 0, table.nll, 0.0)


def _split(w: Window, first: Floats, last: Floats) -> Finding:
    share_a, loss_a = _shares(w.start, first)
    share_b, loss_b = _shares(w.end, last)
    by_weights, by_samples = weight_parts(loss_a, loss_b, share_a, share_b)
    positive = (first > 0) & (last > 0)
    relative = (last / last.mean())[positive] / (first / first.mean())[positive]
    changed = float(np.exp(np.abs(np.log(relative)).max())) if positive.any() else float("inf")
    if w.end.loss.reduction in ("sum", "none") and positive.any():  # there the scale counts as well
        changed = max(changed, float(np.exp(np.abs(np.log(last[positive] / first[positive])).max())))
    total = by_weights + by_samples
    verdict = _verdict(changed, by_weights, by_samples)
    return Finding(
        cause=ID,
        verdict=verdict,
        share=Estimate(by_weights / total, unit="share") if abs(total) > 1e-12 else None,
        statement=_statement(w, changed, by_weights, by_samples),
        because=f"its class weights changed: they account for {signed(by_weights)} nats, the samples for "
        f"{signed(by_samples)}",
        evidence=_evidence(changed, by_weights, by_samples),
        counterfactual=Counterfactual(
            name=f"reported {spoken(w.split)} loss at epoch {w.end.epoch} with the weights of epoch "
            f"{w.start.epoch}",
            value=float(_shares(w.end, first)[0] @ loss_b),
            actual=w.end.reported_loss,
        ),
        action=(
            "Do not read a loss across a change of its weights: evaluate with fixed (or no) weights, and "
            f"keep the schedule for training. The unweighted loss went from {rounded(w.start.nll)} to "
            f"{rounded(w.end.nll)} and balanced accuracy from {percent(w.start.balanced_accuracy, 1)} to "
            f"{percent(w.end.balanced_accuracy, 1)}."
        ),
        experiment=Experiment(
            code="evaluation_criterion = nn.CrossEntropyLoss()  # no weights: comparable between epochs\n",
            prediction=f"The {spoken(w.split)} loss between epochs {w.start.epoch} and {w.end.epoch} "
            "changes by "
            f"{signed(w.loss_change)} instead of {signed(w.end.reported_loss - w.start.reported_loss)}.",
            result=f"Computed from the records: {signed(w.loss_change)} nats unweighted.",
        ),
        strength=float(np.clip(abs(by_weights) / max(abs(by_weights) + abs(by_samples), 1e-12), 0, 1)),
    )


def _verdict(changed: float, by_weights: float, by_samples: float) -> Verdict:
    if changed < CHANGED or abs(by_weights) < MIN_EFFECT:
        return "rejected"
    total = by_weights + by_samples
    opposed = np.sign(by_weights) != np.sign(by_samples) and np.sign(total) == np.sign(by_weights)
    return "supported" if opposed or abs(by_weights) > LARGE * abs(total) else "rejected"


def _statement(w: Window, changed: float, by_weights: float, by_samples: float) -> str:
    return (
        f"The class weights of the {spoken(w.split)} criterion changed by a factor of up to "
        f"{rounded(changed, 2)} {epochs_of(w)}: of the change of the reported loss the weights account for "
        f"{signed(by_weights)} nats and the samples for {signed(by_samples)}."
    )


def _evidence(changed: float, by_weights: float, by_samples: float) -> tuple[Evidence, ...]:
    total = by_weights + by_samples
    large = abs(by_weights) > LARGE * abs(total)
    return (
        evidence("largest relative change of a weight", changed, "1", f"> {CHANGED}", changed > CHANGED),
        evidence("change through the weights", by_weights, "nats", f"> {LARGE} of the whole", large),
        evidence("change through the samples", by_samples, "nats", "", large),
    )


CAUSE = Cause(ID, examine, "both")
