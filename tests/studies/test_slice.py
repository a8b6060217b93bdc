"""A slice of the studies again: what is committed is what the code gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.studies import live, simulated
from tests.studies.__main__ import HERE, read_results, tables
from tests.studies.measure import (
    BLOCK,
    ENDS,
    KEPT_SEEDS,
    LATE_SEEDS,
    LENGTHS,
    LONG_SEEDS,
    MANY_SEEDS,
    NULL_SEEDS,
    PLANTED_SEEDS,
    STUCK_LENGTHS,
    STUCK_SEEDS,
    STUDIES,
    TURNOVER_SEEDS,
    healthy_run,
    kept_run,
    late_run,
    null_run,
    planted_run,
    turnover_run,
)
from tests.studies.simulated import LEARNED, LOSS_RISE, after_the_turn, planted, population
from tests.studies.tables import upper
from tests.studies.trainings import HEALTHY

RESULTS = {name: {tuple(job): row for job, row in read_results(name)["rows"]} for name in STUDIES}
# Data that scikit-learn ships, or that is drawn: nothing else has to be installed.
PACKAGED = [i for i, training in enumerate(HEALTHY) if training.data != "mnist1d"]


def test_readme_holds_the_tables_of_the_results():
    text = Path(HERE, "README.md").read_text(encoding="utf-8")
    for mark, filled in tables().items():
        assert f"<!-- {mark} -->\n{filled}\n<!-- end {mark} -->" in text


@pytest.mark.parametrize("name", STUDIES)
def test_every_job_of_a_study_was_done(name):
    assert set(RESULTS[name]) == set(STUDIES[name].jobs)


def test_false_alarms_on_healthy_runs_are_within_the_target():
    runs = RESULTS["healthy"]
    assert len(runs) >= 150
    assert len({HEALTHY[index].data for index, _ in runs}) >= 3
    assert sum(bool(row["harmful"]) for row in runs.values()) <= 0.02 * len(runs)


@pytest.mark.parametrize(
    ("name", "n_epochs", "rho", "least"),
    # Of longer runs a cell holds too few to be judged alone: see the next test.
    [("nulls", *cell) for cell in LENGTHS if cell[0] <= 60] + [("stuck", *cell) for cell in STUCK_LENGTHS],
)
def test_false_alarms_on_simulated_runs_are_within_the_target(name, n_epochs, rho, least):
    cells: dict[tuple[str, str], list[bool]] = {}
    for (loss, accuracy, r, n, _), kinds in RESULTS[name].items():
        if (r, n) == (rho, n_epochs):
            cells.setdefault((loss, accuracy), []).append(bool(kinds))
    assert len(cells) >= (4 if name == "nulls" else 2)
    for shown in cells.values():
        assert len(shown) == least
        assert sum(shown) <= 0.05 * len(shown)


def test_so_many_simulated_runs_are_within_the_target_and_false_ones_come_again():
    cells: dict[tuple, list[int]] = {}
    for (*cell, _), found in RESULTS["many"].items():
        cells.setdefault(tuple(cell), []).append(len(found))
    for cell, counts in cells.items():
        assert sum(counts) <= 0.05 * BLOCK * len(counts), cell
    for cell in (("rises", "stays", 0.5, 60), ("stays", "falls", 0.5, 60)):
        assert BLOCK * len(cells[cell]) >= 1500
        seed, kinds = next(iter(RESULTS["many"][(*cell, MANY_SEEDS[0])].items()))
        assert null_run(*cell, int(seed)) == kinds


@pytest.mark.parametrize("n_epochs", [150, 300])
def test_long_runs_are_within_the_target_and_add_next_to_nothing_after_epoch_60(n_epochs):
    shown = [kinds for (_, _, _, n, _), kinds in RESULTS["nulls"].items() if n == n_epochs]
    assert len(shown) >= 160
    assert sum(map(bool, shown)) <= 0.05 * len(shown)
    assert sum(min(kinds.values(), default=0) > 60 for kinds in shown) <= 0.01 * len(shown)


def test_a_rise_late_in_a_long_run_is_shown_before_the_run_ends():
    runs = RESULTS["late"]
    assert sum(row["anything harmful"] for row in runs.values()) >= 0.95 * len(runs)
    large = [row["shown"] for (n, rise, _), row in runs.items() if n == 1000 and rise >= 0.02]
    assert sum(large) >= 0.75 * len(large)


def test_what_was_shown_of_a_real_movement_stays():
    runs = [row for row in RESULTS["kept"].values() if row["first alarm"] is not None]
    assert len(runs) >= 0.9 * len(RESULTS["kept"])
    assert sum(row["dark"] > 0 for row in runs) <= 0.1 * len(runs)
    for place, end in enumerate(ENDS):
        shown = [row for row in runs if row["first alarm"] <= end]
        assert sum(row["on the screen"][place] for row in shown) >= 0.9 * len(shown)
        assert end == ENDS[0] or sum(row["after the end"][place] for row in shown) >= 0.75 * len(shown)


def test_what_was_shown_gives_what_is_committed():
    assert kept_run(1000, 0.05, 20, KEPT_SEEDS[0]) == RESULTS["kept"][1000, 0.05, 20, KEPT_SEEDS[0]]


def test_a_movement_of_this_validation_set_alone_is_not_said_to_hold():
    held = [bool(row["holds"]) for row in RESULTS["turnover"].values()]
    assert sum(held) <= 0.05 * len(held)


@pytest.mark.parametrize("index", PACKAGED)
def test_a_healthy_run_gives_what_is_committed(index):
    seed = min(s for i, s in RESULTS["healthy"] if i == index)
    assert healthy_run(index, seed)["harmful"] == RESULTS["healthy"][index, seed]["harmful"]


@pytest.mark.parametrize(("n_epochs", "rho"), [(60, 0.5), (60, 0.0), (20, 0.5)])
@pytest.mark.parametrize(("loss", "accuracy"), simulated.NULLS)
def test_simulated_runs_give_what_is_committed(loss, accuracy, n_epochs, rho):
    found = {s: RESULTS["nulls"][loss, accuracy, rho, n_epochs, s] for s in NULL_SEEDS[:60]}
    false = next((seed for seed, kinds in found.items() if kinds), NULL_SEEDS[1])
    for seed in {NULL_SEEDS[0], false}:
        assert null_run(loss, accuracy, rho, n_epochs, seed) == found[seed]


def test_long_runs_give_what_is_committed():
    for n_epochs in (150, 300):
        found = {s: RESULTS["nulls"]["rises", "stays", 0.5, n_epochs, s] for s in LONG_SEEDS[:40]}
        seed = max(found, key=lambda seed: min(found[seed].values(), default=0))
        assert null_run("rises", "stays", 0.5, n_epochs, seed) == found[seed]
    assert late_run(1000, 0.05, LATE_SEEDS[0]) == RESULTS["late"][1000, 0.05, LATE_SEEDS[0]]


@pytest.mark.parametrize(("loss", "accuracy"), simulated.STUCK)
def test_simulated_runs_under_a_high_loss_give_what_is_committed(loss, accuracy):
    for seed in STUCK_SEEDS[:2]:
        assert null_run(loss, accuracy, 0.5, 60, seed) == RESULTS["stuck"][loss, accuracy, 0.5, 60, seed]


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize(("loss", "accuracy"), [("rises", "stays"), ("stays", "falls"), ("learns", "learns")])
def test_the_quick_look_of_the_study_overlooks_nothing(loss, accuracy, seed, monkeypatch):
    curves = simulated.null_curves(loss, accuracy, n_epochs=40, rho=0.5, n_samples=200, seed=seed)
    kinds = set(live.NEEDS)
    quick = live.shown_of_curves(*curves, 200, kinds)
    monkeypatch.setattr(live, "_possible", lambda *_: True)
    assert live.shown_of_curves(*curves, 200, kinds) == quick


def test_planted_rises_give_what_is_committed():
    for seed in PLANTED_SEEDS[:2]:
        assert planted_run(1000, 0.03, seed) == RESULTS["planted"][1000, 0.03, seed]


def test_turnover_gives_what_is_committed():
    seed = TURNOVER_SEEDS[0]
    for loss in ("rises", "stays"):
        assert turnover_run(loss, 1000, seed) == RESULTS["turnover"][loss, 1000, seed]


def test_the_population_rises_by_what_was_planted():
    start, end = population(-LEARNED, 2.0), population(*after_the_turn(0.02))
    assert end[0] - start[0] == pytest.approx(LOSS_RISE)
    assert end[1] - start[1] == pytest.approx(0.02)
    series = planted(n_samples=60_000, accuracy_rise=0.02, before=1, epochs=2, seed=5).series("val")
    assert series[-1].reported_loss == pytest.approx(end[0], abs=0.03)
    assert series[-1].accuracy == pytest.approx(end[1], abs=0.01)


def test_a_turnover_leaves_the_population_as_it_was():
    series = planted(n_samples=60_000, accuracy_rise=0.0, turnover=1.0, before=1, epochs=2, seed=5).series(
        "val"
    )
    loss, accuracy = population(*after_the_turn(0.0))
    assert series[-1].reported_loss == pytest.approx(loss, abs=0.03)
    assert series[-1].accuracy == pytest.approx(accuracy, abs=0.01)


def test_bounds_are_those_of_clopper_and_pearson():
    assert upper(0, 60) == pytest.approx(1 - 0.05 ** (1 / 60))


def test_a_rise_of_both_over_twenty_epochs_on_1000_samples_is_not_met_with_silence():
    cells: dict[float, list[bool]] = {}
    for (n, rise, _), row in RESULTS["planted"].items():
        if n == 1000:
            cells.setdefault(rise, []).append(row["anything harmful"])
    for shown in cells.values():
        assert sum(shown) >= 0.85 * len(shown)
