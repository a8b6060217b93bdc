"""What a cause is, and the few things that the examinations of all causes share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from jupyter_lossacc.records import (
    Episode,
    EpisodeKind,
    EpochSummary,
    Evidence,
    Finding,
    Predictions,
    Recording,
)
from jupyter_lossacc.stats.noise import epoch_noise
from jupyter_lossacc.stats.resampling import mcnemar

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from jupyter_lossacc.stats.estimate import Estimate

__all__ = [
    "FALLING_LOSS",
    "ONE_ANSWER",
    "RISING_LOSS",
    "Cause",
    "Scope",
    "Window",
    "answers_one_class",
    "default_split",
    "epochs_of",
    "evidence",
    "not_tested",
    "percent",
    "points",
    "rising_window",
    "rounded",
    "share_text",
    "signed",
    "spoken",
    "states_proportions",
    "training_series",
    "window",
]

# "no_episode": only about a run in which no harmful episode was found; "episode_or_run": about every
# episode, and about the run if it has no harmful one.
Scope = Literal["episode", "run", "both", "no_episode", "episode_or_run"]
RISING_LOSS: frozenset[EpisodeKind] = frozenset(
    {"both_rise", "loss_rises_accuracy_flat", "loss_rises_accuracy_falls"}
)
FALLING_LOSS: frozenset[EpisodeKind] = frozenset({"both_fall", "loss_falls_accuracy_flat"})

_SPOKEN = {"val": "validation", "train": "training", "train_eval": "training (evaluated)", "test": "test"}

ONE_ANSWER = 0.98  # share of predictions
BARELY = 0.98  # of the loss of a constant answer
MEDIAN_OF = 5  # epochs


@dataclass(frozen=True, slots=True)
class Cause:
    """A named reason why loss and accuracy move as they do.

    Parameters
    ----------
    id : str
        Names the pattern, never the fix; also the stem of the explanation page.
    examine : callable
        ``examine(recording, episode)`` gives the verdict with this run's numbers, or None where
        the question does not arise (say, a rising loss explained in an episode where it falls).
        ``episode=None`` asks about the run as a whole.
    scope : {"episode", "run", "both", "no_episode"}
        What it is asked about; `Scope` lists all.
    """

    id: str
    examine: Callable[[Recording, Episode | None], Finding | None]
    scope: Scope = "episode"


@dataclass(frozen=True, kw_only=True)
class Window:
    """The two ends of what is examined: summaries always, per-sample records where they were kept.

    Parameters
    ----------
    before, after : Predictions, optional
        The same samples in the same order at both ends, all losses finite; None when that cannot be had.
    disjoint : bool
        The two ends are known to have no samples in common.
    from_lowest : bool
        The start was chosen because the loss was lowest there.
    unmatched : str
        Why the samples of both ends cannot be compared; empty where they can.
    """

    recording: Recording
    split: str
    start: EpochSummary
    end: EpochSummary
    before: Predictions | None = None
    after: Predictions | None = None
    disjoint: bool = False
    from_lowest: bool = False
    unmatched: str = ""

    @property
    def loss_change(self) -> float:
        """Change of the negative log-likelihood from start to end, nats."""
        return self.end.nll - self.start.nll

    @property
    def accuracy_change(self) -> float:
        """Change of accuracy from start to end, as a share of samples."""
        return self.end.accuracy - self.start.accuracy

    @property
    def accuracy_p(self) -> float:
        """p-value of as many samples becoming right as wrong (McNemar); NaN where they are not known."""
        if self.before is None or self.after is None:
            return float("nan")
        return float(mcnemar(self.before.correct >= 0.5, self.after.correct >= 0.5).p)

    @cached_property
    def inside(self) -> tuple[EpochSummary, ...]:
        """Summaries of the split from start to end, inclusive."""
        return tuple(
            s for s in self.recording.series(self.split) if self.start.epoch <= s.epoch <= self.end.epoch
        )

    @property
    def same_samples(self) -> bool:
        """Both ends saw the same samples, so that sums over the passes may be compared."""
        if self.before is None:
            return not self.disjoint and self.start.n_samples == self.end.n_samples
        return len(self.before) == self.start.n_samples == self.end.n_samples

    def trend(self, values: NDArray[np.float64]) -> float:
        """Change along the least-squares line through `values`, one per epoch inside."""
        epochs = np.array([s.epoch for s in self.inside], np.float64)
        kept = np.isfinite(values)
        if kept.sum() < 3:
            return float("nan")
        slope = np.polyfit(epochs[kept], values[kept], 1)[0]
        return float(slope * (self.end.epoch - self.start.epoch))


def default_split(recording: Recording) -> str | None:
    """Return the split that a question about the whole run is put to: val, or the first evaluated one."""
    evaluated = [s.split for s in recording.summaries if s.complete and s.split != "train"]
    if "val" in evaluated:
        return "val"
    return evaluated[0] if evaluated else None


def window(recording: Recording, episode: Episode | None) -> Window | None:
    """Return the window of an episode; of a run, from its lowest loss to its last epoch.

    Where the loss rises, the window starts at the lowest loss of the episode's first half: an
    episode's own start marks where the joint movement can be told from wobble, and may still lie
    on the way down. None when the split has fewer than two complete passes there.
    """
    split = episode.split if episode is not None else default_split(recording)
    if split is None:
        return None
    series = recording.series(split)
    if episode is not None:
        series = tuple(s for s in series if episode.start_epoch <= s.epoch <= episode.end_epoch)
    if len(series) < 2:
        return None
    start = _start(series, episode)
    end = series[-1]
    lowest = episode is None or episode.kind in RISING_LOSS
    bare = Window(recording=recording, split=split, start=start, end=end, from_lowest=lowest)
    try:
        before, after = recording.paired(split, start.epoch, end.epoch)
    except KeyError:
        return replace(bare, unmatched="their records were not kept, or their ids are not known")
    if len(after) < 2 <= end.n_samples:  # the epochs have (next to) no sample in common
        return replace(bare, disjoint=True, unmatched="the two epochs have no samples in common")
    for epoch, predictions in ((start.epoch, before), (end.epoch, after)):
        broken = int((~np.isfinite(predictions.nll)).sum())
        if broken:
            of = f"{broken} of {len(predictions)} losses at epoch {epoch}"
            return replace(bare, unmatched=f"{of} are not finite")
    return replace(bare, before=before, after=after)


def rising_window(recording: Recording, episode: Episode | None) -> Window | None:
    """Return the window of an episode; of a run, only if its loss has clearly risen since its lowest.

    Clearly: by 0.01 nats and 2 %, and by more than three standard deviations of a difference between two
    wobbling epochs; or so that `_level_risen` sees it past single epochs that jump.
    """
    w = window(recording, episode)
    if w is None or episode is not None:
        return w
    noise = epoch_noise(np.array([s.nll for s in w.inside]))
    least = max(0.01, 0.02 * w.start.nll, 3 * np.sqrt(2) * noise)
    if len(w.inside) >= 5 and w.loss_change > least:
        return w
    return w if _level_risen(w) else None


def _level_risen(w: Window) -> bool:
    """Tell whether the median of the last five losses lies above the lowest median of five before them.

    Medians pass over epochs that jump, which fill the wobble (a sum of squares) as they fill the curve. The
    lowest of many medians is low by chance, too: five standard errors of the difference are asked, after
    which a curve that goes nowhere gets past no more often than by the rule for two epochs. The two epochs
    compared must show at least half of the rise.
    """
    k = MEDIAN_OF
    losses = np.array([s.nll for s in w.recording.series(w.split)])
    if len(losses) < 3 * k or not np.isfinite(losses).all():
        return False
    levels = np.median(np.lib.stride_tricks.sliding_window_view(losses, k), axis=1)
    at = int(np.argmin(levels[:-k]))
    rise = float(levels[-1] - levels[at])
    error = np.sqrt(np.pi / k) * epoch_noise(losses[at:], robust=True)  # of a difference of two medians of k
    return bool(rise > max(0.01, 0.02 * levels[at], 5 * error) and w.loss_change > rise / 2)


def _start(series: tuple[EpochSummary, ...], episode: Episode | None) -> EpochSummary:
    if episode is None:
        return min(series[:-1], key=lambda s: _sortable(s.nll))
    if episode.kind in RISING_LOSS:
        return min(series[: max(1, len(series) // 2)], key=lambda s: _sortable(s.nll))
    return series[0]


def _sortable(value: float) -> float:
    return value if np.isfinite(value) else np.inf


def not_tested(cause: str, why: str) -> Finding:
    """Return the finding that says honestly why a cause could not be examined."""
    return Finding(cause=cause, verdict="not_tested", statement=why)


def evidence(name: str, value: float, unit: str, threshold: str, supports: bool) -> Evidence:
    """Return one row of evidence; the arguments are its columns, in the order in which they are shown."""
    return Evidence(name=name, value=float(value), unit=unit, threshold=threshold, supports=bool(supports))


def spoken(split: str) -> str:
    """Name a split as a sentence does: ``"val"`` is validation."""
    return _SPOKEN.get(split, split)


def epochs_of(w: Window) -> str:
    """Say which epochs a window spans, what made its start the start, and which loss is meant."""
    without = _left_out(w.end)
    if w.from_lowest and w.loss_change >= 0:
        lower = any(s.nll < w.start.nll for s in w.recording.series(w.split) if s.epoch <= w.end.epoch)
        where = f"{without} was lowest{' in this stretch' if lower else ''}"
        return f"between epoch {w.start.epoch}, where the loss{where}, and epoch {w.end.epoch}"
    return f"from epoch {w.start.epoch} to {w.end.epoch}{f' (the loss{without})' if without else ''}"


def _left_out(s: EpochSummary) -> str:
    """Say what the negative log-likelihood leaves out of the loss that is drawn; empty where they are one."""
    if s.loss.weighted:
        return " without class weights"
    return " without label smoothing" if s.loss.label_smoothing > 0 else ""


def training_series(recording: Recording, until: float = np.inf) -> tuple[EpochSummary, ...]:
    """Return the passes from which every cause reads "the training loss" of an epoch, up to `until`.

    These are the evaluations of the training data where the loop makes them, else the training passes.
    """
    for split in ("train_eval", "train"):
        series = tuple(s for s in recording.series(split) if s.epoch <= until)
        if series:
            return _of_all_batches(series) if any(s.n_total is not None for s in series) else series
    return ()


def _of_all_batches(series: tuple[EpochSummary, ...]) -> tuple[EpochSummary, ...]:
    """Read passes of which a random part of the samples was recorded so that they can be compared.

    The loss is then the reported one, which is that of all batches; the accuracy, of few samples each,
    is that of the last ten passes together.
    """
    found = []
    for i, s in enumerate(series):
        recent = [r for r in series[max(0, i - 9) : i + 1] if r.n_samples and np.isfinite(r.accuracy)]
        n = sum(r.n_samples for r in recent)
        accuracy = sum(r.accuracy * r.n_samples for r in recent) / n if n else float("nan")
        found.append(replace(s, nll=s.reported_loss, accuracy=accuracy))
    return tuple(found)


def answers_one_class(s: EpochSummary) -> bool:
    """Tell whether a pass answers one class whatever it is shown, and is right no more often for it."""
    table = s.classes
    if table is None or not table.support.sum() or not table.predicted.sum():
        return False
    base = float(table.support.max() / table.support.sum())
    return float(table.predicted.max() / table.predicted.sum()) >= ONE_ANSWER and s.accuracy <= base + 0.005


def states_proportions(s: EpochSummary, *losses: float) -> bool:
    """Tell whether a pass knows no more than the class proportions, and none of `losses` says otherwise."""
    table = s.classes
    if table is None or not table.support.sum() or not np.isfinite(s.nll):
        return False
    shares = table.support[table.support > 0] / table.support.sum()
    constant = float(-(shares * np.log(shares)).sum())  # loss of stating the proportions
    loss = float(np.nanmin([s.nll, s.calibrated_nll, *losses]))
    return loss > BARELY * constant and s.accuracy <= float(shares.max()) + 0.005


def rounded(value: float, decimals: int = 3) -> str:
    """Write a number with at most `decimals` decimals, and with at most three significant digits.

    Examples
    --------
    >>> rounded(0.0126), rounded(1.4713), rounded(12345.6), rounded(99.8, 1), rounded(8.43e34)
    ('0.013', '1.47', '12,300', '99.8', '8.43e34')
    """
    if not np.isfinite(value) or abs(value) >= 1e9:
        return f"{value:.3g}".replace("e+", "e")
    short = float(f"{value:.3g}")
    whole = len(str(int(abs(short)))) if abs(short) >= 1 else 0
    if whole > 3:
        return f"{short:,.0f}"
    return f"{value:.{min(decimals, 3 - whole)}f}"


def signed(value: float, decimals: int = 3) -> str:
    """Write a difference like `rounded`, with its sign; nothing has none.

    Examples
    --------
    >>> signed(1.261), signed(-0.02), signed(-0.0001)
    ('+1.26', '-0.020', '0.000')
    """
    text = rounded(value, decimals)
    if not text.strip("-0."):
        return text.lstrip("-")
    return text if value < 0 else f"+{text}"


def percent(value: float, digits: int = 0) -> str:
    """Write a share as percent.

    Examples
    --------
    >>> percent(0.618, 1), percent(1.0, 1)
    ('61.8 %', '100 %')
    """
    return f"{rounded(100 * value, digits)} %"


def points(change: float) -> str:
    """Write a change of accuracy in percentage points, signed.

    Examples
    --------
    >>> points(0.025)
    '+2.5 points'
    """
    return f"{signed(100 * change, 1)} points"


def share_text(share: Estimate) -> str:
    """Write a share with its interval, for ``{share_text(share)} of the rise``.

    More than all: without that cause the rise would have been a fall.

    Examples
    --------
    >>> from jupyter_lossacc.stats.estimate import Estimate
    >>> share_text(Estimate(1.1, 0.9, 1.3, "share"))
    '110 % [90, 130]'
    >>> share_text(Estimate(1.7, 1.4, 2.3, "share"))
    '170 % [140, 230], more than all,'
    """
    if not np.isfinite(share.value):
        return "an undefined share"
    if not np.isfinite(share.low + share.high):
        return percent(share.value)
    text = f"{percent(share.value)} [{100 * share.low:.0f}, {100 * share.high:.0f}]"
    return f"{text}, more than all," if share.low > 1 else text
