"""What was on the screen survives the kernel."""

from __future__ import annotations

from jupyter_lossacc.records import Episode, RunInfo
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.store import RunWriter, open_run
from jupyter_lossacc.store.screen import shown_from_rows, shown_to_rows

SHOWN = (
    Episode(
        split="val",
        start_epoch=12,
        end_epoch=31,
        kind="both_rise",
        loss_change=Estimate(0.2, 0.1, 0.3, "nats"),
        accuracy_change=Estimate(0.02, 0.01, 0.03, "share"),
        holds_on_new_data="undecided",
        start_interval=(10, 14),
        n_needed=4000,
        retracted=True,
    ),
)


def test_shown_episodes_are_read_back_as_they_were(tmp_path):
    info = RunInfo(run_id="a-run", name="a run", started="2026-01-01T00:00:00Z")
    writer = RunWriter(tmp_path / "store", info)
    assert open_run("a-run", tmp_path / "store").shown == ()
    writer.set_shown(SHOWN)
    assert open_run("a-run", tmp_path / "store").shown == SHOWN
    writer.close("finished")
    assert open_run("a-run", tmp_path / "store").shown == SHOWN


def test_columns_of_another_version_are_no_episodes():
    (row,) = shown_to_rows(SHOWN)
    assert shown_from_rows([row]) == SHOWN
    assert shown_from_rows([{**row, "of_the_future": 1}]) == ()
    assert shown_from_rows([{"split": "val"}]) == ()
