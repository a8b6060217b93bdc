"""Pictures: made without pyplot, from the same facts as the panel."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from jupyter_lossacc.views.figures import FIGURES, THEMES, figure, figure_png
from tests.views.states import STATES, state_of


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("theme", THEMES)
def test_every_figure_can_be_drawn_in_both_themes(kind, theme):
    made = figure(*STATES["both-rise"]().arguments, kind=kind, theme=theme)
    made.canvas.draw()
    assert made.axes


@pytest.mark.parametrize("name", STATES)
def test_curves_can_be_drawn_of_every_run(name):
    assert figure_png(*STATES[name]().arguments).startswith(b"\x89PNG")


def test_a_notebook_shows_a_figure_though_pyplot_was_never_imported():
    made = figure(*STATES["one-epoch"]().arguments)
    shown, _ = DisplayFormatter().format(made)
    assert shown["image/png"].startswith(b"\x89PNG")


def test_the_curves_are_the_records():
    shown = STATES["both-rise"]()
    loss, accuracy = figure(*shown.arguments).axes
    drawn = {line.get_label(): line.get_ydata() for line in loss.lines}
    expected = [s.reported_loss for s in shown.recording.series("val")]
    assert np.asarray(drawn["validation"]) == pytest.approx(expected)
    labels = {line.get_label() for line in accuracy.lines}
    assert {"training", "validation", "test"} <= labels


def test_episodes_and_the_verdict_stand_in_the_figure():
    shown = STATES["both-rise"]()
    made = figure(*shown.arguments)
    words = " ".join(t.get_text() for t in made.axes[0].texts)
    assert "both rise" in words
    verdict = state_of(shown)["headline"]["text"]
    assert made.get_suptitle().replace("\n", " ") == verdict


@pytest.mark.parametrize("name", ["both-rise", "class-names", "thousand-epochs", "not-finite"])
def test_no_curve_runs_through_the_label_of_a_reference_line(name):
    made = figure(*STATES[name]().arguments)
    made.canvas.draw()
    for ax in made.axes:
        for text in ax.texts:
            if not text.get_text().startswith(("chance", "majority")):
                continue
            box = text.get_window_extent()
            for line in (line for line in ax.lines if line.get_transform() == ax.transData):
                x, y = ax.transData.transform(line.get_xydata()).T
                assert not ((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)).any()


def test_the_waterfall_adds_up():
    shown = STATES["both-rise"]()
    (ax,) = figure(*shown.arguments, kind="waterfall").axes
    widths = [bar.get_width() for bar in ax.patches]
    assert sum(widths[:-1]) == pytest.approx(widths[-1], abs=2e-4)


def test_what_is_not_finite_is_marked_and_not_drawn():
    loss = figure(*STATES["not-finite"]().arguments).axes[0]
    assert "not finite" in {t.get_text() for t in loss.texts}
    validation = next(line for line in loss.lines if line.get_label() == "validation")
    assert np.isnan(validation.get_ydata()[7:]).all()


def test_a_wrong_kind_names_the_right_ones():
    with pytest.raises(ValueError, match="curves, waterfall, transitions, reliability, classes; got 'pie'"):
        figure(*STATES["healthy"]().arguments, kind="pie")
    with pytest.raises(ValueError, match="light, dark; got 'blue'"):
        figure(*STATES["healthy"]().arguments, theme="blue")


def test_a_figure_that_needs_two_epochs_says_so():
    with pytest.raises(ValueError, match="two epochs"):
        figure(*STATES["one-epoch"]().arguments, kind="waterfall")


def test_pyplot_is_not_touched():
    code = (
        "import sys; sys.path.insert(0, '.'); from tests.views.states import STATES;"
        "from jupyter_lossacc.views.figures import figure_png; figure_png(*STATES['one-epoch']().arguments);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_small_picture_is_small():
    assert len(figure_png(*STATES["both-rise"]().arguments)) < 40_000


def test_a_picture_beside_its_verdict_does_not_repeat_it() -> None:
    def top(titled: bool) -> np.ndarray:
        drawn = figure_png(*STATES["both-rise"]().arguments, titled=titled)
        return np.asarray(Image.open(BytesIO(drawn)).convert("L"))[2:14, 5:150]

    assert top(True).min() < 60  # its letters are darker than axes
    assert top(False).min() > 60
