"""``%lossacc COMMAND``: each does its one thing, and every refusal is a sentence."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output
from torch import nn

from jupyter_lossacc.records import RunInfo
from jupyter_lossacc.store import RunWriter
from tests.recordings import train_and_record


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a store with one finished run called "wide"."""
    torch.manual_seed(0)
    inputs, model = torch.randn(200, 4), nn.Linear(4, 3)
    data = (inputs, (inputs @ torch.randn(4, 3)).argmax(1))
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    recording = train_and_record(model, data, data, epochs=3, optimizer=optimizer).build()
    folder = tmp_path_factory.mktemp("stored") / "lossacc_runs"
    writer = RunWriter(folder, RunInfo(run_id="20260101T000000Z-wide", name="wide", started="2026-01-01"))
    writer.append_steps(recording.steps)
    for summary in recording.summaries:
        writer.append(summary, None if summary.training else recording.load(summary.key))
    writer.close("finished")
    return folder


@pytest.fixture
def here(shell: InteractiveShell, stored: Path, monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    """Give a shell whose folder holds that store, and in whose session nothing was recorded."""
    monkeypatch.setattr("jupyter_lossacc.session.recorder._started", [])
    Path("lossacc_runs").symlink_to(stored)
    return shell


def result(shell: InteractiveShell, line: str) -> object:
    done = shell.run_cell(line)
    assert done.success, done.error_in_exec
    return done.result


def shown(shell: InteractiveShell, line: str) -> RichOutput:
    """Run a line and return the one thing it displayed."""
    with capture_output() as captured:
        shell.run_cell(line)
    assert len(captured.outputs) == 1, captured.stdout
    return captured.outputs[0]


@pytest.mark.parametrize("line", ["%lossacc", "%lossacc help", "%lossacc --help"])
def test_help_is_shown_for_every_word_for_it(
    here: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    here.run_cell(line)
    assert "%%lossacc [NAME] [options]" in capsys.readouterr().out


def test_runs_lists_the_store(here: InteractiveShell, stored: Path) -> None:
    for line in ("%lossacc runs", f"%lossacc runs --store {stored}"):
        frame = result(here, line)
        assert isinstance(frame, pd.DataFrame)
        assert frame[["name", "status", "epochs"]].to_numpy().tolist() == [["wide", "finished", 3]]


def test_an_empty_store_says_how_to_fill_it(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert result(shell, "%lossacc runs") is None
    assert "Put %%lossacc above a training cell" in capsys.readouterr().out


@pytest.mark.parametrize("run", ["", "wide", "2026", "20260101T000000Z-wide"])
def test_report_and_show_find_the_run(here: InteractiveShell, run: str) -> None:
    assert "wide" in shown(here, f"%lossacc report {run}").data["text/markdown"]
    assert "<" in shown(here, f"%lossacc show {run}").data["text/html"]


def test_samples_come_most_telling_first(here: InteractiveShell) -> None:
    frame = result(here, "%lossacc samples wide -n 5")
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 5
    assert frame["nll"].is_monotonic_decreasing
    wrong = result(here, "%lossacc samples --wrong --by margin --epoch 1")
    assert isinstance(wrong, pd.DataFrame)
    assert (wrong["margin"] < 0).all()
    assert wrong["margin"].is_monotonic_increasing


def test_explain_shows_a_page_or_the_list_of_pages(here: InteractiveShell) -> None:
    assert shown(here, "%lossacc explain overfitting").data["text/markdown"].startswith("# ")
    assert "`%lossacc explain overfitting`" in shown(here, "%lossacc explain").data["text/markdown"]


def test_delete_takes_the_run_from_disk(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    RunWriter(Path("lossacc_runs"), RunInfo(run_id="r", name="gone", started="")).close("finished")
    result(shell, "%lossacc delete gone")
    assert capsys.readouterr().out == "Deleted gone.\n"
    assert not Path("lossacc_runs/r").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "shw",
            "expected one of runs, show, report, explain, samples, demo, delete, got 'shw'. Did you mean",
        ),
        ("wide", "To record a training under this name, put %%lossacc wide above its cell."),
        ("compare a b", "%lossacc compare is not part of this version yet."),
        ("demo overconfidense", "Did you mean overconfidence?"),
        ("show narrow", "No run 'narrow' in lossacc_runs. The latest runs there: 20260101T000000Z-wide."),
        ("samples --split test", "No complete pass of a split called 'test'; this run has: train, val."),
        ("samples --split train", "were not kept. Record with `--keep all`"),
        ("samples --by loss", "Expected --by to be one of nll, "),
        ("samples -n many", "expected a number of samples, got 'many'"),
        ("samples -n -1", "expected a number of samples, got '-1'"),
        ("explain overfiting", "Did you mean 'overfitting'?"),
        ("delete", "Write %lossacc delete RUN; %lossacc? explains it."),
        ("runs --stoer x", "got '--stoer'. Did you mean --store?"),
        ("runs --store none", "got 'none'"),
    ],
)
def test_refusals(
    here: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    done = here.run_cell(f"%lossacc {line}")
    assert isinstance(done.error_in_exec, UsageError)
    said = capsys.readouterr()
    assert message.lower() in (said.out + said.err).lower()
    assert (said.out + said.err).startswith("UsageError: %lossacc")
    assert "\n" not in (said.out + said.err).strip()


def test_samples_can_be_looked_at_in_a_dataset_that_is_named(here: InteractiveShell) -> None:
    here.user_ns["data"] = [(torch.full((8, 8), i / 200), 0) for i in range(200)]
    portraits = result(here, "%lossacc samples --look -n 3 --data data")
    worst = result(here, "%lossacc samples -n 3")
    assert [p.sample_id for p in portraits] == worst.index.tolist()
    assert {p.kind for p in portraits} == {"image"}
    assert "<img" in portraits._repr_html_()


@pytest.mark.parametrize(
    ("options", "words"),
    [("", "Hand the dataset over"), ("--data nothing", "NameError"), ("--data 5", "read as a stream")],
)
def test_samples_that_cannot_be_looked_at_say_why(here: InteractiveShell, options: str, words: str) -> None:
    error = here.run_cell(f"%lossacc samples --look {options}").error_in_exec
    assert isinstance(error, UsageError)
    assert words in str(error)
