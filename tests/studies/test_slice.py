"""A slice of the studies again: what is committed is what the code gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.studies import simulated
from tests.studies.__main__ import HERE
from tests.studies.measure import healthy_run, null_run, planted_run
from tests.studies.tables import healthy_table, null_table, planted_table, positive_table
from tests.studies.trainings import HEALTHY

RESULTS = json.loads(Path(HERE, "results.json").read_text(encoding="utf-8"))
# Data that scikit-learn ships, or that is drawn: nothing else has to be installed.
PACKAGED = [i for i, training in enumerate(HEALTHY) if training.data != "mnist1d"]


def test_readme_holds_the_tables_of_the_results():
    text = Path(HERE, "README.md").read_text(encoding="utf-8")
    for table in (healthy_table, null_table, planted_table, positive_table):
        assert table(RESULTS) in text
    assert RESULTS["code"] in text


def test_false_alarms_on_healthy_runs_are_within_the_target():
    runs = RESULTS["healthy"]
    assert len(runs) >= 150
    assert len({run["data"] for run in runs}) >= 3
    assert sum(bool(run["harmful"]) for run in runs) <= 0.02 * len(runs)


def test_false_alarms_on_simulated_runs_are_within_the_target():
    for cell in RESULTS["nulls"]:
        assert cell["any"] <= 0.05 * cell["runs"]


@pytest.mark.parametrize("index", PACKAGED)
def test_a_healthy_run_gives_what_is_committed(index):
    """The alarms too: seed 0 of the breast-cancer runs holds the study's only one."""
    (row,) = [run for run in RESULTS["healthy"] if (run["training"], run["seed"]) == (index, 0)]
    assert healthy_run((index, 0))["harmful"] == row["harmful"]


@pytest.mark.parametrize("rho", simulated.RHOS)
@pytest.mark.parametrize(("loss", "accuracy"), simulated.NULLS)
def test_simulated_runs_give_what_is_committed(loss, accuracy, rho):
    (cell,) = [c for c in RESULTS["nulls"] if (c["loss"], c["accuracy"], c["rho"]) == (loss, accuracy, rho)]
    for seed in range(3):
        assert bool(null_run((loss, accuracy, rho, seed))) == (seed in cell["seeds shown"])


def test_planted_rises_give_what_is_committed():
    cell = next(c for c in RESULTS["planted"] if (c["n"], c["rise"]) == (1000, 0.03))
    for seed in range(3):
        row = cell["rows"][seed]
        assert planted_run((1000, 0.03, seed))["shown"] == row["shown"]


def test_a_rise_of_both_over_twenty_epochs_on_1000_samples_is_not_met_with_silence():
    for cell in RESULTS["planted"]:
        # With five points in twenty epochs the loss of such a run hardly rises: there is less to show.
        if cell["n"] == 1000 and cell["rise"] <= 0.03:
            assert sum(row["anything harmful"] for row in cell["rows"]) >= 0.85 * cell["runs"]
