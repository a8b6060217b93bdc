"""A store with one small real run in it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from jupyter_lossacc.records import Predictions, Recording, RunInfo
from jupyter_lossacc.store import RunWriter, run_id
from tests.recordings import train_and_record


def write_recording(writer: RunWriter, recording: Recording, upto: int | None = None) -> None:
    """Write passes and their steps as a session does: steps first, then the pass."""
    done = 0
    for summary in recording.summaries[:upto]:
        steps = recording.steps["step"]
        rows = (steps > done) & (steps <= summary.step)
        writer.append_steps({name: values[rows] for name, values in recording.steps.items()})
        done = summary.step
        kept = None if summary.training else recording.load(summary.key)
        writer.append(summary, kept)


@pytest.fixture(scope="session")
def recording() -> Recording:
    """Four epochs of a linear model on 200 samples of 3 classes."""
    torch.manual_seed(0)
    inputs, model = torch.randn(400, 5), nn.Linear(5, 3)
    targets = (inputs @ torch.randn(5, 3) + torch.randn(400, 3)).argmax(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    train, val = (inputs[:200], targets[:200]), (inputs[200:], targets[200:])
    return train_and_record(model, train, val, epochs=4, optimizer=optimizer).build()


@pytest.fixture
def store_dir(tmp_path: Path) -> Path:
    return tmp_path / "lossacc_runs"


@pytest.fixture
def store_run(store_dir: Path, recording: Recording) -> Callable[..., Path]:
    """Write a finished run of a given name into the store and return its folder."""

    def store(name: str = "baseline", started: str = "2026-01-01T00:00:00+00:00", **info: object) -> Path:
        from datetime import datetime

        identity = run_id(name, datetime.fromisoformat(started))
        writer = RunWriter(store_dir, RunInfo(run_id=identity, name=name, started=started, **info))  # type: ignore[arg-type]
        write_recording(writer, recording)
        writer.close("finished")
        return writer.path

    return store


def random_predictions(n: int, n_classes: int) -> Predictions:
    """Return records that compress badly: random labels, numbers of full entropy, ids with gaps."""
    rng = np.random.default_rng(n)
    targets = rng.integers(0, n_classes, n, dtype=np.int32)
    predicted = np.where(rng.random(n) < 0.6, targets, rng.integers(0, n_classes, n, dtype=np.int32))
    nll = rng.exponential(size=n).astype(np.float32)
    return Predictions(
        sample_ids=np.sort(rng.choice(5 * n, n, replace=False)),
        targets=targets,
        predicted=predicted,
        correct=(targets == predicted).astype(np.float32),
        nll=nll,
        reported_loss=nll * np.float32(1.1),
        confidence=rng.random(n, dtype=np.float32),
        margin=rng.normal(size=n).astype(np.float32),
    )
