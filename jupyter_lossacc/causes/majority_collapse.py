"""Majority collapse: nearly every prediction is the largest class, and accuracy is its base rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import (
    ONE_ANSWER,
    Cause,
    default_split,
    evidence,
    not_tested,
    percent,
    spoken,
)
from jupyter_lossacc.causes.threshold import moved_threshold
from jupyter_lossacc.causes.wording import CLASS_TASKS, name_classes
from jupyter_lossacc.records import (
    ClassTable,
    Counterfactual,
    Episode,
    EpochSummary,
    Evidence,
    Experiment,
    Finding,
    Recording,
    Verdict,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAUSE", "examine"]

ID = "majority_collapse"
MIN_RATIO = 3.0  # below it the classes are balanced, and answering one of them does not pay
MIN_OTHERS = 20  # evaluated samples of the other classes
LEARNING = 0.9  # of the chance loss: below it the inputs do inform the probabilities
MIN_EPOCHS = 5
LAST = 3  # the collapse must hold at each of the last epochs: a passing one at the start is normal


@dataclass(frozen=True, slots=True)
class Collapse:
    """What the model answers at the end, against the class proportions."""

    major: int
    ratio: float
    predicted: float  # smallest share of predictions on the major class over the last epochs
    base_rate: float
    accuracy: float
    found: float  # recall over all samples of other classes
    others: int
    chance: float  # loss of the constant answer, nats
    nll: float


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether the model answers the largest class whatever it is shown."""
    split = episode.split if episode is not None else default_split(recording)
    if split is None:
        return not_tested(ID, "No split was evaluated.")
    series = [s for s in recording.series(split) if episode is None or s.epoch <= episode.end_epoch]
    last = series[-LAST:]
    tables = [s.classes for s in last if s.classes is not None]
    if len(tables) < len(last) or not last or last[-1].loss.task not in CLASS_TASKS:
        return not_tested(ID, f"Which classes are predicted on {spoken(split)} was not recorded.")
    c = _measure(last[-1], tables)
    verdict = _verdict(c)
    if verdict == "supported" and len(series) < MIN_EPOCHS:
        verdict = "undecided"  # at the very start any model may answer one class
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=_statement(recording, split, last[-1].epoch, c),
        because=f"{percent(c.predicted, 1)} of the predictions are {name_classes(recording, [c.major])}, and "
        f"accuracy is its base rate",
        evidence=_evidence(c),
        counterfactual=Counterfactual(
            name=f"{spoken(split)} loss of always stating the class proportions", value=c.chance, actual=c.nll
        )
        if c.chance < c.nll
        else None,
        action=_action(c),
        experiment=_experiment(recording, c, _threshold(recording, last[-1])),
        sample_ids=_missed(recording, split, last[-1].epoch, c.major),
        strength=c.predicted,
    )


def _measure(summary: EpochSummary, tables: list[ClassTable]) -> Collapse:
    support = tables[-1].support
    n, major = int(support.sum()), int(np.argmax(tables[-1].predicted))
    share = support[support > 0] / n
    others = n - int(support[major])
    hits = np.where(support > 0, np.nan_to_num(tables[-1].recall) * support, 0.0)
    return Collapse(
        major=major,
        ratio=float(share.max() / share.min()),
        predicted=min(float(t.predicted[major] / max(t.predicted.sum(), 1)) for t in tables),
        base_rate=float(share.max()),
        accuracy=summary.accuracy,
        found=float((hits.sum() - hits[major]) / others) if others else float("nan"),
        others=others,
        chance=float(-(share * np.log(share)).sum()),
        nll=summary.nll,
    )


def _verdict(c: Collapse) -> Verdict:
    if c.others < MIN_OTHERS:
        return "undecided"
    if c.predicted < ONE_ANSWER or c.found > 0.2 or c.ratio < MIN_RATIO:
        return "rejected"
    if c.nll < LEARNING * c.chance:
        return (
            "undecided"  # the probabilities already tell the classes apart: a threshold, or a matter of time
        )
    return "supported" if c.found < 0.05 and c.accuracy <= c.base_rate + 0.005 else "undecided"


