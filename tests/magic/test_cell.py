"""A recorded cell is IPython's own cell; every end of it ends the recording."""

import inspect
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from jupyter_lossacc import magic
from jupyter_lossacc.errors import CaptureError, LossAccWarning, StopTraining
from jupyter_lossacc.magic.options import cell_parser
from jupyter_lossacc.magic.words import transform
from tests.magic.conftest import FakeRecorder


def test_the_cell_runs_between_start_and_finish(
    shell: InteractiveShell, recorders: list[FakeRecorder]
) -> None:
    result = shell.run_cell("%%lossacc wide\na = 41\na + 1")
    assert result.result == 42
    assert shell.user_ns["a"] == 41
    assert recorders[0].events == ["start", "finish NoneType"]
    assert recorders[0].options["name"] == "wide"
    assert recorders[0].options["cell"] == "%%lossacc wide\na = 41\na + 1"


def test_options_reach_the_recorder(shell: InteractiveShell, recorders: list[FakeRecorder]) -> None:
    shell.user_ns.update(loader=[1], names=("cat", "dog"))
    shell.run_cell(
        "%%lossacc --split val=loader --split extra=[loader, 2] --classes names --store none --keep all "
        "--keep-weights best --resume old --view text --save static\n1"
    )
    options = {k: v for k, v in recorders[0].options.items() if k != "cell"}
    assert options == {
        "name": "",
        "split": {"val": [1], "extra": [[1], 2]},
        "classes": ("cat", "dog"),
        "store": "none",
        "keep": "all",
        "keep_weights": "best",
        "resume": "old",
        "view": "text",
        "save": "static",
    }


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ('["cat", "a dog"]', ("cat", "a dog")),
        ('{0: "cat", 1: "dog"}', ("cat", "dog")),
        ('{"dog": 1, "cat": 0}', ("cat", "dog")),
        ('(c for c in ("x", "y"))', ("x", "y")),
    ],
)
def test_class_names_in_every_usual_form(
    shell: InteractiveShell, recorders: list[FakeRecorder], classes: str, expected: tuple[str, ...]
) -> None:
    shell.run_cell(f"%%lossacc --classes {classes}\n1")
    assert recorders[0].options["classes"] == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--nope", "got '--nope'"),
        ("--wiew text", "Did you mean --view?"),
        ("--view fig", "Expected --view to be one of panel, figure, text, none; got 'fig'."),
        ("two names", "got 'names'"),
        ("show", "which is a command: write %lossacc show"),
        ("compare", "which is a command"),
        ("help", "which is a command: write %lossacc help"),
        ("--split val", "expected --split NAME=EXPR such as --split val=valid_loader, got 'val'"),
        ("--split val=nope", "'nope' gives NameError: name 'nope' is not defined. Options are read before"),
        ("--split val=1/0", "ZeroDivisionError"),
        ("--split val=(1", "A ) is missing in"),
        ("--split val=3", "expected a DataLoader or a dataset for --split val, got 3"),
        ("--split val=[1] --split val=[2]", "named once"),
        ("--classes 3", "expected --classes to give the class names in order"),
        ("--classes {0:'a',2:'b'}", "expected --classes"),
        ("--store a.file", "expected --store to be a folder or none, got the file a.file"),
        ("--resume --keep", "--keep"),
    ],
)
def test_a_bad_option_is_one_sentence_and_the_cell_does_not_run(
    shell: InteractiveShell,
    recorders: list[FakeRecorder],
    capsys: pytest.CaptureFixture[str],
    line: str,
    message: str,
) -> None:
    Path("a.file").touch()
    result = shell.run_cell(f"%%lossacc {line}\nran = True")
    assert isinstance(result.error_in_exec, UsageError)
    assert "ran" not in shell.user_ns
    assert recorders == []
    shown = capsys.readouterr()
    assert message.lower() in (shown.out + shown.err).lower()
    assert "The cell was not run; %%lossacc? shows every option." in shown.out + shown.err
    assert shown.err.count("\n") + shown.out.count("\n") == 1


