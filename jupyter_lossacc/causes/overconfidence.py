"""Over-confidence: the logits keep growing, so the same mistakes cost ever more."""

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
    rising_window,
    rounded,
    share_text,
    signed,
    spoken,
)
from jupyter_lossacc.causes.repair import Repair, calibrated_curve, repair
from jupyter_lossacc.records import Counterfactual, Episode, Evidence, Experiment, Finding, Recording, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_lossacc.stats.miscalibration import Miscalibration

__all__ = ["CAUSE"]

ID = "overconfidence"
MOVED = 0.05  # p-value of the paired test of accuracy; above it nothing is said to have moved
WARM = 1.15  # temperatures of healthy runs lie in 0.84-1.10
SCORE = 3.3  # two-sided p < 0.001
GAIN = 10.83  # chi-squared, one degree of freedom, p < 0.001


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask how much of a loss rise (or of a high loss) disappears when one temperature is refitted."""
    if episode is not None and episode.kind not in RISING_LOSS | {"accuracy_stuck_loss_high"}:
        return None
    w = rising_window(recording, episode)
    if w is None and episode is None:
        return None
    found = repair(w) if w is not None else "fewer than two complete passes lie inside this episode"
    if w is None or isinstance(found, str):
        return not_tested(ID, f"Over-confidence could not be tested: {found}.")
    level = episode is not None and episode.kind == "accuracy_stuck_loss_high"
    verdict = _verdict(w, found, level=level)
    a, b = found.before, found.after
    return Finding(
        cause=ID,
        verdict=verdict,
        share=None if level else found.share,
        statement=_statement(w, found, level=level),
        because=_because(found, level=level),
        evidence=_evidence(found, level=level),
        counterfactual=Counterfactual(
            name=f"{spoken(w.split)} loss at epoch {w.end.epoch}, calibration repaired",
            value=b.repaired,
            actual=b.nll,
        ),
        action=_action(w, episode),
        experiment=_experiment(w, found),
        sample_ids=_getting_worse(w),
        overlay=calibrated_curve(recording, w.split),
        strength=_of_level(b) if level else (b.cost - a.cost) / max(w.loss_change, 1e-12),
    )


def _action(w: Window, episode: Episode | None) -> str:
    # Another epoch's temperature would be the wrong one: the advice on which epoch to keep gives both.
    repair_it = "divide its logits by the temperature of that epoch, which changes no prediction"
    direction = _accuracy_moved(w, episode)
    if direction == 0:
        first = (
            "Accuracy does not change by more than chance meanwhile, so nothing was gained: keep the epoch "
            f"with the lowest calibrated loss and {repair_it}."
        )
    elif direction < 0:
        first = (
            "Accuracy fell meanwhile, which no temperature mends: keep the epoch with the lowest calibrated "
            f"loss and {repair_it}."
        )
    else:
        first = f"Training may go on: choose the epoch by the calibrated loss and {repair_it}."
    return (
        f"{first} To keep the model modest while it trains: label smoothing 0.1, weight decay, dropout, more "
        "data or augmentation."
    )


def _accuracy_moved(w: Window, episode: Episode | None) -> float:
    """Return the sign of accuracy's change; 0 where it is within chance."""
    if episode is not None and episode.kind in ("both_rise", "loss_rises_accuracy_falls"):
        return 1.0 if episode.kind == "both_rise" else -1.0  # shown as such: the series knows more epochs
    return 0.0 if w.accuracy_p > MOVED else float(np.sign(w.accuracy_change))


def _of_level(b: Miscalibration) -> float:
    """Share of the loss itself that is miscalibration."""
    return b.cost / b.nll if b.nll > 0 else 0.0


def _too_sure(r: Repair) -> bool:
    b = r.after
    costly = b.cost > max(0.005, 0.02 * b.nll)
    return b.score_z > SCORE and b.llr > GAIN and b.temperature > WARM and costly and not b.at_bound


def _verdict(w: Window, r: Repair, *, level: bool) -> Verdict:
    b = r.after
    if level:
        share = _of_level(b)
        return "supported" if share >= 0.5 and _too_sure(r) else "rejected" if share < 0.25 else "undecided"
    if w.loss_change <= 0 or b.score_z < 0 or r.share.high < 0.5:
        return "rejected"
    growing = b.temperature > 1.1 * r.before.temperature and b.cost > r.before.cost
    if _too_sure(r) and growing and r.share.low > 0.25 and min(r.share.value, r.trend_share) >= 0.5:
        return "supported"
    return "undecided"


