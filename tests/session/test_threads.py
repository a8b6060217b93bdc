"""How much of the time the analysis beside a training takes."""

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from jupyter_lossacc.records import Recording
from jupyter_lossacc.session import Recorder, desk, threads
from jupyter_lossacc.session.ledger import Ledger
from jupyter_lossacc.session.options import Options
from jupyter_lossacc.views.live import Findings
from jupyter_lossacc.views.plain import NoView
from tests.digits import Training
from tests.views.states import simulate


class Clock(threading.Event):
    """Time that passes only where something computes or waits; it ends the thread after `until` seconds."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.now = self.cpu = 0.0
        self.until = until
        self.ends: list[float] = []
        self.news = lambda: None

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.cpu

    def compute(self, cpu: float, wall: float) -> None:
        self.cpu += cpu
        self.now += wall
        self.ends.append(self.now)

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        if self.now > self.until:
            self.set()
        self.news()
        return self.is_set()


def analyses(
    monkeypatch: pytest.MonkeyPatch,
    cpu: float,
    wall: float,
    until: float,
    seen: Callable[[float], bool] = lambda now: False,
    step: float = 0.1,
) -> Clock:
    """Analyse as often as the budget allows, with news at any time; `seen` is what a glance sees when."""
    clock = Clock(until)
    monkeypatch.setattr(threads, "time", clock)

    def glance() -> bool:
        clock.cpu += cpu / 10
        return seen(clock.now)

    analyst = threads.Analyst(
        lambda: clock.compute(cpu, wall), glance, lambda error: pytest.fail(str(error)), lambda: step
    )
    analyst._end, clock.news = clock, analyst.wake
    analyst.wake()
    analyst._thread.join(20)
    assert not analyst._thread.is_alive()
    return clock


def test_a_short_training_is_analysed_often_and_a_long_one_takes_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    early = analyses(monkeypatch, cpu=0.05, wall=0.1, until=4)
    assert len(early.ends) >= 6
    assert early.cpu <= threads.SAVED + (threads.DUTY + threads.GLANCES) * early.now + 0.05
    long = analyses(monkeypatch, cpu=0.05, wall=0.1, until=600)
    assert 0.9 * threads.DUTY * 600 <= long.cpu <= threads.SAVED + threads.DUTY * 600 + 0.1


def test_where_steps_are_short_the_analysis_takes_as_much_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seconds are the training's there: nothing that it computes runs beside a step."""
    for step, part in ((0.005, 0.5), (0.0001, threads.LEAST)):
        clock = analyses(monkeypatch, cpu=0.03, wall=0.03, until=10, step=step)
        assert clock.cpu <= part * threads.FAST * clock.now + 0.06
        assert len(clock.ends) >= 5
        long = analyses(monkeypatch, cpu=0.05, wall=0.1, until=3000, step=step)
        assert (
            0.9 * part * threads.DUTY * 3000 <= long.cpu <= threads.SAVED + part * threads.DUTY * 3000 + 0.1
        )


def test_what_a_glance_sees_is_analysed_at_once_on_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A band comes when what was saved is long gone; one that comes and goes again has a limit."""
    for at in (40.0, 41.0, 42.0, 43.0):
        new = [at]
        seen = lambda now, new=new: bool(new) and now > new[0] and bool(new.pop())  # noqa: E731
        clock = analyses(monkeypatch, 0.1, 0.1, until=60, seen=seen)
        assert min(end for end in clock.ends if end > at) - at < 1.3
    flickering = analyses(monkeypatch, 0.1, 0.1, until=600, seen=lambda now: True)
    assert flickering.cpu <= 2 * threads.SAVED + (threads.DUTY + threads.GLANCES) * 600 + 0.1


def test_a_busy_machine_makes_an_analysis_slower_not_dearer(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = analyses(monkeypatch, cpu=0.05, wall=0.05, until=100)
    busy = analyses(monkeypatch, cpu=0.05, wall=0.25, until=100)
    assert len(busy.ends) >= 0.9 * len(quiet.ends)


def test_what_a_slow_training_leaves_is_saved_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = analyses(monkeypatch, cpu=10.0, wall=10.0, until=100)
    assert len(clock.ends) == 1
    slow = analyses(monkeypatch, cpu=0.2, wall=0.2, until=1000)
    assert slow.ends[1] - slow.ends[0] < 3  # of what was saved


class Watching(NoView):
    live = True

    def __init__(self) -> None:
        self.splits: list[list[str]] = []

    def update(self, findings: Findings) -> None:
        self.splits.append([s.split for s in findings.recording.summaries])


def test_nothing_is_said_before_the_evaluation_that_follows_a_training_pass() -> None:
    """The first analysis said "no validation pass has been seen" while one was running."""
    view = Watching()
    with Recorder(Options(name="x", store="none"), view=lambda _: view):
        Training(epochs=3).run()
    assert view.splits
    assert all("val" in seen for seen in view.splits)


class Drawing(NoView):
    live = True

    def __init__(self) -> None:
        self.drawn: list[tuple[float, int]] = []

    def passed(self, recording: Callable[[], Recording]) -> None:
        self.drawn.append((time.monotonic(), len(recording().summaries)))


def test_every_point_is_drawn_within_half_a_second_and_points_travel_together() -> None:
    """A short evaluation used to wait for the pass after it, however far that was."""
    run, view = simulate(epochs=6, samples=30, steps=3), Drawing()
    clerk = threads.Clerk(lambda error: pytest.fail(str(error)))
    made = desk.Desk(Ledger(run.build().info), clerk, view, None, keep="none", on_error=pytest.fail)
    for passed in run.passes:
        clerk.do(partial(made._keep_pass, passed, None))
    clerk.wait(5)
    began = time.monotonic()
    while time.monotonic() - began < 5 and view.drawn[-1][1] < 12:
        time.sleep(0.02)
    assert [n for _, n in view.drawn] == [1, 12]
    assert view.drawn[1][0] - view.drawn[0][0] < desk.POINTS_EVERY + 0.4
    made.rest()
    clerk.close()
