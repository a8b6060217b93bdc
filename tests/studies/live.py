"""What a user would have been shown, epoch by epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_lossacc.diagnosis.curves import Curves, bars_for
from jupyter_lossacc.diagnosis.episodes import find_episodes
from jupyter_lossacc.diagnosis.windows import SHORTEST, find_windows

if TYPE_CHECKING:
    import numpy as np

    from jupyter_lossacc.records import Episode, EpisodeKind, Recording

HARMFUL: tuple[EpisodeKind, ...] = (
    "both_rise",
    "both_fall",
    "loss_rises_accuracy_flat",
    "loss_rises_accuracy_falls",
    "accuracy_stuck_loss_high",
)


def shown_of_curves(loss: np.ndarray, accuracy: np.ndarray, n_samples: int) -> dict[EpisodeKind, int]:
    """First epoch (from 1) at which each kind was shown, judging again after every epoch."""
    shown: dict[EpisodeKind, int] = {}
    for n in range(SHORTEST, len(loss) + 1):
        for window in find_windows(Curves(loss[:n], accuracy[:n], n_samples), bars_for(n)):
            shown.setdefault(window.kind, n)
    return shown


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
