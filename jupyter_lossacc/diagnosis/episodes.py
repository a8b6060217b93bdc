"""Recording → episodes: where loss and accuracy move together, and whether it is more than wobble.

An episode is *shown* when its movement is sustained on this very split: its trend against the wobble
between epochs, all stretches and all earlier looks accounted for, and a smallest size that counts.
It *holds on new data* when it passes the same bar with the sampling error of the split added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import hypot, inf, isfinite
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.diagnosis.curves import FIRST_EPOCHS, Bars, Curves, bars_for
from jupyter_lossacc.diagnosis.sampling import SamplingError, samples_needed, sampling_error
from jupyter_lossacc.diagnosis.windows import FLAT, MOVING, SHORTEST, Search, Window, which_kinds
from jupyter_lossacc.records import Episode, EpochSummary, Recording
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.series import knot_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jupyter_lossacc.records import EpisodeKind

__all__ = ["find_episodes", "settled"]

Floats = NDArray[np.float64]

FALLING_LOSS = ("both_fall", "loss_falls_accuracy_flat")
_LOSS_RISES: tuple[EpisodeKind, ...] = ("both_rise", "loss_rises_accuracy_falls")
_REACH = 60  # epochs on each side of an end among which its bend is looked for
_GAP = SHORTEST  # from the end of one stretch to the start of the next: between them is room for no other
# A loss no better than guessing with the base rates, or far above the same predictions recalibrated.
_NEAR_CHANCE = 0.95
_ABOVE_CALIBRATED = (2.0, 0.2)  # factor, nats
_LIKELIHOODS = frozenset(
    {
        *("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"),
        *("unknown", "none"),
    }
)


def find_episodes(recording: Recording, previous: Sequence[Episode] = ()) -> tuple[Episode, ...]:
    """Find every stretch in which loss and accuracy move together, on every split.

    Parameters
    ----------
    recording : Recording
        Finished or growing.
    previous : sequence of Episode
        What was shown at the last update of the same run. A shown episode stays while it passes the
        lower bars of `Bars.standing`; after that it comes back once more, and from then on, with
        ``retracted=True``.

    Returns
    -------
    tuple of Episode
        In order of time; those that are not retracted do not overlap within a split.
    """
    found: list[Episode] = []
    for split in recording.splits():
        before = [episode for episode in previous if episode.split == split]
        found += _episodes_of(recording, _comparable(recording.series(split)), before)
    return _in_order(found)


def _in_order(episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    return tuple(sorted(episodes, key=lambda e: (e.start_epoch, e.end_epoch, e.split, e.kind)))


def settled(recording: Recording) -> tuple[Episode, ...]:
    """Find the episodes of a recording as the screen shows them, alarms in grey included.

    While a run goes on these are the episodes of its next update. Of a run that has ended they do not
    depend on when it was looked at: up to 60 epochs they are those found in the whole recording at once;
    of a longer run, for which the bars are higher, those that stand after looks at fixed numbers of epochs
    (`_looks`), so that what sixty epochs show is not withdrawn because ten more were trained. Harmful ones
    that were shown on the way (`Recording.shown`) and are not among them follow as retracted.
    """
    if recording.status == "running":
        found = find_episodes(recording, recording.shown)
    else:
        standing = [e for split in recording.splits() for e in _looked_at_on_the_way(recording, split)]
        gone = [replace(e, retracted=True) for e in recording.shown if not _goes_on(e, standing)]
        found = _in_order((*standing, *gone))
    return tuple(e for e in found if e.harmful or not e.retracted)


def _comparable(series: tuple[EpochSummary, ...]) -> tuple[EpochSummary, ...]:
    """Return the latest passes that may be compared: finite, and over a split of constant size."""
    kept: list[EpochSummary] = []
    for summary in reversed(series):
        if not (isfinite(summary.reported_loss) and isfinite(summary.accuracy)):
            continue
        if kept and abs(summary.n_samples - kept[0].n_samples) > 0.02 * kept[0].n_samples:
            break
        kept.append(summary)
    return tuple(reversed(kept))


@dataclass(frozen=True)
class _Split:
    """One split's passes with the curves made from them."""

    recording: Recording
    passes: tuple[EpochSummary, ...]
    curves: Curves
    bars: Bars

    @cached_property
    def epochs(self) -> NDArray[np.int64]:
        return np.array([s.epoch for s in self.passes])