def _statement(recording: Recording, split: str, epoch: int, c: Collapse) -> str:
    who, where = name_classes(recording, [c.major]), spoken(split)
    if c.others < MIN_OTHERS:
        return f"Only {c.others} {where} samples are not {who}; at least {MIN_OTHERS} are needed to tell."
    if c.predicted >= ONE_ANSWER and c.ratio < MIN_RATIO:
        return (
            f"At epoch {epoch} {percent(c.predicted, 1)} of the {where} predictions are {who}, but the "
            "classes are "
            "balanced: answering one of them does not pay, so the optimisation is the place to look."
        )
    return (
        f"At epoch {epoch} {percent(c.predicted, 1)} of the {where} predictions are {who} and accuracy is "
        f"{percent(c.accuracy, 1)}, where always answering the largest class gives "
        f"{percent(c.base_rate, 1)}; "
        f"{percent(c.found, 1)} of the {c.others} other samples are found. The loss is {c.nll:.3f}; stating "
        f"the class proportions every time would give {c.chance:.3f}."
    )


def _evidence(c: Collapse) -> tuple[Evidence, ...]:
    collapsed = c.predicted >= ONE_ANSWER
    return (
        evidence("predictions on one class", c.predicted, "share", f">= {ONE_ANSWER}", collapsed),
        evidence("largest to smallest class", c.ratio, "1", f">= {MIN_RATIO:g}", c.ratio >= MIN_RATIO),
        evidence("samples of other classes found", c.found, "share", "< 0.05", c.found < 0.05),
        evidence(
            "accuracy above the base rate",
            c.accuracy - c.base_rate,
            "share",
            "<= 0.005",
            c.accuracy - c.base_rate <= 0.005,
        ),
        evidence(
            "loss against the chance loss",
            c.nll / c.chance,
            "ratio",
            f">= {LEARNING}",
            c.nll >= LEARNING * c.chance,
        ),
    )


def _action(c: Collapse) -> str:
    if c.nll < LEARNING * c.chance:
        return (
            "The probabilities do tell the classes apart (the loss is below the chance loss): the "
            "threshold is the "
            "problem. Predict the rare class from a lower probability, chosen for F1 or for the cost of a "
            "miss."
        )
    return (
        "Give the rare classes weight: class weights or resampling, then a threshold chosen on validation. "
        "Until then read balanced accuracy and F1 per class, not accuracy."
    )


def _threshold(recording: Recording, summary: EpochSummary) -> str:
    """Say what another threshold would give, where two classes make that a question."""
    try:
        moved = moved_threshold(recording.load(summary.key), summary)
    except KeyError:
        return ""
    return "" if moved is None else str(moved)


def _experiment(recording: Recording, c: Collapse, result: str) -> Experiment:
    return Experiment(
        code=(
            "# a batch with equal parts of each class, to see whether the model can learn them at all\n"
            "per_sample = (1.0 / torch.bincount(train_targets).float())[train_targets]\n"
            "sampler = torch.utils.data.WeightedRandomSampler(per_sample, len(per_sample))\n"
            "loader = torch.utils.data.DataLoader(train_set, batch_size=64, sampler=sampler)\n"
        ),
        prediction=(
            f"Recall outside {name_classes(recording, [c.major])} rises well above {percent(c.found, 1)} "
            "within a few "
            "epochs and the training loss falls below its start. If it stays there, the inputs carry no "
            "information about the rare classes, or the optimisation is stuck."
        ),
        result=result,
    )


def _missed(recording: Recording, split: str, epoch: int, major: int) -> NDArray[np.int64]:
    """Return samples of other classes, the most confidently missed first."""
    try:
        p = recording.predictions(split, epoch)
    except KeyError:
        return np.empty(0, np.int64)
    missed = np.flatnonzero((p.targets != major) & (p.predicted == major))
    return p.sample_ids[missed[np.argsort(-p.nll[missed], kind="stable")][:50]]


CAUSE = Cause(ID, examine, "both")
