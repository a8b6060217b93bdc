"""Which stretches of two curves show loss and accuracy moving together.

Works on the two curves of one split alone (numbers per epoch, no samples). Every stretch of at least
`SHORTEST` epochs is a candidate; its straight-line change (`stats.series`) is judged against the wobble
between epochs (`stats.wobble`), with critical values (`diagnosis.curves`) that account for all stretches
and for asking again after every epoch.

What an update costs is capped: up to 96 epochs every stretch is judged, beyond them stretches that
begin and end on a grid of at most 96 epochs (about 4,500 in all); ends are placed among 32 knots, and
the samples of a stretch are read for at most 32 of its epochs, 25,000 samples and 4,000,000 rows
(`diagnosis.sampling`). Only sums over the curves themselves grow with the run, by some microseconds
an epoch. ``python -m tests.diagnosis.bench_episodes`` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.stats.series import ramp_ends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_lossacc.diagnosis.curves import Bars, Curves
    from jupyter_lossacc.records import EpisodeKind
    from jupyter_lossacc.stats.series import Moments, Trends

__all__ = ["FLAT", "MOVING", "SHORTEST", "Search", "Window", "find_windows", "stretches", "which_kinds"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHORTEST = 8  # epochs
_GRID = 96  # stretches begin and end on a grid of at most this many epochs
_OPPOSED = -0.5  # neither half of a stretch may run against the whole by more standard errors than this
_SUSTAINED = 0.5  # share of the critical value that must be reached without bursts of three epochs or fewer
_OPEN = 2.0  # standard errors within which an accuracy too noisy to be called flat must stay
_HIGH_SHARE = 0.9  # of a stretch's epochs must have a high loss for it to count as stuck
_STUCK_EPOCHS = 40  # epochs over which the slope of a stuck accuracy must stay within the flat limit
_STUCK_ERRORS = 3.0  # standard errors that the slope must stay away from that limit
_KNOTS = 32  # places at which the movement of a stretch may begin or end
_CLEARLY_LEVEL = (
    16.0  # gain in squared residuals for two more parameters; 9.2 is the 1 % point of chi-squared
)
_LEVEL = 0.1  # share of the whole change that a level part may hold
_CLEARER = 1.0  # standard errors by which a later start or an earlier end must be clearer to be taken

# In this order of precedence: a joint movement says more than a flat accuracy beside it.
MOVING: tuple[EpisodeKind, ...] = ("both_rise", "both_fall", "loss_rises_accuracy_falls")
FLAT: tuple[EpisodeKind, ...] = (
    "loss_rises_accuracy_flat",
    "accuracy_stuck_loss_high",
    "loss_falls_accuracy_flat",
)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch found: inclusive indices, its kind, and whether the loss alone chose it."""

    first: int
    last: int
    kind: EpisodeKind
    anchored: bool
    strength: float


