"""Runs are found by what people call them, and every refusal says what to do."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jupyter_lossacc.errors import RunNotFoundError, StoreError, StoreVersionError
from jupyter_lossacc.records import RunInfo
from jupyter_lossacc.store import RunWriter, delete_run, find_run, list_runs, open_run, run_id
from jupyter_lossacc.store.files import HEAD

Store = Callable[..., Path]


def edit(run_dir: Path, **values: object) -> None:
    head = json.loads((run_dir / HEAD).read_text())
    (run_dir / HEAD).write_text(json.dumps(head | values))


def test_a_run_is_found_by_id_name_beginning_and_path(store_run: Store, store_dir: Path) -> None:
    early = store_run("wide", "2026-01-01T00:00:00+00:00")
    late = store_run("wide", "2026-01-02T00:00:00+00:00")
    other = store_run("narrow/2", "2026-01-03T00:00:00+00:00")
    assert find_run(early.name, store_dir) == early
    assert find_run("wide", store_dir) == late
    assert find_run("narrow/2", store_dir) == other
    assert find_run("20260102", store_dir) == late
    assert find_run("narr", store_dir) == other
    assert find_run(str(early), Path("elsewhere")) == early.resolve()
    assert find_run(early, Path("elsewhere")) == early.resolve()


def test_a_missing_run_names_what_exists_and_the_nearest(store_run: Store, store_dir: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"there are no runs in .*lossacc_runs"):
        find_run("wide", store_dir)
    store_run("wide", "2026-01-01T00:00:00+00:00")
    store_run("wide2", "2026-01-02T00:00:00+00:00")
    with pytest.raises(RunNotFoundError, match=r"Did you mean 'wide'\? .*20260101T000000Z-wide, 20260102T"):
        find_run("wiide", store_dir)
    with pytest.raises(RunNotFoundError, match=r"may mean 2 runs: .* Give the whole id"):
        find_run("2026", store_dir)
    with pytest.raises(RunNotFoundError):
        find_run("", store_dir)


def test_the_list_tells_what_the_folders_hold(store_run: Store, store_dir: Path) -> None:
    assert list_runs(store_dir) == []
    store_run("b", "2026-01-02T00:00:00+00:00")
    store_run("a", "2026-01-01T00:00:00+00:00")
    broken = store_run("c", "2026-01-03T00:00:00+00:00")
    newer = store_run("d", "2026-01-04T00:00:00+00:00")
    (broken / HEAD).write_text("{")
    edit(newer, format_version=99)
    (store_dir / "notes").mkdir(parents=True)
    rows = {row["name"]: row for row in list_runs(store_dir)}
    assert set(rows) == {"a", "b", "c", "d"}
    assert [rows[name]["status"] for name in "abcd"] == ["finished", "finished", "damaged", "newer version"]
    a = rows["a"]
    assert (a["epochs"], a["passes"], a["splits"], a["split"]) == (4, 8, "train, val", "val")
    assert 0 <= a["accuracy"] <= 1
    assert [row["name"] for row in list_runs(store_dir) if row["name"] in "ab"] == ["a", "b"]


def test_a_newer_format_names_the_version_to_install(store_run: Store, store_dir: Path) -> None:
    edit(store_run(), format_version=2, written_by="7.1")
    with pytest.raises(
        StoreVersionError, match=r"written by jupyter_lossacc 7.1 .* Install jupyter_lossacc>=7.1"
    ):
        open_run("baseline", store_dir)


def test_what_a_newer_version_adds_is_ignored(store_run: Store, store_dir: Path) -> None:
    edit(store_run(), colour="blue", process={"pid": 1, "moon": "full"})
    assert open_run("baseline", store_dir).info.name == "baseline"


def test_a_damaged_pass_does_not_hide_the_others(store_run: Store, store_dir: Path) -> None:
    run_dir = store_run()
    path = next((run_dir / "predictions").rglob("epoch=00002/**/*.parquet"))
    path.write_bytes(path.read_bytes()[:100])
    found = open_run(run_dir, store_dir)
    with pytest.raises(StoreError, match="may be damaged"):
        found.predictions("val", 2)
    assert len(found.predictions("val", 3)) == 200


def test_deleting(store_run: Store, store_dir: Path) -> None:
    kept, gone = store_run("kept"), store_run("gone")
    assert delete_run("gone", store_dir) == gone.name
    assert [row["id"] for row in list_runs(store_dir)] == [kept.name]
    assert not gone.exists()
    assert sorted(p.name for p in store_dir.iterdir()) == [".gitignore", kept.name]
    with pytest.raises(RunNotFoundError):
        delete_run("gone", store_dir)


def test_damaged_runs_and_those_of_newer_versions_can_be_deleted(store_run: Store, store_dir: Path) -> None:
    broken, newer = store_run("broken"), store_run("newer")
    (broken / HEAD).write_text("{")
    edit(newer, format_version=99)
    old = (broken / HEAD).stat().st_mtime - 3600
    os.utime(broken / HEAD, (old, old))
    delete_run(broken.name, store_dir)
    delete_run("newer", store_dir)
    assert list_runs(store_dir) == []


def test_a_run_in_progress_can_be_read_but_not_deleted_or_resumed(store_dir: Path) -> None:
    info = RunInfo(run_id="now", name="now", started="2026-01-01T00:00:00+00:00")
    writer = RunWriter(store_dir, info)
    assert open_run("now", store_dir).status == "running"
    assert open_run("now", store_dir).summaries == ()
    for refuse in (
        lambda: delete_run("now", store_dir),
        lambda: RunWriter(store_dir, info, resume=writer.path),
    ):
        with pytest.raises(StoreError, match="still being recorded by process"):
            refuse()
    writer.close("finished")
    delete_run("now", store_dir)


@pytest.mark.parametrize(
    ("process", "age", "status"),
    [
        ({"pid": 2**22 + 1}, 0, "cut off"),  # no such process
        ({"started": 0.0}, 0, "cut off"),  # the pid was used again
        ({"started": "long ago"}, 60, "running"),  # nobody can tell: the last sign of life decides
        ({"pid": None}, 3600, "cut off"),
        ({}, 0, "running"),
        ({}, 10**6, "running"),  # a long silent step
        ({"host": "elsewhere"}, 60, "running"),
        ({"host": "elsewhere"}, 3600, "cut off"),
    ],
)
def test_who_is_still_writing(store_dir: Path, process: dict[str, object], age: int, status: str) -> None:
    writer = RunWriter(store_dir, RunInfo(run_id="r", name="r", started="2026-01-01T00:00:00+00:00"))
    head = json.loads((writer.path / HEAD).read_text())
    edit(writer.path, process=head["process"] | process)
    then = (writer.path / HEAD).stat().st_mtime - age
    os.utime(writer.path / HEAD, (then, then))
    assert list_runs(store_dir)[0]["status"] == status


def test_two_runs_of_one_second_get_two_folders(store_run: Store) -> None:
    assert [store_run("same").name for _ in range(3)] == [
        "20260101T000000Z-same",
        "20260101T000000Z-same-2",
        "20260101T000000Z-same-3",
    ]


@pytest.mark.parametrize("name", ["", "..", "a/b\\c:d", "ünï cødé", "x" * 300, "con?*<>|"])
def test_any_name_makes_a_folder_name(name: str) -> None:
    identity = run_id(name)
    assert not set(identity) & set('/\\:*?"<>| ')
    assert 17 < len(identity) < 110


def test_git_ignores_the_store_but_never_the_user_s_own_folder(store_run: Store, store_dir: Path) -> None:
    run_dir = store_run()
    assert (store_dir / ".gitignore").read_text().splitlines()[-1] == "*"
    assert not (run_dir / ".gitignore").exists()


def test_a_folder_of_the_user_s_keeps_its_own_rules(store_run: Store, store_dir: Path) -> None:
    store_dir.mkdir()
    (store_dir / "thesis.tex").write_text("...")
    run_dir = store_run()
    assert not (store_dir / ".gitignore").exists()
    assert (run_dir / ".gitignore").read_text().splitlines()[-1] == "*"


def test_a_resumed_run_goes_on_in_its_folder(store_run: Store, store_dir: Path, recording: object) -> None:
    from dataclasses import replace

    run_dir = store_run(class_names=("a", "b", "c"))
    before = open_run(run_dir, store_dir)
    writer = RunWriter(store_dir, RunInfo(run_id="x", name="x", started="later"), resume=run_dir)
    assert (writer.path, writer.info.name, writer.info.class_names) == (run_dir, "baseline", ("a", "b", "c"))
    following = {name: values[:2] for name, values in before.steps.items()}
    writer.append_steps({**following, "step": before.steps["step"][-1] + np.array([1.0, 2.0])})
    writer.append(replace(before.summaries[-1], epoch=5), before.predictions("val", 4))
    writer.append(replace(before.summaries[-1], nll=9.0))  # the same pass again replaces the old row
    writer.close("finished")
    after = open_run(run_dir, store_dir)
    assert [s.epoch for s in after.series("val")] == [1, 2, 3, 4, 5]
    assert after.summary("val", 4).nll == 9.0
    assert len(after.steps["step"]) == len(before.steps["step"]) + 2
    assert np.isfinite(after.predictions("val", 5).nll).all()
