"""Confident errors: a few samples that are surely wrong carry the change of the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import (
    RISING_LOSS,
    Cause,
    Window,
    epochs_of,
    evidence,
    not_tested,
    percent,
    rising_window,
    rounded,
    spoken,
)
from jupyter_lossacc.causes.cause import share_text as text
from jupyter_lossacc.records import (
    Counterfactual,
    Episode,
    Evidence,
    Experiment,
    Finding,
    Predictions,
    Recording,
    Verdict,
)
from jupyter_lossacc.stats.transitions import share_of_change

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_lossacc.stats.estimate import Estimate

__all__ = ["CAUSE"]

ID = "confident_errors"
SURE = 0.9
FEW = 0.05  # of the samples


@dataclass(frozen=True, slots=True)
class _Few:
    """The worst few: ``rows`` of the window's samples, and the share of the change they carry."""

    rows: NDArray[np.intp]
    chosen_at: int  # epoch
    n: int
    sure: int  # how many samples are surely wrong at the end, few or not
    share: Estimate
    rest_before: float
    rest_after: float


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether a handful of surely wrong samples carry the rise (or the height) of the loss."""
    if episode is not None and episode.kind not in RISING_LOSS | {"accuracy_stuck_loss_high"}:
        return None
    w = rising_window(recording, episode)
    if w is None and episode is None:
        return None
    if w is None or w.before is None or w.after is None:
        why = w.unmatched if w is not None else "fewer than two complete passes lie in this stretch"
        return not_tested(ID, f"Confident errors could not be tested: {why}.")
    level = episode is not None and episode.kind == "accuracy_stuck_loss_high"
    few = _few(w, w.after.nll if level else w.after.nll - w.before.nll)
    verdict = _verdict(w, few, level=level)
    part = "height" if level else "rise"
    return Finding(
        cause=ID,
        verdict=verdict,
        share=None if level or verdict == "rejected" else few.share,
        statement=_statement(w, few, level=level)
        + (" Whether that is half of it or more is not decided." if verdict == "undecided" else ""),
        because=(
            f"{len(few.rows)} of {few.n:,} samples, surely wrong, carry {text(few.share)} of its {part}"
        ),
        evidence=_evidence(few, level=level),
        counterfactual=Counterfactual(
            name=f"{spoken(w.split)} loss at epoch {w.end.epoch} without these {len(few.rows)} samples",
            value=few.rest_after,
            actual=w.end.nll,
        ),
        action=(
            "Look at these samples first: wrong labels, broken inputs and a sub-population that training "
            "lacks all look like this. If they are simply hard, a loss that punishes sure mistakes less "
            "(label smoothing, focal loss) stops them from ruling the mean."
        ),
        experiment=_experiment(w, few),
        sample_ids=w.after.sample_ids[few.rows],
        strength=float(few.share.value) if np.isfinite(few.share.value) else 0.0,
    )


def _few(w: Window, change: NDArray[np.float32]) -> _Few:
    assert w.before is not None  # noqa: S101 - narrowed by the caller
    assert w.after is not None  # noqa: S101
    epoch, chosen = _chosen_at(w)
    n, loss = len(chosen), chosen.nll
    rows = np.flatnonzero(_surely_wrong(chosen))
    rows = rows[np.argsort(-loss[rows], kind="stable")][: max(1, int(FEW * n))]
    member = np.zeros(n, bool)
    member[rows] = True
    change = change.astype(np.float64)
    share = share_of_change(np.where(member, change, 0.0), change)
    return _Few(
        rows=rows,
        chosen_at=epoch,
        n=n,
        sure=int(_surely_wrong(w.after).sum()),
        share=share,
        rest_before=float(w.before.nll[~member].mean(dtype=np.float64)),
        rest_after=float(w.after.nll[~member].mean(dtype=np.float64)),
    )


def _surely_wrong(p: Predictions) -> NDArray[np.bool_]:
    return np.asarray((p.correct < 0.5) & (p.confidence >= SURE))


def _chosen_at(w: Window) -> tuple[int, Predictions]:
    """Return the epoch before the end and its predictions.

    Choosing the worst samples at the very epoch whose loss they are to explain would count luck as
    cause; the epoch before is as telling and independent of that luck.
    """
    assert w.after is not None  # noqa: S101 - narrowed by the caller
    earlier = [s.epoch for s in w.inside if w.start.epoch < s.epoch < w.end.epoch]
    if earlier:
        try:
            previous, _ = w.recording.paired(w.split, earlier[-1], w.end.epoch)
        except KeyError:
            return w.end.epoch, w.after
        if np.array_equal(previous.sample_ids, w.after.sample_ids):
            return earlier[-1], previous
    return w.end.epoch, w.after


def _verdict(w: Window, few: _Few, *, level: bool) -> Verdict:
    share = few.share
    if not level and w.loss_change <= 0:
        return "rejected"
    if not len(few.rows) or share.high < 0.5:
        return "rejected"
    if share.low > 0.5 and few.sure <= FEW * few.n:
        return "supported"
    return "undecided" if few.sure <= FEW * few.n else "rejected"


def _statement(w: Window, few: _Few, *, level: bool) -> str:
    what = f"the loss at epoch {w.end.epoch}" if level else f"the loss change {epochs_of(w)}"
    if not len(few.rows):
        return f"No {spoken(w.split)} sample is wrong with {percent(SURE)} confidence: none can carry {what}."
    who = (
        f"{few.sure} of {few.n:,} {spoken(w.split)} samples ({percent(few.sure / few.n, 1)}) are wrong with "
        f"at least {percent(SURE)} confidence at epoch {w.end.epoch}"
    )
    if few.sure > FEW * few.n:
        return f"{who}: more than the {percent(FEW)} that could count as a few samples carrying {what}."
    return (
        f"{who}; the {len(few.rows)} that were so at epoch {few.chosen_at} carry {text(few.share)} of "
        f"{what}: without them it would have gone from {rounded(few.rest_before)} to "
        f"{rounded(few.rest_after)} nats instead of {rounded(w.start.nll)} to {rounded(w.end.nll)}."
    )


def _evidence(few: _Few, *, level: bool) -> tuple[Evidence, ...]:
    whole = "share of the loss they carry" if level else "share of the change they carry"
    amount = few.sure / few.n
    return (
        evidence(
            "samples wrong with confidence of 90 % or more", amount, "share", f"<= {FEW}", amount <= FEW
        ),
        evidence(whole, few.share.value, "share", "interval above 0.5", few.share.low > 0.5),
    )


def _experiment(w: Window, few: _Few) -> Experiment:
    return Experiment(
        code=(
            f"# per-sample losses of the {spoken(w.split)} set, model in eval mode, gradients off\n"
            "loss = F.cross_entropy(logits, targets, reduction='none')\n"
            "probability, predicted = logits.softmax(dim=1).max(dim=1)\n"
            f"sure_and_wrong = (predicted != targets) & (probability >= {SURE})\n"
            "print(int(sure_and_wrong.sum()), loss.mean().item(), loss[~sure_and_wrong].mean().item())"
        ),
        prediction="Without these samples the mean loss stays close to its lowest value.",
        result=(
            f"Done from the records: without {len(few.rows)} samples the loss goes from "
            f"{rounded(few.rest_before)} to {rounded(few.rest_after)} nats; with them from "
            f"{rounded(w.start.nll)} to {rounded(w.end.nll)}."
        ),
    )


CAUSE = Cause(id=ID, examine=examine, scope="episode_or_run")