def test_an_error_of_ours_that_the_user_can_mend_stops_the_cell(
    shell: InteractiveShell, recorders: list[FakeRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: FakeRecorder) -> None:
        raise CaptureError("Another recording is going on.")

    monkeypatch.setattr(FakeRecorder, "start", refuse)
    result = shell.run_cell("%%lossacc\nran = True")
    assert isinstance(result.error_in_exec, UsageError)
    assert "ran" not in shell.user_ns


@pytest.mark.parametrize("method", ["start", "finish"])
def test_a_failure_of_ours_leaves_the_cell_alone(
    shell: InteractiveShell, recorders: list[FakeRecorder], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(FakeRecorder, method, fail)
    with pytest.warns(LossAccWarning, match="RuntimeError: ours"):
        result = shell.run_cell("%%lossacc\nran = True\n7")
    assert result.success
    assert result.result == 7


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import sys; sys.exit(1)", "SystemExit"),
    ],
)
def test_an_error_ends_the_recording(
    shell: InteractiveShell, recorders: list[FakeRecorder], body: str, name: str
) -> None:
    shell.run_cell(f"%%lossacc\n{body}")
    assert recorders[0].events == ["start", f"finish {name}"]


def test_stop_is_one_line(
    shell: InteractiveShell, recorders: list[FakeRecorder], capsys: pytest.CaptureFixture[str]
) -> None:
    shell.user_ns["StopTraining"] = StopTraining
    shell.run_cell(
        "%%lossacc\nfor i in range(9):\n    try:\n        raise StopTraining(i)\n    except Exception: pass"
    )
    assert recorders[0].events == ["start", "finish StopTraining"]
    assert capsys.readouterr().out.strip() == "\n".join(StopTraining(0)._render_traceback_())
    assert shell.user_ns["i"] == 0


def test_a_syntax_error_records_nothing(shell: InteractiveShell, recorders: list[FakeRecorder]) -> None:
    assert shell.run_cell("%%lossacc\nz = (1,\n").error_before_exec is not None
    assert recorders == []


def test_a_cell_that_runs_another_inside_ends_with_its_own_end(
    shell: InteractiveShell, recorders: list[FakeRecorder]
) -> None:
    shell.user_ns["events"] = seen = []
    shell.user_ns["recorders"] = recorders
    shell.run_cell(
        "%%lossacc\nget_ipython().run_cell('inner = 1')\nevents.extend(recorders[0].events)\n%time pass"
    )
    assert seen == ["start"]
    assert recorders[0].events == ["start", "finish NoneType"]


def test_a_recording_left_open_is_ended_by_the_next(
    shell: InteractiveShell, recorders: list[FakeRecorder]
) -> None:
    shell.run_cell("%%lossacc first\n1", silent=True)  # silent cells have no events
    assert recorders[0].events == ["start"]
    shell.run_cell("%%lossacc second\n1")
    assert [r.events for r in recorders] == [["start", "finish NoneType"]] * 2