def _episodes_of(
    recording: Recording, passes: tuple[EpochSummary, ...], previous: list[Episode]
) -> list[Episode]:
    """Episodes of one split."""
    retracted = [e for e in previous if e.retracted]
    standing = [e for e in previous if not e.retracted]
    if len(passes) < SHORTEST:
        return retracted + [replace(e, retracted=True) for e in standing]
    split = _Split(recording, passes, _curves(passes), bars_for(len(passes)))
    before = [_window_of(split, episode) for episode in standing]
    windows, carried = _placed(split.curves, split.bars, before)
    lost = [replace(e, retracted=True) for e, on in zip(standing, carried, strict=True) if on not in windows]
    joined = _joined(split.curves, split.bars, windows)
    if recording.status == "running":
        shown = [_steady(split, window, joined, standing) for window in joined]
    else:
        shown = [_describe(split, window) for window in joined]
    return shown + [e for e in retracted + lost if not _goes_on(e, shown)]


def _looked_at_on_the_way(recording: Recording, name: str) -> list[Episode]:
    """Episodes of one split that stand at its end, after looks at fixed numbers of epochs."""
    passes = _comparable(recording.series(name))
    if len(passes) < SHORTEST:
        return []
    split = _Split(recording, passes, _curves(passes), bars_for(len(passes)))
    standing: list[Window] = []
    for n in _looks(len(passes)):
        curves, bars = split.curves.until(n), bars_for(n)
        standing = _joined(curves, bars, _placed(curves, bars, standing)[0])
    return [_describe(split, window) for window in standing]


