"""Under-confidence: the model is right more often and yet less sure, so the loss rises."""

from __future__ import annotations

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
    points,
    rising_window,
    rounded,
    share_text,
    signed,
    spoken,
)
from jupyter_lossacc.causes.repair import Repair, calibrated_curve, repair
from jupyter_lossacc.records import (
    Counterfactual,
    Episode,
    Evidence,
    Experiment,
    Finding,
    Recording,
    Verdict,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_lossacc.stats.miscalibration import Miscalibration

__all__ = ["CAUSE"]

ID = "underconfidence"
COLD = (
    0.87  # temperatures of healthy runs lie in 0.84-1.10; strong regularisation reaches 0.5 while loss falls
)
SCORE = -3.3  # two-sided p < 0.001
GAIN = 10.83  # chi-squared, one degree of freedom, p < 0.001


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether a loss rise is the price of probabilities that are too modest."""
    if episode is not None and episode.kind not in RISING_LOSS:
        return None
    w = rising_window(recording, episode)
    if w is None and episode is None:
        return None
    found = repair(w) if w is not None else "fewer than two complete passes lie inside this episode"
    if w is None or isinstance(found, str):
        return not_tested(ID, f"Under-confidence could not be tested: {found}.")
    b = found.after
    return Finding(
        cause=ID,
        verdict=_verdict(w, found),
        share=found.share,
        statement=_statement(w, found),
        because=f"the model has become under-confident: {share_text(found.share)} of the rise is undue doubt",
        evidence=_evidence(w, found),
        counterfactual=Counterfactual(
            name=f"{spoken(w.split)} loss at epoch {w.end.epoch}, calibration repaired",
            value=b.repaired,
            actual=b.nll,
        ),
        action=(
            "Look for what holds the probabilities down: label smoothing, mixup, strong weight decay or "
            "dropout, a loss other than cross-entropy. It does no harm to accuracy; where probabilities "
            f"matter, divide the logits by {rounded(b.temperature, 2)} or weaken it. Input noise or "
            "augmentation and more epochs suit it well."
        ),
        experiment=_experiment(w, b),
        sample_ids=_less_sure(w),
        overlay=calibrated_curve(recording, w.split),
        strength=float((b.cost - found.before.cost) / max(w.loss_change, 1e-12)),
    )


def _verdict(w: Window, r: Repair) -> Verdict:
    b = r.after
    if w.loss_change <= 0 or b.score_z > 0 or r.share.high < 0.5:
        return "rejected"
    costly = b.cost > max(0.005, 0.02 * b.nll)
    cold = b.score_z < SCORE and b.llr > GAIN and b.temperature < COLD and not b.at_bound
    cooling = b.temperature < 0.95 * r.before.temperature and b.cost > r.before.cost
    if costly and cold and cooling and min(r.share.value, r.trend_share) >= 0.5 and r.share.low > 0.25:
        return "supported"
    return "undecided"


def _statement(w: Window, r: Repair) -> str:
    a, b = r.before, r.after
    but = ""
    if b.score_z > 0:
        but = " But a temperature above 1 says that the model is too sure, not too unsure."
    return (
        f"{spoken(w.split).capitalize()} loss changes by {signed(w.loss_change)} nats {epochs_of(w)} and "
        f"accuracy by {points(w.accuracy_change)}; the best temperature goes from "
        f"{rounded(a.temperature, 2)} to {rounded(b.temperature, 2)}, and with it repaired the loss changes "
        f"by {signed(b.repaired - a.repaired)}: {share_text(r.share)} of the change is miscalibration.{but}"
    )


def _evidence(w: Window, r: Repair) -> tuple[Evidence, ...]:
    b = r.after
    cooling = b.temperature / r.before.temperature
    rows = [
        evidence(
            "share of the rise, first to last epoch", r.share.value, "share", ">= 0.5", r.share.value >= 0.5
        ),
        evidence("temperature at the end", b.temperature, "1", f"< {COLD}", b.temperature < COLD),
        evidence("score test of temperature 1", b.score_z, "z", f"< {SCORE}", b.score_z < SCORE),
        evidence("log-likelihood gained by a temperature, twice", b.llr, "nats", f"> {GAIN}", b.llr > GAIN),
        evidence("change factor of the temperature", cooling, "ratio", "< 0.95", cooling < 0.95),
    ]
    if w.before is not None and w.after is not None:
        sure = [float(p.confidence[p.correct >= 0.5].mean()) for p in (w.before, w.after) if p.correct.any()]
        if len(sure) == 2:
            fall = sure[1] - sure[0]
            rows.append(evidence("confidence where it is right, change", fall, "share", "< 0", fall < 0))
    return tuple(rows)


def _less_sure(w: Window) -> NDArray[np.int64]:
    """List samples that are right at the end with the largest loss increase first."""
    if w.before is None or w.after is None:
        return np.empty(0, np.int64)
    increase = w.after.nll - w.before.nll
    rows = np.flatnonzero((w.after.correct >= 0.5) & (increase > 0))
    return w.after.sample_ids[rows[np.argsort(-increase[rows], kind="stable")]][:200]


def _experiment(w: Window, b: Miscalibration) -> Experiment:
    return Experiment(
        code=(
            f"# logits, targets: {spoken(w.split)} set, model in eval mode, gradients off\n"
            f"print(F.cross_entropy(logits, targets).item(),\n"
            f"      F.cross_entropy(logits / {rounded(b.temperature, 2)}, targets).item())"
        ),
        prediction=f"The second number is close to {rounded(b.repaired)}, clearly below the first.",
        result=(
            f"Done from the records of epoch {w.end.epoch}: temperature {rounded(b.temperature, 2)}, loss "
            f"{rounded(b.nll)} -> {rounded(b.repaired)} nats (cross-fitted over 5 folds), accuracy unchanged "
            f"at {percent(w.end.accuracy, 1)}."
        ),
    )


CAUSE = Cause(id=ID, examine=examine, scope="episode_or_run")