def test_programs_can_call_the_cell_magic(
    shell: InteractiveShell, recorders: list[FakeRecorder], capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell("get_ipython().run_cell_magic('lossacc', 'wide', 'b = 2')")
    assert (shell.user_ns["b"], recorders[0].events) == (2, ["start", "finish NoneType"])
    result = shell.run_cell("get_ipython().run_cell_magic('lossacc', '', '1/0')")
    assert not result.success
    assert recorders[1].events == ["start", "finish ZeroDivisionError"]
    assert capsys.readouterr().out.count("ZeroDivisionError: division by zero") == 1


def test_braces_and_dollars_are_not_expanded(shell: InteractiveShell, recorders: list[FakeRecorder]) -> None:
    shell.user_ns["a"] = 1
    shell.run_cell('%%lossacc --classes ["{a}","$a"]\n1')
    assert recorders[0].options["classes"] == ("{a}", "$a")


def test_loading_twice_changes_nothing_and_unloading_leaves_nothing(
    shell: InteractiveShell, recorders: list[FakeRecorder]
) -> None:
    magic.load(shell)
    assert shell.input_transformers_cleanup.count(transform) == 1
    shell.run_cell("%%lossacc\n1")
    assert [r.events for r in recorders] == [["start", "finish NoneType"]]
    magic.unload(shell)
    magic.unload(shell)
    assert transform not in shell.input_transformers_cleanup
    assert not shell.find_line_magic("lossacc")
    assert not shell.find_cell_magic("lossacc")
    assert not shell.find_line_magic("_lossacc_begin")
    assert not any("lossacc" in f"{c.__module__}" for c in shell.events.callbacks["post_run_cell"])


def test_the_help_shows_every_option_with_its_default(shell: InteractiveShell) -> None:
    for found in (shell.find_line_magic("lossacc"), shell.find_cell_magic("lossacc")):
        text = " ".join((found.__doc__ or "").split())
        for option in ("split", "classes", "store", "keep", "keep-weights", "resume", "view", "save"):
            assert f"--{option} " in text
        assert text.count("(default: ") >= 9
        for command in ("runs", "show", "report", "explain", "samples", "demo", "delete"):
            assert f"%lossacc {command}" in text


def test_every_option_exists_in_record_under_the_same_name() -> None:
    """The magic repeats names and choices so that loading it stays light; they must not drift apart."""
    from jupyter_lossacc.session import record
    from jupyter_lossacc.session.options import CHOICES

    parser = cell_parser()
    options = {action.dest: action for action in parser._actions}
    parameters = inspect.signature(record).parameters
    assert set(options) == set(parameters) - {"cell"}
    for name, choices in CHOICES.items():
        assert set(options[name].choices or ()) == set(choices)
        assert options[name].default == (parameters[name].default or "panel")


def test_the_interrupt_is_given_back(shell: InteractiveShell, recorders: list[FakeRecorder]) -> None:
    before = signal.getsignal(signal.SIGINT)
    shell.run_cell("%%lossacc\nimport signal\nduring = signal.getsignal(signal.SIGINT)")
    assert shell.user_ns["during"] is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_the_first_interrupt_only_asks_to_stop(
    shell: InteractiveShell, recorders: list[FakeRecorder]
) -> None:
    shell.user_ns["recorders"] = recorders
    shell.run_cell(
        "%%lossacc\nimport signal\nsignal.raise_signal(signal.SIGINT)\nasked = recorders[0].stop.is_set()"
    )
    assert shell.user_ns["asked"] is True
    assert recorders[0].events == ["start", "finish NoneType"]


@pytest.mark.parametrize("second", ["signal.raise_signal(signal.SIGINT)", "pass"])
def test_a_second_interrupt_or_no_step_in_time_is_a_hard_one(
    shell: InteractiveShell,
    recorders: list[FakeRecorder],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    second: str,
) -> None:
    monkeypatch.setattr("jupyter_lossacc.magic.interrupt.SoftInterrupt.__init__.__defaults__", (0.2,))
    began = time.monotonic()
    shell.run_cell(
        "%%lossacc\nimport signal, time\nsignal.raise_signal(signal.SIGINT)\n"
        f"{second}\ntime.sleep(20)\nafter = 1"
    )
    assert time.monotonic() - began < 10
    assert "after" not in shell.user_ns
    assert recorders[0].events == ["start", "finish KeyboardInterrupt"]
    assert "interrupt.py" not in capsys.readouterr().out


def test_whoever_stops_the_training_lifts_the_deadline(
    shell: InteractiveShell, recorders: list[FakeRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that catches the stop and saves its model is not interrupted while it does so."""
    monkeypatch.setattr("jupyter_lossacc.magic.interrupt.SoftInterrupt.__init__.__defaults__", (0.1,))
    shell.user_ns["recorders"] = recorders
    shell.run_cell(
        "%%lossacc\nimport signal, time\nsignal.raise_signal(signal.SIGINT)\nrecorders[0].stop.clear()\n"
        "time.sleep(0.4)\nsaved = 1"
    )
    assert shell.user_ns["saved"] == 1


def test_loading_the_extension_is_light() -> None:
    code = (
        "import sys; from IPython.core.interactiveshell import InteractiveShell; ip = InteractiveShell();"
        "before = set(sys.modules); ip.extension_manager.load_extension('jupyter_lossacc');"
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))
    assert "jupyter_lossacc" in loaded
    assert not loaded & {"torch", "pandas", "matplotlib", "pyarrow", "scipy", "ipywidgets", "anywidget"}
