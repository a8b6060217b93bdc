"""New points of the curves, at a cost that does not grow with the run."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from jupyter_lossacc.views.panel.curves import Positions, curves
from jupyter_lossacc.views.panel.delta import delta
from jupyter_lossacc.views.panel.points import new_points
from jupyter_lossacc.views.panel.widget import Panel
from tests.views.states import STATES, simulate, state_of


def prefixes(recording, first):
    """The recording as it was after each pass, with the steps taken by then."""
    for n in range(first, len(recording.summaries) + 1):
        known = recording.summaries[:n]
        done = recording.steps["epoch"] <= max(s.epoch for s in known)
        steps = {k: v[done] for k, v in recording.steps.items()}
        yield replace(recording, summaries=known, steps=steps, status="running")


def twice(recording):
    """Every third epoch is evaluated a second time half an epoch later."""
    more = [replace(s, step=s.step + 6) for s in recording.summaries if s.split == "val" and s.epoch % 3 == 0]
    order = sorted([*recording.summaries, *more], key=lambda s: (s.epoch, s.step))
    return replace(recording, summaries=tuple(order))


@pytest.mark.parametrize("change", [lambda r: r, twice])
@pytest.mark.parametrize("behind", [1, 3])
def test_new_points_are_those_that_the_whole_curves_give(change, behind):
    recording = change(simulate(epochs=9, samples=30, steps=12, test=True).build())
    states = list(prefixes(recording, 4))
    checked = 0
    for before, after in zip(states, states[behind:], strict=False):
        old, new = (curves(r, Positions(r)) for r in (before, after))
        whole = delta({"curves": old}, {"curves": new})
        grown = new_points(after, old)
        if grown is not None and "curves" not in whole["set"]:
            assert grown == whole["grow"]
            checked += bool(grown)
    assert checked > 12


def test_a_new_split_travels_whole():
    recording = simulate(epochs=3, samples=30, steps=3).build()
    (before, after) = next(pairwise(prefixes(recording, 1)))
    assert new_points(after, curves(before, Positions(before))) is None


def test_points_join_the_state_and_are_sent_once():
    recording = simulate(epochs=6, samples=30, steps=3).build("running")
    *_, last = prefixes(recording, 4)
    panel = Panel(state_of(STATES["waiting"]()))
    sent = []
    panel.send = lambda content, buffers=None: sent.append(content)
    assert not panel.push_points(lambda drawn: new_points(last, drawn))
    panel.push_curves(curves(last, Positions(last))[:])
    longer = replace(last, summaries=(*last.summaries, replace(last.summaries[-1], epoch=7, step=21)))
    assert panel.push_points(lambda drawn: new_points(longer, drawn))
    assert panel.push_points(lambda drawn: new_points(longer, drawn))
    assert [m["grow"]["val"]["epoch"] for m in sent if m["t"] == "delta" and m["grow"]] == [[7]]
    assert panel.state["curves"][-1]["epoch"] == [1, 2, 3, 4, 5, 6, 7]


def test_a_pass_costs_the_same_after_ten_thousand_epochs():
    base = simulate(epochs=2, samples=20, steps=1).build("running")
    train, val = base.summaries[:2]
    took = {}
    for n in (100, 10_000):
        summaries = [replace(s, epoch=e, step=e) for e in range(1, n + 1) for s in (train, val)]
        steps = {k: np.arange(1.0, n + 1) for k in base.steps}
        long = replace(base, summaries=tuple(summaries), steps=steps)
        drawn = [dict(c, **{k: c[k][:-1] for k in ("x", "epoch", "loss", "accuracy", "calibrated")})
                 for c in curves(long, Positions(long))]  # fmt: skip
        began = time.process_time()
        for _ in range(20):
            new_points(long, drawn)
        took[n] = (time.process_time() - began) / 20
    assert took[10_000] < 0.005
    assert took[10_000] < 5 * took[100] + 0.001
