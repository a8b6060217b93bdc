"""Loss above accuracy, with the episodes drawn over them."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.views.figures.canvas import DASHES, SHAPES, Drawn, blank, color_of, dress, legend
from jupyter_lossacc.views.losses import calibrated_word
from jupyter_lossacc.views.panel.coding import thinned
from jupyter_lossacc.views.panel.curves import Positions, best_marks, references
from jupyter_lossacc.views.verdict import headline, with_diagnosis
from jupyter_lossacc.views.words import KINDS, epochs_of, loss_unit, short_verdict, split_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves"]


def curves(run: Drawn) -> Figure:
    """Draw loss above accuracy on one epoch axis."""
    made = blank(run, 9.0, 5.2)
    loss, accuracy = made.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    positions = Positions(run.recording)
    _draw_steps(loss, run, positions)
    _draw_splits(loss, accuracy, run, positions)
    for ax, pane in ((loss, "loss"), (accuracy, "accuracy")):
        dress(ax, run.theme)
        _draw_marks(ax, run, positions, pane)
        _draw_references(ax, run, pane)
    _draw_bands(loss, accuracy, run)
    loss.set_ylabel(f"loss, {loss_unit(run.recording)}")
    accuracy.set_ylabel("accuracy")
    accuracy.set_xlabel("epoch")
    accuracy.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    legend(loss, run.theme, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    legend(accuracy, run.theme, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    text = headline(run.recording, run.episodes, run.diagnoses).text
    made.suptitle(fill(text, 100), fontsize=11, color=run.theme.ink, x=0.01, ha="left", weight="bold")
    return made


def _draw_steps(ax: Axes, run: Drawn, positions: Positions) -> None:
    steps = run.recording.steps
    if not len(steps.get("loss", ())):
        return
    rank, values = thinned(np.arange(len(steps["loss"]), dtype=np.float64), steps["loss"])
    rows = rank.astype(int)
    x = positions.of_steps(steps["epoch"][rows], steps["step"][rows])
    finite = np.where(np.isfinite(values), values, np.nan)
    ax.plot(
        x,
        finite,
        color=color_of(run.theme, "train"),
        alpha=0.3,
        linewidth=0.7,
        label="training batches",
        zorder=1,
    )


def _draw_splits(loss: Axes, accuracy: Axes, run: Drawn, positions: Positions) -> None:
    shown: list[float] = []
    for split in run.recording.splits():
        passes = [s for s in run.recording.summaries if s.split == split and s.complete]
        x = [float(s.epoch) if split == "train" else positions.of(s.epoch, s.step) for s in passes]
        style = {"color": color_of(run.theme, split), "linestyle": DASHES.get(split, "-.")}
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
            label = f"{split_word(split)}, {calibrated_word(run.recording)}"
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


def _draw_references(ax: Axes, run: Drawn, pane: str) -> None:
    low, high = ax.get_ylim()
    for line in references(run.recording):
        value = line["value"]
        if line["pane"] != pane or not low <= value <= high:
            continue
        ax.axhline(value, color=run.theme.muted, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        place = _free_place(ax, value)
        if place is not None:
            ax.annotate(
                line["label"],
                (place[0], value),
                xycoords=("axes fraction", "data"),
                ha="right",
                va=place[1],
                fontsize=7.5,
                color=run.theme.muted,
            )


def _free_place(ax: Axes, value: float) -> tuple[float, str] | None:
    """Find where a reference line's label stands clear of curves and marks, as far right as may be."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    points = np.vstack([line.get_xydata() for line in ax.lines if line.get_transform() == ax.transData])
    x, y = (points[:, 0] - left) / (right - left), (points[:, 1] - value) / (high - low)
    dotted = [np.asarray(line.get_xdata(), np.float64) for line in ax.lines if line.get_linestyle() == ":"]
    kept = [(float(x[0]) - left) / (right - left) for x in dotted]  # the line of the epoch to keep
    for end in np.arange(0.995, 0.2, -0.05):
        if any(end - 0.13 < at < end + 0.01 for at in kept):
            continue
        near = y[(x > end - 0.13) & (x < end + 0.03)]
        for va, sign in (("bottom", 1), ("top", -1)):
            if not ((near * sign > -0.01) & (near * sign < 0.08)).any():
                return float(end), va
    return None


def _draw_marks(ax: Axes, run: Drawn, positions: Positions, pane: str) -> None:
    for mark in best_marks(run.recording, positions, run.advice):
        if mark["shape"] == "keep":
            ax.axvline(mark["x"], color=run.theme.ink, linewidth=1.2, linestyle=":", zorder=2)
            if pane == "accuracy":
                ax.annotate(
                    mark["text"],
                    (mark["x"], 0.45),
                    xycoords=("data", "axes fraction"),
                    xytext=(4, 0),
                    textcoords="offset points",
                    fontsize=8.5,
                    color=run.theme.ink,
                    weight="bold",
                )
        elif mark["pane"] == pane:
            ax.plot(
                [mark["x"]],
                [mark["y"]],
                SHAPES[mark["shape"]],
                color=run.theme.ink,
                markersize=6,
                markeredgecolor=run.theme.paper,
                zorder=6,
            )


def _draw_bands(loss: Axes, accuracy: Axes, run: Drawn) -> None:
    held = any(e.split == "val" for e in run.episodes)
    for lane, (episode, diagnosis) in enumerate(with_diagnosis(run.episodes, run.diagnoses)):
        color = run.theme.muted if episode.retracted else run.theme.tones[KINDS[episode.kind].tone]
        hatch = "" if episode.retracted else {"both_rise": "//", "both_fall": "\\\\"}.get(episode.kind, "")
        end = max(episode.end_epoch, episode.start_epoch + 0.2)
        for ax in (loss, accuracy):
            if held and episode.split != "val":  # fills of several splits would pile up
                for x in (episode.start_epoch, end):
                    ax.axvline(x, color=color, linewidth=0.8, linestyle="--", zorder=0)
                continue
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
