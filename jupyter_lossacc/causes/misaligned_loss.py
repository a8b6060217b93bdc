"""Misaligned loss: the criterion gets worse where the prediction gets better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from jupyter_lossacc.causes.cause import (
    Cause,
    Window,
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
    Predictions,
    Recording,
    Verdict,
)

__all__ = ["CAUSE", "examine"]

ID = "misaligned_loss"
MIN_RIGHT = 100  # right samples; fewer rank poorly
WEAK = -0.3  # rank correlation of margin and loss; healthy criteria lie below -0.8
OFTEN = 0.5  # of the samples that became safer, those whose loss rose
MIN_GAIN = 0.02  # accuracy above the base rate: a model that learned nothing ranks nothing

Floats = NDArray[np.float64]


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether the reported loss of right samples falls as their margin grows."""
    w = window(recording, episode)
    if w is None:
        return (
            None if episode is None else not_tested(ID, "Fewer than two complete passes lie in this stretch.")
        )
    if w.end.loss.name == "none":
        return not_tested(ID, f"No value of a criterion was seen on the {spoken(w.split)} data.")
    if w.end.loss.on_simplex and w.end.loss.name == "cross_entropy":
        return None  # a cause of its own
    if w.end.loss.task not in CLASS_TASKS:
        return not_tested(ID, f"A {w.end.loss.task} task has no margin by which losses could be ranked.")
    if w.after is None or w.before is None:
        return not_tested(ID, f"The losses of single samples cannot be ranked {epochs_of(w)}: {w.unmatched}.")
    return _rank(w, w.before, w.after)


def _rank(w: Window, first: Predictions, last: Predictions) -> Finding:
    before, after = _own_loss(first, w.start), _own_loss(last, w.end)
    if np.allclose(after, last.nll, rtol=1e-3, atol=1e-4):
        return Finding(
            cause=ID,
            verdict="rejected",
            statement=f"The reported loss of each {spoken(w.split)} sample is its negative log-likelihood.",
        )
    if not w.end.accuracy > _base_rate(w.end) + MIN_GAIN:
        return not_tested(ID, "The model is no better than its base rate; nothing can be ranked yet.")
    right = (last.correct >= 1) & np.isfinite(after) & np.isfinite(last.margin)
    if right.sum() < MIN_RIGHT:
        return not_tested(ID, f"Fewer than {MIN_RIGHT} right samples have a loss of their own.")
    rank = _rank_correlation(last.margin[right], after[right])
    if not np.isfinite(rank):
        return not_tested(ID, "All right samples have the same loss or margin; there is nothing to rank.")
    safer = right & (first.correct >= 1) & np.isfinite(before) & (last.margin > first.margin)
    against = (
        float((after[safer] > before[safer] + 1e-6).mean()) if safer.sum() >= MIN_RIGHT else float("nan")
    )
    return _finding(w, rank, against, int(safer.sum()))


def _base_rate(summary: EpochSummary) -> float:
    table = summary.classes
    return float(table.support.max() / table.support.sum()) if table is not None else 0.0


def _own_loss(p: Predictions, summary: EpochSummary) -> Floats:
    """Return the reported loss per sample without its class weight, which ranks classes."""
    loss = p.reported_loss.astype(np.float64)
    weights = summary.loss.class_weights
    if weights is None or p.targets.max() >= len(weights):
        return loss
    factor = np.asarray(weights, np.float64)[p.targets]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(factor > 0, loss / factor, np.nan)


def _rank_correlation(margin: NDArray[np.float32], loss: Floats) -> float:
    if np.ptp(loss) == 0 or np.ptp(margin) == 0:
        return float("nan")
    return float(spearmanr(margin, loss).statistic)


def _verdict(rank: float, against: float, smoothing: float) -> Verdict:
    if rank > 0 or (rank > WEAK and against > OFTEN):
        # Label smoothing asks for moderate margins: rising loss beyond them is what was ordered.
        return "undecided" if smoothing > 0 else "supported"
    doubtful = rank > WEAK or (np.isfinite(against) and against > OFTEN)
    return "undecided" if doubtful and smoothing == 0 else "rejected"


def _finding(w: Window, rank: float, against: float, safer: int) -> Finding:
    name, smoothing = w.end.loss.name, w.end.loss.label_smoothing
    verdict = _verdict(rank, against, smoothing)
    moved = w.end.reported_loss - w.start.reported_loss
    rose = (
        f" and of the {safer} that became safer since epoch {w.start.epoch}, {percent(against)} saw it rise"
        if np.isfinite(against)
        else ""
    )
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=(
            f"Among the right {spoken(w.split)} samples at epoch {w.end.epoch}, the rank correlation of "
            f"margin and reported loss ({name}) is {signed(rank, 2)}{rose}; for a loss that follows the "
            f"likelihood it is near -1. The reported loss changed by {signed(moved)} while the negative "
            f"log-likelihood of the same predictions changed by {signed(w.loss_change)} nats."
        ),
        because=f"the criterion ({name}) does not follow the likelihood: it changed by {signed(moved)} while "
        f"the negative log-likelihood changed by {signed(w.loss_change)} nats",
        evidence=_evidence(rank, against),
        counterfactual=Counterfactual(
            name=f"{spoken(w.split)} loss at epoch {w.end.epoch} as negative log-likelihood",
            value=w.end.nll,
            actual=w.end.reported_loss,
        ),
        action=(
            "Judge by a loss that follows the probabilities: cross-entropy of the logits, or the Brier score "
            "of the probabilities (squared error after the softmax, not before it)."
        ),
        experiment=Experiment(
            code=(
                "criterion = nn.CrossEntropyLoss()  # receives logits\n"
                "brier = ((logits.softmax(1) - F.one_hot(targets, logits.shape[1])) ** 2).sum(1).mean()\n"
            ),
            prediction=f"Both change like the negative log-likelihood ({signed(w.loss_change)} nats between "
            f"epochs {w.start.epoch} and {w.end.epoch}), not like the reported loss ({signed(moved)}).",
            result=f"Negative log-likelihood from the records: {rounded(w.start.nll)} to "
            f"{rounded(w.end.nll)} nats.",
        ),
        strength=float(np.clip((rank + 1) / 2, 0, 1)),
    )


def _evidence(rank: float, against: float) -> tuple[Evidence, ...]:
    rows = [evidence("rank correlation of margin and loss, right samples", rank, "1", "> 0", rank > 0)]
    if np.isfinite(against):
        rows.append(
            evidence("safer samples whose loss rose", against, "share", f"> {OFTEN}", against > OFTEN)
        )
    return tuple(rows)


CAUSE = Cause(ID, examine, "both")
