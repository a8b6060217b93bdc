"""Kinds of data of the sixth battery: hands of cards, gratings and sensors, each with its network.

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

__all__ = ["ELSEWHERE"]


# ---- hands: what the seven cards have in common, in any order

CARDS, SUITS, RANKS = 7, 4, 9


def _hand(k: int, n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Suits and ranks of `n` hands of one kind: shape (n, CARDS) each."""
    suits = rng.integers(0, SUITS, (n, CARDS))
    ranks = rng.permuted(np.tile(np.arange(RANKS), (n, 1)), axis=1)[:, :CARDS]  # no rank twice
    if k == 1:  # four of a rank
        ranks[:, :4] = ranks[:, :1]
    elif k == 2:  # all close together
        ranks = rng.integers(0, RANKS - 3, (n, 1)) + rng.integers(0, 4, (n, CARDS))
    elif k == 3:  # six of a suit
        suits[:, :6] = suits[:, :1]
    elif k == 4:  # three pairs
        ranks[:, 3:6] = ranks[:, :3]
    elif k == 5:  # high ones in two suits, low ones in the others
        suits = np.where(ranks > RANKS // 2, suits % 2, 2 + suits % 2)
    return suits, ranks


def _hands(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """Hands in random order, `spread` of the cards drawn anew."""
    suits, ranks = (np.empty((len(y), CARDS), np.int64) for _ in range(2))
    for k in range(6):
        suits[y == k], ranks[y == k] = _hand(k, int((y == k).sum()), rng)
    anew = rng.random(suits.shape) < spread
    suits = np.where(anew, rng.integers(0, SUITS, suits.shape), suits)
    ranks = np.where(anew, rng.integers(0, RANKS, ranks.shape), ranks)
    codes = rng.permuted(suits * RANKS + ranks, axis=1)
    return codes.astype(np.float64)


class _Pairs(nn.Module):
    """Says what every two cards have to do with each other, and takes the mean and the most of it."""

    def __init__(self, width: int, size: int = 12) -> None:
        super().__init__()
        self.suit, self.rank = nn.Embedding(SUITS, size // 2), nn.Embedding(RANKS, size)
        self.inner, self.act = nn.Linear(3 * size, width), nn.ReLU()
        self.outer = nn.Linear(width, width)
        self.first, self.second = torch.triu_indices(CARDS, CARDS, 1)

    def forward(self, x: Tensor) -> Tensor:
        code = x.long().clamp(0, SUITS * RANKS - 1)
        cards = torch.cat([self.suit(code // RANKS), self.rank(code % RANKS)], dim=2)
        a, b = cards[:, self.first], cards[:, self.second]
        said = self.act(self.outer(self.act(self.inner(torch.cat([a + b, a * b], dim=2)))))
        return torch.cat([said.mean(dim=1), said.amax(dim=1)], dim=1)


def _hand_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        _Pairs(width),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(2 * width, outputs),
    )


class _Value(nn.Module):
    """The mean rank, whatever the suits."""

    def forward(self, x: Tensor) -> Tensor:
        return (x % RANKS).mean(dim=1, keepdim=True) - RANKS / 2


def _one_value(outputs: int) -> nn.Module:
    return nn.Sequential(_Value(), nn.Linear(1, outputs))


# ---- gratings: which way the stripes run

SIDE, PATCH, WAYS = 12, 4, 7
PATCHES = (SIDE // PATCH) ** 2


def _gratings(
    y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str
) -> NDArray[np.float64]:
    """Stripes of one direction per class, of any width and phase, over another faint grating."""
    at = np.stack(np.mgrid[0:SIDE, 0:SIDE]).reshape(2, 1, -1) - SIDE / 2

    def stripes(way: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = (np.pi / WAYS * (way + 0.12 * rng.normal(size=way.shape)))[:, None]
        pace = rng.uniform(0.9, 1.5, (len(way), 1))
        phase = rng.uniform(0, 2 * np.pi, (len(way), 1))
        return np.asarray(np.sin(pace * (np.cos(angle) * at[0] + np.sin(angle) * at[1]) + phase))

    other = stripes(rng.uniform(0, WAYS, len(y)))
    image = stripes(y.astype(np.float64)) + 0.3 * other
    return np.asarray(image + spread * rng.normal(size=image.shape))


class _Patches(nn.Module):
    """An image as a row of square patches."""

    def forward(self, x: Tensor) -> Tensor:
        k = SIDE // PATCH
        x = x.reshape(len(x), k, PATCH, k, PATCH).transpose(2, 3)
        return x.reshape(len(x), k * k, PATCH * PATCH)


class _Mixes(nn.Module):
    """Mixes what is at one place of all patches, then all that is in one patch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.over, self.act = nn.Linear(PATCHES, PATCHES), nn.ReLU()
        self.within, self.back = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.act(self.over(x.transpose(1, 2))).transpose(1, 2)
        return torch.as_tensor(x + self.back(self.act(self.within(x))))


def _grating_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        _Patches(),
        nn.Linear(PATCH * PATCH, width),
        nn.ReLU(),
        _Mixes(width),
        nn.Flatten(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(PATCHES * width, outputs),
    )


class _Across(nn.Module):
    """How much neighbours differ downwards, and how much sideways."""

    def forward(self, x: Tensor) -> Tensor:
        image = x.reshape(len(x), SIDE, SIDE)
        return torch.stack([image.diff(dim=d).abs().mean(dim=(1, 2)) for d in (1, 2)], dim=1)


def _one_contrast(outputs: int) -> nn.Module:
    return nn.Sequential(_Across(), nn.Linear(2, 1), nn.Linear(1, outputs))


# ---- sensors: who hears it first

SENSORS, TIMES, KINDS = 5, 24, 5
_DELAYS = np.random.default_rng(41).integers(0, 5, (KINDS, SENSORS))


def _sensors(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """One smooth sound at five places, at each after its own delay, with the noise of each sensor."""
    sound = rng.normal(size=(len(y), TIMES + 6))
    sound = sound[:, 2:] + sound[:, 1:-1] + 0.5 * sound[:, :-2]
    when = np.arange(TIMES)[None, None, :] + 4 - _DELAYS[y][:, :, None]
    heard = np.take_along_axis(sound[:, None, :], when, axis=2)
    heard = heard + spread * rng.normal(size=heard.shape)
    return np.asarray(heard.reshape(len(y), -1))


class _Gain(nn.Module):
    """Turns every channel up or down by what all of them are on the whole."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(x * torch.sigmoid(self.inner(x.mean(dim=2)))[:, :, None])


def _sensor_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        Shaped(SENSORS, TIMES),
        nn.Conv1d(SENSORS, width, 5),
        nn.ReLU(),
        _Gain(width),
        nn.Conv1d(width, width, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(width, outputs),
    )


class _Two(nn.Module):
    """How alike the first two sensors are at the same time."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(len(x), SENSORS, TIMES)
        return (x[:, 0] * x[:, 1]).mean(dim=1, keepdim=True)


def _one_likeness(outputs: int) -> nn.Module:
    return nn.Sequential(_Two(), nn.Linear(1, outputs))


ELSEWHERE: tuple[Family, ...] = (
    Family(
        name="hands",
        classes=6,
        inputs=_hands,
        network=_hand_network,
        small=_one_value,
        easy=0.0,
        hard=0.15,
        two=0.3,
        few=320,
        many=1700,
        held_out=1000,
        rate=2e-3,
        width=40,
        sgd=0.006,
        far=False,
    ),
    Family(
        name="gratings",
        classes=WAYS,
        inputs=_gratings,
        network=_grating_network,
        small=_one_contrast,
        easy=0.4,
        hard=1.2,
        two=1.6,
        few=400,
        many=1500,
        held_out=1050,
        rate=4e-4,
        width=24,
        sgd=0.005,
        longer=2,
    ),
    Family(
        name="sensors",
        classes=KINDS,
        inputs=_sensors,
        network=_sensor_network,
        small=_one_likeness,
        easy=0.9,
        hard=2.8,
        two=3.0,
        few=200,
        many=1300,
        held_out=900,
        rate=3e-3,
        width=48,
        sgd=0.04,
    ),
)
