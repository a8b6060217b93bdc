"""Averaging artifact: the curve moves because of how losses were averaged, not because of the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jupyter_lossacc.causes.cause import Cause, Window, evidence, not_tested, rounded, signed, spoken, window
from jupyter_lossacc.records import (
    Counterfactual,
    Episode,
    EpochSummary,
    Experiment,
    Finding,
    Recording,
    Verdict,
)
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.noise import epoch_noise

__all__ = ["CAUSE", "examine"]

ID = "averaging_artifact"
SMALL = 0.005  # of the loss: rounding and float32
LARGE = 0.02
MIN_EPOCHS = 5
CODE = """total = torch.zeros((), dtype=torch.float64)
count = 0
for x, y in val_loader:
    loss = criterion(model(x), y)      # mean over this batch
    total += loss.detach().double() * len(y)
    count += len(y)
print(float(total / count))            # mean over samples; not total / len(val_loader)
"""
CODE_OF_POSITIONS = """total, count = 0.0, 0
for x, y in val_loader:                 # logits (n, classes, positions), targets (n, positions)
    loss = F.cross_entropy(model(x), y, reduction="none")     # 0 where y is the ignore_index
    total += (loss.sum(dim=1) / (y != ignore_index).sum(dim=1)).sum().item()
    count += len(y)
print(total / count)                    # mean over samples, each the mean of its positions
"""


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Compare the reported loss with the plain mean of the samples' own losses."""
    w = window(recording, episode) if episode is not None else _reported_window(recording)
    if w is None and episode is None:
        return None
    if w is None:
        return not_tested(ID, "Fewer than two complete passes lie in this stretch.")
    try:
        means = [_plain_mean(recording, s) for s in (w.start, w.end)]
    except KeyError:
        return not_tested(ID, "The losses of single samples were not kept, so their mean is not known.")
    if not all(
        np.isfinite(m) and np.isfinite(s.reported_loss) for m, s in zip(means, (w.start, w.end), strict=True)
    ):
        return not_tested(
            ID, "The criterion gives no loss for a single sample here, so its mean cannot be compared."
        )
    return _judge(w, means[0], means[1])


def _reported_window(recording: Recording) -> Window | None:
    """Return the run from its lowest reported loss on, if that rose and the loss of the samples did not.

    Stretches are looked for in the loss of the samples, so what the averaging does alone marks none.
    """
    w = window(recording, None)
    if w is None:
        return None
    series = recording.series(w.split)
    reported = np.array([s.reported_loss for s in series])
    if not np.isfinite(reported).all():
        return None
    at = int(np.argmin(reported[:-1]))
    rise, least = reported[-1] - reported[at], max(0.01, LARGE * abs(reported[at]))
    if len(series) - at < MIN_EPOCHS or rise < max(least, 3 * np.sqrt(2) * epoch_noise(reported[at:])):
        return None
    return replace(w, start=series[at], before=None, after=None, from_lowest=False)


def _plain_mean(recording: Recording, summary: EpochSummary) -> float:
    """Mean of the samples' losses as the criterion's weights mean it; NaN where that is not known."""
    p = recording.load(summary.key)
    weights = summary.loss.class_weights
    if weights is None:
        return float(p.reported_loss.mean(dtype=np.float64))
    if summary.loss.label_smoothing or not len(p) or p.targets.max() >= len(weights):
        return float("nan")
    factor = np.asarray(weights, np.float64)[p.targets]
    total = len(p) if summary.loss.reduction in ("sum", "none") else factor.sum()
    return float(factor @ p.nll.astype(np.float64) / total)


def _judge(w: Window, first: float, last: float) -> Finding:
    gaps = w.start.reported_loss - first, w.end.reported_loss - last
    change, artifact = w.end.reported_loss - w.start.reported_loss, gaps[1] - gaps[0]
    level = max(abs(first), abs(last), 1e-12)
    largest = max(abs(g) for g in gaps) / level
    share = artifact / change if abs(change) > 1e-12 else float("nan")
    verdict: Verdict = "undecided"
    if largest < SMALL:
        verdict = "rejected"
    elif abs(artifact) > LARGE * level and abs(share) > 0.5:
        verdict = "supported"
    elif abs(artifact) < SMALL * level:
        verdict = "rejected"
    return Finding(
        cause=ID,
        verdict=verdict,
        share=Estimate(share, unit="share") if np.isfinite(share) and verdict != "rejected" else None,
        statement=_statement(w, change, last - first, artifact),
        because=f"of its averaging: the mean over the samples changed by {signed(last - first)} nats, the "
        f"reported loss by {signed(change)}",
        evidence=(
            evidence(
                "largest distance from the mean over samples", largest, "share", f"> {SMALL}", largest > SMALL
            ),
            evidence(
                "change through the averaging",
                artifact,
                "nats",
                f"beyond {LARGE:.0%} of the loss",
                abs(artifact) > LARGE * level,
            ),
        ),
        counterfactual=Counterfactual(
            name=f"{spoken(w.split)} loss at epoch {w.end.epoch} as the mean over samples",
            value=last,
            actual=w.end.reported_loss,
        ),
        action=_action(w),
        experiment=Experiment(
            code=CODE_OF_POSITIONS if _of_positions(w) else CODE,
            prediction=f"The value printed is {rounded(last)} nats at epoch {w.end.epoch}.",
            result=f"Computed from the records: {rounded(last)} nats.",
        ),
        strength=float(np.clip(abs(share), 0, 1)) if np.isfinite(share) else 0.0,
    )


def _of_positions(w: Window) -> bool:
    """Tell whether a sample has many labels (pixels, words), of which samples may have different numbers."""
    return w.end.loss.task == "dense"


def _action(w: Window) -> str:
    if not _of_positions(w):
        return (
            "Add up loss times batch size and divide by the number of samples; average neither batch means "
            "nor sums."
        )
    return (
        "Decide what counts once. To read the loss beside the accuracy, average it over samples, as the "
        "accuracy is; to read it per position, average the accuracy over positions as well."
    )


def _statement(w: Window, reported: float, plain: float, artifact: float) -> str:
    why = (
        " A sample counts once per labelled position in the reported loss, and once in the accuracy."
        if _of_positions(w)
        else ""
    )
    return (
        f"From epoch {w.start.epoch} to {w.end.epoch} the reported {spoken(w.split)} loss changed by "
        f"{signed(reported)} nats, the mean of the samples' own losses by {signed(plain)}: the averaging "
        f"accounts for the difference of {signed(artifact)}.{why}"
    )


CAUSE = Cause(ID, examine, "episode_or_run")
