"""What keeping the records of a run costs beside the training."""

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

import jupyter_lossacc as la
from jupyter_lossacc import store
from jupyter_lossacc.session import desk
from jupyter_lossacc.session.threads import Clerk
from tests.digits import Training


def test_passes_whose_samples_were_not_kept_are_not_looked_for_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training()
    with la.record("quick", store=tmp_path, view="none") as recorder:
        training.run()
        recording = recorder.run.recording

    def refuse(*_: object) -> None:
        raise AssertionError("opening a run reads all of it")

    monkeypatch.setattr(store, "open_run", refuse)
    monkeypatch.setattr(store, "open_part", refuse)
    with pytest.raises(KeyError, match="not kept"):
        recording.predictions("train", -1)
    assert len(recording.predictions("val", -1)) == 400


def test_passes_shorter_than_writing_a_file_go_to_disk_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training on one batch makes every step a pass: it must not wait for a file each time."""
    n_files = 0
    write_table = store.tables.write_table

    def count(*args: Any, **options: Any) -> None:
        nonlocal n_files
        n_files += 1
        write_table(*args, **options)

    monkeypatch.setattr(store.tables, "write_table", count)
    x, y = torch.randn(32, 4), torch.randint(0, 3, (32,))
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with la.record("one batch", store=tmp_path, view="none"):
        for _ in range(300):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert n_files < 100
    recorded = la.last_run()
    assert recorded.metrics["epoch"].tolist() == list(range(1, 301))
    stored = la.load_run(recorded.id, tmp_path)
    pd.testing.assert_frame_equal(stored.metrics, recorded.metrics)
    assert stored.steps["step"].tolist() == list(range(1, 301))


def test_a_pass_that_took_its_time_is_on_disk_before_the_next_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "SHORT_PASS", 0.0)
    on_disk = []
    finished = desk.Desk.pass_finished

    def look(self: desk.Desk, *args: Any) -> None:
        finished(self, *args)
        path = self.path
        assert path is not None
        on_disk.append(len(store.open_run(path, path.parent).summaries))

    monkeypatch.setattr(desk.Desk, "pass_finished", look)
    with la.record("slow", store=tmp_path, view="none"):
        Training().run()
    assert all(n >= i for i, n in enumerate(on_disk))
    assert len(on_disk) == 8


def test_a_disk_that_hangs_does_not_hold_the_training_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    write_table, wait = store.tables.write_table, Clerk.wait
    asked: list[float] = []

    def hang(*args: Any, **options: Any) -> None:
        answers.wait()
        write_table(*args, **options)

    def note(clerk: Clerk, timeout: float) -> bool:
        asked.append(timeout)
        return wait(clerk, timeout)

    monkeypatch.setattr(store.tables, "write_table", hang)
    monkeypatch.setattr(Clerk, "wait", note)
    monkeypatch.setattr(desk, "SHORT_PASS", 0.0)  # each pass would wait for the one before
    monkeypatch.setattr(desk, "WAITING_GRACE", 0.3)
    monkeypatch.setattr(desk, "WAITING_SHARE", 0.0)
    training = Training(epochs=4)
    with la.record("slow disk", store=tmp_path, view="none"):
        training.run()
        answers.set()
    assert asked[0] == pytest.approx(0.3)
    assert asked[-1] == 0, "its patience is over"
    run = la.last_run()
    assert any("The disk is slower than the training" in limit for limit in run.limits)
    stored = la.load_run(run.id, tmp_path)
    pd.testing.assert_frame_equal(stored.metrics, run.metrics)
    assert len(stored.samples("val", 4)) == 400