def _looks(n_epochs: int) -> list[int]:
    """Numbers of epochs after which a run that has ended is looked at: 60, each a twentieth more, all."""
    looks = [FIRST_EPOCHS]
    while looks[-1] < n_epochs:
        looks.append(looks[-1] * 21 // 20)
    return [*looks[:-1], n_epochs]


def _placed(
    curves: Curves, bars: Bars, standing: Sequence[Window]
) -> tuple[list[Window], list[Window | None]]:
    """Stretches to be shown where some stand already, and what carries on each of these."""
    search = Search(curves, bars)
    joint = search.place(MOVING, [])
    found = joint + search.place(FLAT, joint)
    carried = [_still(curves, bars, window, found) for window in standing]
    windows: list[Window] = []
    for kinds in (MOVING, FLAT):  # what stands goes before what is new, but no flat kind before a joint one
        for window in carried:
            if window is not None and window.kind in kinds and not _overlapped(window, windows):
                windows.append(window)
        windows += search.place(kinds, windows)
    return windows, carried


def _joined(curves: Curves, bars: Bars, windows: list[Window]) -> list[Window]:
    """Make one of neighbouring stretches of the same kind, where the whole is such a stretch too.

    Where one movement becomes slower or faster, its parts are found apart.
    """
    joined: list[Window] = []
    for window in sorted(windows, key=lambda w: w.first):
        before = joined[-1] if joined else None
        if before is not None and before.kind == window.kind and window.first - before.last <= _GAP:
            a, b = np.array([before.first]), np.array([window.last])
            whole = which_kinds(curves, a, b, bars.relaxed(), anchored=True)[window.kind][0]
            if whole:
                anchored = before.anchored and window.anchored
                joined[-1] = Window(before.first, window.last, window.kind, anchored, float(whole))
                continue
        joined.append(window)
    return joined


def _overlapped(window: Window, others: Sequence[Window]) -> bool:
    return any(window.first <= o.last and window.last >= o.first for o in others)


def _steady(split: _Split, window: Window, others: Sequence[Window], standing: list[Episode]) -> Episode:
    """Describe a stretch of a run that goes on from a start that does not jump from look to look.

    Of starts that are equally likely another one is the best each time. So a stretch begins no earlier than
    its loss has turned, and where it was shown before, at the same epoch as long as that cannot be told
    from the new one. What is shown as a stretch, and when, does not depend on this.
    """
    turned = _from(split, window, _turn(split.curves, window), others) or window
    made = _describe(split, turned)
    for old in standing:
        if old.kind != made.kind or old.end_epoch < made.start_epoch or old.start_epoch == made.start_epoch:
            continue
        (low, high), (least, most) = (e.start_interval or (e.start_epoch,) * 2 for e in (made, old))
        first = int(np.searchsorted(split.epochs, old.start_epoch))
        early = first < _turn(split.curves, replace(window, first=min(first, window.first)))
        kept = None if early and turned is not window else _from(split, window, first, others)
        if kept and low <= most and least <= high:
            return replace(
                _describe(split, kept), start_interval=(min(low, old.start_epoch), max(high, old.start_epoch))
            )
    return made


def _turn(curves: Curves, window: Window) -> int:
    """Index of the epoch at which the loss turns to the way it goes along a stretch."""
    loss = curves.loss[window.first : window.last + 1]
    if window.kind == "accuracy_stuck_loss_high":
        return window.first
    return window.first + int(loss.argmax() if window.kind in FALLING_LOSS else loss.argmin())


def _from(split: _Split, window: Window, first: int, others: Sequence[Window]) -> Window | None:
    """Return the stretch with another start, if it is one of its kind too and meets no other."""
    moved = replace(window, first=first)
    if window.last - first + 1 < SHORTEST or _overlapped(moved, [w for w in others if w != window]):
        return None
    a, b = np.array([first]), np.array([window.last])
    is_one = which_kinds(split.curves, a, b, split.bars.standing(), anchored=True)[window.kind][0]
    return moved if is_one else None


def _goes_on(old: Episode, shown: Sequence[Episode]) -> bool:
    """Whether what an episode said is said still: by one of its kind, or with accuracy known by now."""
    for new in shown:
        overlap = min(old.end_epoch, new.end_epoch) - max(old.start_epoch, new.start_epoch) + 1
        if new.split != old.split or overlap < 1:
            continue
        known_by_now = old.kind == "loss_rises_accuracy_flat" and new.kind in _LOSS_RISES
        if new.kind == old.kind or (known_by_now and 2 * overlap > old.end_epoch - old.start_epoch):
            return True
    return False


def _window_of(split: _Split, episode: Episode) -> Window:
    """Return the stretch that an episode was shown over."""
    first = int(np.searchsorted(split.epochs, episode.start_epoch))
    last = int(np.searchsorted(split.epochs, episode.end_epoch, side="right")) - 1
    return Window(first, last, episode.kind, True, 0.0)


def _still(curves: Curves, bars: Bars, old: Window, windows: Sequence[Window]) -> Window | None:
    """Find the stretch that carries on one that was shown, or None when nothing does."""
    same = [w for w in windows if w.kind == old.kind and w.first <= old.last and w.last >= old.first]
    if same:
        return max(same, key=lambda w: min(w.last, old.last) - max(w.first, old.first))
    if old.last - old.first + 1 < SHORTEST:
        return None
    for end, least in (
        (len(curves) - 1, bars.relaxed()),
        (old.last, bars.standing()),
    ):  # to now, or as it was
        a, b = np.array([old.first]), np.array([end])
        strength = float(which_kinds(curves, a, b, least, anchored=True)[old.kind][0])
        if strength:
            return Window(old.first, end, old.kind, True, strength)
    return None


def _curves(passes: tuple[EpochSummary, ...]) -> Curves:
    return Curves(
        loss=np.array([s.reported_loss for s in passes]),
        accuracy=np.array([s.accuracy for s in passes]),
        n_samples=passes[-1].n_samples,
        high=np.array([_is_high(s) for s in passes]),
    )


@lru_cache(maxsize=16)
def _base_rate_loss(support: bytes, dtype: str) -> float:
    """Loss of guessing with the class shares, nats; infinite for fewer than two classes.

    Kept, because as a rule it is the same in all epochs of a run.
    """
    counts = np.frombuffer(support, dtype)
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log(shares)).sum()) if len(shares) > 1 else inf


def _is_high(summary: EpochSummary) -> bool:
    """Whether the loss is high for the accuracy it comes with; only likelihoods can be judged."""
    if summary.loss.name not in _LIKELIHOODS or not isfinite(summary.nll):
        return False
    if summary.classes is not None:
        support = summary.classes.support
        if summary.nll >= _NEAR_CHANCE * _base_rate_loss(support.tobytes(), support.dtype.str):
            return True
    factor, nats = _ABOVE_CALIBRATED
    calibrated = summary.calibrated_nll
    return bool(summary.nll >= factor * calibrated and summary.nll - calibrated >= nats)


