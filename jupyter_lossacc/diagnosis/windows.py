"""Which stretches of two curves show loss and accuracy moving together.

Works on the two curves of one split alone (numbers per epoch, no samples). Every stretch of at least
`SHORTEST` epochs is a candidate; its straight-line change is judged against the wobble between epochs
(`stats.series`), with critical values that account for all stretches and for asking again after every
epoch. How they were found, and what they cost, stands in tests/studies/README.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import log

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.records import EpisodeKind
from jupyter_lossacc.stats.series import Moments, Trends, wobble

__all__ = ["SHORTEST", "Bars", "Curves", "Window", "bars_for", "find_windows", "stretches", "which_kinds"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

SHORTEST = 8  # epochs
_GRID = 128  # stretches begin and end on a grid of at most this many epochs
_OPPOSED = -0.5  # neither half of a stretch may run against the whole by more standard errors than this
_HIGH_SHARE = 0.9  # of a stretch's epochs must have a high loss for it to count as stuck
_STILL = 0.1  # a stuck loss may fall by this share of itself at most

# In this order of precedence: a joint movement says more than a flat accuracy beside it.
MOVING: tuple[EpisodeKind, ...] = ("both_rise", "both_fall", "loss_rises_accuracy_falls")
FLAT: tuple[EpisodeKind, ...] = (
    "loss_rises_accuracy_flat",
    "accuracy_stuck_loss_high",
    "loss_falls_accuracy_flat",
)


@dataclass(frozen=True, slots=True)
class Bars:
    """What a stretch must reach to be shown.

    Parameters
    ----------
    loss, accuracy : float
        Critical values of the changes of loss and accuracy, in standard errors of the wobble.
    anchored : float
        The same for accuracy over a stretch that the loss alone has chosen.
    loss_share, loss_least : float
        Smallest change of the loss that counts: share of its mean, and nats.
    accuracy_least : float
        Smallest change of accuracy that counts.
    flat : float
        Accuracy is flat when its change, with its 90 % interval, stays within this.
    """

    loss: float
    accuracy: float
    anchored: float
    loss_share: float = 0.02
    loss_least: float = 0.01
    accuracy_least: float = 0.005
    flat: float = 0.02

    def relaxed(self) -> Bars:
        """Bars for what is on the screen already, so that it does not flicker."""
        return replace(
            self,
            loss=0.6 * self.loss,
            accuracy=0.6 * self.anchored,
            anchored=0.6 * self.anchored,
            loss_share=0.5 * self.loss_share,
            loss_least=0.5 * self.loss_least,
            accuracy_least=0.5 * self.accuracy_least,
            flat=1.5 * self.flat,
        )


def bars_for(n_epochs: int) -> Bars:
    """Critical values for a series of `n_epochs`, re-tested after every epoch."""
    growth = log(max(n_epochs, 15) / 60)
    return Bars(loss=3.6 + 0.25 * growth, accuracy=3.6 + 0.25 * growth, anchored=2.6 + 0.25 * growth)


@dataclass(frozen=True)
class Curves:
    """Loss and accuracy of one split, an entry per evaluated epoch.

    Parameters
    ----------
    loss : ndarray of shape (n_epochs,)
        Nats.
    accuracy : ndarray of shape (n_epochs,)
        In [0, 1].
    n_samples : int
        Samples behind each entry.
    high : ndarray of bool, shape (n_epochs,), optional
        Where the loss is high for the accuracy it comes with.
    """

    loss: Floats
    accuracy: Floats
    n_samples: int
    high: Mask | None = None

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.loss)

    @cached_property
    def loss_wobble(self) -> Floats:
        """Standard deviation of the loss between epochs, nats."""
        return wobble(self.loss, floor=1e-6 * max(float(np.mean(np.abs(self.loss))), 1e-6))

    @cached_property
    def accuracy_wobble(self) -> Floats:
        """Standard deviation of accuracy between epochs; at least half a sample."""
        return wobble(self.accuracy, floor=0.5 / max(self.n_samples, 1))

    @cached_property
    def loss_moments(self) -> Moments:
        """Sums from which the loss trend of any stretch follows."""
        return Moments(self.loss, self.loss_wobble)

    @cached_property
    def accuracy_moments(self) -> Moments:
        """Sums from which the accuracy trend of any stretch follows."""
        return Moments(self.accuracy, self.accuracy_wobble)

    def high_share(self, first: Ints, last: Ints) -> Floats:
        """Share of each stretch's epochs at which the loss is high."""
        if self.high is None:
            return np.zeros(np.shape(first))
        total = np.concatenate([[0.0], np.cumsum(self.high, dtype=np.float64)])
        return np.asarray((total[last + 1] - total[first]) / (last - first + 1))


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch found: inclusive indices, its kind, and the bars its two movements passed."""

    first: int
    last: int
    kind: EpisodeKind
    loss_bar: float
    accuracy_bar: float
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
    moments: Moments, first: Ints, last: Ints, bar: float, least: Floats | float
) -> tuple[Trends, Ints]:
    """Trends of the stretches, and +1, -1 or 0 for a rise, a fall or neither."""
    trends = moments.trends(first, last)
    middle = (first + last) // 2
    sign = np.sign(trends.change)
    ahead = sign * moments.trends(first, middle).score > _OPPOSED
    behind = sign * moments.trends(middle, last).score > _OPPOSED
    moved = (np.abs(trends.score) >= bar) & (np.abs(trends.change) >= least) & ahead & behind
    return trends, np.where(moved, sign, 0).astype(np.int64)


def which_kinds(
    curves: Curves, first: Ints, last: Ints, bars: Bars, *, anchored: bool = False
) -> Mapping[EpisodeKind, Floats]:
    """Judge stretches: per kind the strength of each, 0 where it is not of that kind.

    The strength is the weaker of the two movements in units of its bar (the loss alone where accuracy
    is flat) times the root of the length.
    """
    accuracy_bar = bars.anchored if anchored else bars.accuracy
    mean_loss = np.abs(curves.loss_moments.mean(first, last))
    least = np.maximum(bars.loss_least, bars.loss_share * mean_loss)
    loss, loss_sign = _significant(curves.loss_moments, first, last, bars.loss, least)
    accuracy, accuracy_sign = _significant(
        curves.accuracy_moments, first, last, accuracy_bar, bars.accuracy_least
    )
    length = np.sqrt(last - first + 1.0)
    loss_strength = np.abs(loss.score) / bars.loss * length
    joint = np.minimum(loss_strength, np.abs(accuracy.score) / accuracy_bar * length)
    flat = (np.abs(accuracy.change) + 1.645 * accuracy.error < bars.flat) & (np.abs(accuracy.score) < 2)
    still = (loss_sign <= 0) & (loss.change > -_STILL * mean_loss)
    stuck = flat & still & (curves.high_share(first, last) >= _HIGH_SHARE)
    return {
        "both_rise": joint * ((loss_sign > 0) & (accuracy_sign > 0)),
        "both_fall": joint * ((loss_sign < 0) & (accuracy_sign < 0)),
        "loss_rises_accuracy_falls": joint * ((loss_sign > 0) & (accuracy_sign < 0)),
        "loss_rises_accuracy_flat": loss_strength * ((loss_sign > 0) & flat),
        "loss_falls_accuracy_flat": loss_strength * ((loss_sign < 0) & flat & ~stuck),
        "accuracy_stuck_loss_high": length * stuck,
    }


def _apart(first: int, last: int, taken: Iterable[tuple[int, int]]) -> bool:
    return all(last < a or first > b for a, b in taken)


def _loss_segments(curves: Curves, first: Ints, last: Ints, bars: Bars) -> tuple[Ints, Ints]:
    """Non-overlapping stretches over which the loss alone moves significantly, strongest first."""
    least = np.maximum(bars.loss_least, bars.loss_share * np.abs(curves.loss_moments.mean(first, last)))
    trends, sign = _significant(curves.loss_moments, first, last, bars.loss, least)
    found: list[tuple[int, int]] = []
    candidates = np.flatnonzero(sign)
    for i in candidates[np.argsort(-np.abs(trends.score[candidates]), kind="stable")]:
        if _apart(int(first[i]), int(last[i]), found):
            found.append((int(first[i]), int(last[i])))
    chosen = np.array(found, dtype=np.int64).reshape(-1, 2)
    return chosen[:, 0], chosen[:, 1]


def find_windows(curves: Curves, bars: Bars, taken: Iterable[tuple[int, int]] = ()) -> list[Window]:
    """Find non-overlapping stretches of every kind, outside the stretches `taken`.

    Joint movements are placed first, strongest first; kinds with a flat accuracy take what is left.
    """
    occupied = list(taken)
    if len(curves) < SHORTEST:
        return []
    first, last = stretches(len(curves))
    by_scan = which_kinds(curves, first, last, bars)
    start, stop = _loss_segments(curves, first, last, bars)
    by_loss = which_kinds(curves, start, stop, bars, anchored=True)
    found: list[Window] = []
    for kinds in (MOVING, FLAT):
        candidates = [
            Window(int(a[i]), int(b[i]), kind, bars.loss, bar, float(judged[kind][i]))
            for a, b, judged, bar in (
                (start, stop, by_loss, bars.anchored),
                (first, last, by_scan, bars.accuracy),
            )
            for kind in kinds
            for i in np.flatnonzero(judged[kind])
        ]
        for window in sorted(candidates, key=lambda w: (-w.strength, w.first, w.last)):
            if _apart(window.first, window.last, occupied):
                found.append(window)
                occupied.append((window.first, window.last))
    return found
