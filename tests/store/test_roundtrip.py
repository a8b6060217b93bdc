"""What is stored comes back the same, whatever it is."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow.dataset
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from jupyter_lossacc.records import STEP_COLUMNS, Recording, RunInfo
from jupyter_lossacc.store import RunWriter, open_run, tables
from tests.recordings import predictions_from_logits
from tests.store.conftest import random_predictions, write_recording
from tests.store.strategies import predictions, same, split_names, summaries

INFO = RunInfo(
    run_id="20260101T000000Z-tëst",
    name="tëst/2",
    started="2026-01-01T00:00:00+00:00",
    class_names=("cat", "dög"),
    versions={"torch": "2.4"},
    cell='train("</script>")',
)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), splits=st.lists(split_names, min_size=1, max_size=2, unique=True))
def test_store_round_trip_is_identity(data: st.DataObject, splits: list[str]) -> None:
    """Every summary, every sample, every step and the head come back bit for bit."""
    keys = [(split, epoch, 10 * epoch) for epoch in range(2) for split in splits]
    passes = [(data.draw(summaries(*key)), data.draw(st.none() | predictions())) for key in keys]
    rng = np.random.default_rng(0)
    steps = {name: rng.normal(size=7) for name in STEP_COLUMNS} | {
        "epoch": np.ones(7),
        "step": np.arange(7.0),
    }
    with tempfile.TemporaryDirectory() as folder:
        writer = RunWriter(Path(folder) / "store", INFO)
        writer.append_steps(steps)
        for summary, kept in passes:
            writer.append(summary, kept)
        writer.set_limits(["one", "two"])
        writer.close("interrupted")
        found = open_run(writer.path, Path(folder))
        assert found.info == INFO
        assert (found.status, found.limits) == ("interrupted", ("one", "two"))
        assert same(found.summaries, tuple(summary for summary, _ in passes))
        assert all(same(found.steps[name], steps[name]) for name in STEP_COLUMNS)
        for summary, kept in passes:
            if kept is None:
                with pytest.raises(KeyError, match="not kept"):
                    found.load(summary.key)
            else:
                loaded = found.load(summary.key)
                assert loaded.ids_known == summary.ids_known
                assert all(same(v, getattr(loaded, k)) for k, v in vars(kept).items() if k != "ids_known")


def test_arrays_are_known_under_the_named_alias_of_newer_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy 2.5 writes ``type NDArray[T] = ...``, whose origin is the alias."""
    scalar = TypeVar("scalar", bound=np.generic)
    alias: Any = TypeAliasType("NDArray", np.ndarray[Any, np.dtype[scalar]], type_params=(scalar,))
    monkeypatch.setattr(tables, "NDArray", alias)
    assert tables._array_dtype(alias[np.int32] | None) == np.int32
    assert tables._array_dtype(np.ndarray[Any, np.dtype[np.float64]]) == np.float64
    assert tables._array_dtype(int) is None


def test_a_real_run_comes_back(store_run: Callable[..., Path], store_dir: Path, recording: Recording) -> None:
    found = open_run(store_run(), store_dir)
    assert same(found.summaries, recording.summaries)
    assert all(same(found.steps[name], values) for name, values in recording.steps.items())
    assert same(found.predictions("val", 2), recording.predictions("val", 2))
    assert found.splits() == ("train", "val")


def test_a_second_evaluation_in_an_epoch_is_a_row_of_its_own(store_dir: Path, recording: Recording) -> None:
    writer = RunWriter(store_dir, INFO)
    kept = [predictions_from_logits(torch.randn(9, 2), torch.zeros(9, dtype=torch.long)) for _ in range(2)]
    for step, made in zip((5, 9), kept, strict=True):
        writer.append(replace(recording.summaries[1], epoch=1, step=step), made)
    found = open_run(writer.path, store_dir)
    assert [s.step for s in found.summaries] == [5, 9]
    assert [same(found.load(("val", 1, step)).nll, p.nll) for step, p in zip((5, 9), kept, strict=True)] == [
        True
    ] * 2


@pytest.mark.parametrize("n_classes", [10, 10_000])
@pytest.mark.parametrize("n", [500, 1_000, 10_000])
def test_a_sample_and_pass_takes_at_most_24_bytes(
    store_dir: Path, recording: Recording, n: int, n_classes: int
) -> None:
    writer = RunWriter(store_dir, INFO)
    writer.append(recording.summaries[1], random_predictions(n, n_classes))
    written = sum(path.stat().st_size for path in (writer.path / "predictions").rglob("*.parquet"))
    assert written / n <= 24


def test_a_thousand_runs_read_as_one_table(store_run: Callable[..., Path], store_dir: Path) -> None:
    """Any Parquet engine sees the runs of a store as one table, with run, split, epoch and step."""
    ids = [store_run(name).name for name in ("first", "second")]
    files = sorted(map(str, store_dir.glob("*/predictions/**/*.parquet")))
    table = pyarrow.dataset.dataset(files, partitioning="hive").to_table().to_pandas()
    assert set(table["run"]) == set(ids)
    assert table.groupby(["run", "split", "epoch"]).size().tolist() == [200] * 8
    one = pd.read_parquet(store_dir / ids[0] / "predictions")
    assert {"split", "epoch", "step", "sample_id", "target", "predicted", "correct", "nll"} <= set(
        one.columns
    )
    metrics = pd.concat(pd.read_parquet(path) for path in store_dir.glob("*/metrics/*.parquet"))
    assert len(metrics) == 16


def test_loading_a_run_imports_no_torch(store_run: Callable[..., Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from jupyter_lossacc.store import open_run;"
        "run = open_run(Path(sys.argv[1]), Path('.')); run.predictions('val', -1); print(len(run.summaries));"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, store_run()], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "8", done.stderr


def test_many_passes_are_packed(store_dir: Path, recording: Recording) -> None:
    """The metrics of a run with many passes end in a few files, and no row is lost or doubled."""
    writer = RunWriter(store_dir, INFO)
    for epoch in range(150):
        writer.append(replace(recording.summaries[0], epoch=epoch))
    assert len(list((writer.path / "metrics").iterdir())) < 70
    writer.close()
    assert len(list((writer.path / "metrics").iterdir())) == 1
    assert [s.epoch for s in open_run(writer.path, store_dir).summaries] == list(range(150))


def test_a_kill_between_packing_and_cleaning_up_doubles_nothing(
    store_dir: Path, recording: Recording
) -> None:
    writer = RunWriter(store_dir, INFO)
    write_recording(writer, recording)
    kept = {path: path.read_bytes() for path in (writer.path / "metrics").iterdir()}
    writer.close()
    for path, data in kept.items():
        path.write_bytes(data)
    assert same(open_run(writer.path, store_dir).summaries, recording.summaries)
