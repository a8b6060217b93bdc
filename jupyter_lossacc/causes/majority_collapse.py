"""Majority collapse: nearly every prediction is the largest class, and accuracy is its base rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from jupyter_lossacc.causes.cause import (
    ONE_ANSWER,
    Cause,
    default_split,
    evidence,
    not_tested,
    percent,
    rounded,
    spoken,
    training_series,
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
TOLD_APART = 0.7  # chance that another class's sample is given less to the largest class than its own
TAUGHT = 0.2  # recall of the other classes from which on they are found
MISSED = 0.05  # recall of the other classes below which they are not found
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
    calibrated: float  # loss with calibration repaired, nats: how sure a model is says nothing about it
    told_apart: float  # area under the ROC curve, other classes against the largest; NaN if not known
    trained: float  # recall of the other classes in training; NaN if not known
    later: EpochSummary | None  # a later pass in which the answers are no longer one class

    @property
    def learning(self) -> bool:
        """The probabilities tell the classes apart, though the answers do not."""
        return self.calibrated < LEARNING * self.chance or self.told_apart > TOLD_APART


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
    if np.count_nonzero(tables[-1].support) < 2:
        return not_tested(ID, f"All {spoken(split)} samples are of one class: to answer it always is right.")
    c = _measure(recording, last[-1], tables)
    verdict = _verdict(c)
    if verdict == "supported" and len(series) < MIN_EPOCHS:
        verdict = "undecided"  # at the very start any model may answer one class
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=_statement(recording, split, last[-1].epoch, c),
        because=f"the model answers {name_classes(recording, [c.major])} whatever it is shown "
        f"({percent(c.predicted, 1)} of the predictions), and accuracy is that class's share",
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


def _measure(recording: Recording, summary: EpochSummary, tables: list[ClassTable]) -> Collapse:
    support = tables[-1].support
    n, major = int(support.sum()), int(np.argmax(tables[-1].predicted))
    share = support[support > 0] / n
    calibrated = summary.calibrated_nll
    return Collapse(
        major=major,
        ratio=float(share.max() / share.min()),
        predicted=min(_answered(t, major) for t in tables),
        base_rate=float(share.max()),
        accuracy=summary.accuracy,
        found=_found(tables[-1], major),
        others=n - int(support[major]),
        chance=float(-(share * np.log(share)).sum()),
        nll=summary.nll,
        calibrated=calibrated if np.isfinite(calibrated) else summary.nll,
        told_apart=_told_apart(recording, summary, major),
        trained=_found_in_training(recording, summary.epoch, major),
        later=_recovered(recording, summary, major),
    )


def _answered(table: ClassTable, major: int) -> float:
    return float(table.predicted[major] / max(table.predicted.sum(), 1))


def _found(table: ClassTable, major: int) -> float:
    """Recall over all samples of the other classes."""
    hits = np.where(table.support > 0, np.nan_to_num(table.recall) * table.support, 0.0)
    others = table.support.sum() - table.support[major]
    return float((hits.sum() - hits[major]) / others) if others else float("nan")


def _told_apart(recording: Recording, summary: EpochSummary, major: int) -> float:
    """Return how often a sample of the largest class gets more of that answer than one of another class.

    One half: the model gives the same answer whatever it is shown. Near 1: it ranks the samples well, and
    only the threshold hides it.
    """
    try:
        p = recording.load(summary.key)
    except KeyError:
        return float("nan")
    own = p.targets == major
    n, m = int(own.sum()), int((~own).sum())
    # Of two classes the margin orders samples more finely than a confidence next to 1.
    two = summary.n_classes == 2 and bool(np.isfinite(p.margin).all())
    score = np.where(own, p.margin, -p.margin) if two else p.confidence
    if not n or not m or not np.isfinite(score).all():
        return float("nan")
    return float((rankdata(score)[own].sum() - n * (n + 1) / 2) / (n * m))


def _recovered(recording: Recording, at: EpochSummary, major: int) -> EpochSummary | None:
    """Return the first later pass in which the other classes are found: then nothing had collapsed."""
    for s in recording.series(at.split):
        table = s.classes
        if s.epoch > at.epoch and table is not None and _found(table, major) > MISSED:
            return s
    return None


def _found_in_training(recording: Recording, epoch: int, major: int) -> float:
    """Recall of the other classes in the last training pass until `epoch`; NaN if not known."""
    tables = [s.classes for s in training_series(recording, epoch) if s.classes is not None]
    return _found(tables[-1], major) if tables and major < len(tables[-1].support) else float("nan")


def _verdict(c: Collapse) -> Verdict:
    if c.others < MIN_OTHERS:
        return "undecided"
    if c.predicted < ONE_ANSWER or c.found > TAUGHT or c.ratio < MIN_RATIO or c.later is not None:
        return "rejected"
    if c.trained > TAUGHT:
        return "rejected"  # it does give other answers to the samples that it was shown
    if c.learning:
        return "undecided"  # a matter of the threshold, or of time
    return "supported" if c.found < MISSED and c.accuracy <= c.base_rate + 0.005 else "undecided"


def _statement(recording: Recording, split: str, epoch: int, c: Collapse) -> str:
    who, where = name_classes(recording, [c.major]), spoken(split)
    if c.others < MIN_OTHERS:
        return f"Only {c.others} {where} samples are not {who}; at least {MIN_OTHERS} are needed to tell."
    if c.predicted >= ONE_ANSWER and c.ratio < MIN_RATIO:
        return (
            f"At epoch {epoch}, {percent(c.predicted, 1)} of the {where} predictions are {who}, but the "
            "classes are "
            "balanced: answering one of them does not pay, so the optimisation is the place to look."
        )
    loss = f"{rounded(c.nll)} nats" if np.isfinite(c.nll) else "not finite"
    return (
        f"At epoch {epoch}, {percent(c.predicted, 1)} of the {where} predictions are {who} and accuracy is "
        f"{percent(c.accuracy, 1)}, where always answering the largest class gives "
        f"{percent(c.base_rate, 1)}; {percent(c.found, 1)} of the {c.others} other samples are found. The "
        f"loss is {loss}; stating the class proportions every time would give {rounded(c.chance)}."
        f"{_doubt(c, who)}"
    )


def _doubt(c: Collapse, who: str) -> str:
    """Say why answers of one class are no collapse; "" where they are one or are not of one class."""
    if c.predicted < ONE_ANSWER:
        return ""
    table = None if c.later is None else c.later.classes
    if c.later is not None and table is not None:
        found = percent(_found(table, c.major), 1)
        return f" By epoch {c.later.epoch} {found} of them are found: the model was slow, not collapsed."
    if c.trained > TAUGHT:
        return (
            f" But of the training samples of these classes {percent(c.trained, 1)} are found: what was "
            "learned there does not carry over, which is no collapse."
        )
    if c.told_apart > TOLD_APART:
        return (
            f" But the model does tell them apart: of a sample of {who} and one of another class it gives "
            f"{who} more to the former in {percent(c.told_apart)} of all pairs, so it is a matter of the "
            "threshold."
        )
    if c.learning:
        return (
            f" But with calibration repaired the loss is {rounded(c.calibrated)}: the probabilities tell the "
            "classes apart, and it is a matter of the threshold."
        )
    return ""


def _evidence(c: Collapse) -> tuple[Evidence, ...]:
    collapsed, apart = c.predicted >= ONE_ANSWER, c.told_apart > TOLD_APART
    return (
        evidence("predictions on one class", c.predicted, "share", f">= {ONE_ANSWER}", collapsed),
        evidence("largest to smallest class", c.ratio, "1", f">= {MIN_RATIO:g}", c.ratio >= MIN_RATIO),
        evidence("samples of other classes found", c.found, "share", f"< {MISSED}", c.found < MISSED),
        evidence(
            "accuracy above the base rate",
            c.accuracy - c.base_rate,
            "share",
            "<= 0.005",
            c.accuracy - c.base_rate <= 0.005,
        ),
        evidence(
            "calibrated loss against the chance loss",
            c.calibrated / c.chance,
            "ratio",
            f">= {LEARNING}",
            c.calibrated >= LEARNING * c.chance,
        ),
        *(
            [evidence("the same found in training", c.trained, "share", f"<= {TAUGHT}", c.trained <= TAUGHT)]
            if np.isfinite(c.trained)
            else []
        ),
        *(
            [evidence("pairs told apart", c.told_apart, "share", f"<= {TOLD_APART}", not apart)]
            if np.isfinite(c.told_apart)
            else []
        ),
    )


def _action(c: Collapse) -> str:
    if c.learning:
        return (
            "The probabilities do tell the classes apart: the threshold is the problem. Predict the rare "
            "class from a lower probability, chosen for F1 or for the cost of a miss."
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
    return "" if moved is None else moved.text(recording)


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
            "within a few epochs and the training loss falls below its start. If it stays there, the inputs "
            "carry no information about the rare classes, or the optimisation is stuck."
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
