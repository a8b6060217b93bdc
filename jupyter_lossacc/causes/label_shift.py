"""Label shift: the class proportions of training and evaluation differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2_contingency

from jupyter_lossacc.causes.cause import Cause, default_split, evidence, not_tested, percent, rounded, spoken
from jupyter_lossacc.causes.wording import name_classes, support_of, trained_support
from jupyter_lossacc.records import Counterfactual, Episode, EpochSummary, Experiment, Finding, Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAUSE", "examine"]

ID = "label_shift"
LEVEL = 1e-4  # of the chi-squared test
MIN_DISTANCE = 0.05  # total variation: the share of samples that would have to change class


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether training and validation could have been drawn with the same class proportions."""
    split = default_split(recording)
    if episode is not None or split is None:
        return None
    last = recording.series(split)[-1:]
    trained = trained_support(recording)
    evaluated = support_of(recording, last[0]) if last else None
    if trained is None or evaluated is None or not evaluated.sum():
        return not_tested(
            ID, "The class proportions of training or of the evaluated split were not recorded."
        )
    width = max(len(trained), len(evaluated))
    counts = np.stack([np.pad(c, (0, width - len(c))) for c in (trained, evaluated)])
    counts = counts[:, counts.sum(axis=0) > 0] if counts.shape[1] > 1 else counts
    kept = np.flatnonzero(
        np.pad(trained, (0, width - len(trained))) + np.pad(evaluated, (0, width - len(evaluated)))
    )
    return _compare(recording, last[0], counts, kept)


def _compare(
    recording: Recording, summary: EpochSummary, counts: NDArray[np.int64], classes: NDArray[np.intp]
) -> Finding:
    p = float(chi2_contingency(counts, correction=False).pvalue) if counts.shape[1] > 1 else 1.0
    share = counts / counts.sum(axis=1, keepdims=True)
    distance = float(0.5 * np.abs(share[0] - share[1]).sum())
    unseen = classes[(counts[0] == 0) & (counts[1] > 0)]
    shifted = p < LEVEL and distance > MIN_DISTANCE
    facts = (
        evidence("p of equal proportions (chi-squared)", p, "1", f"< {LEVEL:g}", p < LEVEL),
        evidence(
            "total variation between the proportions",
            distance,
            "share",
            f"> {MIN_DISTANCE}",
            distance > MIN_DISTANCE,
        ),
        evidence("evaluated classes never trained on", float(len(unseen)), "classes", "> 0", len(unseen) > 0),
    )
    where = spoken(summary.split)
    if not shifted:
        clear = p > 0.01 or distance < MIN_DISTANCE
        return Finding(
            cause=ID,
            verdict="rejected" if clear else "undecided",
            statement=f"The class proportions of training and {where} differ by {percent(distance, 1)} of "
            f"the samples (p = {p:.2g}): "
            f"{'no more than chance or too little to matter' if clear else 'not clearly'}.",
            evidence=facts,
        )
    reweighted = _reweighted(summary, share, classes)
    return Finding(
        cause=ID,
        verdict="supported",
        statement=_statement(recording, where, share, classes, distance),
        because=f"class proportions differ between training and {where}",
        evidence=facts,
        counterfactual=reweighted,
        action=(
            "Split with stratification, or, if the shift is real, correct for it: multiply the predicted "
            "probabilities by the ratio of the proportions and normalise. If you resample training on "
            "purpose, this is what resampling does, and the same correction restores the probabilities."
        ),
        experiment=_experiment(where, reweighted),
        strength=min(1.0, 2 * distance),
    )


def _experiment(where: str, reweighted: Counterfactual | None) -> Experiment:
    return Experiment(
        code=(
            "# prior correction at evaluation time; counts per class of both splits\n"
            "shift = (val_counts / val_counts.sum()).log() - (train_counts / train_counts.sum()).log()\n"
            "corrected = logits + shift  # add to the logits, then evaluate as before\n"
        ),
        prediction=f"The {where} loss falls with the corrected logits, and accuracy does not fall. If it "
        "does not change, the difference of proportions is not what drives the loss.",
        result=""
        if reweighted is None
        else f"Reweighted from the records: {reweighted.name} is {rounded(reweighted.value)} instead of "
        f"{rounded(reweighted.actual)} nats.",
    )


def _statement(
    recording: Recording,
    where: str,
    share: NDArray[np.float64],
    classes: NDArray[np.intp],
    distance: float,
) -> str:
    worst = int(np.argmax(np.abs(share[0] - share[1])))
    return (
        f"{percent(share[0, worst], 1)} of the samples that training visited, but "
        f"{percent(share[1, worst], 1)} of "
        f"the {where} samples are {name_classes(recording, [int(classes[worst])])}; over all classes "
        f"{percent(distance, 1)} of the samples would have to change class to make the proportions equal."
    )


def _reweighted(
    summary: EpochSummary, share: NDArray[np.float64], classes: NDArray[np.intp]
) -> Counterfactual | None:
    """Loss of the evaluated split if its classes came in the training's proportions."""
    table = summary.classes
    if table is None or classes.max() >= len(table.nll):
        return None
    losses = table.nll[classes]
    if np.isnan(losses[share[0] > 0]).any():
        return None
    value = float((share[0] * np.nan_to_num(losses)).sum())
    return Counterfactual(
        name=f"{spoken(summary.split)} loss at epoch {summary.epoch} with the training's class proportions",
        value=value,
        actual=summary.nll,
    )


CAUSE = Cause(ID, examine, "run")
