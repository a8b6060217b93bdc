"""Trainings in two real processes: each records its part, and the parts are the run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.multiprocessing as mp
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

import jupyter_lossacc as la
from jupyter_lossacc.session import Recorder, launch
from jupyter_lossacc.session.options import Options
from jupyter_lossacc.views.plain import NoView
from tests.distributed import program
from tests.distributed.program import BATCH, EPOCHS, N_TEST, N_VAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.records import Recording
    from jupyter_lossacc.run import Run

ROOT = Path(__file__).parents[2]
WORLD = 2
EXACT = {"rtol": 0, "atol": 1e-6}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def truth(folder: Path) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ids, targets and logits of every pass, over all processes; each sample once."""
    found: dict[tuple[str, int], list[Any]] = {}
    for path in sorted(folder.glob("truth-*.pt")):
        for split, epoch, *columns, _ in torch.load(path)[1]:
            found.setdefault((split, epoch), []).append(columns)
    passes = {}
    for key, batches in found.items():
        ids, targets, logits = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
        _, first = np.unique(ids, return_index=True)
        passes[key] = (ids[first], targets[first], logits[first])
    return passes


def check(run: Run, folder: Path, n_train: int) -> None:
    """Compare the merged run with what the processes noted themselves."""
    sizes = {"train": n_train, "val": N_VAL, "test": N_TEST}
    metrics = run.metrics.set_index(["split", "epoch"])
    passes = truth(folder)
    assert sorted(metrics.index) == sorted(passes)
    assert run.metrics["complete"].all()
    for (split, epoch), (ids, targets, logits) in passes.items():
        row, samples = metrics.loc[(split, epoch)], run.samples(split, epoch)
        assert ids.tolist() == samples.index.tolist() == list(range(sizes[split]))
        assert samples["target"].tolist() == targets.tolist()
        z = logits.astype(np.float64)
        nll = -log_softmax(z, axis=1)[np.arange(len(ids)), targets]
        np.testing.assert_allclose(samples["nll"], nll, **EXACT)
        assert row["n_samples"] == len(ids)
        np.testing.assert_allclose([row["nll"], row["reported_loss"]], nll.mean(), **EXACT)
        assert row["accuracy"] == (logits.argmax(1) == targets).mean()
        if split != "train":
            best = minimize_scalar(
                lambda t, z=z, y=targets: -log_softmax(z / t, axis=1)[np.arange(len(y)), y].mean(),
                bounds=(0.05, 20),
                method="bounded",
            )
            assert row["temperature"] == pytest.approx(best.x, rel=0.02)
    assert run.limits == ()
    assert run.status == "finished"
    steps = run.steps
    assert steps["step"].tolist() == list(range(1, EPOCHS * -(-n_train // BATCH) + 1))
    assert steps["n_samples"].sum() == EPOCHS * (n_train + n_train % WORLD)  # with the copies trained on


class LiveView(NoView):
    """Keeps what a live panel would have drawn."""

    live = True

    def __init__(self) -> None:
        self.drawn: list[Recording] = []

    def passed(self, recording: Callable[[], Recording]) -> None:
        self.drawn.append(recording())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same training in one process."""
    folder = tmp_path_factory.mktemp("alone")
    with la.record("alone", store=folder / "store", view="none", keep="all"):
        program.train(0, 1, 0, 64, str(folder))
    run = la.last_run()
    check(run, folder, 64)
    return run


def test_spawned_processes_equal_one_process(
    tmp_path: Path, alone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "INTERVAL", 0.05)
    monkeypatch.setenv(program.PAUSE, "0.5")
    view = LiveView()
    options = Options(name="spawned", store=tmp_path / "store", keep="all")
    with Recorder(options, view=lambda _: view) as recorder:
        mp.spawn(program.train, (WORLD, free_port(), 64, str(tmp_path)), nprocs=WORLD)
    run = recorder.run
    check(run, tmp_path, 64)
    keys = ["split", "epoch", "step", "complete", "training", "n_samples", "accuracy"]
    pd.testing.assert_frame_equal(run.metrics[keys], alone.metrics[keys])
    numbers = ["reported_loss", "nll", "temperature", "calibrated_nll", "ece", "macro_f1"]
    held_out = run.metrics["split"] != "train"  # its samples are met at other moments of the batch
    np.testing.assert_allclose(run.metrics[held_out][numbers], alone.metrics[held_out][numbers], rtol=1e-4)
    for column in ("learning_rate", "loss", "n_samples"):
        np.testing.assert_allclose(run.steps[column], alone.steps[column], rtol=1e-4)
    loaded = la.load_run("spawned", tmp_path / "store")
    pd.testing.assert_frame_equal(loaded.metrics, run.metrics)
    assert loaded.report() == run.report()
    assert [r["status"] for r in la.list_runs(tmp_path / "store").to_dict("records")] == ["finished"]
    # The panel grew while the processes trained.
    assert {len(r.summaries) for r in view.drawn} & set(range(1, len(run.metrics)))


CELL = """
from IPython.core.interactiveshell import InteractiveShell
import jupyter_lossacc as la
from tests.distributed.test_processes import check
from pathlib import Path

shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "jupyter_lossacc")
result = shell.run_cell('''%%lossacc forked --keep all --store {store} --view none
import torch.multiprocessing as mp
from tests.distributed.program import {function}
mp.start_processes({function}, ({world}, {port}, 61, "{folder}"), nprocs={world}, start_method="fork")
''')
run = la.last_run()
{after}
"""


def run_cell(tmp_path: Path, function: str, after: str, store: str = "") -> str:
    """Run a cell that forks, in a process that does nothing else."""
    code = CELL.format(
        store=store or tmp_path / "store", function=function, world=WORLD, port=free_port(), folder=tmp_path,
        after=textwrap.dedent(after),
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_processes_forked_by_a_cell_are_one_run(tmp_path: Path) -> None:
    said = run_cell(
        tmp_path,
        "train",
        f"""
        result.raise_error()
        assert len(truths := list(Path("{tmp_path}").glob("truth-*.pt"))) == 2
        check(run, Path("{tmp_path}"), 61)
        """,
    )
    assert "Warning" not in said
    check(la.load_run("forked", tmp_path / "store"), tmp_path, 61)


def test_an_error_in_one_process_is_the_users_and_memory_is_enough(tmp_path: Path) -> None:
    run_cell(
        tmp_path,
        "fail",
        """
        assert "the user's own" in str(result.error_in_exec)
        assert run.status == "failed" and run.path is None
        assert run.metrics.query("split == 'val'")["n_samples"].tolist() == [43, 43, 43]
        assert run.samples("val").index.tolist() == list(range(43))
        """,
        store="none",
    )


def test_torchrun_makes_one_run_and_says_where(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(WORLD)),
        *("--master-addr", "127.0.0.1", "--master-port", str(free_port())),
        *("-m", "tests.distributed.program", str(tmp_path / "store"), str(tmp_path), "61"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = la.load_run("torchrun", tmp_path / "store")
    check(run, tmp_path, 61)
    assert len(la.list_runs(tmp_path / "store")) == 1
    said = [line for line in done.stdout.splitlines() if "processes record" in line]
    assert said == [f"lossacc: 2 processes record the run {run.id} in {tmp_path / 'store'}."]
    accuracy = run.metrics.query("split == 'val'")["accuracy"].iloc[-1]
    assert f"accuracy {accuracy * 100:.3g} %" in done.stdout  # of both processes, not of the first
