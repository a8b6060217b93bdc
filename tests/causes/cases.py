"""Scenarios, trained once per test session, with what the package says about them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.episodes import find_episodes
from jupyter_lossacc.records import Diagnosis, Episode, EpisodeKind, Finding, Recording
from jupyter_lossacc.stats.estimate import Estimate
from tests.scenarios import SCENARIOS

if TYPE_CHECKING:
    from tests.recordings import RecordingBuilder

__all__ = ["Case", "builder", "case", "over"]


class Case(NamedTuple):
    recording: Recording
    episodes: tuple[Episode, ...]
    diagnoses: tuple[Diagnosis, ...]

    def supported(self) -> set[str]:
        """Causes supported anywhere, but for the one that says nothing is wrong."""
        return {f.cause for d in self.diagnoses for f in d.supported} - {"fluctuation"}

    def finding(self, cause: str) -> Finding:
        """The strongest verdict on a cause, on validation first."""
        order = ["supported", "undecided", "rejected", "not_tested"]
        found = [
            f
            for d in self.diagnoses
            if d.episode is None or d.episode.split == "val"
            for f in d.findings
            if f.cause == cause
        ]
        return min(found, key=lambda f: order.index(f.verdict))

    def first(self) -> set[str]:
        """The causes ranked first for some validation episode, or for the run."""
        return {
            d.supported[0].cause
            for d in self.diagnoses
            if d.supported and (d.episode is None or d.episode.split == "val")
        }


@cache
def builder(name: str, seed: int = 0) -> RecordingBuilder:
    torch.set_num_threads(1)
    return SCENARIOS[name](seed)


@cache
def case(name: str, seed: int = 0) -> Case:
    recording = builder(name, seed).build()
    episodes = find_episodes(recording)
    return Case(recording, episodes, diagnose(recording, episodes))


def over(recording: Recording, kind: EpisodeKind, start: int, end: int, split: str = "val") -> Episode:
    """An episode of a given kind over given epochs, whether or not a detector would show it."""
    first, last = recording.summary(split, start), recording.summary(split, end)
    return Episode(
        split=split,
        start_epoch=start,
        end_epoch=end,
        kind=kind,
        loss_change=Estimate(last.reported_loss - first.reported_loss, unit="nats"),
        accuracy_change=Estimate(last.accuracy - first.accuracy, unit="share"),
        holds_on_new_data="undecided",
    )
