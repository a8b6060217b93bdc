"""Two epochs of a split, compared: those the reader chooses, and the pairs prepared for a frozen panel."""

from __future__ import annotations

from itertools import combinations
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t as student

from jupyter_lossacc.errors import DiagnosisError
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.resampling import mcnemar
from jupyter_lossacc.views.panel.cards import evidence_tables
from jupyter_lossacc.views.words import NOT_FINITE, capitalized, interval, measured, number, split_word

if TYPE_CHECKING:
    from jupyter_lossacc.records import CheckpointAdvice, EpochSummary, Predictions, Recording

__all__ = ["compared_split", "named_epochs", "pair_card", "prepared_pairs"]

Card = dict[str, Any]
HEAVY = ("samples", "reliability")  # left out of prepared pairs: a saved notebook has to stay small
MOST_CLASSES = 12  # listed in a prepared pair


def compared_split(recording: Recording) -> str | None:
    """Return the split whose epochs are compared: validation where there is one."""
    seen = [s for s in recording.splits() if s != "train" and len(recording.series(s)) > 1]
    return "val" if "val" in seen else seen[0] if seen else None


def named_epochs(recording: Recording, split: str, advice: CheckpointAdvice | None) -> list[Card]:
    """Epochs that have a name: start, lowest loss, highest accuracy, advised, last; one entry per epoch."""
    series = recording.series(split)
    if not series:
        return []
    named = [("start", series[0].epoch)]
    if finite := [s for s in series if isfinite(s.reported_loss)]:
        named.append(("lowest loss", min(finite, key=lambda s: s.reported_loss).epoch))
    if finite := [s for s in series if isfinite(s.accuracy)]:
        named.append(("highest accuracy", max(finite, key=lambda s: s.accuracy).epoch))
    if advice is not None and advice.epoch is not None and any(s.epoch == advice.epoch for s in series):
        named.append(("advised", advice.epoch))
    named.append(("last", series[-1].epoch))
    names: dict[int, list[str]] = {}
    for name, epoch in named:
        names.setdefault(epoch, []).append(name)
    return [{"epoch": epoch, "name": ", ".join(names[epoch])} for epoch in sorted(names)]


def pair_card(recording: Recording, split: str, start: int, end: int) -> Card:
    """Compare two epochs of a split: differences with their intervals, and who moved.

    Raises
    ------
    DiagnosisError
        When one of the epochs was not recorded whole.
    """
    try:
        first, last = recording.summary(split, start), recording.summary(split, end)
    except KeyError as error:
        raise DiagnosisError(str(error.args[0])) from None
    try:
        pair: tuple[Predictions, Predictions] | None = recording.paired(split, start, end)
    except KeyError:
        pair = None
    loss = Estimate(last.reported_loss - first.reported_loss, unit="nats")
    accuracy = Estimate(last.accuracy - first.accuracy, unit="share")
    if pair is not None and len(pair[0]):
        loss = _with_interval(loss, pair, "reported_loss")
        accuracy = _with_interval(accuracy, pair, "correct")
    broken = _broken(first, last)
    facts = [
        ["loss", NOT_FINITE if broken else measured(loss), broken or _interval(loss)],
        ["accuracy", measured(accuracy), _interval(accuracy)],
    ]
    if pair is not None and len(pair[0]):
        facts.append(_moved(pair))
    name = capitalized(split_word(split))
    return {
        "id": "pair",
        "split": split,
        "start": start,
        "end": end,
        "title": f"{name}: epoch {start} and epoch {end} compared",
        "lead": ""
        if pair is not None
        else "The samples of these epochs cannot be paired, so there are "
        "no intervals and no tables by sample.",
        "facts": facts,
        "causes": [],
        "limits": [],
        **evidence_tables(recording, split, start, end),
    }


def _broken(first: EpochSummary, last: EpochSummary) -> str:
    """Say which loss is not finite; between such losses there is no difference."""
    said = [
        f"{number(s.reported_loss)} at epoch {s.epoch}"
        for s in (first, last)
        if not isfinite(s.reported_loss)
    ]
    return f"the loss is {' and '.join(said)}" if said else ""


def _with_interval(exact: Estimate, pair: tuple[Predictions, Predictions], column: str) -> Estimate:
    """Put Student's interval of the mean paired difference around the difference of the averages.

    Not a bootstrap: up to ten pairs are prepared when a cell ends, of 100,000 samples each.
    """
    before, after = (np.asarray(getattr(p, column), np.float64) for p in pair)
    finite = np.isfinite(before) & np.isfinite(after)
    difference = after[finite] - before[finite]
    n = len(difference)
    if n < 2 or not isfinite(exact.value):
        return exact
    half = float(student.ppf(0.975, n - 1) * difference.std(ddof=1) / sqrt(n))
    return Estimate(exact.value, exact.value - half, exact.value + half, exact.unit)


def _interval(estimate: Estimate) -> str:
    span = interval(estimate)
    return f"95 %: {span}" if span else "no interval: samples cannot be paired"


def _moved(pair: tuple[Predictions, Predictions]) -> list[str]:
    test = mcnemar(pair[0].correct >= 0.5, pair[1].correct >= 0.5)
    note = f"McNemar's test that as many gained as lost: p = {number(test.p, 2)}"
    return ["samples", f"{test.gained:,} became right, {test.lost:,} became wrong", note]


def prepared_pairs(recording: Recording, split: str, named: list[Card]) -> list[Card]:
    """Compare every two named epochs, without the tables that take most room."""
    made = []
    for a, b in combinations([entry["epoch"] for entry in named], 2):
        try:
            card = {k: v for k, v in pair_card(recording, split, a, b).items() if k not in HEAVY}
        except DiagnosisError:
            continue
        if "classes" in card:
            card["classes"] = _shortened(card["classes"])
        made.append(card)
    return made


def _shortened(classes: Card) -> Card:
    columns = {k: v[:MOST_CLASSES] for k, v in classes["columns"].items()}
    left_out = len(classes["columns"]["class"]) - len(columns["class"])
    return {**classes, "columns": columns, "hidden": classes["hidden"] + left_out}
