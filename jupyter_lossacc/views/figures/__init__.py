"""Print-ready pictures of a run: the panel's facts, drawn by matplotlib without pyplot.

pyplot is avoided because its figures belong to the user's session: it would show, close or restyle
them together with ours.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from jupyter_lossacc.views.figures.canvas import THEMES, Drawn
from jupyter_lossacc.views.figures.curves import curves
from jupyter_lossacc.views.figures.stretch import classes, reliability, transitions, waterfall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

    from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Recording

__all__ = ["FIGURES", "THEMES", "figure", "figure_png"]

FIGURES: dict[str, Callable[[Drawn], Figure]] = {
    "curves": curves,
    "waterfall": waterfall,
    "transitions": transitions,
    "reliability": reliability,
    "classes": classes,
}


def figure(
    recording: Recording,
    episodes: Sequence[Episode],
    diagnoses: Sequence[Diagnosis],
    advice: CheckpointAdvice | None,
    kind: str = "curves",
    theme: str = "light",
) -> Figure:
    """Draw a run.

    Parameters
    ----------
    recording : Recording
    episodes : sequence of Episode
    diagnoses : sequence of Diagnosis
    advice : CheckpointAdvice, optional
    kind : {"curves", "waterfall", "transitions", "reliability", "classes"}
        ``curves``: loss above accuracy with the episodes. The others show the episode that matters
        most; where there is none, first against last epoch of the validation split.
    theme : {"light", "dark"}

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot.

    Raises
    ------
    ValueError
        For a kind or theme that does not exist, or for records that cannot give the picture.
    """
    if kind not in FIGURES:
        raise ValueError(f"Expected one of the figures {', '.join(FIGURES)}; got {kind!r}.")
    if theme not in THEMES:
        raise ValueError(f"Expected one of the themes {', '.join(THEMES)}; got {theme!r}.")
    return FIGURES[kind](Drawn(recording, episodes, diagnoses, advice, THEMES[theme]))


def figure_png(
    recording: Recording,
    episodes: Sequence[Episode],
    diagnoses: Sequence[Diagnosis],
    advice: CheckpointAdvice | None,
    dpi: int = 80,
    *,
    titled: bool = True,
) -> bytes:
    """Draw the curves as a PNG with few colours: a third of the bytes of a full-colour one.

    Without `titled` the verdict is not written above them: where it stands as text beside the picture.
    """
    from PIL import Image

    drawn, small = BytesIO(), BytesIO()
    made = figure(recording, episodes, diagnoses, advice)
    if not titled:
        made.suptitle("")
    made.savefig(drawn, format="png", dpi=dpi)
    picture = Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()
