"""A full disk, a folder that cannot be written, a killed kernel: what was finished stays."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from jupyter_lossacc.errors import StoreError
from jupyter_lossacc.records import Recording, RunInfo
from jupyter_lossacc.store import RunWriter, files, list_runs, load_weights, open_run, stored_weights, tables
from tests.store.conftest import write_recording
from tests.store.strategies import same

INFO = RunInfo(run_id="r", name="r", started="2026-01-01T00:00:00+00:00")

WRITES_UNTIL_KILLED = """
import sys
from pathlib import Path
from jupyter_lossacc.records import RunInfo
from jupyter_lossacc.store import RunWriter, open_run
source = open_run(Path(sys.argv[1]), Path("."))
writer = RunWriter(Path(sys.argv[2]), RunInfo(run_id="killed", name="killed", started="2026-01-01T00:00:00"))
for summary in source.summaries:
    writer.append_steps({name: values[:3] for name, values in source.steps.items()})
    writer.append(summary, None if summary.training else source.load(summary.key))
    print(*summary.key, flush=True)
    sys.stdin.readline()
"""


def test_kill_9_loses_at_most_the_pass_in_progress(tmp_path: Path, recording: Recording) -> None:
    source = RunWriter(tmp_path / "source", INFO)
    write_recording(source, recording)
    source.close("finished")
    command = [sys.executable, "-c", WRITES_UNTIL_KILLED, str(source.path), str(tmp_path / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(5):
            said = process.stdout.readline().split()
            if len(said) != 3:
                break
            process.stdin.write("\n")
            process.stdin.flush()
        assert list_runs(tmp_path / "store")[0]["status"] == "running"
        process.send_signal(signal.SIGKILL)
    found = open_run("killed", tmp_path / "store")
    done = found.summaries
    assert found.status == "cut off"
    assert len(done) >= 5
    assert done[4].key == (said[0], int(said[1]), int(said[2]))
    assert same(done, recording.summaries[: len(done)])
    assert len(found.steps["step"]) >= 3  # those of the last second may be missing
    for summary in done:
        if not summary.training:
            assert same(found.load(summary.key), recording.load(summary.key))


def test_a_full_disk_is_one_sentence_and_later_passes_may_succeed(
    tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RunWriter(tmp_path / "store", INFO)
    write_recording(writer, recording, upto=2)

    def full(_table: object, where: object, **_options: object) -> None:
        Path(str(where)).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tables.pq, "write_table", full)
        done = int((recording.steps["step"] <= recording.summaries[1].step).sum())
        writer.append_steps({name: values[done : done + 4] for name, values in recording.steps.items()})
        with pytest.raises(StoreError, match=r"No space left on device\. The training is not affected"):
            writer.append(recording.summaries[2])
    assert not list(writer.path.rglob("*.tmp"))
    writer.append(recording.summaries[3], recording.load(recording.summaries[3].key))
    writer.close("finished")
    found = open_run("r", tmp_path / "store")
    assert [s.key for s in found.summaries] == [recording.summaries[i].key for i in (0, 1, 3)]
    assert len(found.steps["step"]) == done + 4  # rows that did not fit before are written now


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used: .*Choose another place with --store DIR"):
        RunWriter(tmp_path / "file", INFO)
    with pytest.raises(StoreError, match="cannot be used"):
        RunWriter(tmp_path / "file" / "below", INFO)


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_whole(path, lambda p: p.write_text("old"))

    def fail(p: Path) -> None:
        p.write_text("half of the new")
        raise OSError(errno.EIO, "I/O error")

    with pytest.raises(StoreError):
        files.write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_head_is_valid_json_whatever_the_numbers(tmp_path: Path, recording: Recording) -> None:
    from dataclasses import replace

    writer = RunWriter(tmp_path / "store", INFO)
    writer.append(replace(recording.summaries[1], nll=float("nan"), reported_loss=float("inf")))
    head = json.loads((writer.path / "run.json").read_text(), parse_constant=pytest.fail)
    assert head["last"]["nll"] is None
    assert head["last"]["reported_loss"] is None


def test_weights_are_kept_as_safetensors(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight  # tied
            self.register_buffer("small", torch.ones(2, dtype=torch.bfloat16))
            self.register_buffer("strided", torch.arange(6.0).reshape(2, 3).T)

        def get_extra_state(self) -> dict[str, int]:
            return {"seen": 3}

        def set_extra_state(self, state: object) -> None:
            pass

    model = Tied()
    writer = RunWriter(tmp_path / "store", INFO)
    for epoch in (1, 2, 3):
        writer.save_weights(epoch, model.state_dict())
    writer.keep_weights([2, 3])
    assert list(stored_weights(writer.path)) == [2, 3]
    state = load_weights(writer.path, 3)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items() if name in state)
    assert model.load_state_dict(state, strict=False).missing_keys == ["_extra_state"]
    assert writer.limits == ("Not kept with the weights, because they are no tensors: _extra_state.",)
    with pytest.raises(StoreError, match=r"No weights of epoch 1 .*kept: epochs 2, 3"):
        load_weights(writer.path, 1)


def test_a_store_without_weights_says_how_to_keep_them(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "store", INFO)
    with pytest.raises(StoreError, match=r"kept: none\). Use --keep-weights best"):
        load_weights(writer.path, 1)
