"""What a card shows below its sentences: who moved, how sure the model was, which classes.

Every table is a dict of columns, so that the browser can sort and filter it without a kernel.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.diagnosis.decompose import decompose
from jupyter_lossacc.diagnosis.summary import class_table
from jupyter_lossacc.errors import DiagnosisError
from jupyter_lossacc.stats.transitions import TRANSITIONS, transition_groups
from jupyter_lossacc.views.panel.coding import coded, coded_list
from jupyter_lossacc.views.words import class_name, percent, quantity, signed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from jupyter_lossacc.records import ClassTable, EpochSummary, Finding, Predictions, Recording

__all__ = [
    "GROUPS",
    "class_changes",
    "class_names_of",
    "confidence_histograms",
    "confusions",
    "ends_table",
    "reliability",
    "samples_table",
    "waterfall",
]

Table = dict[str, Any]
GROUPS = {name: name.replace("_", " ") for name in TRANSITIONS}
BINS = 20
SURE = 0.9  # a wrong prediction made with this confidence is a confident error
PER_FINDING = 30
PER_GROUP = 5
MAX_CLASSES = 100
MAX_CONFUSIONS = 12
_ENDS = (
    ("reported_loss", "reported loss", "nats"),
    ("nll", "loss recomputed", "nats"),
    ("calibrated_nll", "loss, calibrated", "nats"),
    ("accuracy", "accuracy", "share"),
    ("balanced_accuracy", "balanced accuracy", "share"),
    ("macro_f1", "macro F1", "share"),
    ("temperature", "best temperature", "1"),
    ("ece", "calibration error (15 bins)", "share"),
)


def _reported_otherwise(recording: Recording, split: str, start: int, end: int, change: float) -> str:
    """Say it where the reported loss, weighted or another one, moved otherwise than the samples' own."""
    first, last = recording.summary(split, start), recording.summary(split, end)
    reported = last.reported_loss - first.reported_loss
    if not isfinite(reported) or abs(reported - change) <= 0.02 * max(abs(reported), abs(change), 0.05):
        return ""
    return (
        "This is the loss recomputed from the predictions, every sample counting the same; "
        f"the {'weighted' if last.loss.weighted else 'reported'} one, which is drawn, changed by "
        f"{signed(reported)}."
    )


def waterfall(recording: Recording, split: str, start: int, end: int) -> Table | None:
    """Loss change by what became of the samples; the bars add up to the total."""
    try:
        parts = decompose(recording, split, start, end, "transitions")
    except DiagnosisError:
        return None
    changes = parts["loss_change"]
    return {
        "aside": _reported_otherwise(recording, split, start, end, float(changes.sum())),
        "bars": [
            {"label": GROUPS.get(str(label), str(label)), "n": int(n), "value": coded(change)}
            for label, n, change in zip(parts["part"], parts["samples"], changes, strict=True)
        ],
        "total": coded(float(changes.sum())),
        "loss": "unweighted loss" if recording.summary(split, end).loss.weighted else "loss",
        "start": start,
        "end": end,
    }


def ends_table(first: EpochSummary, last: EpochSummary) -> Table:
    """Set the metrics of both ends side by side; rows without any value are left out."""
    rows = [
        {"name": label, "unit": unit, "start": coded(a), "end": coded(b)}
        for column, label, unit in _ENDS
        if np.isfinite([a := getattr(first, column), b := getattr(last, column)]).any()
    ]
    return {"start": first.epoch, "end": last.epoch, "rows": rows}


def confidence_histograms(first: Predictions, last: Predictions) -> Table:
    """Count samples by confidence, right and wrong apart, at both ends."""

    def counts(p: Predictions, right: bool) -> list[int]:
        chosen = p.confidence[(p.correct >= 0.5) == right]
        histogram, _ = np.histogram(np.clip(chosen, 0, 1), bins=BINS, range=(0, 1))
        return [int(c) for c in histogram]

    sure = [int(((p.correct < 0.5) & (p.confidence >= SURE)).sum()) for p in (first, last)]
    return {
        "start": {"right": counts(first, True), "wrong": counts(first, False)},
        "end": {"right": counts(last, True), "wrong": counts(last, False)},
        "text": f"Wrong though at least {percent(SURE)} sure: {sure[0]:,} sample{'s' * (sure[0] != 1)} "
        f"at the start, {sure[1]:,} at the end.",
    }


def reliability(first: EpochSummary, last: EpochSummary) -> Table | None:
    """Confidence against accuracy in bins of confidence, at both ends."""
    found: Table = {}
    for end, summary in (("start", first), ("end", last)):
        if summary.accumulators is None:
            return None
        count, confidence, correct = summary.accumulators.bins.T
        full = count > 0
        found[end] = {
            "confidence": coded_list(confidence[full] / count[full], 3),
            "accuracy": coded_list(correct[full] / count[full], 3),
            "n": [int(c) for c in count[full]],
        }
    found["text"] = (
        "Below the diagonal the model is surer than it is right. On average confidence and accuracy differ "
        f"by {_points(first.ece)} at the start and {_points(last.ece)} at the end."
    )
    return found


def _points(error: float) -> str:
    return quantity(error, "points") if isfinite(error) else "an unknown amount"


def _classes(recording: Recording, summary: EpochSummary) -> ClassTable:
    if summary.classes is not None:
        return summary.classes
    return class_table(recording.load(summary.key), summary.n_classes)


