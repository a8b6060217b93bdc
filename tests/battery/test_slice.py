"""A slice of the batteries again: what is committed is what the code gives, and the tables are its tables."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.battery.__main__ import HERE, RESULTS
from tests.battery.effects import is_healthy
from tests.battery.held_back import HeldBack
from tests.battery.measure import measure, train_twin
from tests.battery.scenarios import BATTERIES, FIRST_SEED, SCENARIOS, plans
from tests.battery.tables import TABLES

COMMITTED: dict[str, list[dict[str, Any]]] = json.loads(RESULTS.read_text(encoding="utf-8"))
# Short trainings whose answer is far from every threshold.
AGAIN = {
    "home": ("mode_mismatch", "double_softmax", "label_shift", "dead_activations"),
    "away": ("split_overlap", "label_shift", "mode_mismatch_training"),
    "far": ("split_overlap", "dead_activations"),
    "beyond": ("split_overlap", "label_shift"),
    "elsewhere": ("split_overlap",),
}


def test_the_batteries_are_what_they_promise() -> None:
    assert len(SCENARIOS) >= 29
    assert len({s.cause for s in SCENARIOS}) == 26
    for battery in BATTERIES:
        todo = list(plans(battery))
        assert len(todo) == 6 * len(SCENARIOS)  # three seeds, each with a twin
        assert len({p.family.name for p in todo}) == 3
    kinds = [f.name for families in BATTERIES.values() for f in families]
    assert len(set(kinds)) == len(kinds) == 18


def test_the_readme_holds_the_tables_of_the_results() -> None:
    text = (HERE / "README.md").read_text(encoding="utf-8")
    for rows in COMMITTED.values():
        for table in TABLES.values():
            assert table(rows) in text


@pytest.mark.parametrize("battery", AGAIN)
def test_trainings_give_what_is_committed(battery: str) -> None:
    rows = {(r["scenario"], r["seed"], r["twin"]): r for r in COMMITTED.get(battery, [])}
    for plan in plans(battery, FIRST_SEED[battery]):
        row = rows.get((plan.scenario.name, plan.seed, plan.twin))
        if row is None or plan.scenario.name not in AGAIN[battery] or plan.seed != FIRST_SEED[battery]:
            continue
        found = measure(plan)
        for name in ("supported", "first", "wrong", "harmful", "verdict"):
            assert found[name] == row[name], (plan.scenario.name, plan.twin, name)


class Curve(HeldBack):
    """A test split of 1,500 samples whose mean loss is given; they differ in how they change by `spread`."""

    def __init__(self, losses: Any, spread: float = 0.1) -> None:
        self.curve = np.asarray(losses, float)  # type: ignore[misc]
        self.apart = spread * np.random.default_rng(0).normal(size=1500)
        self.apart -= self.apart.mean()

    def nll(self, epoch: int, temperature: float = 1.0) -> Any:
        return self.curve[epoch - 1] + epoch * self.apart


FALLS = 0.5 + np.exp(-np.arange(12) / 2)
TURNS = 0.02 * np.maximum(np.arange(12) - 6, 0)


@pytest.mark.parametrize(
    ("curve", "healthy"),
    [
        (Curve(FALLS), True),
        (Curve(FALLS + 0.009 * (np.arange(12) > 8)), True),  # small
        (Curve(FALLS + TURNS), False),
        (Curve(FALLS + TURNS, spread=0.5), True),  # within the error of 1,500 samples
        (Curve(FALLS + 0.12 * np.tile([0.0, 1.0, 0.5], 4)), True),  # wobbles as much as it rises
        (Curve([*FALLS[:-1], np.nan]), False),
    ],
)
def test_a_twin_is_healthy_whose_test_loss_ends_near_its_lowest(curve: Curve, healthy: bool) -> None:
    assert is_healthy(curve) is healthy


@pytest.mark.parametrize("healthy_at", [0.1 / 9, 0.0])
def test_a_twin_that_is_not_healthy_is_trained_at_a_third_of_its_rate(
    healthy_at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def setup() -> SimpleNamespace:
        return SimpleNamespace(optimizer=SimpleNamespace(param_groups=[{"lr": 0.1}]))

    def fit(made: SimpleNamespace, seed: int) -> float:
        rates.append(made.optimizer.param_groups[0]["lr"])
        return rates[-1]

    rates: list[float] = []
    monkeypatch.setattr("tests.battery.measure.fit", fit)
    monkeypatch.setattr("tests.battery.measure.HeldBack", lambda rate: rate)
    monkeypatch.setattr("tests.battery.measure.is_healthy", lambda rate: rate < healthy_at * 1.001)
    kept, rule = train_twin(SimpleNamespace(setup=setup, seed=50))  # type: ignore[arg-type]
    if healthy_at:
        assert rule == {"tried": 2, "healthy": True}
        assert rates == pytest.approx([0.1, 0.1 / 3, 0.1 / 9])
        assert kept == rates[-1]
    else:
        assert rule == {"tried": 3, "healthy": False}
        assert rates == pytest.approx([0.1, 0.1 / 3, 0.1 / 9, 0.1 / 27])
        assert kept == rates[0]
