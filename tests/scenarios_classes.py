"""Small real trainings whose cause is known by construction, each with a healthy twin.

Data are Gaussian classes around random centres: any number of samples, any class proportions, and
known irreducible error, in a second or two on one core.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from jupyter_lossacc.records import Episode, EpisodeKind, Recording
from jupyter_lossacc.stats.estimate import Estimate
from tests.recordings import RecordingBuilder, train_and_record

__all__ = ["draw", "episode_of", "imbalance", "mlp"]


def draw(
    counts: list[int], *, spread: float, seed: int, centres: int = 0, dims: int = 20
) -> tuple[Tensor, Tensor]:
    """Draw `counts[k]` samples of class k around a centre fixed by `centres`; a larger spread is harder."""
    centre = np.random.default_rng(1000 + centres).normal(size=(len(counts), dims))
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    x = centre[y] + spread * rng.normal(size=(len(y), dims))
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)


def mlp(n_in: int, n_out: int, width: int = 64, *, seed: int = 0, dropout: float = 0.0) -> nn.Sequential:
    """Two hidden layers, initialised reproducibly without touching the global generator for long."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(n_in, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, n_out),
        )


def episode_of(
    recording: Recording,
    kind: EpisodeKind = "both_rise",
    *,
    split: str = "val",
    start: int | None = None,
    end: int | None = None,
) -> Episode:
    """Mark the stretch from the lowest loss to the last epoch (or as given) as an episode."""
    series = recording.series(split)
    first = start if start is not None else min(series[:-1], key=lambda s: s.nll).epoch
    last = end if end is not None else series[-1].epoch
    a, b = recording.summary(split, first), recording.summary(split, last)
    return Episode(
        split=split,
        start_epoch=first,
        end_epoch=last,
        kind=kind,
        loss_change=Estimate(b.nll - a.nll, unit="nats"),
        accuracy_change=Estimate(b.accuracy - a.accuracy, unit="share"),
        holds_on_new_data="undecided",
    )


def imbalance(seed: int, *, rare: int = 60, common: int = 540, epochs: int = 30) -> RecordingBuilder:
    """Two overlapping classes, 10 % of one; `rare=300, common=300` is the balanced twin."""
    total = rare + common
    val = [round(1500 * common / total), round(1500 * rare / total)]
    model = mlp(20, 2, seed=seed)
    return train_and_record(
        model,
        draw([common, rare], spread=2.2, seed=seed),
        draw(val, spread=2.2, seed=10_000 + seed),
        epochs=epochs,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
        seed=seed,
    )
