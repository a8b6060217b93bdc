"""The ground on which every picture is drawn: colours, axes, legends; no pyplot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Recording

__all__ = ["DASHES", "SHAPES", "THEMES", "Drawn", "Theme", "blank", "color_of", "dress", "legend"]


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one theme; those of the splits are Okabe and Ito's."""

    paper: str
    ink: str
    muted: str
    grid: str
    splits: dict[str, str]
    other: str
    tones: dict[str, str]


THEMES = {
    "light": Theme(
        paper="white",
        ink="#1c1c1c",
        muted="#5a5f66",
        grid="#e4e6e9",
        splits={"train": "#0072b2", "val": "#d55e00", "test": "#00805e", "train_eval": "#3a94c9"},
        other="#a14c7d",
        tones={"joint": "#a14c7d", "worse": "#b77900", "benign": "#00805e"},
    ),
    "dark": Theme(
        paper="#17191c",
        ink="#ececec",
        muted="#b3b8bf",
        grid="#383c42",
        splits={"train": "#56b4e9", "val": "#ff9a52", "test": "#3fd0a4", "train_eval": "#9cd3f3"},
        other="#e59ac4",
        tones={"joint": "#e59ac4", "worse": "#f0b93c", "benign": "#3fd0a4"},
    ),
}
DASHES: dict[str, Any] = {"train": (0, (5, 2.5)), "val": "-", "test": (0, (7, 2, 1.5, 2)), "train_eval": ":"}
SHAPES = {"triangle-down": "v", "triangle-up": "^", "diamond": "D"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """What every drawing function needs."""

    recording: Recording
    episodes: Sequence[Episode]
    diagnoses: Sequence[Diagnosis]
    advice: CheckpointAdvice | None
    theme: Theme


def blank(run: Drawn, width: float, height: float) -> Figure:
    """Make an empty figure of `width` by `height` inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from jupyter_lossacc.views.figures.picture import Picture

    made = Picture(figsize=(width, height), layout="constrained", facecolor=run.theme.paper)
    FigureCanvasAgg(made)
    return made


def dress(ax: Axes, theme: Theme) -> None:
    """Give axes the theme's colours and a quiet grid."""
    ax.set_facecolor(theme.paper)
    ax.grid(color=theme.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=theme.muted, labelsize=9)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.muted)
    ax.xaxis.label.set_color(theme.ink)
    ax.yaxis.label.set_color(theme.ink)


def legend(ax: Axes, theme: Theme, **where: Any) -> None:
    """Draw a legend where there is something to name."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(handles, labels, fontsize=8.5, frameon=False, labelcolor=theme.ink, **where)


def color_of(theme: Theme, split: str) -> str:
    """Colour of a split's curves."""
    return theme.splits.get(split, theme.other)
