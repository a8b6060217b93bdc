"""Pictures of one stretch of epochs: waterfall, confidence, reliability, classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.views.figures.canvas import Drawn, blank, dress, legend
from jupyter_lossacc.views.panel import tables
from jupyter_lossacc.views.verdict import leading
from jupyter_lossacc.views.words import class_name, signed, split_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["classes", "reliability", "transitions", "waterfall"]


def _stretch(run: Drawn) -> tuple[str, int, int]:
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


def _titled(ax: Axes, run: Drawn, what: str, split: str, start: int, end: int) -> None:
    title = f"{what}: {split_word(split)}, epoch {start} to {end}"
    ax.set_title(title, fontsize=11, color=run.theme.ink, loc="left", weight="bold")


def waterfall(run: Drawn) -> Figure:
    """Draw where the loss change comes from, sample group by sample group."""
    split, start, end = _stretch(run)
    data = tables.waterfall(run.recording, split, start, end)
    if data is None:
        raise ValueError(
            f"The samples of split {split!r} at epochs {start} and {end} cannot be compared one by one."
        )
    made = blank(run, 7.5, 3.2)
    ax = made.subplots()
    dress(ax, run.theme)
    at = 0.0
    labels, bars = [], data["bars"]
    for row, bar in enumerate(bars):
        color = run.theme.splits["val"] if bar["value"] > 0 else run.theme.splits["train"]
        _bar(ax, run, row, at, bar["value"], color, hatch="//" if bar["value"] > 0 else "")
        labels.append(f"{bar['label']} ({bar['n']:,})")
        at += bar["value"]
    _bar(ax, run, len(bars), 0.0, data["total"], run.theme.muted)
    ax.set_yticks(range(len(bars) + 1), [*labels, f"{data['loss']} change"])
    ax.invert_yaxis()
    ax.axvline(0, color=run.theme.muted, linewidth=0.8)
    ax.use_sticky_edges = False  # bars that end at the limit would be cut there
    ax.margins(x=0.12)
    ax.set_xlabel("nats")
    _titled(ax, run, f"Where the {data['loss']} change comes from", split, start, end)
    return made


def _bar(ax: Axes, run: Drawn, row: int, at: float, value: float, color: str, hatch: str = "") -> None:
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


def transitions(run: Drawn) -> Figure:
    """Draw how sure the model was of right and wrong predictions at both ends."""
    split, start, end = _stretch(run)
    try:
        first, last = run.recording.paired(split, start, end)
    except KeyError as error:
        raise ValueError(f"This figure follows samples between epochs: {error.args[0]}.") from None
    data = tables.confidence_histograms(first, last)
    made = blank(run, 8.0, 3.4)
    axes = made.subplots(1, 2, sharey=True)
    for ax, name, epoch in zip(axes, ("start", "end"), (start, end), strict=True):
        dress(ax, run.theme)
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
    legend(axes[1], run.theme, loc="upper left")
    made.suptitle(
        f"How sure the model was: {split_word(split)}\n{data['text']}",
        fontsize=10.5,
        color=run.theme.ink,
        x=0.01,
        ha="left",
    )
    return made


def reliability(run: Drawn) -> Figure:
    """Draw accuracy against confidence at both ends."""
    split, start, end = _stretch(run)
    data = tables.reliability(run.recording.summary(split, start), run.recording.summary(split, end))
    if data is None:
        raise ValueError(f"Split {split!r} has no calibration sums; they are gathered in evaluation mode.")
    made = blank(run, 5.2, 4.8)
    ax = made.subplots()
    dress(ax, run.theme)
    ax.plot([0, 1], [0, 1], color=run.theme.muted, linestyle=":", linewidth=1)
    most = max(*data["start"]["n"], *data["end"]["n"], 1)
    styles = {"start": ("s--", "train", start), "end": ("o-", "val", end)}
    for name, (style, color, epoch) in styles.items():
        ax.plot(
            data[name]["confidence"],
            data[name]["accuracy"],
            style[1:],
            color=run.theme.splits[color],
            linewidth=1.2,
        )
        # Area by the number of samples: a bin of one sample must not look like a finding.
        size = [4 + 60 * n / most for n in data[name]["n"]]
        marks: dict[str, Any] = {
            "marker": style[0],
            "color": run.theme.splits[color],
            "label": f"epoch {epoch}",
        }
        ax.scatter(data[name]["confidence"], data[name]["accuracy"], size, zorder=3, **marks)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy", aspect="equal")
    legend(ax, run.theme, loc="upper left")
    _titled(ax, run, "Confidence and accuracy", split, start, end)
    return made


def classes(run: Drawn) -> Figure:
    """Draw the changes of loss and recall class by class."""
    split, start, end = _stretch(run)
    recording = run.recording
    data = tables.class_changes(recording, recording.summary(split, start), recording.summary(split, end))
    if data is None:
        raise ValueError(
            f"Split {split!r} has no single class per sample; a figure by class has no meaning here."
        )
    columns = {
        name: [v if isinstance(v, (int, float)) else np.nan for v in values[:20]]
        for name, values in data["columns"].items()
    }
    rows = np.arange(len(columns["class"]))
    made = blank(run, 8.0, 1.4 + 0.28 * len(rows))
    axes = made.subplots(1, 2, sharey=True)
    panes = (
        ("nll_change", 1.0, "change of the loss, nats", True),
        ("recall_change", 100.0, "change of recall, points", False),
    )
    for ax, (column, scale, label, bad_up) in zip(axes, panes, strict=True):
        dress(ax, run.theme)
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
        weight="bold",
    )
    return made