def stretches(n_epochs: int) -> tuple[Ints, Ints]:
    """First and last index of every candidate stretch.

    Up to `_GRID` epochs these are all stretches of `SHORTEST` epochs or more; of a longer series, those
    that begin and end on a grid of indices divisible by a fixed step, and those that end now.
    """
    step = -(-n_epochs // _GRID)
    first, last = np.arange(0, n_epochs, step), np.union1d(np.arange(0, n_epochs, step), [n_epochs - 1])
    a, b = (grid.ravel() for grid in np.meshgrid(first, last, indexing="ij"))
    long_enough = b - a + 1 >= SHORTEST
    return a[long_enough], b[long_enough]


def _significant(
    curve: tuple[Moments, Moments], first: Ints, last: Ints, critical: Floats, least: Floats | float
) -> tuple[Trends, Ints]:
    """Trends of the stretches of a curve and +1, -1 or 0 for a rise, a fall or neither.

    `curve` holds the sums of the values, and of the values without bursts.
    """
    moments, steady = curve
    trends = moments.trends(first, last)
    sign = np.zeros(len(first), np.int64)
    clear = np.flatnonzero((np.abs(trends.score) >= critical) & (np.abs(trends.change) >= least))
    if clear.size:
        a, b, way = first[clear], last[clear], np.sign(trends.change[clear])
        middle = (a + b) // 2
        ahead = way * moments.trends(a, middle).score > _OPPOSED
        behind = way * moments.trends(middle, b).score > _OPPOSED
        # A burst of a few epochs can tilt the line through a quiet stretch; it is no sustained movement.
        sustained = way * steady.trends(a, b).score >= _SUSTAINED * critical[clear]
        sign[clear] = np.where(ahead & behind & sustained, way, 0)
    return trends, sign


def _loss_moves(curves: Curves, first: Ints, last: Ints, bars: Bars) -> tuple[Trends, Ints]:
    """Trends of the loss along stretches, and which of them are a rise or a fall that counts."""
    least = np.maximum(bars.loss_least, bars.loss_share * np.abs(curves.loss_moments.mean(first, last)))
    return _significant(curves.loss_sums, first, last, bars.critical(first, last), least)


def which_kinds(
    curves: Curves,
    first: Ints,
    last: Ints,
    bars: Bars,
    *,
    anchored: bool = False,
    moves: tuple[Trends, Ints] | None = None,
) -> Mapping[EpisodeKind, Floats]:
    """Judge stretches: per kind the strength of each, 0 where it is not of that kind.

    The strength is the weaker of the two movements in units of its critical value (the loss alone
    where accuracy is flat) times the root of the length. Beside a rising loss accuracy counts as flat
    up to twice the margin, and beside one that doubles up to ten points, lest a clear rise go unmentioned
    while accuracy is still open; elsewhere its 90 % interval must lie within the margin. `moves` are the
    moves of the loss, where known.
    """
    for_loss, for_accuracy = bars.critical(first, last), bars.critical(first, last, anchored=anchored)
    loss, loss_sign = _loss_moves(curves, first, last, bars) if moves is None else moves
    accuracy, accuracy_sign = _significant(
        curves.accuracy_sums, first, last, for_accuracy, bars.accuracy_least
    )
    length = np.sqrt(last - first + 1.0)
    loss_strength = np.abs(loss.score) / for_loss * length
    joint = np.minimum(loss_strength, np.abs(accuracy.score) / for_accuracy * length)
    limit = bars.flat_limit(curves.accuracy_moments.mean(first, last))
    change, reach = np.abs(accuracy.change), np.abs(accuracy.change) + 1.645 * accuracy.error
    flat = (reach < limit) & (change < limit / 2)
    moved = (accuracy_sign != 0) & (np.abs(accuracy.score) >= (bars.moved or 0.0))
    unmoved = ~moved & (change < limit) & (reach < 2 * limit)
    share, widest = bars.open
    much = loss.change > share * np.abs(curves.loss_moments.mean(first, last))
    unmoved |= much & (np.abs(accuracy.score) < (bars.moved or _OPEN)) & (reach < widest)
    still = (loss_sign == 0) & (loss.score < 2)
    stuck = still & _is_stuck(accuracy, first, last, limit) & (curves.high_share(first, last) >= _HIGH_SHARE)
    return {
        "both_rise": joint * ((loss_sign > 0) & (accuracy_sign > 0)),
        "both_fall": joint * ((loss_sign < 0) & (accuracy_sign < 0)),
        "loss_rises_accuracy_falls": joint * ((loss_sign > 0) & (accuracy_sign < 0)),
        "loss_rises_accuracy_flat": loss_strength * ((loss_sign > 0) & unmoved),
        "loss_falls_accuracy_flat": loss_strength * ((loss_sign < 0) & flat & ~stuck),
        "accuracy_stuck_loss_high": length * stuck,
    }


def _is_stuck(accuracy: Trends, first: Ints, last: Ints, limit: Floats) -> NDArray[np.bool_]:
    """Whether accuracy would stay flat if it went on like this for `_STUCK_EPOCHS`.

    A few epochs of any slow rise are flat, and some of its many short stretches look so for longer.
    """
    longer = np.maximum(_STUCK_EPOCHS / (last - first), 1.0)
    change = longer * np.abs(accuracy.change)
    return (change + _STUCK_ERRORS * longer * accuracy.error < limit) & (change < limit / 2)


def _strongest_apart(first: Ints, last: Ints, strength: Floats) -> list[int]:
    """Choose stretches that do not overlap, the strongest first; strength 0 is never taken."""
    left = strength.copy()
    chosen: list[int] = []
    while left.size and left.max() > 0:
        i = int(np.argmax(left))
        chosen.append(i)
        left[(first <= last[i]) & (last >= first[i])] = 0.0
    return chosen


def _loss_segments(first: Ints, last: Ints, moves: tuple[Trends, Ints]) -> tuple[Ints, Ints]:
    """Find the stretches over which the loss alone rises, and those over which it falls.

    Rises do not overlap each other, nor do falls; but a steep fall stays significant beyond its turning
    point, and must not take the first epochs of the rise that follows.
    """
    trends, sign = moves
    rises = _strongest_apart(first, last, np.abs(trends.score) * (sign > 0))
    falls = _strongest_apart(first, last, np.abs(trends.score) * (sign < 0))
    return first[rises + falls], last[rises + falls]


def _trimmed(curves: Curves, first: int, last: int, kind: EpisodeKind, bars: Bars) -> tuple[int, int]:
    """Move the ends of a stretch inwards to where every one of its movements is at its clearest.

    A stretch may begin before the turning point of one curve and still be significant as a whole.
    """
    sides = [(curves.loss, curves.loss_wobble, curves.loss_moments)]
    if kind not in FLAT:
        sides.append((curves.accuracy, curves.accuracy_wobble, curves.accuracy_moments))
    middle = (first + last) // 2
    starts = np.arange(first, max(middle, first) + 1)
    start = first + max(
        max(
            _clearest(np.abs(moments.trends(starts, np.full_like(starts, last)).score)),
            _turning(values[first : last + 1], wobbles[first : last + 1]),
        )
        for values, wobbles, moments in sides
    )
    ends = np.arange(last, max(middle, start + SHORTEST - 1) - 1, -1)
    end = last
    if ends.size:
        end -= max(
            max(
                _clearest(np.abs(moments.trends(np.full_like(ends, start), ends).score)),
                _turning(values[start : last + 1][::-1], wobbles[start : last + 1][::-1]),
            )
            for values, wobbles, moments in sides
        )
    if _is_kind(curves, start, end, kind, bars):
        first, last = start, end
    start, end = _ramp(curves, first, last, kind)
    return (start, end) if _is_kind(curves, start, end, kind, bars) else (first, last)


def _is_kind(curves: Curves, first: int, last: int, kind: EpisodeKind, bars: Bars) -> bool:
    """Whether a part of a stretch that was found is of its kind as well."""
    a, b = np.array([first]), np.array([last])
    long_enough = last - first + 1 >= SHORTEST
    return long_enough and bool(which_kinds(curves, a, b, bars.relaxed(), anchored=True)[kind][0])


def _ramp(curves: Curves, first: int, last: int, kind: EpisodeKind) -> tuple[int, int]:
    """Part of a stretch in which it moves, where it is clearly level before or after.

    The longer the curve stays level beside a step, the surer is the step: the stretch found then holds
    mostly epochs in which nothing happens.
    """
    inside, length = slice(first, last + 1), last - first + 1
    series, wobbles = [curves.loss[inside]], [curves.loss_wobble[inside]]
    moments = [curves.loss_moments]
    if kind not in FLAT:
        series.append(curves.accuracy[inside])
        wobbles.append(curves.accuracy_wobble[inside])
        moments.append(curves.accuracy_moments)
    knots = np.unique(np.linspace(0, length - 1, min(length, _KNOTS)).round().astype(np.int64))
    left, right, gain = ramp_ends(tuple(series), tuple(wobbles), knots)
    if gain < _CLEARLY_LEVEL:
        return first, last
    lacking = max(SHORTEST - (right - left + 1), 0)
    start, end = first + max(left - lacking // 2, 0), first + right
    end = min(max(end, start + SHORTEST - 1), last)
    start = max(min(start, end - SHORTEST + 1), first)
    whole = (first, last)
    start = start if all(_level(m, first, first + left, whole) for m in moments) else first
    end = end if all(_level(m, first + right, last, whole) for m in moments) else last
    return start, end


def _level(moments: Moments, first: int, last: int, whole: tuple[int, int]) -> bool:
    """Whether a part of a stretch shows next to nothing of the change along the whole."""
    if last - first < 2:
        return True
    a, b = np.array([first, whole[0]]), np.array([last, whole[1]])
    trends = moments.trends(a, b)
    return bool(abs(trends.score[0]) < 2 and abs(trends.change[0]) < _LEVEL * abs(trends.change[1]))


def _clearest(scores: Floats) -> int:
    """Place of the highest score, or the first place when it is not clearly higher."""
    best = int(np.argmax(scores))
    return best if scores[best] > scores[0] + _CLEARER else 0


def _turning(values: Floats, wobbles: Floats) -> int:
    """Place in the first half up to which the values run against their whole, by two standard errors."""
    smooth = np.convolve(values, np.ones(3) / 3, "valid")  # place i + 1
    if len(smooth) < 4:
        return 0
    sign = np.sign(smooth[-1] - smooth[0])
    half = sign * smooth[: (len(smooth) + 1) // 2]
    best = int(np.argmin(half))
    against = half[0] - half[best]
    return best + 1 if against > 2 * float(wobbles[best + 1]) * sqrt(2 / 3) else 0


class Search:
    """Every candidate stretch of two curves, judged once; then stretches are placed group by group.

    Parameters
    ----------
    curves : Curves
    bars : Bars
    """

    def __init__(self, curves: Curves, bars: Bars) -> None:
        self._curves, self._bars = curves, bars
        scan = stretches(len(curves))
        moves = _loss_moves(curves, *scan, bars)
        segments = _loss_segments(*scan, moves)
        self._anchored = len(segments[0])
        self._first = np.concatenate([segments[0], scan[0]])
        self._last = np.concatenate([segments[1], scan[1]])
        by_loss = which_kinds(curves, *segments, bars, anchored=True)
        by_scan = which_kinds(curves, *scan, bars, moves=moves)
        self._judged = {kind: np.concatenate([by_loss[kind], by_scan[kind]]) for kind in MOVING + FLAT}

    def place(self, kinds: tuple[EpisodeKind, ...], taken: Sequence[Window]) -> list[Window]:
        """Choose non-overlapping stretches of these kinds outside `taken`, the strongest first."""
        first, last = self._first, self._last
        judged = np.stack([self._judged[kind] for kind in kinds])
        strength, which = judged.max(axis=0), judged.argmax(axis=0)
        for window in taken:
            strength = strength * ((last < window.first) | (first > window.last))
        found: list[Window] = []
        while strength.max() > 0:
            i = int(np.argmax(strength))
            kind = kinds[which[i]]
            a, b = _trimmed(self._curves, int(first[i]), int(last[i]), kind, self._bars)
            found.append(Window(a, b, kind, i < self._anchored, float(strength[i])))
            strength[i] = 0.0
            strength[(first <= b) & (last >= a)] = 0.0
        return found


def find_windows(curves: Curves, bars: Bars) -> list[Window]:
    """Find non-overlapping stretches of every kind: joint movements first, flat accuracy on what is left."""
    if len(curves) < SHORTEST:
        return []
    search = Search(curves, bars)
    joint = search.place(MOVING, [])
    return joint + search.place(FLAT, joint)
