"""The widget without a kernel: what it sends, when, and what a click does."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from jupyter_lossacc.views.panel import widget
from jupyter_lossacc.views.panel.rows import Packed
from jupyter_lossacc.views.panel.widget import Panel
from tests.views.states import STATES, conclude, simulate, state_of


class Recorded(Panel):
    """A panel whose messages are kept."""

    def __init__(self, *args, **kwargs):
        self.sent = []
        super().__init__(*args, **kwargs)

    def send(self, content, buffers=None):
        self.sent.append((content, buffers or []))


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    now = [100.0]
    monkeypatch.setattr(widget.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def panel(clock):
    return Recorded(state_of(STATES["waiting"]()))


def steps(first, n, epoch=1):
    numbers = np.arange(first, first + n, dtype=float)
    return {
        "epoch": np.full(n, float(epoch)),
        "step": numbers,
        "loss": 1 / numbers,
        "n_samples": np.full(n, 32.0),
    }


def test_steps_travel_as_binary_at_most_twice_a_second(panel, clock):
    panel.push_progress("train", 1, 1, 1, 10)
    for i in range(1, 9):
        panel.push_steps(steps(i, 1))
        clock[0] += 0.125
    live = [m for m in panel.sent if m[0]["t"] == "live"]
    assert len(live) == 2
    x, loss = (np.frombuffer(b, "<f4") for b in live[1][1])
    assert x == pytest.approx(np.arange(1, 6) / 10)
    assert loss == pytest.approx(1 / np.arange(1, 6))


def test_a_live_message_is_small(panel, clock):
    for i in range(40):
        panel.push_steps(steps(i + 1, 1))
    clock[0] += 1
    panel.push_steps(steps(41, 1))
    content, buffers = panel.sent[-1]
    assert len(str(content)) + sum(len(bytes(b)) for b in buffers) < 1000


def test_a_pass_sends_its_points_and_not_the_curves_before_them(clock):
    run = simulate(epochs=8, samples=60, steps=3)
    states = [state_of(conclude(run.build("running", upto=n))) for n in (4, 5)]
    panel = Recorded(states[0])
    panel.push_state(states[1])
    ((content, _),) = [m for m in panel.sent if m[0]["t"] == "delta"]
    assert content["grow"]["val"]["epoch"] == [5]
    assert "curves" not in content["set"]
    assert "steps" not in content["set"]


def test_the_last_state_brings_the_steps_of_the_whole_run(panel):
    panel.push_steps(steps(1, 3))
    panel.push_state(state_of(STATES["healthy"]()))
    content = panel.sent[-1][0]
    assert content["set"]["status"] == "finished"
    assert len(content["set"]["steps"]["x"]) == 180


def test_a_reloaded_page_gets_everything_so_far(panel, clock):
    panel.push_steps(steps(1, 5))
    clock[0] += 1
    panel.push_steps(steps(6, 5))
    snapshot = panel.get_state()["snapshot"]
    assert len(snapshot["steps"]["x"]) == 10
    assert snapshot["progress"]["step"] == 10
    assert panel.get_state("run") == {"run": panel.run}


def test_the_snapshot_is_never_pushed(panel):
    panel.push_state(state_of(STATES["healthy"]()))
    assert panel.snapshot == {}


def test_stop_sets_the_event_and_is_answered(panel):
    panel._on_message(panel, {"t": "stop", "run": panel.run}, None)
    assert panel.stop.is_set()
    assert not panel.stop_later.is_set()
    assert panel.sent[-1][0] == {"t": "ack", "at": "step"}


def test_stop_at_the_end_of_the_epoch_is_another_event(panel):
    panel._on_message(panel, {"t": "stop", "run": panel.run, "at": "epoch"}, None)
    assert panel.stop_later.is_set()
    assert not panel.stop.is_set()
    assert panel.sent[-1][0] == {"t": "ack", "at": "epoch"}


def test_a_click_on_another_run_stops_nothing(panel):
    panel._on_message(panel, {"t": "stop", "run": "an earlier run"}, None)
    panel._on_message(panel, {"t": "hello"}, None)
    assert not panel.stop.is_set()
    assert panel.sent == []


def test_the_router_of_new_kernels_hears_stop_and_changes_no_route(panel):
    message = {
        "content": {"comm_id": "c", "data": {"method": "custom", "content": {"t": "stop", "run": panel.run}}}
    }
    assert panel._route(message["content"]["data"], "subshell-1") == "subshell-1"
    assert panel.stop.is_set()
    assert panel._route(None, None) is None
    assert panel._route({"content": "text"}, 3) == 3


def test_it_prints_as_text_worth_reading(panel):
    bundle, _ = panel._repr_mimebundle_()
    assert "Waiting for the first epoch" in bundle["text/plain"]
    assert repr(panel) == f"<Panel of run {panel.run!r}: running>"


def test_both_threads_may_push_at_once(panel):
    run = simulate(epochs=6, samples=40, steps=3)
    states = [state_of(conclude(run.build("running", upto=n))) for n in range(1, 7)]
    worker = threading.Thread(target=lambda: [panel.push_state(s) for s in states])
    worker.start()
    for i in range(200):
        panel.push_steps(steps(i + 1, 1))
    worker.join()
    panel.flush()
    assert panel.state == states[-1]


def test_questions_are_answered_when_the_run_is_over_and_errors_are_told(panel):
    def pair(question):
        if question["start"] == 0:
            raise ValueError("no such epoch")
        return {"start": question["start"]}

    ask = {"t": "ask", "run": panel.run, "what": "pair", "id": 7, "start": 2}
    panel._on_message(panel, ask, None)
    assert panel.sent == []  # nobody answers during the run
    panel.answer_with({"pair": pair})
    panel._on_message(panel, ask, None)
    panel._on_message(panel, {**ask, "start": 0}, None)
    panel._on_message(panel, {**ask, "run": "another"}, None)
    assert [content for content, _ in panel.sent] == [
        {"t": "answer", "id": 7, "value": {"start": 2}},
        {"t": "answer", "id": 7, "error": "no such epoch"},
    ]
    assert not panel.stop.is_set()


def test_an_answer_with_numbers_brings_them_beside_it(panel):
    packed = Packed({"n": 2}, [memoryview(np.arange(2.0)).cast("B")])
    panel.answer_with({"rows": lambda _: packed})
    panel._on_message(panel, {"t": "ask", "run": panel.run, "what": "rows", "id": 1}, None)
    ((content, buffers),) = panel.sent
    assert content == {"t": "answer", "id": 1, "value": {"n": 2}}
    assert np.frombuffer(buffers[0]).tolist() == [0, 1]


def test_a_question_that_comes_in_on_another_thread_waits_for_the_main_one(panel, monkeypatch):
    class Loop:
        def __init__(self):
            self.waiting = []
            self.add_callback = self.waiting.append

    class Shell:
        class kernel:
            io_loop = Loop()

    monkeypatch.setattr(widget, "get_ipython", Shell)
    panel.answer_with({"where": lambda _: threading.current_thread().name})
    ask = {"t": "ask", "run": panel.run, "what": "where", "id": 1}
    thread = threading.Thread(target=panel._on_message, args=(panel, ask, None))
    thread.start()
    thread.join()
    assert panel.sent == []
    Shell.kernel.io_loop.waiting[0]()
    assert panel.sent[0][0]["value"] == threading.main_thread().name


def test_progress_tells_the_learning_rate_and_the_time_left_in_the_epoch(panel, clock):
    for epoch in (1, 2):
        for batch in range(10):
            panel.push_progress("train", epoch, batch + 1, batch + 1, 10)
            rates = {"learning_rate": np.array([0.0123])}
            panel.push_steps({**steps(10 * (epoch - 1) + batch + 1, 1, epoch), **rates})
            clock[0] += 1.0
            if epoch == 2 and batch == 3:
                panel.flush()
                live = panel.sent[-1][0]["progress"]
                assert (live["lr"], live["rate"]) == (0.0123, 32.0)
                assert live["left"] == pytest.approx(10 - 3, abs=1.1)
            if epoch == 1 and batch == 4:
                panel.push_progress("train", epoch, 6, 5, 10)
                panel.flush()
                assert panel.sent[-1][0]["progress"]["left"] == pytest.approx(5, abs=1.1)
