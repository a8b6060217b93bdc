"""Print-ready pictures of a run: the panel's facts, drawn by matplotlib without pyplot.

pyplot is avoided because its figures belong to the user's session: it would show, close or restyle
them together with ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import isfinite, log
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Recording
from jupyter_lossacc.views.panel.coding import thinned
from jupyter_lossacc.views.panel.curves import Positions, best_marks, references
from jupyter_lossacc.views.panel.tables import (
    GROUPS,
    class_changes,
    confidence_histograms,
    reliability,
    waterfall,
)
from jupyter_lossacc.views.verdict import headline, leading, with_diagnosis
from jupyter_lossacc.views.words import KINDS, class_name, epochs_of, short_verdict, signed, split_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "THEMES", "figure", "figure_png"]


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
_DASHES: dict[str, Any] = {"train": (0, (5, 2.5)), "val": "-", "test": (0, (7, 2, 1.5, 2)), "train_eval": ":"}
_SHAPES = {"triangle-down": "v", "triangle-up": "^", "diamond": "D"}


@dataclass(frozen=True, slots=True)
class _Run:
    """What every drawing function needs."""

    recording: Recording
    episodes: Sequence[Episode]
    diagnoses: Sequence[Diagnosis]
    advice: CheckpointAdvice | None
    theme: Theme


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
    return FIGURES[kind](_Run(recording, episodes, diagnoses, advice, THEMES[theme]))


def figure_png(
    recording: Recording,
    episodes: Sequence[Episode],
    diagnoses: Sequence[Diagnosis],
    advice: CheckpointAdvice | None,
    dpi: int = 80,
) -> bytes:
    """Draw the curves as a PNG with few colours: a third of the bytes of a full-colour one."""
    from PIL import Image

    drawn, small = BytesIO(), BytesIO()
    figure(recording, episodes, diagnoses, advice).savefig(drawn, format="png", dpi=dpi)
    picture = Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def _blank(run: _Run, width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained", facecolor=run.theme.paper)
    FigureCanvasAgg(made)
    return made


def _dress(ax: Axes, theme: Theme) -> None:
    ax.set_facecolor(theme.paper)
    ax.grid(color=theme.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=theme.muted, labelsize=9)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.muted)
    ax.xaxis.label.set_color(theme.ink)
    ax.yaxis.label.set_color(theme.ink)


def _legend(ax: Axes, theme: Theme, **where: Any) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(handles, labels, fontsize=8.5, frameon=False, labelcolor=theme.ink, **where)


# ---------------------------------------------------------------------- curves


def _curves(run: _Run) -> Figure:
    made = _blank(run, 9.0, 5.2)
    loss, accuracy = made.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    positions = Positions(run.recording)
    _draw_steps(loss, run, positions)
    _draw_splits(loss, accuracy, run, positions)
    for ax, pane in ((loss, "loss"), (accuracy, "accuracy")):
        _dress(ax, run.theme)
        _draw_references(ax, run, pane)
        _draw_marks(ax, run, positions, pane)
    _draw_bands(loss, accuracy, run)
    loss.set_ylabel("loss, nats")
    accuracy.set_ylabel("accuracy")
    accuracy.set_xlabel("epoch")
    accuracy.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    _legend(loss, run.theme, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _legend(accuracy, run.theme, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    text = headline(run.recording, run.episodes, run.diagnoses).text
    made.suptitle(_wrapped(text, 100), fontsize=11, color=run.theme.ink, x=0.01, ha="left", weight="semibold")
    return made


def _wrapped(text: str, width: int) -> str:
    from textwrap import fill

    return fill(text, width)


def _color(theme: Theme, split: str) -> str:
    return theme.splits.get(split, theme.other)


def _draw_steps(ax: Axes, run: _Run, positions: Positions) -> None:
    steps = run.recording.steps
    if not len(steps.get("loss", ())):
        return
    rank, values = thinned(np.arange(len(steps["loss"]), dtype=np.float64), steps["loss"])
    rows = rank.astype(int)
    x = positions.of_steps(steps["epoch"][rows], steps["step"][rows])
    finite = np.where(np.isfinite(values), values, np.nan)
    ax.plot(x, finite, color=_color(run.theme, "train"), alpha=0.3, linewidth=0.7, label="batches", zorder=1)


def _draw_splits(loss: Axes, accuracy: Axes, run: _Run, positions: Positions) -> None:
    shown: list[float] = []
    for split in run.recording.splits():
        passes = [s for s in run.recording.summaries if s.split == split and s.complete]
        x = [float(s.epoch) if split == "train" else positions.of(s.epoch, s.step) for s in passes]
        style = {"color": _color(run.theme, split), "linestyle": _DASHES.get(split, "-.")}
        width = 2.0 if split == "val" else 1.5
        marker = {"marker": "o", "markersize": 3} if len(x) <= 30 else {}
        columns = (("reported_loss", loss), ("accuracy", accuracy))
        for column, ax in columns:
            values = np.array([getattr(s, column) for s in passes], dtype=np.float64)
            _draw_line(ax, x, values, {**style, **marker, "linewidth": width, "label": split_word(split)})
            if column == "reported_loss":
                shown += values[np.isfinite(values)].tolist()
        repaired = np.array([s.calibrated_nll for s in passes], dtype=np.float64)
        if np.isfinite(repaired).any():
            label = f"{split_word(split)}, calibrated"
            _draw_line(
                loss,
                x,
                repaired,
                {"color": style["color"], "linestyle": (0, (1, 1.6)), "linewidth": 1.8, "label": label},
            )
            shown += repaired[np.isfinite(repaired)].tolist()
    if shown:
        room = (max(shown) - min(shown) or 1.0) * 0.25
        low, high = loss.get_ylim()
        loss.set_ylim(max(low, min(shown) - room), min(high, max(shown) + room))


def _draw_line(ax: Axes, x: list[float], values: np.ndarray[Any, Any], style: dict[str, Any]) -> None:
    """Draw a curve; where it is not finite, a cross at its last finite value."""
    finite = np.isfinite(values)
    ax.plot(x, np.where(finite, values, np.nan), zorder=3, **style)
    broken = np.flatnonzero(~finite)
    if len(broken) and finite.any():
        at = int(broken[0])
        before = values[:at][finite[:at]]
        height = before[-1] if len(before) else values[finite][0]
        ax.plot([x[at]], [height], "X", color="#b3261e", markersize=9, zorder=5)
        ax.annotate(
            "not finite",
            (x[at], height),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8,
            color="#b3261e",
        )


def _draw_references(ax: Axes, run: _Run, pane: str) -> None:
    low, high = ax.get_ylim()
    for line in references(run.recording):
        value = line["value"]
        if line["pane"] != pane or not low <= value <= high:
            continue
        ax.axhline(value, color=run.theme.muted, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        ax.annotate(
            line["label"],
            (0.995, value),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=7.5,
            color=run.theme.muted,
        )


def _draw_marks(ax: Axes, run: _Run, positions: Positions, pane: str) -> None:
    for mark in best_marks(run.recording, positions, run.advice):
        if mark["shape"] == "keep":
            ax.axvline(mark["x"], color=run.theme.ink, linewidth=1.2, linestyle=":", zorder=2)
            if pane == "accuracy":
                ax.annotate(
                    mark["text"],
                    (mark["x"], 0.04),
                    xycoords=("data", "axes fraction"),
                    xytext=(4, 0),
                    textcoords="offset points",
                    fontsize=8.5,
                    color=run.theme.ink,
                    weight="semibold",
                )
        elif mark["pane"] == pane:
            ax.plot(
                [mark["x"]],
                [mark["y"]],
                _SHAPES[mark["shape"]],
                color=run.theme.ink,
                markersize=6,
                markeredgecolor=run.theme.paper,
                zorder=6,
            )


def _draw_bands(loss: Axes, accuracy: Axes, run: _Run) -> None:
    for lane, (episode, diagnosis) in enumerate(with_diagnosis(run.episodes, run.diagnoses)):
        color = run.theme.muted if episode.retracted else run.theme.tones[KINDS[episode.kind].tone]
        hatch = "" if episode.retracted else {"both_rise": "//", "both_fall": "\\\\"}.get(episode.kind, "")
        end = max(episode.end_epoch, episode.start_epoch + 0.2)
        for ax in (loss, accuracy):
            ax.axvspan(
                episode.start_epoch,
                end,
                facecolor=color,
                alpha=0.12,
                hatch=hatch,
                edgecolor=color,
                linewidth=0.8,
                zorder=0,
            )
        loss.annotate(
            f"{short_verdict(episode, diagnosis)} ({split_word(episode.split)}, {epochs_of(episode)})",
            (episode.start_epoch, 0.965 - 0.085 * lane),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=8.5,
            va="top",
            color=run.theme.ink,
            annotation_clip=False,
            bbox={
                "facecolor": run.theme.paper,
                "edgecolor": color,
                "boxstyle": "round,pad=0.2",
                "linewidth": 0.9,
            },
            zorder=7,
        )


# ---------------------------------------------------------------------- about one stretch of epochs


def _stretch(run: _Run) -> tuple[str, int, int]:
    """Split, start and end: of the leading episode, or first against last epoch."""
    episode = leading(run.episodes)
    if episode is not None:
        return episode.split, episode.start_epoch, episode.end_epoch
    evaluated = [s for s in run.recording.splits() if s != "train" and len(run.recording.series(s)) > 1]
    if not evaluated:
        raise ValueError("This figure compares two epochs of an evaluated split; this run has none with two.")
    split = "val" if "val" in evaluated else evaluated[0]
    series = run.recording.series(split)
    return split, series[0].epoch, series[-1].epoch


def _titled(ax: Axes, run: _Run, what: str, split: str, start: int, end: int) -> None:
    title = f"{what}: {split_word(split)}, epoch {start} to {end}"
    ax.set_title(title, fontsize=11, color=run.theme.ink, loc="left", weight="semibold")


def _waterfall(run: _Run) -> Figure:
    split, start, end = _stretch(run)
    data = waterfall(run.recording, split, start, end)
    if data is None:
        raise ValueError(
            f"The samples of split {split!r} at epochs {start} and {end} cannot be compared one by one."
        )
    made = _blank(run, 7.5, 3.2)
    ax = made.subplots()
    _dress(ax, run.theme)
    at = 0.0
    labels, bars = [], data["bars"]
    for row, bar in enumerate(bars):
        color = run.theme.splits["val"] if bar["value"] > 0 else run.theme.splits["train"]
        _bar(ax, run, row, at, bar["value"], color, hatch="//" if bar["value"] > 0 else "")
        labels.append(f"{bar['label']} ({bar['n']:,})")
        at += bar["value"]
    _bar(ax, run, len(bars), 0.0, data["total"], run.theme.muted)
    ax.set_yticks(range(len(bars) + 1), [*labels, "loss change"])
    ax.invert_yaxis()
    ax.axvline(0, color=run.theme.muted, linewidth=0.8)
    ax.margins(x=0.15)
    ax.set_xlabel("nats")
    _titled(ax, run, "Where the loss change comes from", split, start, end)
    return made


def _bar(ax: Axes, run: _Run, row: int, at: float, value: float, color: str, hatch: str = "") -> None:
    ax.barh(row, value, left=at, color=color, hatch=hatch, edgecolor=run.theme.paper, height=0.62)
    end = max(at, at + value)
    ax.annotate(
        signed(value),
        (end, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=run.theme.ink,
    )


def _transitions(run: _Run) -> Figure:
    split, start, end = _stretch(run)
    try:
        first, last = run.recording.paired(split, start, end)
    except KeyError as error:
        raise ValueError(f"This figure follows samples between epochs: {error.args[0]}.") from None
    data = confidence_histograms(first, last)
    made = _blank(run, 8.0, 3.4)
    axes = made.subplots(1, 2, sharey=True)
    for ax, name, epoch in zip(axes, ("start", "end"), (start, end), strict=True):
        _dress(ax, run.theme)
        edges = np.linspace(0, 1, len(data[name]["right"]) + 1)
        width = edges[1] - edges[0]
        middle = (edges[:-1] + edges[1:]) / 2
        ax.bar(middle, data[name]["right"], width * 0.9, color=run.theme.splits["train"], label="right")
        ax.bar(
            middle,
            [-n for n in data[name]["wrong"]],
            width * 0.9,
            color=run.theme.splits["val"],
            hatch="//",
            edgecolor=run.theme.paper,
            label="wrong",
        )
        ax.axhline(0, color=run.theme.muted, linewidth=0.8)
        ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
        ax.set_xlabel(f"confidence, epoch {epoch}")
    axes[0].set_ylabel("samples: wrong below, right above")
    _legend(axes[1], run.theme, loc="upper left")
    made.suptitle(
        f"How sure the model was: {split_word(split)}. {data['text']}",
        fontsize=10.5,
        color=run.theme.ink,
        x=0.01,
        ha="left",
    )
    return made


def _reliability(run: _Run) -> Figure:
    split, start, end = _stretch(run)
    data = reliability(run.recording.summary(split, start), run.recording.summary(split, end))
    if data is None:
        raise ValueError(f"Split {split!r} has no calibration sums; they are gathered in evaluation mode.")
    made = _blank(run, 4.6, 4.4)
    ax = made.subplots()
    _dress(ax, run.theme)
    ax.plot([0, 1], [0, 1], color=run.theme.muted, linestyle=":", linewidth=1)
    styles = {"start": ("s--", "train", start), "end": ("o-", "val", end)}
    for name, (style, color, epoch) in styles.items():
        ax.plot(
            data[name]["confidence"],
            data[name]["accuracy"],
            style,
            color=run.theme.splits[color],
            markersize=4,
            label=f"epoch {epoch}",
        )
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy", aspect="equal")
    _legend(ax, run.theme, loc="upper left")
    _titled(ax, run, "As sure as it is right?", split, start, end)
    return made


def _classes(run: _Run) -> Figure:
    split, start, end = _stretch(run)
    recording = run.recording
    data = class_changes(recording, recording.summary(split, start), recording.summary(split, end))
    if data is None:
        raise ValueError(
            f"Split {split!r} has no single class per sample; a figure by class has no meaning here."
        )
    columns = {
        name: [v if isinstance(v, (int, float)) else np.nan for v in values[:20]]
        for name, values in data["columns"].items()
    }
    rows = np.arange(len(columns["class"]))
    made = _blank(run, 8.0, 1.4 + 0.28 * len(rows))
    axes = made.subplots(1, 2, sharey=True)
    panes = (
        ("nll_change", 1.0, "change of the loss, nats", True),
        ("recall_change", 100.0, "change of recall, points", False),
    )
    for ax, (column, scale, label, bad_up) in zip(axes, panes, strict=True):
        _dress(ax, run.theme)
        values = scale * np.array(columns[column], dtype=np.float64)
        worse = values > 0 if bad_up else values < 0
        colors = [run.theme.splits["val"] if w else run.theme.splits["train"] for w in worse]
        bars = ax.barh(rows, values, color=colors, edgecolor=run.theme.paper, height=0.7)
        for bar, w in zip(bars, worse, strict=True):
            bar.set_hatch("//" if w else "")
        ax.axvline(0, color=run.theme.muted, linewidth=0.8)
        ax.set_xlabel(label)
    names = [class_name(recording, int(k)) for k in columns["class"]]
    axes[0].set_yticks(rows, [f"{name} ({n:,})" for name, n in zip(names, columns["support"], strict=True)])
    axes[0].invert_yaxis()
    made.suptitle(
        f"Classes: {split_word(split)}, epoch {start} to {end}",
        fontsize=11,
        color=run.theme.ink,
        x=0.01,
        ha="left",
        weight="semibold",
    )
    return made


FIGURES: dict[str, Callable[[_Run], Figure]] = {
    "curves": _curves,
    "waterfall": _waterfall,
    "transitions": _transitions,
    "reliability": _reliability,
    "classes": _classes,
}
