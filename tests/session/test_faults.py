"""A failure anywhere in the session, the store, the analysis or the view leaves the training as it was."""

from __future__ import annotations

import errno
import shutil
import sys
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import jupyter_lossacc as la
from jupyter_lossacc.capture.capture import Capture
from jupyter_lossacc.errors import LossAccWarning
from jupyter_lossacc.session import Recorder, desk
from jupyter_lossacc.session.identity import status_of
from jupyter_lossacc.session.options import Options
from jupyter_lossacc.session.recorder import _forget_parent
from jupyter_lossacc.session.threads import Analyst, Clerk
from jupyter_lossacc.store import tables
from jupyter_lossacc.views.plain import NoView
from tests.capture.injection import InjectedError, failing, functions_called, name_of, same, small_training
from tests.capture.torch_state import changed, torch_state

if TYPE_CHECKING:
    from pathlib import Path
    from types import CodeType


class LiveView(NoView):
    live = True


def recorder(store: Path | str, view: NoView | None = None) -> Recorder:
    return Recorder(Options(name="x", store=store), view=lambda _: view or LiveView())


def record(store: Path | str, view: NoView | None = None) -> tuple[Recorder, Any]:
    with recorder(store, view) as made:
        return made, small_training(2)


def told(caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(w.message) for w in caught if w.category is LossAccWarning]


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lossacc")]


@pytest.fixture(scope="module")
def bare() -> Any:
    return small_training(2)


# Begin, end and guard of a recording: what `with` itself calls, and what ends its threads (where that
# fails, a daemon thread is left waiting).
GUARDS = {
    function.__code__
    for function in (
        Recorder.__enter__,
        Recorder.__exit__,
        Recorder.start,
        Recorder.finish,
        Recorder._guard,
        _forget_parent,
        status_of,
        desk.Desk.rest,
        Analyst.close,
        Clerk.close,
    )
}


def test_every_twelfth_function_may_fail(tmp_path: Path, bare: Any) -> None:
    """Which ones changes with the code; the whole list takes minutes."""
    made = recorder(tmp_path / "first")

    def run() -> None:
        with made:
            small_training(2)

    found = functions_called(run, "session", "store", "diagnosis", "records")
    chosen: list[CodeType] = [c for c in found if c not in GUARDS and c.co_name not in ("_work", "__init__")]
    assert len(chosen) > 100
    clean, wrong = torch_state(), {}
    for number, code in enumerate(chosen[::12]):
        made, got = recorder(tmp_path / str(number)), ()
        with warnings.catch_warnings(record=True) as caught, failing(code):
            warnings.simplefilter("always")
            with suppress(InjectedError), made:
                got = small_training(2)
        outcome = same(bare, got), len(told(caught)) <= 1, changed(clean), our_threads()
        if outcome != (True, True, [], []):
            wrong[name_of(code)] = outcome, told(caught)
    assert not wrong, wrong


def test_a_full_disk_costs_one_warning_and_one_limit(
    tmp_path: Path, bare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables.pq, "write_table", full)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made, got = record(tmp_path)
    assert same(bare, got)
    assert len(told(caught)) == 1
    assert "No space left on device" in told(caught)[0]
    assert len([line for line in made.run.limits if "No space left" in line]) == 1
    assert made.run.metrics["complete"].all()  # all of it is in memory
    assert len(made.run.samples()) == 12


def test_a_deleted_folder_costs_no_training(tmp_path: Path, bare: Any) -> None:
    class Deleting(LiveView):
        def passed(self, recording: object) -> None:
            shutil.rmtree(tmp_path / "store", ignore_errors=True)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made, got = record(tmp_path / "store", Deleting())
    assert same(bare, got)
    assert len(told(caught)) <= 1
    assert made.run.metrics["epoch"].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize("method", ["steps", "progress", "passed", "update", "close", "open"])
def test_a_view_that_fails_costs_one_warning(tmp_path: Path, bare: Any, method: str) -> None:
    def fail(*_: object) -> None:
        raise InjectedError("in the view")

    view = LiveView()
    setattr(view, method, fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made, got = record(tmp_path, view)
    assert same(bare, got)
    assert len(told(caught)) == 1
    if method != "open":  # then nothing is recorded
        assert made.run.metrics["complete"].all()


@pytest.mark.parametrize("part", ["diagnose", "settled", "advise", "summarize"])
def test_an_analysis_that_fails_costs_one_warning_and_one_limit(
    tmp_path: Path, bare: Any, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InjectedError("in the analysis")

    monkeypatch.setattr(desk, part, fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made, got = record(tmp_path)
    assert same(bare, got)
    assert len(told(caught)) == 1
    assert len([line for line in made.runs[-1].recording.limits if "in the analysis" in line]) == 1


def test_a_recording_that_cannot_start_lets_the_training_run(
    tmp_path: Path, bare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TypeError("another version of torch")

    monkeypatch.setattr(Capture, "_install", fail)
    clean = torch_state()
    with pytest.warns(LossAccWarning, match="another version of torch"):
        made, got = record(tmp_path)
    assert same(bare, got)
    assert changed(clean) == []
    with pytest.raises(la.RunNotFoundError):
        _ = made.run


def test_no_job_ends_the_clerks_thread() -> None:
    failures: list[BaseException] = []
    clerk, done = Clerk(failures.append), []
    clerk.do(sys.exit)
    assert clerk.wait(5.0)
    clerk.do(lambda: done.append(1))
    clerk.do(sys.exit)
    clerk.do(lambda: done.append(2))
    assert clerk.close()
    assert done == [1, 2]
    assert len(failures) == 2
    assert our_threads() == []


def test_warnings_as_errors_change_nothing(
    tmp_path: Path, bare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables.pq, "write_table", fail)
    monkeypatch.setattr(desk, "settled", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, got = record(tmp_path)
    assert same(bare, got)
