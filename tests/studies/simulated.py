"""Simulated runs: curves in which a movement is absent, and samples in which both are planted."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import norm

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
# The loss is high at every epoch, and accuracy moves.
STUCK: dict[tuple[str, str], tuple[EpisodeKind, ...]] = {
    ("high", "rises"): ("accuracy_stuck_loss_high",),
    ("high", "falls"): ("accuracy_stuck_loss_high",),
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
        "high": 0 * t,
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


# Margins of the simulated two-class run: spread between samples, and what each epoch adds to it.
_OWN, _COMMON = 0.25, 0.012
_SPREAD = float(np.sqrt(1 + _OWN**2 + _COMMON**2))
LEARNED = 1.5 * np.exp(-19 / 4)  # still to be learned at the turn
LOSS_RISE = 0.15  # nats that the population's loss rises after the turn


def population(shift: float, scale: float) -> tuple[float, float]:
    """Loss and accuracy in the population when margins are N(1 + shift, `_SPREAD`) times `scale`."""
    centre = 1 + shift
    margins = np.linspace(centre - 9 * _SPREAD, centre + 9 * _SPREAD, 20_001)
    weights = norm.pdf(margins, centre, _SPREAD)
    loss = np.logaddexp(0, -scale * margins) @ weights / weights.sum()
    return float(loss), float(norm.cdf(centre / _SPREAD))


@lru_cache(maxsize=64)
def after_the_turn(accuracy_rise: float, loss_rise: float = LOSS_RISE) -> tuple[float, float]:
    """Find the shift and the scale of the margins by which the population changes by just so much."""
    loss, accuracy = population(-LEARNED, 2.0)
    shift = _SPREAD * float(ndtri(accuracy + accuracy_rise)) - 1
    return shift, brentq(lambda scale: population(shift, scale)[0] - loss - loss_rise, 2.0, 60.0)


def planted(
    *,
    n_samples: int,
    accuracy_rise: float,
    loss_rise: float = LOSS_RISE,
    turnover: float = 0.0,
    epochs: int = 20,
    before: int = 20,
    seed: int = 0,
) -> Recording:
    """Record a two-class run that learns for `before` epochs, then grows overconfident for `epochs`.

    After the turn loss and accuracy of the population rise by `loss_rise` and `accuracy_rise`: margins
    drift, and logits grow. With a `turnover` (radians) the samples slowly trade their margins for others
    of the same distribution: what this set shows then need not hold in the population.
    """
    generator = np.random.default_rng([seed, n_samples, round(1000 * accuracy_rise), round(100 * turnover)])
    n_epochs = before + epochs
    own, other = generator.normal(size=(2, n_samples))
    shift_at_end, scale_at_end = after_the_turn(accuracy_rise, loss_rise)
    turn = np.arange(n_epochs) - before
    along = np.maximum(turn + 1, 0) / epochs
    shift = np.where(turn < 0, -1.5 * np.exp(-(turn + before) / 4), shift_at_end * along)
    scale = 2.0 + (scale_at_end - 2.0) * along
    common = _COMMON * generator.normal(size=n_epochs)
    builder = RecordingBuilder("planted")
    targets = torch.from_numpy(generator.integers(0, 2, n_samples))
    for t in range(n_epochs):
        centre = 1 + np.cos(turnover * along[t]) * own + np.sin(turnover * along[t]) * other
        margin = centre + shift[t] + common[t] + generator.normal(0, _OWN, n_samples)
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