def class_changes(recording: Recording, first: EpochSummary, last: EpochSummary) -> Table | None:
    """Per-class results at the end and their changes, largest loss change first."""
    if last.loss.task not in ("multiclass", "binary") or first.n_classes != last.n_classes:
        return None
    try:
        a, b = _classes(recording, first), _classes(recording, last)
    except KeyError:
        return None
    change = _change(a.nll, b.nll)
    order = np.argsort(-np.abs(np.nan_to_num(change)), kind="stable")
    order = order[(b.support[order] > 0) | (b.predicted[order] > 0)]
    shown = order[:MAX_CLASSES]
    columns = {
        "class": [int(k) for k in shown],
        "support": [int(n) for n in b.support[shown]],
        "recall": coded_list(b.recall[shown], 4),
        "recall_change": coded_list((b.recall - a.recall)[shown], 4),
        "precision": coded_list(b.precision[shown], 4),
        "precision_change": coded_list((b.precision - a.precision)[shown], 4),
        "f1": coded_list(b.f1[shown], 4),
        "f1_change": coded_list((b.f1 - a.f1)[shown], 4),
        "nll": coded_list(b.nll[shown], 4),
        "nll_change": coded_list(change[shown], 4),
    }
    return {"columns": columns, "hidden": len(order) - len(shown)}


def _change(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float64]:
    """Difference of losses; NaN where both are infinite."""
    with np.errstate(invalid="ignore"):
        return after.astype(np.float64) - before


def confusions(first: Predictions, last: Predictions) -> Table:
    """Pairs (target, predicted) whose number changed most."""
    pairs: dict[tuple[int, int], list[int]] = {}
    for end, p in enumerate((first, last)):
        wrong = p.targets != p.predicted
        found, counts = np.unique(
            np.stack([p.targets[wrong], p.predicted[wrong]]), axis=1, return_counts=True
        )
        for (target, predicted), count in zip(found.T.tolist(), counts.tolist(), strict=True):
            pairs.setdefault((target, predicted), [0, 0])[end] = count
    moved = [(pair, ends) for pair, ends in pairs.items() if ends[0] != ends[1]]
    moved.sort(key=lambda row: (-abs(row[1][1] - row[1][0]), row[0]))
    shown = moved[:MAX_CONFUSIONS]
    return {
        "columns": {
            "target": [pair[0] for pair, _ in shown],
            "predicted": [pair[1] for pair, _ in shown],
            "start": [ends[0] for _, ends in shown],
            "end": [ends[1] for _, ends in shown],
            "change": [ends[1] - ends[0] for _, ends in shown],
        },
        "hidden": len(moved) - len(shown),
    }


def samples_table(first: Predictions, last: Predictions, findings: Sequence[Finding]) -> Table:
    """Collect the samples named by findings, and the most telling ones of each transition group.

    Parameters
    ----------
    first, last : Predictions
        Both ends on the same samples.
    findings : sequence of Finding
        In order; each that is not rejected adds its first `PER_FINDING` samples.
    """
    groups = transition_groups(first.correct, last.correct)
    named = _named_rows(last.sample_ids, findings)
    for group in range(len(TRANSITIONS)):
        for row in _examples(first, last, groups, group):
            named.setdefault(row, [])
    rows = np.array(list(named), dtype=int)
    columns = {
        "id": [int(i) for i in last.sample_ids[rows]],
        "group": [TRANSITIONS[g] for g in groups[rows]],
        "target": [int(c) for c in last.targets[rows]],
        "predicted_start": [int(c) for c in first.predicted[rows]],
        "predicted": [int(c) for c in last.predicted[rows]],
        "nll_start": coded_list(first.nll[rows], 3),
        "nll": coded_list(last.nll[rows], 3),
        "nll_change": coded_list(_change(first.nll, last.nll)[rows], 3),
        "confidence_start": coded_list(first.confidence[rows], 3),
        "confidence": coded_list(last.confidence[rows], 3),
        "causes": list(named.values()),
    }
    counts = np.bincount(groups, minlength=len(TRANSITIONS))
    return {
        "columns": columns,
        "groups": {name: int(n) for name, n in zip(TRANSITIONS, counts, strict=True)},
        "of": len(last),
    }


def _named_rows(ids: NDArray[np.int64], findings: Sequence[Finding]) -> dict[int, list[str]]:
    """Rows of the samples that findings name → the causes that name them."""
    position: Mapping[int, int] = {int(i): row for row, i in enumerate(ids)}
    named: dict[int, list[str]] = {}
    for finding in findings:
        if finding.verdict == "rejected":  # "named by label noise" would say that it is
            continue
        for sample in finding.sample_ids[:PER_FINDING].tolist():
            if sample in position:
                named.setdefault(position[sample], []).append(finding.cause)
    return named


def _examples(first: Predictions, last: Predictions, groups: NDArray[np.intp], group: int) -> list[int]:
    """Rows of a group whose loss moved most."""
    rows = np.flatnonzero(groups == group)
    moved = np.abs(np.nan_to_num(_change(first.nll, last.nll)[rows]))
    return [int(r) for r in rows[np.argsort(-moved, kind="stable")[:PER_GROUP]]]


def class_names_of(recording: Recording, n_classes: int) -> list[str]:
    """Names of all classes, as text."""
    return [class_name(recording, k) for k in range(n_classes)]
