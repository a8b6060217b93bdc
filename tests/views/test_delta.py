"""What travels when a state changes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from jupyter_lossacc.views.panel.delta import apply_delta, delta
from tests.views.states import STATES, conclude, simulate, state_of

FIXTURE = Path(__file__).parents[2] / "jupyter_lossacc/views/panel/js/test/deltas.json"


def _states():
    run = simulate(epochs=8, samples=40, steps=3)
    return [state_of(conclude(run.build("running", upto=n))) for n in (2, 3, 5)] + [
        state_of(conclude(run.build()))
    ]


def _slim(state):
    return {k: state[k] for k in ("status", "status_line", "curves", "headline")}


def test_a_delta_turns_one_state_into_the_next():
    states = _states()
    for before, after in itertools.pairwise(states):
        change = json.loads(json.dumps(delta(before, after)))
        assert apply_delta(before, change) | {"steps": None} == after | {"steps": None}


def test_a_new_epoch_sends_only_its_points():
    before, after = _states()[:2]
    change = delta(before, after)
    assert "curves" not in change["set"]
    assert change["grow"]["val"]["x"] == [3]
    assert len(json.dumps(change["grow"])) < 400


def test_an_unchanged_state_sends_nothing():
    state = state_of(STATES["both-rise"]())
    assert delta(state, state) == {"set": {}, "grow": {}}


def test_a_curve_that_changed_in_the_middle_travels_whole():
    before, after = _states()[:2]
    after["curves"][0]["loss"][0] = 9.0
    assert delta(before, after)["set"]["curves"] == after["curves"]


def test_the_browser_is_tested_with_these_deltas():
    """``node --test`` reads the file; it must say what `delta` says (delete it to make it anew)."""
    slim = [_slim(s) for s in _states()]
    cases = [{"before": a, "change": delta(a, b), "after": b} for a, b in itertools.pairwise(slim)]
    text = json.dumps(cases, indent=1) + "\n"
    if not FIXTURE.exists():
        FIXTURE.write_text(text, encoding="utf-8")
    assert json.loads(FIXTURE.read_text(encoding="utf-8")) == cases
