"""All samples of a pass, on their way to the browser."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from jupyter_lossacc.errors import DiagnosisError
from jupyter_lossacc.views.live import Findings
from jupyter_lossacc.views.panel import show
from jupyter_lossacc.views.panel.rows import RowFeed, pass_rows
from tests.views.states import STATES


def findings(name="both-rise", **more):
    shown = STATES[name]()
    return Findings(
        recording=shown.recording,
        episodes=shown.episodes,
        diagnoses=shown.diagnoses,
        advice=shown.advice,
        **more,
    )


def unpacked(packed):
    return {
        name: np.frombuffer(buffer, kind)
        for (name, kind), buffer in zip(packed.value["columns"], packed.buffers, strict=True)
    }


def test_every_sample_travels_with_the_numbers_of_the_records():
    recording = STATES["both-rise"]().recording
    packed = pass_rows(recording, "val", 30)
    columns, kept = unpacked(packed), recording.predictions("val", 30)
    assert packed.value["n"] == len(kept) == 600
    assert np.array_equal(columns["id"], kept.sample_ids)
    for name, of in (("target", "targets"), ("predicted", "predicted"), ("nll", "nll")):
        assert np.array_equal(columns[name], getattr(kept, of))
    assert columns["confidence"] == pytest.approx(kept.confidence)
    assert columns["correct"] == pytest.approx(kept.correct)


def test_samples_that_were_not_kept_are_refused_in_words():
    recording = STATES["both-rise"]().recording
    with pytest.raises(DiagnosisError, match="not kept"):
        pass_rows(recording, "val", 99)
    unknown = replace(recording, load=lambda key: replace(recording.load(key), ids_known=False))
    with pytest.raises(DiagnosisError, match="ids are not known"):
        pass_rows(unknown, "val", 3)


def test_a_live_panel_gets_new_passes_only_and_no_flood():
    recording = STATES["both-rise"]().recording
    size = sum(len(b) for b in pass_rows(recording, "val", 1).buffers)
    feed = RowFeed(interval=5, budget=2 * size)
    ends = [("val", 7), ("val", 30), ("test", 5), ("none", 1)]

    def due(now):
        return [(p.value["split"], p.value["epoch"]) for p in feed.due(recording, ends, now)]

    assert due(0.0) == [("val", 7), ("val", 30)]
    assert due(4.9) == []
    assert due(5.0) == [("test", 5)]
    assert due(10.0) == []


@pytest.fixture
def displayed(monkeypatch):
    """What was displayed, and the swaps that followed."""
    made = []

    class Handle:
        def __init__(self):
            self.swapped = []

        def update(self, bundle, *, raw):
            assert raw
            self.swapped.append(bundle)

    def display(thing, **_):
        made.append((thing, Handle()))
        return made[-1][1]

    monkeypatch.setattr(show, "display", display)
    monkeypatch.setattr(show, "_answering", show.deque())
    return made


def test_a_running_panel_is_shown_again_and_both_places_are_swapped(displayed):
    view = show.PanelView("html", threading.Event(), threading.Event())
    view.open("run")
    running = findings("running")
    view.update(running)
    show.show_run(running)
    (first, one), (second, two) = displayed
    assert first is second
    view.close(findings(), ())
    assert one.swapped == two.swapped
    assert "lossacc-frozen" in one.swapped[0]["text/html"]
    show.show_run(running)  # the run is over by now: a copy, not the old panel
    assert "lossacc-frozen" in displayed[2][0]["text/html"]


def test_a_finished_run_shown_again_can_ask_the_kernel(displayed):
    asked = []

    def look(ids, split, epoch):
        asked.append((ids, split, epoch))
        return ()

    show.show_run(findings(look=look))
    bundle, _ = displayed[0]
    panel = show._answering[-1]
    assert f'"uid":"{panel.run}"' in bundle["text/html"]
    answers = panel._answers
    assert answers["rows"]({"split": "val", "epoch": 30}).value["n"] == 600
    assert answers["look"]({"ids": range(100), "split": "val", "epoch": 3}) == []
    assert asked == [(list(range(show.MAX_LOOK)), "val", 3)]
    assert answers["pair"]({"split": "val", "start": 2, "end": 9})["start"] == 2


def test_only_the_latest_runs_keep_a_connection(displayed):
    for _ in range(show.MAX_ANSWERING + 2):
        show.show_run(findings("one-epoch"))
    assert len(show._answering) == show.MAX_ANSWERING
    assert len({panel.run for panel in show._answering}) == show.MAX_ANSWERING
