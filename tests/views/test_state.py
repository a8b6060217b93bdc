"""The panel's state: plain data, honest numbers, text that stays text."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from jupyter_lossacc.views.panel.coding import coded, thinned
from jupyter_lossacc.views.panel.curves import Positions
from tests.views.states import NAMES, STATES, conclude, simulate, state_of


@pytest.fixture(scope="module", params=[n for n in STATES if n != "thousand-epochs"])
def state(request):
    return state_of(STATES[request.param]())


def test_every_state_is_json_without_nan(state):
    assert json.loads(json.dumps(state, allow_nan=False)) == state


def test_every_band_has_its_card(state):
    cards = {card["id"] for card in state["cards"]}
    assert {band["id"] for band in state["bands"]} <= cards
    assert state["headline"]["card"] in {None, *cards}


def test_what_is_not_the_cause_comes_without_advice(state):
    """ "Rejected" beside "What to try" reads as if something were to be repaired."""
    causes = [c for card in state["cards"] for c in card["causes"] if c["verdict"] == "rejected"]
    assert not any(c["action"] or c["samples"] or "experiment" in c for c in causes)


def test_each_epoch_has_one_row_of_advice(state):
    rows = (state["advice"] or {"alternatives": []})["alternatives"]
    assert len({row["epoch"] for row in rows}) == len(rows)


def test_a_loss_that_is_no_likelihood_is_not_in_nats():
    shown = STATES["healthy"]()
    squared = [
        replace(s, loss=replace(s.loss, name="mse_loss"), reported_loss=2 * s.nll)
        for s in shown.recording.summaries
    ]
    made = state_of(conclude(replace(shown.recording, summaries=tuple(squared))))
    assert made["words"]["unit"] == "mse_loss"
    assert [line["pane"] for line in made["references"]] == ["accuracy"]
    assert state_of(shown)["words"]["unit"] == "nats"


def test_the_majority_line_is_that_of_validation_though_a_test_set_came_last():
    recording = simulate(test=True).build()
    val, test = (recording.series(split)[-1].classes.support for split in ("val", "test"))
    assert val.max() != test.max()
    line = next(r for r in state_of(conclude(recording))["references"] if r["pane"] == "accuracy")
    assert line["value"] == pytest.approx(val.max() / val.sum(), abs=1e-4)
    assert "validation class" in line["title"]


def test_a_headline_is_always_there(state):
    assert state["headline"]["text"]
    assert state["words"]["loss"].startswith("Loss in nats.")


def test_numbers_that_are_not_finite_are_coded():
    assert [coded(v) for v in (float("nan"), float("inf"), -float("inf"), 2.0, 0.123456)] == [
        "nan", "inf", "-inf", 2, 0.12346,
    ]  # fmt: skip


def test_nan_losses_are_coded_and_said():
    state = state_of(STATES["not-finite"]())
    val = next(c for c in state["curves"] if c["id"] == "val")
    assert val["loss"][7:] == ["nan"] * 5
    assert 0 not in val["loss"]
    assert "Validation loss is NaN from epoch 8 on" in " ".join(state["non_finite"])
    assert "The batch loss is ∞ at step 4 (epoch 1), 61 of 144 steps" in " ".join(state["non_finite"])
    assert "NaN since epoch 8" in state["headline"]["text"]


def test_an_accuracy_that_was_not_taken_is_a_gap_and_no_failure():
    shown = STATES["healthy"]()
    passes = [replace(s, accuracy=float("nan")) if s.split == "train" and s.epoch == 9 else s
              for s in shown.recording.summaries]  # fmt: skip
    state = state_of(replace(shown, recording=replace(shown.recording, summaries=tuple(passes))))
    train = next(c for c in state["curves"] if c["id"] == "train")
    assert train["accuracy"][8] is None
    assert None not in train["accuracy"][:8]
    assert state["non_finite"] == []


def test_both_rise_is_banded_explained_and_counted():
    state = state_of(STATES["both-rise"]())
    band = next(b for b in state["bands"] if b["split"] == "val")
    assert band["kind"] == "both_rise"
    card = next(c for c in state["cards"] if c["id"] == band["id"])
    assert state["headline"]["card"] == band["id"]
    total = sum(bar["value"] for bar in card["waterfall"]["bars"])
    assert total == pytest.approx(card["waterfall"]["total"], abs=2e-4)
    assert sum(bar["n"] for bar in card["waterfall"]["bars"]) == 600
    for end in ("start", "end"):
        assert sum(card["histogram"][end]["right"]) + sum(card["histogram"][end]["wrong"]) == 600
    columns = card["samples"]["columns"]
    assert len({len(values) for values in columns.values()}) == 1
    assert {"stayed_right", "stayed_wrong"} <= set(columns["group"])
    assert band["kind"] in state["pages"]


def test_columns_of_samples_repeat_the_records():
    shown = STATES["both-rise"]()
    card = next(c for c in state_of(shown)["cards"] if c["split"] == "val")
    last = shown.recording.predictions("val", card["end"])
    row = {int(i): n for n, i in enumerate(last.sample_ids)}
    columns = card["samples"]["columns"]
    for sample, nll, predicted in zip(columns["id"], columns["nll"], columns["predicted"], strict=True):
        assert nll == pytest.approx(float(last.nll[row[sample]]), rel=1e-2)
        assert predicted == last.predicted[row[sample]]


def test_class_names_are_kept_as_they_are():
    state = state_of(STATES["class-names"]())
    assert state["classes"] == list(NAMES)


def test_records_without_samples_give_a_card_without_tables():
    shown = STATES["both-rise"]()

    def load(key):
        raise KeyError(key)

    bare = conclude(replace(shown.recording, load=load))
    bare = replace(bare, episodes=shown.episodes, diagnoses=shown.diagnoses)
    card = next(c for c in state_of(bare)["cards"] if c.get("split") == "val")
    assert "samples" not in card
    assert card["ends"]["rows"]


def test_passes_within_an_epoch_stand_within_it():
    recording = simulate(epochs=3, steps=10).build()
    positions = Positions(recording)
    assert positions.of(2, 15) == pytest.approx(1.5)
    assert positions.of(3, 30) == 3
    assert positions.of(0, 0) == 0


def test_thinning_keeps_extremes_and_what_is_not_finite():
    x = np.arange(20_000.0)
    y = np.sin(x / 900)
    y[1234], y[9999] = 7.0, np.nan
    tx, ty = thinned(x, y, 1500)
    assert len(tx) <= 1500
    assert 7.0 in ty
    assert np.isnan(ty).any()
    assert tx[-1] == x[-1]


def test_a_rate_that_changes_all_the_time_gives_no_ticks():
    recording = simulate(epochs=10).build()
    rates = 0.1 * np.linspace(1, 0.1, len(recording.steps["step"]))
    state = state_of(conclude(replace(recording, steps={**recording.steps, "learning_rate": rates})))
    assert state["rate_changes"] == []
    one = state_of(conclude(recording))
    assert [r["text"] for r in one["rate_changes"]] == ["learning rate 0.01 → 0.001"]


def test_a_thousand_epochs_are_made_in_less_than_half_a_second():
    shown = STATES["thousand-epochs"]()
    started = time.process_time()
    state = state_of(shown)
    assert time.process_time() - started < 0.5
    assert len(json.dumps(state["steps"])) < 60_000


def test_a_stretch_that_reaches_the_newest_epoch_of_a_running_run_is_open_at_its_end():
    (band,) = [b for b in state_of(STATES["running"]())["bands"] if b["split"] == "val"]
    assert band["open"]
    assert band["title"].endswith(f", still going on at epoch {band['end']}")
    assert not any(b["open"] for b in state_of(STATES["both-rise"]())["bands"])
