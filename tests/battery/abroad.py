"""Kinds of data of the fifth battery: paths, spectra and questionnaires, each with its network.

Nothing may be tuned on these before their results are printed (README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tests.battery.families import Family
from tests.battery.far import Shaped

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ABROAD"]


# ---- paths: what moves like this

STEPS = 20
GAITS = 5  # keeps its direction, circles, is pulled back, goes to and fro, stands and jumps


def _moves(k: int, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Twenty moves in the plane of each of `n` walkers of one gait: shape (n, STEPS, 2)."""
    noise = rng.normal(size=(n, STEPS, 2))
    if k == 4:
        return np.asarray(2.2 * noise * (rng.random((n, STEPS, 1)) < 0.2))
    turn = np.zeros((n, STEPS)) if k != 1 else rng.choice([-0.6, 0.6], (n, 1)) * np.ones((n, STEPS))
    angle = rng.uniform(0, 2 * np.pi, (n, 1)) + np.cumsum(turn + 0.25 * noise[:, :, 0], axis=1)
    heading = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    if k == 3:
        return np.asarray(heading * np.where(np.arange(STEPS) // 4 % 2, 1.0, -1.0)[:, None])
    if k != 2:
        return np.asarray(heading)
    place, moves = np.zeros((n, 2)), np.empty((n, STEPS, 2))
    for t in range(STEPS):
        moves[:, t] = noise[:, t] - 0.5 * place
        place += moves[:, t]
    return moves


def _paths(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """Where a walker is after each of twenty moves, seen with an error."""
    moves = np.empty((len(y), STEPS, 2))
    for k in range(GAITS):
        moves[y == k] = _moves(k, int((y == k).sum()), rng)
    places = np.cumsum(moves + spread * rng.normal(size=moves.shape), axis=1)
    return np.asarray(places.reshape(len(y), -1) / 3)


class _Gated(nn.Module):
    """A dilated convolution over time whose other half says how much of it counts."""

    def __init__(self, n_in: int, n_out: int, dilation: int) -> None:
        super().__init__()
        self.inner = nn.Conv1d(n_in, 2 * n_out, 3, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.inner(x).chunk(2, dim=1)
        return torch.as_tensor(value * torch.sigmoid(gate))


class _Differences(nn.Module):
    """Places to moves."""

    def forward(self, x: Tensor) -> Tensor:
        return x.diff(dim=1).transpose(1, 2)


def _path_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        Shaped(STEPS, 2),
        _Differences(),
        _Gated(2, width // 2, 1),
        _Gated(width // 2, width // 2, 2),
        nn.AdaptiveAvgPool1d(3),
        nn.Flatten(),
        nn.LayerNorm(3 * (width // 2)),
        nn.Linear(3 * (width // 2), width),
        nn.ReLU(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(width, outputs),
    )


class _Distance(nn.Module):
    """How far from its beginning the path ends, and nothing else."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.reshape(len(x), STEPS, 2)[:, -1] ** 2).sum(dim=1, keepdim=True)


def _one_distance(outputs: int) -> nn.Module:
    return nn.Sequential(_Distance(), nn.Linear(1, outputs))


# ---- spectra: which substances are in the mixture

CHANNELS = 48
LINES = (
    (6, 18, 40),
    (6, 27, 33),
    (12, 18, 44),
    (12, 27, 38),
    (22, 33, 44),
    (9, 22, 40),
    (9, 30, 38),
    (15, 30, 42),
)


def _spectra(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """Three lines of any height per substance, each shared with another one, on a sloping ground."""
    at = np.arange(CHANNELS)[None, None, :]
    lines = np.asarray(LINES)[y][:, :, None] + 0.5 * rng.normal(size=(len(y), 3, 1))
    height = rng.lognormal(0.0, 0.35, (len(y), 3, 1))
    signal = (height * np.exp(-((at - lines) ** 2) / 3)).sum(axis=1)
    slope = 0.5 * rng.normal(size=(len(y), 1)) * np.linspace(-1, 1, CHANNELS)
    return np.asarray(2 * signal + slope + spread * rng.normal(size=signal.shape))


class _Squeeze(nn.Module):
    """Layers of the same width that each add a little, normalised before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.act, self.down = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(x + self.down(self.act(self.up(self.norm(x)))))


def _spectrum_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Linear(CHANNELS, width),
        nn.ReLU(),
        _Squeeze(width),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(width, outputs),
    )


def _one_channel(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(CHANNELS, 1), nn.Tanh(), nn.Linear(1, outputs))


# ---- questionnaires: who answers like this

QUESTIONS, TYPES = 28, 6
_LEANING = np.random.default_rng(77).choice([-1.0, 0.0, 1.0], (TYPES, QUESTIONS), p=[0.35, 0.3, 0.35])


def _answers(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """Agree or not with each of 28 sentences; one type agrees with what its opposite denies."""
    mood = 0.6 * rng.normal(size=(len(y), 1))
    leaning = (3.0 * _LEANING[y] + mood) / max(spread, 0.05)
    return np.where(rng.random(leaning.shape) < 1 / (1 + np.exp(-leaning)), 1.0, -1.0)


class _Together(nn.Module):
    """Products of pairs of features beside the features themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.other, self.act = nn.Linear(QUESTIONS, width), nn.Linear(QUESTIONS, width), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        first = torch.as_tensor(self.act(self.one(x)))
        return torch.cat([first, first * torch.tanh(self.other(x))], dim=1)


def _answer_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        _Together(width),
        nn.Linear(2 * width, width),
        nn.ReLU(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(width, outputs),
    )


class _Agreement(nn.Module):
    """How often the answer is yes, whatever the question."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1, keepdim=True)


def _yes_sayers(outputs: int) -> nn.Module:
    return nn.Sequential(_Agreement(), nn.Linear(1, outputs))


ABROAD: tuple[Family, ...] = (
    Family(
        name="paths",
        classes=GAITS,
        inputs=_paths,
        network=_path_network,
        small=_one_distance,
        easy=0.05,
        hard=0.8,
        two=1.3,
        few=200,
        many=1250,
        held_out=950,
        rate=6e-3,
        width=40,
        sgd=0.005,
    ),
    Family(
        name="spectra",
        classes=8,
        inputs=_spectra,
        network=_spectrum_network,
        small=_one_channel,
        easy=0.75,
        hard=1.5,
        two=2.6,
        few=260,
        many=1800,
        held_out=1000,
        rate=8e-4,
        width=56,
        sgd=0.006,
    ),
    Family(
        name="questionnaires",
        classes=TYPES,
        inputs=_answers,
        network=_answer_network,
        small=_yes_sayers,
        easy=1.2,
        hard=3.0,
        two=4.5,
        few=220,
        many=1600,
        held_out=900,
        rate=1.5e-3,
        width=44,
        sgd=0.004,
        far=False,
    ),
)
