"""What a user would have been shown, epoch by epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.diagnosis.curves import Bars, Curves, bars_for
from jupyter_lossacc.diagnosis.episodes import find_episodes
from jupyter_lossacc.diagnosis.windows import SHORTEST, find_windows, stretches

if TYPE_CHECKING:
    from collections.abc import Collection

    from jupyter_lossacc.records import Episode, EpisodeKind, Recording

HARMFUL: tuple[EpisodeKind, ...] = (
    "both_rise",
    "both_fall",
    "loss_rises_accuracy_flat",
    "loss_rises_accuracy_falls",
    "accuracy_stuck_loss_high",
)

# Which way loss and accuracy go in each kind.
NEEDS: dict[EpisodeKind, tuple[int, int]] = {
    "both_rise": (1, 1),
    "both_fall": (-1, -1),
    "loss_rises_accuracy_falls": (1, -1),
    "loss_rises_accuracy_flat": (1, 0),
    "loss_falls_accuracy_flat": (-1, 0),
}


def shown_of_curves(
    loss: np.ndarray,
    accuracy: np.ndarray,
    n_samples: int,
    kinds: Collection[EpisodeKind],
    high: np.ndarray | None = None,
) -> dict[EpisodeKind, int]:
    """First epoch (from 1) at which each of these kinds was shown, judging again after every epoch."""
    shown: dict[EpisodeKind, int] = {}
    for n in range(SHORTEST, len(loss) + 1):
        curves, bars = (
            Curves(loss[:n], accuracy[:n], n_samples, None if high is None else high[:n]),
            bars_for(n),
        )
        if not _possible(curves, bars, kinds):
            continue
        for window in find_windows(curves, bars):
            if window.kind in kinds:
                shown.setdefault(window.kind, n)
    return shown


def _possible(curves: Curves, bars: Bars, kinds: Collection[EpisodeKind]) -> bool:
    """Whether a stretch could be of one of these kinds: no more than a quick look, and never too strict."""
    if "accuracy_stuck_loss_high" in kinds:
        return True
    first, last = stretches(len(curves))
    accuracy = curves.accuracy_moments.trends(first, last)
    clear = (np.abs(accuracy.change) >= bars.accuracy_least) & (np.abs(accuracy.score) >= bars.anchored)
    ways = {0, *np.sign(accuracy.change[clear])}  # 0: flat
    wanted = {NEEDS[kind][0] for kind in kinds if NEEDS[kind][1] in ways}
    if not wanted:
        return False
    loss = curves.loss_moments.trends(first, last)
    return bool(wanted & {*np.sign(loss.change[np.abs(loss.score) >= bars.critical(first, last)])})


def watch(recording: Recording) -> list[tuple[int, tuple[Episode, ...]]]:
    """Episodes after every epoch, each update knowing what the last one showed."""
    previous: tuple[Episode, ...] = ()
    seen = []
    for epoch in sorted({s.epoch for s in recording.summaries}):
        known = tuple(s for s in recording.summaries if s.epoch <= epoch)
        previous = find_episodes(replace(recording, summaries=known), previous)
        seen.append((epoch, previous))
    return seen


def first_shown(recording: Recording) -> dict[tuple[str, EpisodeKind], int]:
    """First epoch at which each kind was shown, by split."""
    shown: dict[tuple[str, EpisodeKind], int] = {}
    for epoch, episodes in watch(recording):
        for episode in episodes:
            if not episode.retracted:
                shown.setdefault((episode.split, episode.kind), epoch)
    return shown


def without(recording: Recording, *splits: str) -> Recording:
    """The recording as if these splits had never been passed."""
    return replace(recording, summaries=tuple(s for s in recording.summaries if s.split not in splits))
