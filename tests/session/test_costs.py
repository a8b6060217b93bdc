"""What keeping the records of a run costs beside the training."""

from pathlib import Path

import pytest

import jupyter_lossacc as la
from jupyter_lossacc import store
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
