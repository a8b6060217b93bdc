"""Numbers and names in words."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_lossacc.records import Episode, Evidence
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.views import words
from jupyter_lossacc.views.verdict import status_line
from tests.views.states import simulate

EPISODE = Episode(
    split="val",
    start_epoch=4,
    end_epoch=9,
    kind="both_rise",
    loss_change=Estimate(0.2, 0.1, 0.3, "nats"),
    accuracy_change=Estimate(0.02, 0.01, 0.03, "share"),
    holds_on_new_data="undecided",
    n_needed=4321,
)


def test_an_epoch_that_was_cut_short_is_said_as_such():
    recording = simulate(epochs=3, samples=40).build("interrupted")
    assert words.epochs_seen(recording) == "3 epochs"
    begun = replace(recording.summaries[-1], split="train", epoch=4, complete=False)
    cut = replace(recording, summaries=(*recording.summaries, begun))
    assert words.epochs_seen(cut) == "3 epochs and part of epoch 4"
    assert "3 epochs and part of epoch 4" in status_line(cut, "interrupted")


def test_examples_hold():
    assert doctest.testmod(words).failed == 0


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_three_significant_digits_and_no_hyphen_for_minus(value):
    text = words.number(value)
    assert "-" not in text
    digits = text.split("e")[0].replace("−", "").replace(",", "").replace(".", "").strip("0")
    assert len(digits) <= 3
    assert float(text.replace("−", "-").replace(",", "")) == pytest.approx(value, rel=6e-3, abs=1e-300)


def test_an_undecided_movement_says_how_many_samples_would_decide_it():
    assert words.reach(EPISODE, 1500) == (
        "undecided",
        "other 1,500 samples might not show it; about 4,300 samples would decide it",
    )
    where, answer, _ = words.here(EPISODE, 1500)
    assert (where, answer) == ("on this validation set", "sustained")
    assert words.reach(replace(EPISODE, holds_on_new_data="yes"), 1500)[0] == "expected too"


def test_titles_say_what_where_and_when():
    assert words.episode_title(EPISODE) == "Validation: loss and accuracy rise together, epochs 4–9"
    assert words.epochs_of(replace(EPISODE, end_epoch=4)) == "epoch 4"
    assert words.short_verdict(EPISODE, None) == "both rise: cause undecided"
    assert words.short_verdict(replace(EPISODE, retracted=True), None) == "both rise: no longer supported"


def test_a_cause_without_a_page_is_named_by_its_id():
    assert words.cause_title("some_new_cause") == "Some new cause"


@pytest.mark.parametrize(
    ("name", "value", "unit", "threshold", "said"),
    [
        ("change of accuracy", 0.025, "share", "< 0", ("+2.5 points", "< 0 points")),
        ("rise of the repaired loss", 0.1, "nats", "> 0.01", ("+0.1 nats", "> 0.01 nats")),
        ("fall of the training loss", 0.5, "nats", "> 0", ("0.5 nats", "> 0 nats")),
        (
            "training loss, change over the last epochs",
            -0.003,
            "ratio",
            "within 0.01",
            ("−0.3 %", "within 1 %"),
        ),
        ("share of the fall", 0.7, "share", "interval above 0.5", ("70 %", "interval above 50 %")),
        ("growth of the temperature", 2.53, "ratio", "> 1.1", ("2.53×", "> 1.1×")),
        ("change factor of the temperature", 0.8, "ratio", "< 0.95", ("0.8×", "< 0.95×")),
        ("score test", 9.29, "z", "> 3.3", ("9.29 standard errors", "> 3.3")),
        (
            "change through the averaging",
            0.2,
            "nats",
            "beyond 5% of the loss",
            ("+0.2 nats", "beyond 5% of the loss"),
        ),
        ("rare classes' share of the loss change", 2.32, "share", "> 0.5", ("232 %", "> 50 %")),
        ("criterion's input on the simplex", 1.0, "truth", "", ("yes", "")),
        ("temperature", float("nan"), "1", "", ("not known", "")),
    ],
)
def test_evidence_and_what_decides_it_are_in_one_unit(name, value, unit, threshold, said):
    evidence = Evidence(name=name, value=value, unit=unit, threshold=threshold, supports=True)
    assert words.evidence_words(evidence) == said
