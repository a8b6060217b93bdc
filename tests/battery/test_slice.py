"""A slice of the batteries again: what is committed is what the code gives, and the tables are its tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.battery.__main__ import HERE, RESULTS
from tests.battery.measure import measure
from tests.battery.scenarios import BATTERIES, FIRST_SEED, SCENARIOS, plans
from tests.battery.tables import TABLES

COMMITTED: dict[str, list[dict[str, Any]]] = json.loads(RESULTS.read_text(encoding="utf-8"))
# Short trainings whose answer is far from every threshold.
AGAIN = {
    "home": ("mode_mismatch", "double_softmax", "label_shift", "dead_activations"),
    "away": ("split_overlap", "label_shift", "mode_mismatch_training"),
    "far": ("split_overlap", "dead_activations"),
    "beyond": ("split_overlap", "label_shift"),
}


def test_the_batteries_are_what_they_promise() -> None:
    assert len(SCENARIOS) >= 29
    assert len({s.cause for s in SCENARIOS}) == 26
    for battery in BATTERIES:
        todo = list(plans(battery))
        assert len(todo) == 6 * len(SCENARIOS)  # three seeds, each with a twin
        assert len({p.family.name for p in todo}) == 3
    kinds = [f.name for families in BATTERIES.values() for f in families]
    assert len(set(kinds)) == len(kinds) == 15


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
