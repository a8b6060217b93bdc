"""Tail relief: loss and accuracy fall together because the worst mistakes became less sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import (
    FALLING_LOSS,
    Cause,
    Window,
    epochs_of,
    evidence,
    not_tested,
    points,
    rounded,
    share_text,
    signed,
    spoken,
    window,
)
from jupyter_lossacc.causes.outcome import Outcomes, outcomes
from jupyter_lossacc.records import Counterfactual, Episode, Evidence, Experiment, Finding, Recording, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_lossacc.stats.transitions import Outcome

__all__ = ["CAUSE"]

ID = "tail_relief"
LEARNED = 0.5  # of the fall; where so much stays with calibration repaired, the model got better


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether wrong predictions that became less sure outweigh the newly wrong ones."""
    if episode is None or episode.kind not in FALLING_LOSS:
        return None
    w = window(recording, episode)
    if w is None or w.before is None or w.after is None:
        why = w.unmatched if w is not None else "fewer than two complete passes lie in this stretch"
        return not_tested(ID, f"Which samples carry the fall is not known: {why}.")
    o = outcomes(w.before, w.after)
    parts = o.parts
    return Finding(
        cause=ID,
        verdict=_verdict(w, o, flat=episode.kind != "both_fall"),
        share=o.wrong_share,
        statement=_statement(w, o),
        because=(
            f"wrong predictions became less sure: {share_text(o.wrong_share)} of the fall of the loss"
            + (", although more samples are wrong" if parts.composition > 0 else "")
        ),
        evidence=_evidence(w, o),
        counterfactual=Counterfactual(
            name=f"{spoken(w.split)} loss at epoch {w.end.epoch}, had the wrong ones stayed as sure",
            value=w.end.nll - parts.wrong,
            actual=w.end.nll,
        ),
        action=(
            "The lower loss is no proof of a better model here: compare the two epochs by accuracy and by "
            "the calibrated loss before keeping the later one. Ask what changed at the start of this "
            "stretch (learning rate, weight decay, label smoothing, class weights, new data)."
        ),
        experiment=_experiment(w, parts),
        sample_ids=_relieved(w),
        strength=float(np.nan_to_num(o.wrong_share.value)),
    )


def _verdict(w: Window, o: Outcomes, *, flat: bool) -> Verdict:
    if w.loss_change >= 0 or o.wrong_share.high < 0.5 or (w.accuracy_change >= 0 and not flat):
        return "rejected"
    if _learned(w) >= LEARNED:
        return "rejected"
    return "supported" if o.wrong_share.low > 0.5 and (flat or o.parts.composition > 0) else "undecided"


def _learned(w: Window) -> float:
    """Share of the fall that is left with calibration repaired: what the model learned."""
    fall = w.end.calibrated_nll - w.start.calibrated_nll
    return fall / w.loss_change if np.isfinite(fall) and w.loss_change else 0.0


def _statement(w: Window, o: Outcomes) -> str:
    parts = o.parts
    return (
        f"{spoken(w.split).capitalize()} loss falls by {rounded(-w.loss_change)} nats {epochs_of(w)} while "
        f"accuracy changes by {points(w.accuracy_change)}: mistakes that became less sure contribute "
        f"{signed(parts.wrong)} nats, right predictions {signed(parts.right)}, the change in how many are "
        f"wrong {signed(parts.composition)}."
    )


def _evidence(w: Window, o: Outcomes) -> tuple[Evidence, ...]:
    share, parts, learned = o.wrong_share, o.parts, _learned(w)
    return (
        evidence(
            "share of the fall: wrong ones less sure",
            share.value,
            "share",
            "interval above 0.5",
            share.low > 0.5,
        ),
        evidence(
            "contribution of more wrong samples", parts.composition, "nats", "> 0", parts.composition > 0
        ),
        evidence("contribution of right samples", parts.right, "nats", "", parts.right > 0),
        evidence(
            "share of the fall with calibration repaired", learned, "share", f"< {LEARNED}", learned < LEARNED
        ),
        evidence("change of accuracy", w.accuracy_change, "share", "< 0", w.accuracy_change < 0),
    )


def _relieved(w: Window) -> NDArray[np.int64]:
    """List samples wrong at both ends, the largest fall of the loss first."""
    if w.before is None or w.after is None:
        return np.empty(0, np.int64)
    change = w.after.nll - w.before.nll
    rows = np.flatnonzero((w.before.correct < 0.5) & (w.after.correct < 0.5) & (change < 0))
    return w.after.sample_ids[rows[np.argsort(change[rows], kind="stable")]][:200]


def _experiment(w: Window, parts: Outcome) -> Experiment:
    return Experiment(
        code=(
            "loss = F.cross_entropy(logits, targets, reduction='none')   # at both epochs, eval mode\n"
            "wrong = logits.argmax(dim=1) != targets\n"
            "print(loss[wrong].mean().item(), loss[~wrong].mean().item(), wrong.float().mean().item())"
        ),
        prediction="From the first to the second epoch the first number falls, the last one rises.",
        result=(
            f"Done from the records {epochs_of(w)}: wrong ones less sure {signed(parts.wrong)} nats, right "
            f"ones {signed(parts.right)}, more (or fewer) wrong {signed(parts.composition)}; together "
            f"{signed(w.loss_change)}."
        ),
    )


CAUSE = Cause(id=ID, examine=examine, scope="episode")
