"""Advice to stop or to go on: it holds for more than an epoch, and its sentence says what is so."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from jupyter_lossacc.diagnosis import going_on
from jupyter_lossacc.diagnosis.going_on import (
    EARLIEST,
    LOOKED_BACK,
    _look,
    _next,
    _why,
    stop_or_go,
)

EPOCHS = 100


def curve(seed: int) -> np.ndarray:
    """A loss that falls to a level, wobbles, and in some runs rises again."""
    rng = np.random.default_rng(seed)
    epochs = np.arange(1, EPOCHS + 1)
    fall = 1.5 * np.exp(-epochs / rng.uniform(5, 40))
    rise = rng.choice([0.0, 0.0, 0.0005, 0.002]) * np.maximum(0, epochs - rng.integers(20, 60))
    return 0.5 + fall + rise + rng.choice([0.002, 0.01, 0.03]) * rng.normal(size=EPOCHS)


def told(values: np.ndarray) -> list[tuple[str, str]]:
    """What a reader is told after each epoch, each look taken once."""
    epochs, said = np.arange(1, len(values) + 1), "undecided"
    run = [stop_or_go(epochs[:n], values[:n], "loss") for n in range(1, EARLIEST)]
    for n in range(EARLIEST, len(values) + 1):
        look = _look(epochs[:n], values[:n])
        said = _next(said, look)
        run.append((said, _why(said, look, "loss")))
    return run


@pytest.fixture(scope="module")
def runs() -> list[list[tuple[str, str]]]:
    return [told(curve(seed)) for seed in range(30)]


def test_advice_changes_seldom_and_stop_now_is_hardly_ever_taken_back(runs) -> None:
    changes = [(a, b) for run in runs for (a, _), (b, _) in pairwise(run) if a != b]
    assert len(changes) < 2.5 * len(runs)  # a rule without memory: 5 per run
    assert sum(a == "now" for a, _ in changes) <= 1  # 20 without memory


def test_it_is_what_is_told_to_who_looks_once(runs) -> None:
    for seed in (0, 7):
        for n in (5, 40, EPOCHS):
            assert stop_or_go(np.arange(1, n + 1), curve(seed)[:n], "loss") == runs[seed][n - 1]


def test_it_says_now_in_the_end_where_the_loss_is_level_or_rises() -> None:
    epochs = np.arange(EPOCHS)
    for seed in range(10):
        wobble = 0.01 * np.random.default_rng(seed).normal(size=EPOCHS)
        for rise in (0, 0.003):
            values = 0.5 + np.exp(-epochs / 8) + rise * epochs + wobble
            assert told(values)[-1][0] == "now"


def test_a_loss_that_falls_slowly_in_noise_is_hardly_ever_stopped() -> None:
    stopped = 0
    for seed in range(20):
        values = 2 - 0.01 * np.arange(EPOCHS) + 0.03 * np.random.default_rng(seed).normal(size=EPOCHS)
        stopped += "now" in {said for said, _ in told(values)}
    assert stopped <= 3  # of 20; without memory and with less patience 15


def test_now_is_taken_back_when_the_loss_clearly_falls_again() -> None:
    values = np.concatenate(
        [np.linspace(2, 1, 10), 1 + 0.01 * np.sin(np.arange(20)), np.linspace(1, 0.2, 15)]
    )
    said = [s for s, _ in told(values)]
    assert "now" in set(said[10:30])
    assert said[-1] == "keep going"


def test_the_sentence_fits_what_is_said(runs) -> None:
    for seed, run in enumerate(runs):
        values = curve(seed)
        for n, (said, why) in enumerate(run, 1):
            lowest = int(np.argmin(values[:n])) + 1
            if named := re.search(r"lowest at epoch (\d+)", why):
                assert int(named[1]) == lowest
            if unimproved := re.search(r"(?:not improved|no new lowest) for (\d+) epochs", why):
                assert int(unimproved[1]) == n - lowest
            if said == "keep going":
                assert re.search("still falls|has been falling", why)
            if said == "now":
                assert re.search("has not improved|does not clearly fall", why)


def test_a_loss_that_has_turned_is_not_said_to_fall_still() -> None:
    """The steep first epochs outweigh the last ones in a trend over all."""
    values = np.array([1.23, 1.21, 1.19, 1.17, 1.15, 1.14, 1.145, 1.15, 1.16, 1.17])
    for n, told in ((7, "still falls"), (10, "has been falling (lowest at epoch 6 of 10)")):
        said, why = stop_or_go(np.arange(1, n + 1), values[:n], "loss")
        assert said == "keep going"
        assert told in why


def test_in_a_long_run_only_the_latest_epochs_are_gone_through(monkeypatch) -> None:
    looks = []
    monkeypatch.setattr(going_on, "_look", lambda *of: looks.append(1) or _look(*of))
    values = 0.5 + 0.01 * np.random.default_rng(0).normal(size=10 * LOOKED_BACK)
    assert stop_or_go(np.arange(1, len(values) + 1), values, "loss")[0] == "now"
    assert len(looks) <= LOOKED_BACK + 2


def test_values_that_are_not_known_are_left_out() -> None:
    values = curve(3)
    values[::7] = np.nan
    assert told(values)[-1][0] in ("now", "keep going", "undecided")
    assert stop_or_go(np.arange(9), np.full(9, np.nan), "loss")[0] == "undecided"


@pytest.mark.parametrize("stride", [1, 7])
def test_asked_on_the_way_or_at_the_end_the_answer_is_the_same(stride: int) -> None:
    rng = np.random.default_rng(stride)
    epochs = np.arange(1, 121)
    losses = 2 / np.sqrt(epochs) + 0.02 * rng.normal(size=120) + 0.002 * np.maximum(epochs - 60, 0)
    on_the_way = {n: stop_or_go(epochs[:n], losses[:n], "loss") for n in range(4, 121, stride)}
    for n, said in on_the_way.items():
        going_on._said.clear()
        assert stop_or_go(epochs[:n], losses[:n], "loss") == said
