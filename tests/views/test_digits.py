"""No more than three significant digits, wherever a person reads a number."""

from __future__ import annotations

import numpy as np
import pytest

from jupyter_lossacc.causes.cause import percent, points, rounded, signed
from jupyter_lossacc.views.figures import figure
from jupyter_lossacc.views.text import report, summary
from tests.views.digits import strings, too_many_digits
from tests.views.states import STATES, state_of


@pytest.mark.parametrize("name", [name for name in STATES if name != "thousand-epochs"])
def test_state_report_and_figure_round(name):
    shown = STATES[name]()
    drawn = figure(*shown.arguments)
    drawn.canvas.draw()
    labels = [text.get_text() for text in drawn.findobj(lambda artist: hasattr(artist, "get_text"))]
    texts = [*strings(state_of(shown)), report(*shown.arguments), summary(*shown.arguments), *labels]
    assert [found for text in texts for found in too_many_digits(text)] == []


@pytest.mark.browser
def test_what_the_browser_writes_is_rounded_too(open_gallery):
    page = open_gallery()
    for name in ("both-rise", "class-names", "not-finite", "running"):
        box = page.locator(f"#state-{name}")
        for i in range(box.locator("a.chip").count()):
            if box.locator("a.chip").nth(i).get_attribute("aria-expanded") != "true":
                box.locator("a.chip").nth(i).click()
            tabs = box.get_by_role("tab")
            for k in range(tabs.count() or 1):
                if tabs.count():
                    tabs.nth(k).click()
                assert too_many_digits(box.inner_text()) == [], (name, i, k)


def test_the_finder_finds():
    assert len(too_many_digits("rose by +1.261 nats, from 0.0126 to 0.01234 (100.0 %), 12,300.5 in all")) == 4
    assert too_many_digits("torch 2.13.0, 1.26 nats, 99.9 %, 12,345 samples, step 1234, 1.23e−5") == []


@pytest.mark.parametrize("write", [rounded, signed, points, lambda x: percent(x, 1)])
def test_the_formatters_round_every_size(write):
    rng = np.random.default_rng(0)
    values = np.concatenate([10 ** rng.uniform(-4, 5, 500), [9.996, 99.96, 0.9996, 999.96, 1.0, 0.0]])
    for value in [*values, *-values]:
        text = write(float(value)).replace(" points", "").replace(" %", "")
        assert too_many_digits(text) == [], value
        scale = 100 if write not in (rounded, signed) else 1
        assert float(text.replace(",", "")) == pytest.approx(scale * value, rel=6e-3, abs=0.051), value
