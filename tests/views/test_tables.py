"""The tables of a card, counted again from the records by other means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from jupyter_lossacc.views.panel import tables
from tests.views.states import STATES, state_of


@pytest.fixture(scope="module")
def both():
    """A card on the validation set, and its two ends from the records."""
    shown = STATES["both-rise"]()
    card = next(c for c in state_of(shown)["cards"] if c.get("split") == "val")
    return card, *shown.recording.paired("val", card["start"], card["end"])


def test_classes_and_their_changes(both):
    card, first, last = both
    columns = card["classes"]["columns"]
    found = []
    for p in (first, last):
        precision, recall, f1, support = precision_recall_fscore_support(p.targets, p.predicted)
        nll = [p.nll[p.targets == k].mean() for k in range(5)]
        found.append(
            {"precision": precision, "recall": recall, "f1": f1, "support": support, "nll": np.array(nll)}
        )
    before, after = found
    shown = columns["class"]
    assert columns["support"] == after["support"][shown].tolist()
    for name in ("precision", "recall", "f1", "nll"):
        assert columns[name] == pytest.approx(after[name][shown], rel=1e-3)
        change = (after[name] - before[name])[shown]
        assert columns[f"{name}_change"] == pytest.approx(change, abs=2e-4)
    order = np.abs(columns["nll_change"])
    assert list(order) == sorted(order, reverse=True)


def test_confusions_that_moved(both):
    card, first, last = both
    a, b = (confusion_matrix(p.targets, p.predicted, labels=range(5)) for p in (first, last))
    columns = card["confusions"]["columns"]
    for target, predicted, start, end, change in zip(*columns.values(), strict=True):
        assert (start, end, change) == (
            a[target, predicted],
            b[target, predicted],
            b[target, predicted] - a[target, predicted],
        )
    off = ~np.eye(5, dtype=bool)
    largest = np.sort(np.abs(b - a)[off])[::-1][: len(columns["change"])]
    assert [abs(c) for c in columns["change"]] == largest.tolist()
    assert card["confusions"]["hidden"] == np.count_nonzero((b - a)[off]) - len(columns["change"])


def test_histograms_of_confidence(both):
    card, first, last = both
    for name, p in (("start", first), ("end", last)):
        for right in (True, False):
            chosen = np.floor(20 * p.confidence[(p.correct == 1) == right].astype(float)).clip(0, 19)
            counted = np.bincount(chosen.astype(int), minlength=20)
            assert card["histogram"][name]["right" if right else "wrong"] == counted.tolist()
    wrong = [int(((p.correct == 0) & (p.confidence >= 0.9)).sum()) for p in (first, last)]
    assert f"{wrong[0]} samples at the start, {wrong[1]} at the end" in card["histogram"]["text"]


def test_the_reliability_diagram(both):
    card, first, last = both
    for name, p in (("start", first), ("end", last)):
        drawn = card["reliability"][name]
        place = np.minimum((15 * p.confidence.astype(float)).astype(int), 14)
        full = np.unique(place)
        assert drawn["n"] == [int((place == k).sum()) for k in full]
        assert drawn["accuracy"] == pytest.approx([p.correct[place == k].mean() for k in full], abs=1e-3)
        assert drawn["confidence"] == pytest.approx([p.confidence[place == k].mean() for k in full], abs=1e-3)


def test_both_ends_and_the_waterfall(both):
    card, first, last = both
    rows = {row["name"]: row for row in card["ends"]["rows"]}
    for name, p in (("start", first), ("end", last)):
        assert rows["accuracy"][name] == pytest.approx(accuracy_score(p.targets, p.predicted), abs=1e-5)
        assert rows["loss recomputed"][name] == pytest.approx(p.nll.mean(), rel=1e-4)
    change = (last.nll.astype(float) - first.nll) / len(last)
    for bar in card["waterfall"]["bars"]:
        right = {
            "stayed right": (1, 1),
            "became right": (0, 1),
            "became wrong": (1, 0),
            "stayed wrong": (0, 0),
        }
        chosen = (first.correct == right[bar["label"]][0]) & (last.correct == right[bar["label"]][1])
        assert bar["n"] == chosen.sum()
        assert bar["value"] == pytest.approx(change[chosen].sum(), abs=1e-5)


def test_samples_in_groups(both):
    card, first, last = both
    counts = card["samples"]["groups"]
    assert sum(counts.values()) == card["samples"]["of"] == len(last)
    assert counts["became_right"] == ((first.correct == 0) & (last.correct == 1)).sum()
    assert set(card["samples"]["columns"]["group"]) <= set(tables.GROUPS)


def test_a_reported_loss_that_moved_otherwise_is_said_beside_the_waterfall():
    recording = STATES["both-rise"]().recording
    first, last = recording.summary("val", 7), recording.summary("val", 30)
    assert tables.waterfall(recording, "val", 7, 30)["aside"] == ""
    weighted = [
        replace(s, reported_loss=s.reported_loss + 1) if s is last else s for s in recording.summaries
    ]
    made = tables.waterfall(replace(recording, summaries=tuple(weighted)), "val", 7, 30)
    change = last.reported_loss - first.reported_loss + 1
    assert made["aside"].endswith(f"the reported one, which is drawn, changed by +{change:.2f}.")
