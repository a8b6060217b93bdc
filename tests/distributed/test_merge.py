"""However a run is divided among processes, its parts merged are the run again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import jupyter_lossacc as la
from jupyter_lossacc.diagnosis.ranks import RankMerger, merge_ranks
from jupyter_lossacc.diagnosis.summary import summarize
from jupyter_lossacc.records import SAMPLE_COLUMNS, EpochSummary, Pass, PassKey, Predictions, Recording


@pytest.fixture(scope="module")
def whole() -> Recording:
    """Three epochs of a linear model on 201 samples of 3 classes, in one process."""
    torch.manual_seed(0)
    inputs, model = torch.randn(402, 5), nn.Linear(5, 3)
    targets = (inputs @ torch.randn(5, 3) + torch.randn(402, 3)).argmax(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    train, val = (DataLoader(TensorDataset(inputs[k::2], targets[k::2]), 50) for k in (0, 1))
    with la.record("whole", store="none", view="none", keep="all") as recorder:
        for _ in range(3):
            for x, y in train:
                optimizer.zero_grad()
                cross_entropy(model.train()(x), y).backward()
                optimizer.step()
            with torch.no_grad():
                for x, y in val:
                    cross_entropy(model.eval()(x), y)
    return recorder.run.recording


def part_of(whole: Recording, rows: Any, *, keep: bool = True, **changes: Any) -> Recording:
    """What a process would have recorded that saw the samples in `rows` only."""
    kept: dict[PassKey, Predictions] = {}
    summaries: list[EpochSummary] = []
    for summary in whole.summaries:
        p = whole.load(summary.key)
        chosen = np.sort(rows(len(p)) if callable(rows) else rows)
        columns: dict[str, Any] = {name: getattr(p, name)[chosen] for name in SAMPLE_COLUMNS}
        share = Predictions(**columns, ids_known=p.ids_known)
        same = {n: getattr(summary, n) for n in Pass.__dataclass_fields__ if hasattr(summary, n)}
        same.pop("reported_loss")
        value = float(share.reported_loss.mean(dtype=np.float64))
        summaries.append(
            summarize(Pass(**{**same, "accumulators": None}, reported_loss=value, predictions=share))
        )
        kept[summary.key] = share
    given = replace(whole, summaries=tuple(summaries), load=kept.__getitem__ if keep else {}.__getitem__)
    return replace(given, **changes)


def numbers(recording: Recording) -> np.ndarray:
    names = ("n_samples", "reported_loss", "nll", "accuracy", "balanced_accuracy", "macro_f1")
    return np.array([[getattr(s, name) for name in names] for s in recording.summaries])


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("n_ranks", [2, 3, 5])
def test_any_division_merges_into_the_whole(whole: Recording, n_ranks: int, keep: bool) -> None:
    owner = np.random.default_rng(n_ranks).integers(0, n_ranks, 201)
    parts = [part_of(whole, np.flatnonzero(owner == rank), keep=keep) for rank in range(n_ranks)]
    merged = merge_ranks(parts, n_ranks)
    assert [s.key for s in merged.summaries] == [s.key for s in whole.summaries]
    np.testing.assert_allclose(numbers(merged), numbers(whole), rtol=1e-6)
    assert merged.limits == whole.limits
    if keep:
        for key in (s.key for s in whole.summaries):
            mine, theirs = merged.load(key), whole.load(key)
            assert all(
                np.array_equal(getattr(mine, c), getattr(theirs, c), equal_nan=True) for c in SAMPLE_COLUMNS
            )
    else:
        with pytest.raises(KeyError, match="not kept"):
            merged.load(whole.summaries[0].key)


def with_sums(part: Recording, whole: Recording) -> Recording:
    """Give a part the sums of its passes (here simply those of the whole run)."""
    sums = {s.key: s.accumulators for s in whole.summaries}
    return replace(part, summaries=tuple(replace(s, accumulators=sums[s.key]) for s in part.summaries))


def test_samples_that_several_processes_evaluated_count_once(whole: Recording) -> None:
    parts = [with_sums(part_of(whole, rows), whole) for rows in (np.arange(0, 120), np.r_[0:10, 120:201])]
    merged = merge_ranks(parts, 2)
    np.testing.assert_allclose(numbers(merged), numbers(whole), rtol=1e-6)
    val = [s for s in merged.summaries if s.split == "val"]
    assert all(np.isnan(s.temperature) and np.isnan(s.calibrated_nll) for s in val)
    before = [s.ece for s in whole.summaries if s.split == "val"]
    np.testing.assert_allclose([s.ece for s in val], before, rtol=1e-5)  # from the samples themselves
    assert [line for line in merged.limits if "more than one process" in line]


def test_a_set_that_every_process_evaluated_is_one_set(whole: Recording) -> None:
    merged = merge_ranks([whole, whole, whole], 3)
    for name in ("n_samples", "reported_loss", "nll", "temperature", "calibrated_nll", "ece"):
        both = [[getattr(s, name) for s in r.summaries if s.split == "val"] for r in (merged, whole)]
        assert both[0] == both[1], name
    assert merged.limits == whole.limits


def test_samples_drawn_with_replacement_all_count_in_training(whole: Recording) -> None:
    drawn = [np.r_[0:100, 0:5], np.arange(50, 150)]
    merged = merge_ranks([part_of(whole, rows) for rows in drawn], 2)
    by_split = {s.split: s.n_samples for s in merged.summaries}
    assert by_split == {"train": 205, "val": 150}


def test_samples_of_unknown_identity_are_kept_and_said(whole: Recording) -> None:
    def unknown(part: Recording) -> Recording:
        return replace(
            part,
            load=lambda key: replace(part.load(key), ids_known=False),
            summaries=tuple(replace(s, ids_known=False) for s in part.summaries),
        )

    merged = merge_ranks([unknown(part_of(whole, np.arange(a, a + 100))) for a in (0, 100)], 2)
    assert {s.n_samples for s in merged.summaries} == {200}
    assert not any(s.ids_known for s in merged.summaries)
    assert [line for line in merged.limits if "count several times" in line]


def test_a_pass_waits_for_every_process_that_takes_part_in_it(whole: Recording) -> None:
    first, second = (part_of(whole, rows) for rows in (np.arange(100), np.arange(100, 201)))
    merger = RankMerger()
    running = replace(second, summaries=second.summaries[:1], status="running")
    so_far = merger.merge([replace(first, status="running"), running], 2)
    assert [s.complete for s in so_far.summaries] == [True] + [False] * (len(whole.summaries) - 1)
    assert so_far.status == "running"
    killed = merger.merge([first, replace(second, summaries=second.summaries[:-1], status="cut off")], 2)
    assert [s.complete for s in killed.summaries] == [True] * (len(whole.summaries) - 1) + [False]
    assert killed.status == "cut off"
    assert all(s.complete for s in merger.merge([first, second], 2).summaries)


def test_only_rank_0_may_evaluate(whole: Recording) -> None:
    second = part_of(whole, np.arange(100, 201))
    second = replace(second, summaries=tuple(s for s in second.summaries if s.training))
    merged = merge_ranks([whole, second], 2)
    assert all(s.complete for s in merged.summaries)
    val = [s for s in merged.summaries if s.split == "val"]
    assert val == [s for s in whole.summaries if s.split == "val"]


def test_earlier_passes_of_fewer_processes_stay_complete(whole: Recording) -> None:
    late = part_of(whole, np.arange(100, 201))
    merged = merge_ranks([whole, replace(late, summaries=late.summaries[-2:])], 2)
    assert all(s.complete for s in merged.summaries)


def test_limits_name_their_process_and_what_is_missing(whole: Recording) -> None:
    parts = [replace(whole, limits=("all said", "mine")), replace(whole, limits=("all said", "its own"))]
    assert merge_ranks(parts, 2).limits == ("all said", "mine", "Process 1: its own")
    alone = merge_ranks(parts[:1], 2)
    assert "Only 1 of the 2 processes" in alone.limits[-1]
    assert merge_ranks([replace(whole, status="failed"), whole], 2).status == "failed"


def test_steps_weigh_the_loss_by_samples(whole: Recording) -> None:
    steps = {**whole.steps, "n_samples": np.full(len(whole.steps["step"]), 30.0)}
    twin = {**steps, "loss": steps["loss"] + 3.0, "n_samples": np.full(len(steps["step"]), 10.0)}
    twin["grad_norm"] = np.full(len(steps["step"]), np.nan)
    merged = merge_ranks([replace(whole, steps=twin), replace(whole, steps=steps)], 2).steps
    np.testing.assert_allclose(merged["loss"], steps["loss"] + 0.75)
    assert set(merged["n_samples"]) == {40.0}
    np.testing.assert_array_equal(merged["grad_norm"], steps["grad_norm"])
