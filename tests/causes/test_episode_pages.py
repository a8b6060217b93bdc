"""The pages of the episode kinds say what the detector does: its numbers are the code's."""

from __future__ import annotations

import re
from math import log

import pytest

from jupyter_lossacc.causes.pages import page
from jupyter_lossacc.diagnosis import episodes, windows
from jupyter_lossacc.diagnosis.curves import bars_for

BARS = bars_for(60)
SHARE, LOW, HIGH = BARS.flat
SPELLED = {1: "one", 3: "three", 8: "eight", 0.1: "a tenth", 0.5: "half", 2.0: "twice"}
MARGIN = f"{SPELLED[SHARE]} of the error rate"


def points(value: float) -> str:
    return SPELLED[round(100 * value, 6)]


SAID = {
    "both_rise": (
        f"{SPELLED[windows.SHORTEST]} or more epochs",
        (
            f"the loss by {BARS.loss_least} nats and {100 * BARS.loss_share:g} %, "
            f"the accuracy by {points(BARS.accuracy_least)} a point"
        ),
    ),
    "loss_rises_accuracy_flat": (
        f"{MARGIN}, at least {points(LOW)} point and at most {points(HIGH)}",
        "the 90 % interval",
    ),
    "loss_falls_accuracy_flat": (f"{MARGIN} (at least {points(LOW)} point, at most {points(HIGH)})", "90 %"),
    "accuracy_stuck_loss_high": (
        f"for {windows._STUCK_EPOCHS} epochs",
        f"{SPELLED[windows._STUCK_ERRORS]} standard errors",
        f"{MARGIN} (at least {points(LOW)} point, at most {points(HIGH)})",
        f"in {100 * windows._HIGH_SHARE:g} % of the epochs",
        f"{100 * episodes._NEAR_CHANCE:g} % of the chance loss",
        f"{SPELLED[episodes._ABOVE_CALIBRATED[0]]} its own",
        f"{episodes._ABOVE_CALIBRATED[1]} nats above",
    ),
}


@pytest.mark.parametrize("kind", SAID)
def test_a_page_says_the_detectors_numbers(kind: str) -> None:
    text = page(kind).sections["How we test it"]
    assert [part for part in SAID[kind] if part not in text] == []


@pytest.mark.parametrize("kind", [*windows.MOVING, *windows.FLAT])
def test_a_page_says_no_other_numbers(kind: str) -> None:
    text = page(kind).sections["How we test it"]
    for part in SAID.get(kind, ()):
        text = text.replace(part, "")
    assert re.findall(r"\d+\.?\d*", text) == []


def test_the_table_of_both_rise_is_recomputed() -> None:
    text = page("both_rise").sections["Why it happens"]
    rows = re.findall(r"^\| \d \| ([\d.]+) \| ([\d.]+) \| (\w+), (\w+) \| ([\d.]+), ([\d.]+) \|$", text, re.M)
    assert len(rows) == 4
    for before, after, right_before, right_after, loss_before, loss_after in rows:
        for chance, right, loss in ((before, right_before, loss_before), (after, right_after, loss_after)):
            assert f"{-log(float(chance)):.2f}" == loss
            assert right == ("yes" if float(chance) > 0.5 else "no")
    for column, said in ((2, "25 %"), (3, "75 %")):
        share = sum(row[column] == "yes" for row in rows) / len(rows)
        assert f"{100 * share:g} %" == said
        assert said in text
