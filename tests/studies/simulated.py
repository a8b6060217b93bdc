"""Simulated runs: curves in which a movement is absent, and samples in which both are planted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from tests.recordings import RecordingBuilder

if TYPE_CHECKING:
    from jupyter_lossacc.records import EpisodeKind, Recording

RHOS = (0.0, 0.3, 0.5)
SIZES = (200, 1000, 3000)
# Standard deviation of accuracy between epochs. Chosen, at the noisy end of what the real trainings show:
# their medians in the later half are 0.003, 0.003 to 0.006, 0.002 to 0.004 and 0.003.
WOBBLES = {200: 0.013, 500: 0.009, 1000: 0.0065, 3000: 0.004}

# (what the loss does, what accuracy does): kinds that need a movement which is absent.
NULLS: dict[tuple[str, str], tuple[EpisodeKind, ...]] = {
    ("rises", "stays"): ("both_rise", "both_fall", "loss_rises_accuracy_falls"),
    ("falls", "stays"): ("both_rise", "both_fall", "loss_rises_accuracy_falls"),
    ("stays", "rises"): ("both_rise", "both_fall", "loss_rises_accuracy_flat"),
    ("stays", "falls"): ("both_fall", "loss_rises_accuracy_falls", "loss_rises_accuracy_flat"),
    ("stays", "stays"): ("both_rise", "both_fall", "loss_rises_accuracy_falls", "loss_rises_accuracy_flat"),
    ("learns", "learns"): ("both_rise", "both_fall", "loss_rises_accuracy_falls", "loss_rises_accuracy_flat"),
    ("rises", "rises slowly"): ("both_fall", "loss_rises_accuracy_falls"),
}


def autoregression(generator: np.random.Generator, n: int, rho: float) -> np.ndarray:
    """Stationary AR(1) noise of unit variance."""
    noise = generator.normal(size=n + 50)
    values = np.zeros(n + 50)
    for t in range(1, n + 50):
        values[t] = rho * values[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    return values[50:]


def null_curves(
    loss: str, accuracy: str, *, n_epochs: int, rho: float, n_samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a loss and an accuracy curve; their wobbles are correlated (-0.3, real medians -0.1 to -0.4)."""
    generator = np.random.default_rng([seed, n_epochs, round(10 * rho), n_samples])
    t = np.arange(n_epochs)
    paths = {
        "stays": 0 * t,
        "rises": t / 60,
        "rises slowly": t / 180,
        "falls": -t / 60,
        "learns": -4 * np.exp(-t / 4) if accuracy == "learns" else 0 * t,
    }
    shared = autoregression(generator, n_epochs, rho)
    own = autoregression(generator, n_epochs, rho)
    sd = WOBBLES[n_samples]
    sign = -1 if loss == "learns" else 1
    losses = 1.0 + 0.3 * sign * paths[loss] + 3 * sd * (-0.3 * shared + np.sqrt(1 - 0.09) * own)
    rates = 0.7 + 0.06 * paths[accuracy] + sd * shared
    return np.maximum(losses, 0.01), np.round(np.clip(rates, 0, 1) * n_samples) / n_samples


def planted(
    *, n_samples: int, accuracy_rise: float, epochs: int = 20, before: int = 20, seed: int = 0
) -> Recording:
    """Record a two-class run that learns for `before` epochs, then grows overconfident for `epochs`.

    After the turn the logits grow, which raises the loss, while the margins drift so that the accuracy
    of the population rises by `accuracy_rise`. The drift lowers the loss: it rises less, the more
    accuracy rises (`truth.planted_truth`).
    """
    generator = np.random.default_rng([seed, n_samples, round(1000 * accuracy_rise)])
    n_epochs = before + epochs
    centre = generator.normal(1.0, 1.0, n_samples)
    drift = accuracy_rise / 0.235  # density of the margins at the decision threshold
    turn = np.arange(n_epochs) - before
    shift = np.where(turn < 0, -1.5 * np.exp(-(turn + before) / 4), drift * (turn + 1) / epochs)
    scale = np.where(turn < 0, 2.0, 2.0 + 4.5 * (turn + 1) / epochs)
    common = 0.012 * generator.normal(size=n_epochs)
    builder = RecordingBuilder("planted")
    targets = torch.from_numpy(generator.integers(0, 2, n_samples))
    for t in range(n_epochs):
        margin = centre + shift[t] + common[t] + generator.normal(0, 0.25, n_samples)
        signed = torch.from_numpy(scale[t] * margin).float() * (2 * targets - 1)
        builder.add("val", t + 1, t + 1, torch.stack([-signed / 2, signed / 2], dim=1), targets)
    return builder.build()


def part(recording: Recording, n_samples: int, seed: int) -> Recording:
    """The recording as if the validation set had held only some of its samples."""
    kept = {}
    summaries = []
    rows: np.ndarray | None = None
    for summary in recording.summaries:
        if summary.split != "val":
            continue
        full = recording.load(summary.key)
        if rows is None:
            rows = np.sort(np.random.default_rng([seed, n_samples]).permutation(len(full))[:n_samples])
        names = (
            "sample_ids",
            "targets",
            "predicted",
            "correct",
            "nll",
            "reported_loss",
            "confidence",
            "margin",
        )
        kept[summary.key] = replace(full, **{name: getattr(full, name)[rows] for name in names})
        summaries.append(
            replace(
                summary,
                n_samples=n_samples,
                reported_loss=float(kept[summary.key].reported_loss.mean(dtype=np.float64)),
                nll=float(kept[summary.key].nll.mean(dtype=np.float64)),
                accuracy=float(kept[summary.key].correct.mean(dtype=np.float64)),
            )
        )
    return replace(recording, summaries=tuple(summaries), load=kept.__getitem__)
