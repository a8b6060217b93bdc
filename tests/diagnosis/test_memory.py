"""What is said of a running training: at once where it is urgent, and else not one thing and then another."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from jupyter_lossacc.causes import fluctuation
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.memory import MOST_LOOKS, Memory
from jupyter_lossacc.records import Finding
from jupyter_lossacc.session import desk
from jupyter_lossacc.session.ledger import Ledger
from jupyter_lossacc.session.threads import Clerk
from jupyter_lossacc.views.plain import NoView
from tests.causes.cases import case, over
from tests.diagnosis.test_episodes import curves, noisy


def looks(cause: str, seen: str, episode=None) -> str:
    """What is said (x) or not (.) at each look, where `seen` is what the records show."""
    memory, said = Memory(), ""
    for epoch, mark in enumerate(seen):
        verdict = "supported" if mark == "x" else "undecided"
        (answer,), _ = memory.steadied(episode, [Finding(cause=cause, verdict=verdict, statement="")], epoch)
        said += "x" if answer.verdict == "supported" else "."
    return said


@pytest.mark.parametrize(
    ("cause", "seen", "said"),
    [
        ("overconfidence", ".x.xx.x..x", "....xxxx.."),
        ("overconfidence", "xx..xxxxx", ".xx..." + "." + "xx"),  # twice as long as the first time
        ("split_overlap", ".x.x..x", ".xxxx.."),  # about the data: at once, but not on and off
        ("learning_rate_too_high", "x..x..x..x", "xx.xx.xx.x"),  # what breaks down waits for nobody
    ],
)
def test_an_answer_that_changes_with_every_epoch_is_not_repeated(cause, seen, said):
    assert looks(cause, seen) == said


def test_about_a_stretch_that_is_shown_the_first_answer_stands_at_once():
    episode = over(case("overconfidence").recording, "loss_rises_accuracy_flat", 20, 50)
    assert looks("overconfidence", ".x.xx", episode) == ".xxxx"


def test_what_keeps_being_taken_back_is_still_said_in_the_end():
    on_and_off = ("x" * MOST_LOOKS + "..") * 6 + "x" * MOST_LOOKS
    assert looks("overconfidence", on_and_off)[-1] == "x"


def test_a_second_look_at_the_same_epochs_shows_nothing_new():
    memory = Memory()
    finding = Finding(cause="overconfidence", verdict="supported", statement="It is so.")
    for _ in range(3):
        (answer,), _ = memory.steadied(None, [finding], 7)
        assert answer.verdict == "undecided"
        assert answer.statement.startswith("It is so. Seen at the newest epochs only")
    (answer,), _ = memory.steadied(None, [finding], 8)
    assert answer is finding


def test_what_stands_as_of_an_earlier_epoch_is_called_so():
    memory, found = Memory(), Finding(cause="split_overlap", verdict="supported", statement="As of epoch 3.")
    memory.steadied(None, [found], 3)
    (answer,), notes = memory.steadied(None, [replace(found, verdict="undecided", statement="")], 4)
    assert answer.statement == "As of epoch 3."
    assert notes == ["Split overlap is said as of epoch 3; epoch 4 alone does not show it."]


def test_a_loss_seen_above_its_lowest_is_called_so_until_it_has_been_gone_for_a_while(monkeypatch):
    t = np.arange(40)
    loss = noisy(0.5 + 0.5 * np.exp(-t / 3), 0.003, 3)
    loss[18::5] += 0.02  # every fifth epoch lies above what a reader takes for wobble
    whole = curves(loss, noisy(0.8 + 0 * t, 0.004, 4))

    def changes() -> int:
        runs = [replace(whole, status="running", summaries=whole.summaries[:n]) for n in range(10, 41)]
        return sum(a != b for a, b in pairwise(diagnose(run, ())[-1].headline[:20] for run in runs))

    assert changes() == 1
    monkeypatch.setattr(fluctuation, "FADES", 1)
    assert changes() > 5


def test_the_session_remembers_while_the_run_goes_on_and_not_at_its_end(monkeypatch):
    given = []
    monkeypatch.setattr(desk, "diagnose", lambda recording, episodes, memory: given.append(memory) or ())
    run = case("overconfidence").recording
    one = desk.Desk(Ledger(run.info, run), Clerk(print), NoView(), None, keep="none", on_error=print)
    one._findings()
    one._findings()
    one.ledger.status = "finished"
    one._findings()
    assert given[0] is not None
    assert given == [given[0], given[0], None]
