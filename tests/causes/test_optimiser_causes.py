"""Learning rate, batch size and dead units, judged from the steps of real trainings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from torch import nn

from jupyter_lossacc.causes import (
    dead_activations,
    gradient_noise,
    learning_rate_too_high,
    learning_rate_too_low,
)
from jupyter_lossacc.records import Episode, Finding, LossInfo, Recording
from jupyter_lossacc.stats.descent import OF_BATCHES, describe_descent
from tests.recordings import train_and_record
from tests.scenarios_classes import optimiser

Examine = Callable[[Recording, Episode | None], Finding | None]
CAUSES: dict[str, Examine] = {
    "learning_rate_too_high": learning_rate_too_high.examine,
    "gradient_noise": gradient_noise.examine,
    "learning_rate_too_low": learning_rate_too_low.examine,
    "dead_activations": dead_activations.examine,
}
RUNS: dict[str, dict[str, float]] = {
    "healthy": {"lr": 0.05},
    "learning_rate_too_high": {"lr": 2.0},
    "gradient_noise": {"lr": 0.015, "batch": 2},
    "learning_rate_too_low": {"lr": 1e-4},
    "dead_activations": {"lr": 0.02, "bias": -12.0},
}


@cache
def run(name: str) -> Recording:
    return optimiser(0, **RUNS[name]).build()  # type: ignore[arg-type]


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_supported(cause: str) -> None:
    finding = CAUSES[cause](run(cause), None)
    assert finding is not None
    assert finding.verdict == "supported", finding.statement
    assert finding.experiment is not None
    compile(finding.experiment.code, cause, "exec")
    assert finding.action
    assert finding.because


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("name", RUNS)
def test_no_other_cause_is(cause: str, name: str) -> None:
    finding = CAUSES[cause](run(name), None)
    assert finding is not None
    assert finding.verdict != "supported" or cause == name, finding.statement
    if name == "healthy":
        assert finding.verdict == "rejected"


def test_units_that_die_on_the_way_are_a_consequence() -> None:
    finding = dead_activations.examine(run("learning_rate_too_high"), None)
    assert finding is not None
    assert finding.verdict == "undecided"


def test_a_small_batch_leaves_the_rate_undecided() -> None:
    finding = learning_rate_too_high.examine(run("gradient_noise"), None)
    assert finding is not None
    assert finding.verdict == "undecided"
    assert "batches of 2" in finding.statement


def test_a_criterion_that_changed_excuses_its_loss() -> None:
    recording = run("learning_rate_too_high")
    weights = [np.array([1.0, *[1.0 + s.epoch] * 9]) for s in recording.summaries]
    summaries = tuple(
        replace(s, loss=LossInfo(name="cross_entropy", class_weights=w))
        for s, w in zip(recording.summaries, weights, strict=True)
    )
    finding = learning_rate_too_high.examine(replace(recording, summaries=summaries), None)
    assert finding is not None
    assert finding.verdict == "undecided"


@pytest.mark.parametrize("cause", CAUSES)
def test_without_steps_nothing_is_claimed(cause: str) -> None:
    empty = {name: np.empty(0) for name in run("healthy").steps}
    finding = CAUSES[cause](replace(run("healthy"), steps=empty), None)
    assert finding is not None
    assert finding.verdict == "not_tested"


def test_steps_that_silence_a_network_at_once_are_named_and_not_the_units() -> None:
    """Raw inputs of a thousand and a rate of 0.1: the second step throws the loss to tens of thousands."""
    wine = load_wine()
    x, y = torch.tensor(wine.data, dtype=torch.float32), torch.tensor(wine.target)
    torch.manual_seed(1)
    order = torch.randperm(len(y))
    train, val = ((x[rows], y[rows]) for rows in (order[:115], order[115:]))
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    recording = train_and_record(model, train, val, epochs=30, optimizer=optimizer, batch_size=16).build()
    assert recording.steps["loss"].max() > 1000
    found = {name: examine(recording, None) for name, examine in CAUSES.items()}
    verdicts = {name: f.verdict for name, f in found.items() if f is not None}
    assert verdicts["learning_rate_too_high"] == "supported"
    assert verdicts["dead_activations"] == "undecided"
    assert "silenced the network" in found["learning_rate_too_high"].statement  # type: ignore[union-attr]


def steps(loss: np.ndarray, per_epoch: int = 20, norm: np.ndarray | None = None) -> dict[str, np.ndarray]:
    n = len(loss)
    return {
        "epoch": np.arange(n) // per_epoch + 1.0,
        "step": np.arange(n) + 1.0,
        "loss": loss,
        "n_samples": np.full(n, 64.0),
        "learning_rate": np.full(n, 0.1),
        "grad_norm": np.ones(n) if norm is None else norm,
        "update_ratio": np.full(n, 1e-3),
    }


def test_a_loss_that_breaks_after_the_gradient_grew_is_instability() -> None:
    loss = np.full(200, 2.0)
    loss[120:] = np.nan
    norm = np.where(np.arange(200) < 112, 1.0, 50.0)
    for grown, expected in ((norm, "supported"), (np.ones(200), "undecided")):
        finding = learning_rate_too_high.examine(replace(run("healthy"), steps=steps(loss, norm=grown)), None)
        assert finding is not None
        assert finding.verdict == expected
        assert "step 121" in finding.statement


def test_a_loss_that_climbs_to_no_number_in_a_few_steps_is_instability() -> None:
    """No gradient had the time to grow: far more than one step says so, beside steps of any length."""
    climbs = [1.7, 1.3, 5.4, 136.0, 1.3e5, 2.7e11, 2.4e24]
    jumps = [1.7, 1.6, 1.7, 1.5, 1.6, 1.5, 2.4e24]
    for loss, ratio, expected in (
        (climbs, 0.5, "supported"),
        (climbs, 1e-3, "undecided"),  # ordinary steps: the data may grow
        (jumps, 0.5, "undecided"),  # one broken batch
    ):
        made = steps(np.array(loss + [np.nan] * 193), norm=np.full(200, np.nan))
        made["update_ratio"] = np.full(200, ratio)
        finding = learning_rate_too_high.examine(replace(run("healthy"), steps=made), None)
        assert finding is not None
        assert finding.verdict == expected
        assert "step 8" in finding.statement


def test_noise_around_a_falling_trend_is_not_instability() -> None:
    """In 200 simulated healthy descents with noisy batches no instability is seen."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        t = np.arange(600) / 600
        level = 0.3 + 2.0 * np.exp(-4 * t)
        d = describe_descent(steps(level * rng.gamma(8, 1 / 8, 600)), np.log(10))
        assert d is not None
        alarms += d.overshoots or d.stalls_swinging
    assert alarms == 0


