"""Two epochs compared: exact differences, intervals that cover them, and the pairs of a frozen panel."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from jupyter_lossacc.errors import DiagnosisError
from jupyter_lossacc.views.panel.pairs import compared_split, named_epochs, pair_card, prepared_pairs
from tests.recordings import RecordingBuilder
from tests.views.states import STATES, conclude, state_of


@pytest.fixture(scope="module")
def shown():
    return STATES["both-rise"]()


def test_differences_are_exact_and_lie_within_their_intervals(shown):
    card = pair_card(shown.recording, "val", 3, 20)
    series = {s.epoch: s for s in shown.recording.series("val")}
    loss = series[20].reported_loss - series[3].reported_loss
    (_, said, span), (_, _, _), (_, moved, _) = card["facts"]
    assert float(said.split()[0].replace("−", "-")) == pytest.approx(loss, rel=5e-3)
    low, high = (float(v.replace("−", "-")) for v in span.removeprefix("95 %: ").split(" to "))
    assert low < loss < high
    before, after = shown.recording.paired("val", 3, 20)
    gained = int(((before.correct < 0.5) & (after.correct >= 0.5)).sum())
    assert moved.startswith(f"{gained} became right")
    assert sum(b["value"] for b in card["waterfall"]["bars"]) == pytest.approx(loss, abs=2e-4)
    assert json.loads(json.dumps(card, allow_nan=False)) == card


def test_the_later_epoch_may_come_first(shown):
    there, back = (pair_card(shown.recording, "val", *ends) for ends in ((3, 20), (20, 3)))
    assert back["waterfall"]["total"] == pytest.approx(-there["waterfall"]["total"])


def test_an_epoch_that_is_not_there_is_said(shown):
    with pytest.raises(DiagnosisError, match="epoch 99"):
        pair_card(shown.recording, "val", 1, 99)


def test_named_epochs_are_in_order_and_share_their_names(shown):
    named = named_epochs(shown.recording, "val", shown.advice)
    assert [e["epoch"] for e in named] == sorted({e["epoch"] for e in named})
    assert named[0]["name"].startswith("start")
    assert named[-1]["name"].endswith("last")
    series = shown.recording.series("val")
    lowest = min(series, key=lambda s: s.reported_loss).epoch
    assert "lowest loss" in next(e["name"] for e in named if e["epoch"] == lowest)
    assert "advised" in next(e["name"] for e in named if e["epoch"] == shown.advice.epoch)


def test_prepared_pairs_are_all_and_small(shown):
    split = compared_split(shown.recording)
    assert split == "val"
    named = named_epochs(shown.recording, split, shown.advice)
    pairs = prepared_pairs(shown.recording, split, named)
    assert len(pairs) == len(named) * (len(named) - 1) // 2
    assert max(len(json.dumps(p)) for p in pairs) < 5000


def test_samples_that_cannot_be_paired_give_no_interval(shown):
    load = shown.recording.load
    unknown = replace(shown.recording, load=lambda key: replace(load(key), ids_known=False))
    card = pair_card(unknown, "val", 3, 20)
    assert "cannot be paired" in card["lead"]
    assert "no interval" in card["facts"][0][2]
    assert "samples" not in card


def test_losses_that_are_not_finite_are_said_and_not_counted():
    shown = STATES["not-finite"]()
    card = pair_card(shown.recording, "val", 3, 12)
    assert card["facts"][0][1:] == ["not finite", "the loss is NaN at epoch 12"]
    assert np.isfinite(float(card["facts"][1][1].split()[0].replace("−", "-")))
    json.dumps(card, allow_nan=False)


@pytest.fixture(scope="module")
def infinite():
    """Some samples of some epochs are given no chance at all, and in the last nothing is a number."""
    rng, builder = np.random.default_rng(0), RecordingBuilder("infinite")
    targets = rng.integers(0, 3, 120)
    noise = rng.normal(size=(120, 3))
    for epoch in range(1, 9):
        logits = (1 + epoch) * (np.eye(3)[targets] + noise)
        logits[:5, :] += np.where(np.eye(3)[targets[:5]] == 1, -np.inf, 0) if epoch in (1, 2, 6, 7) else 0
        if epoch == 8:
            logits[:] = np.nan
        rows = torch.as_tensor(logits, dtype=torch.float32)
        broken = np.nan if epoch == 8 else 1 / epoch
        builder.steps += [(epoch, 4 * epoch + i, broken, 32, 0.1, 1.0, 0.01, np.nan) for i in range(4)]
        builder.add(
            "train",
            epoch,
            4 * epoch,
            torch.nan_to_num(rows, 0, 9, -9),
            torch.as_tensor(targets),
            training=True,
        )
        builder.add("val", epoch, 4 * epoch, rows, torch.as_tensor(targets))
    return builder


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("upto", [7, 8])
def test_infinite_losses_are_said_without_a_warning_and_never_as_zero(infinite, upto):
    shown = conclude(infinite.build(upto=upto))
    state = state_of(shown)
    for pair in [*state["compare"]["pairs"], pair_card(shown.recording, "val", 1, 2)]:
        broken = {pair["start"], pair["end"]} & {1, 2, 6, 7, 8}
        assert (pair["facts"][0][1] == "not finite") == bool(broken)
        assert all(f"at epoch {e}" in pair["facts"][0][2] for e in broken)
        assert "NaN" not in str(pair["facts"][1:])
    one_and_two = pair_card(shown.recording, "val", 1, 2)
    known = [c for c in one_and_two["samples"]["columns"]["nll_change"] if c != "nan"]
    assert 0 not in known
    said = state["headline"]["text"]
    if upto == 7:
        assert said == (
            "Validation loss is ∞ since epoch 6, while training loss is finite: some sample's loss is too "
            "large for a number."
        )
    else:
        assert said == "Validation loss is NaN since epoch 6: training has broken down there."
        text = pair_card(shown.recording, "val", 3, 8)["reliability"]["text"]
        assert text.endswith("at the start and an unknown amount at the end.")