def _describe(split: _Split, window: Window) -> Episode:
    """Estimate the changes along a stretch and judge it with the sampling error added."""
    a, b = np.array([window.first]), np.array([window.last])
    loss = split.curves.loss_moments.trends(a, b)
    accuracy = split.curves.accuracy_moments.trends(a, b)
    values = (float(loss.change[0]), float(accuracy.change[0]))
    wobbles = (float(loss.error[0]), float(accuracy.error[0]))
    passes = split.passes[window.first : window.last + 1]
    sampling = sampling_error(split.recording, passes)
    holds, needed = _on_new_data(split, window, values, wobbles, sampling)
    extra = (sampling.loss, sampling.accuracy) if sampling else (0.0, 0.0)
    start, end = _ends(split, window)
    return Episode(
        split=passes[0].split,
        start_epoch=passes[0].epoch,
        end_epoch=passes[-1].epoch,
        kind=window.kind,
        loss_change=_estimate(values[0], hypot(wobbles[0], extra[0]), "nats"),
        accuracy_change=_estimate(values[1], hypot(wobbles[1], extra[1]), "share"),
        holds_on_new_data="yes" if holds else "undecided",
        start_interval=start,
        end_interval=end,
        n_needed=None if holds else needed,
    )


def _estimate(value: float, error: float, unit: str) -> Estimate:
    return Estimate(value, value - 1.96 * error, value + 1.96 * error, unit)


def _on_new_data(
    split: _Split,
    window: Window,
    values: tuple[float, float],
    wobbles: tuple[float, float],
    sampling: SamplingError | None,
) -> tuple[bool, int | None]:
    """Whether the stretch passes with the sampling error added, else how many samples would do."""
    if sampling is None:
        return False, None
    bars, a, b = split.bars, np.array([window.first]), np.array([window.last])
    for_loss = float(bars.critical(a, b)[0])
    for_accuracy = float(bars.critical(a, b, anchored=window.anchored)[0])
    parts = [(abs(values[0]), wobbles[0], sampling.loss, for_loss)]
    if window.kind == "accuracy_stuck_loss_high":
        parts = []  # its level is judged by every epoch's loss; what can fail is the flat accuracy
    if window.kind in FLAT:
        limit = float(bars.flat_limit(split.curves.accuracy_moments.mean(a, b))[0])
        limit *= 2 if window.kind == "loss_rises_accuracy_flat" else 1
        parts.append((limit - abs(values[1]), wobbles[1], sampling.accuracy, 1.645))
    else:
        parts.append((abs(values[1]), wobbles[1], sampling.accuracy, for_accuracy))
    if all(distance >= bar * hypot(wobble, error) for distance, wobble, error, bar in parts):
        return True, None
    needed = [samples_needed(d, wobble, error, sampling.n_samples, bar) for d, wobble, error, bar in parts]
    known = [n for n in needed if n is not None]
    return False, max(known) if len(known) == len(parts) else None


def _ends(split: _Split, window: Window) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Epochs between which the joint movement begins and ends."""
    return _bend(split, window, at_start=True), _bend(split, window, at_start=False)


def _bend(split: _Split, window: Window, *, at_start: bool) -> tuple[int, int] | None:
    """Interval of the bend nearest to one end of the stretch, from both curves at once."""
    n, length = len(split.passes), window.last - window.first + 1
    edge = window.first if at_start else window.last
    reach = min(length // 2, _REACH)
    low, high = max(edge - reach, 0), min(edge + reach, n - 1)
    if (at_start and window.first == 0) or (not at_start and window.last == n - 1):
        epoch = int(split.epochs[edge])
        return epoch, epoch
    knots = np.unique(np.linspace(low + 2, high - 2, min(high - low - 3, 40)).round().astype(np.int64)) - low
    if high - low < 6 or not len(knots):
        return None
    inside = slice(low, high + 1)
    series = (split.curves.loss[inside], split.curves.accuracy[inside])
    wobbles = (split.curves.loss_wobble[inside], split.curves.accuracy_wobble[inside])
    _, left, right = knot_interval(series, wobbles, knots)
    return int(split.epochs[low + min(left, edge - low)]), int(split.epochs[low + max(right, edge - low)])