def test_a_warm_start_is_measured_against_chance() -> None:
    """A loss that begins low because the model was trained before is not blown up by a small rise."""
    loss = np.concatenate([np.full(20, 0.05), np.full(580, 0.4)])
    d = describe_descent(steps(loss), np.log(10))
    assert d is not None
    assert d.peak < 1


def test_a_trained_model_that_meets_new_labels_only_comes_down() -> None:
    """A peak above the start that is followed by a steady descent is not an overshoot."""
    rng = np.random.default_rng(0)
    level = np.concatenate([np.linspace(3.2, 4.6, 15), 4.4 * np.exp(-2 * np.arange(585) / 585) + 0.3])
    d = describe_descent(steps(level + 0.05 * rng.normal(size=600)), np.log(10))
    assert d is not None
    assert d.peak > 1.3
    assert not d.overshoots
    assert not d.suspicious


def test_sorted_data_excuse_the_swings() -> None:
    recording = run("learning_rate_too_high")
    sorted_ = tuple(replace(s, order_runs=(0.02, -50.0)) for s in recording.summaries)
    finding = learning_rate_too_high.examine(replace(recording, summaries=sorted_), None)
    assert finding is not None
    assert finding.verdict == "undecided"
    assert "runs of one class" in finding.statement


def test_of_a_schedule_the_highest_rate_is_named_and_divided() -> None:
    """Most steps were taken at a tenth of the rate that threw the weights."""
    recording = run("learning_rate_too_high")
    rate = np.where(recording.steps["epoch"] <= 4, 2.0, 0.2)
    finding = CAUSES["learning_rate_too_high"](
        replace(recording, steps=dict(recording.steps) | {"learning_rate": rate}), None
    )
    assert finding is not None
    assert "(learning rate up to 2, batches" in finding.statement
    assert finding.experiment is not None
    assert "lr=0.2," in finding.experiment.code
    constant = CAUSES["learning_rate_too_high"](recording, None)
    assert constant is not None
    assert "(learning rate 2, batches" in constant.statement


def test_a_plateau_that_wobbles_as_batches_do_is_no_fault_of_the_rate() -> None:
    """Few samples and wrong labels: the loss cannot fall, and its mean is as noisy as any batches make it."""
    rng = np.random.default_rng(1)
    for swings, verdict in ((0.0, "undecided"), (0.2, "supported")):
        level = 1.0 + swings * (-1.0) ** np.arange(20)
        made = steps(level.repeat(20) + 0.3 * rng.normal(size=400)) | {"update_ratio": np.full(400, 0.01)}
        found = CAUSES["learning_rate_too_high"](replace(run("healthy"), steps=made), None)
        d = describe_descent(made, np.log(10))
        assert d is not None
        assert d.stalls_swinging
        assert (d.swing > OF_BATCHES) == (verdict == "supported")
        assert found is not None
        assert found.verdict == verdict
        assert ("no larger than single batches make them" in found.statement) == (verdict == "undecided")
