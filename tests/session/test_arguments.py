"""Wrong arguments are refused at once, in a sentence; a run does not depend on where it is looked at from."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jupyter_lossacc as la
from tests.digits import Training


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": 5}, "name of the run as a string, got 5"),
        ({"name": None}, "name of the run as a string, got None"),
        ({"store": 5}, 'a folder, None or "none".*got 5'),
        ({"split": {"val": 3}}, "a loader or dataset for each name, got 'val': 3"),
        ({"split": {5: [1]}}, "a loader or dataset for each name, got 5"),
        ({"classes": 5}, "a sequence of names, got 5"),
        ({"classes": [1, 2]}, "a sequence of names, got"),
        ({"resume": 5}, "id or name of a run, got 5"),
    ],
)
def test_an_option_of_the_wrong_kind_is_refused_before_anything_runs(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        la.record(**options)


@pytest.mark.parametrize("ask", [la.load_run, la.delete_run])
def test_a_run_is_asked_for_by_text_or_path(ask: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="id, name or path of a run, got 5"):
        ask(5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("runs")
    with la.record("few", store=store, view="none", classes=["one", "two"]):
        Training(epochs=2).run()
    return store


def test_an_epoch_is_a_whole_number(store: Path) -> None:
    run = la.load_run("few", store)
    for ask in (lambda: run.samples(epoch="a"), lambda: run.decompose(start="a")):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"epoch as a whole number.*got 'a'"):
            ask()


def test_too_few_class_names_are_said(store: Path) -> None:
    run = la.load_run("few", store)
    assert "a name for each of the 10 classes, got 2" in run.limits[0]
    assert run.classes().index.tolist() == list(range(10))


def test_a_run_is_read_and_written_wherever_the_cell_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()

    class Moving(Training):
        def after_step(self) -> None:
            monkeypatch.chdir(tmp_path / "below")

    with la.record("moved", view="none", keep="all"):
        Moving(epochs=2).run()
    assert not (tmp_path / "below" / "lossacc_runs").exists()
    monkeypatch.chdir(tmp_path)
    loaded = la.load_run("moved")
    monkeypatch.chdir(tmp_path / "below")
    assert loaded.status == "finished"
    assert len(loaded.samples("train", 1)) == 300


def test_samples_are_asked_for_in_a_list_of_numbers(store: Path) -> None:
    run = la.load_run("few", store)
    for wrong in (3, "abc", [1.5]):
        with pytest.raises(TypeError, match="list of sample ids, such as"):
            run.look(wrong, data=[0])  # type: ignore[arg-type]


def test_a_damaged_file_is_named_and_the_rest_can_be_read_without_it(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "copy")
    run = la.load_run("few", tmp_path / "copy")
    assert run.path is not None
    last = max((run.path / "predictions").rglob("*.parquet"))
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(
        la.StoreError, match=r"Could not read .*part-0.*without it, the rest of the run can be read"
    ):
        run.samples()
    last.unlink()
    assert "epoch" in la.load_run("few", tmp_path / "copy").report()
    (run.path / "run.json").write_text(
        (run.path / "run.json").read_text().replace('"limits": [', '"limits": 5, "x": [')
    )
    with pytest.raises(la.StoreError, match="changed since"):
        la.load_run("few", tmp_path / "copy")
