"""The line above the charts, replayed epoch by epoch as a live panel shows it."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby

import pytest

from jupyter_lossacc.diagnosis.checkpoint import advise
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.episodes import settled
from jupyter_lossacc.diagnosis.memory import Memory
from jupyter_lossacc.views.panel.state import panel_state
from tests.causes.cases import builder

NUMBERS = re.compile(r"\[[^]]*\]|[−+]?\d[\d,.]*|, more than all,")


def replayed(name: str):
    """(epoch, what the panel shows then) as after an analysis at every epoch."""
    whole, memory, shown = builder(name).build("running"), Memory(), ()
    for epoch in sorted({s.epoch for s in whole.summaries}):
        known = tuple(s for s in whole.summaries if s.epoch <= epoch)
        steps = {k: v[whole.steps["epoch"] <= epoch] for k, v in whole.steps.items()}
        run = replace(whole, summaries=known, steps=steps, shown=shown)
        shown = settled(run)
        said = diagnose(run, tuple(e for e in shown if not e.retracted), memory)
        yield epoch, panel_state(run, shown, said, advise(run, True), status="running", limits=())


@pytest.mark.parametrize("name", ["overconfidence", "overfitting", "confident_errors", "unlike_inputs"])
def test_the_line_does_not_go_back_and_forth_and_says_what_the_card_beside_it_says(name):
    lines = []
    for epoch, state in replayed(name):
        text = state["headline"]["text"]
        lines.append(NUMBERS.sub("#", text)[:30])
        card = next((c for c in state["cards"] if c["id"] == (state["headline"]["card"] or "run")), None)
        if card and epoch >= 5:
            assert text == card["lead"]
            assert card.get("brief") != "nothing found", "beside what is said"
    told = [line for line, _ in groupby(lines)]
    # Without a memory three of these four came back to what they had said, seven times in all.
    assert len(told) == len(set(told)), told
    assert len(told) <= 7