def _statement(w: Window, r: Repair, *, level: bool) -> str:
    a, b = r.before, r.after
    if level:
        return (
            f"At epoch {w.end.epoch} the {spoken(w.split)} loss is {rounded(b.nll)} nats; dividing the "
            "logits by "
            f"{rounded(b.temperature, 2)} alone would make it {rounded(b.repaired)}, with the same accuracy."
        )
    change = "rises" if w.loss_change > 0 else "changes"
    return (
        f"{spoken(w.split).capitalize()} loss {change} by {signed(w.loss_change)} nats {epochs_of(w)}; with "
        f"the logits rescaled by one temperature per epoch ({rounded(a.temperature, 2)}, then "
        f"{rounded(b.temperature, 2)}) it changes by {signed(b.repaired - a.repaired)}, so "
        f"{share_text(r.share)} of the change is miscalibration."
    )


def _because(r: Repair, *, level: bool) -> str:
    if level:
        return f"the model is over-confident: {percent(_of_level(r.after))} of it is miscalibration"
    return f"the model is over-confident: {share_text(r.share)} of the rise is miscalibration"


def _evidence(r: Repair, *, level: bool) -> tuple[Evidence, ...]:
    a, b = r.before, r.after
    rows = [
        evidence("temperature at the end", b.temperature, "1", f"> {WARM}", b.temperature > WARM),
        evidence("score test of temperature 1", b.score_z, "z", f"> {SCORE}", b.score_z > SCORE),
        evidence("log-likelihood gained by a temperature, twice", b.llr, "nats", f"> {GAIN}", b.llr > GAIN),
    ]
    if level:
        share = _of_level(b)
        rows.append(
            evidence("share of the loss that is miscalibration", share, "share", ">= 0.5", share >= 0.5)
        )
        return tuple(rows)
    growth = b.temperature / a.temperature
    refined = b.repaired - a.repaired
    return (
        evidence(
            "share of the rise, first to last epoch", r.share.value, "share", ">= 0.5", r.share.value >= 0.5
        ),
        evidence(
            "share of the rise, along the trend", r.trend_share, "share", ">= 0.5", r.trend_share >= 0.5
        ),
        *rows,
        evidence("growth of the temperature", growth, "ratio", "> 1.1", growth > 1.1),
        evidence("change of the repaired loss", refined, "nats", "<= 0", refined <= 0),
    )


def _experiment(w: Window, r: Repair) -> Experiment:
    b = r.after
    return Experiment(
        code=(
            f"# logits, targets: {spoken(w.split)} set, model in eval mode, gradients off\n"
            "log_t = torch.zeros(1, requires_grad=True)\n"
            "fit = torch.optim.LBFGS([log_t], max_iter=50)\n"
            "def closure():\n"
            "    fit.zero_grad()\n"
            "    loss = F.cross_entropy(logits / log_t.exp(), targets)\n"
            "    loss.backward()\n"
            "    return loss\n"
            "fit.step(closure)\n"
            "print(log_t.exp().item(), F.cross_entropy(logits / log_t.exp(), targets).item())"
        ),
        prediction=(
            f"A temperature well above 1 (here about {rounded(b.temperature, 2)}), a loss clearly below "
            f"{rounded(b.nll)}, and not one prediction changed."
        ),
        result=(
            f"Done from the records of epoch {w.end.epoch}: temperature {rounded(b.temperature, 2)}, loss "
            f"{rounded(b.nll)} -> {rounded(b.repaired)} nats (cross-fitted over 5 folds), accuracy "
            f"{percent(w.end.accuracy, 1)} unchanged."
        ),
    )


def _getting_worse(w: Window) -> NDArray[np.int64]:
    """List samples wrong at both ends, the largest loss increase first."""
    if w.before is None or w.after is None:
        return np.empty(0, np.int64)
    increase = w.after.nll - w.before.nll
    rows = np.flatnonzero((w.before.correct < 1) & (w.after.correct < 1) & (increase > 0))
    return w.after.sample_ids[rows[np.argsort(-increase[rows], kind="stable")]][:200]


CAUSE = Cause(id=ID, examine=examine, scope="episode_or_run")
