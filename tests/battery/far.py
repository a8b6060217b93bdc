"""Kinds of data of the third battery: photographs, point clouds and texts, each with a network of its own.

Nothing was tuned on these before their results were printed (README.md).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from tests.battery.families import Family

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FAR"]


class Shaped(nn.Module):
    """Gives every sample a shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.shape)


# ---- photographs: textures of two pictures that come with scikit-learn

# Picture, rows and columns of a region with one texture: roofs, trees, petals, leaves, a lake.
REGIONS = (
    (0, (120, 360), (110, 340)),
    (0, (340, 427), (380, 600)),
    (1, (120, 330), (210, 410)),
    (1, (40, 420), (450, 640)),
    (0, (235, 290), (400, 540)),
)
SIDE, STRIP = 8, 16  # pixels; strips of columns belong to training, validation, training, test, in turns


@cache
def _pictures() -> tuple[NDArray[np.float64], ...]:
    return tuple(image / 255.0 for image in load_sample_images().images)


def _patches(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """Patches of 8 x 8 pixels in any light, from the role's own strips, with pixel noise."""
    turns = {"train": (0, 2), "val": (1,), "test": (3,)}[role]
    rows = np.empty((len(y), 3, SIDE, SIDE))
    for i, k in enumerate(y):
        picture, (top, bottom), (left, right) = REGIONS[k]
        strips = [c for c in range(left, right - STRIP + 1, STRIP) if (c - left) // STRIP % 4 in turns]
        a = rng.integers(top, bottom - SIDE)
        b = strips[rng.integers(len(strips))] + rng.integers(0, STRIP - SIDE + 1)
        patch = _pictures()[picture][a : a + SIDE, b : b + SIDE].transpose(2, 0, 1)
        rows[i] = 4 * (rng.uniform(0.8, 1.2) * patch - 0.5)
    return (rows + spread * rng.normal(size=rows.shape)).reshape(len(y), -1)


def _patch_network(outputs: int, width: int, dropout: float) -> nn.Module:
    """Two convolutions with batch normalisation behind the activation, so that a silent unit stays silent."""
    channels = width // 4
    return nn.Sequential(
        Shaped(3, SIDE, SIDE),
        nn.Conv2d(3, channels, 3),
        nn.ReLU(),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, width, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(width, outputs),
    )


def _one_filter(outputs: int) -> nn.Module:
    """The mean response of one filter must tell all textures apart."""
    return nn.Sequential(
        Shaped(3, SIDE, SIDE),
        nn.Conv2d(3, 1, 3),
        nn.Softplus(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1, outputs),
    )


# ---- point clouds: sixteen points of a curve, in any order, at any angle

POINTS = 16


def _curve(k: int, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points at the parameters `t` in [0, 1): circle, line, cross, two spots, parabola."""
    side = (2 * t) % 1 * 2 - 1  # along either arm of what has two
    first = t < 0.5
    shapes = (
        (np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)),
        (2 * t - 1, 0 * t),
        (np.where(first, side, 0), np.where(first, 0, side)),
        (np.where(first, -0.8, 0.8), 0 * t),
        (2 * t - 1, 1.6 * (2 * t - 1) ** 2 - 0.6),
    )
    return np.stack(shapes[k], axis=-1)


def _clouds(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """Points of the class's curve, turned by up to 45 degrees either way, each a little off."""
    turn = rng.uniform(-np.pi / 4, np.pi / 4, len(y))
    clouds = np.stack([_curve(int(k), rng.random(POINTS)) for k in y])
    c, s = np.cos(turn)[:, None], np.sin(turn)[:, None]
    turned = np.stack([c * clouds[..., 0] - s * clouds[..., 1], s * clouds[..., 0] + c * clouds[..., 1]], -1)
    return np.asarray((turned + spread * rng.normal(size=turned.shape)).reshape(len(y), -1))


class _Attends(nn.Module):
    """One attention layer over the points, each of which sees all others, then their mean."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embed = nn.Linear(2, size)
        self.attend = nn.MultiheadAttention(size, 2, batch_first=True)
        self.norm = nn.LayerNorm(size)
        self.mix = nn.Linear(size, size)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.embed(x))
        h = self.norm(h + self.attend(h, h, h, need_weights=False)[0])
        return torch.as_tensor(h + self.act(self.mix(h))).mean(dim=1)


def _cloud_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        Shaped(POINTS, 2),
        _Attends(width // 2),
        nn.Linear(width // 2, width),
        nn.ReLU(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(width, outputs),
    )


class _Spread(nn.Module):
    """The mean squares of the coordinates: two numbers per cloud."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().mean(dim=1)


def _two_moments(outputs: int) -> nn.Module:
    return nn.Sequential(Shaped(POINTS, 2), _Spread(), nn.Linear(2, 1), nn.Linear(1, outputs))


# ---- texts: which topic comes first and which second

TOPICS, OWN, WORDS, LENGTH = 3, 8, 40, 10
ORDERS = ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1))


def _texts(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """Ten words: half from one topic's, half from another's, `spread` of them any word at all."""
    topic = np.asarray(ORDERS)[y].repeat(LENGTH // 2, axis=1)
    words = topic * OWN + rng.integers(0, OWN, topic.shape)
    stray = rng.random(topic.shape) < spread
    return np.where(stray, rng.integers(0, WORDS, topic.shape), words).astype(np.float64)


class _Reads(nn.Module):
    """Embeds words that come as floats and reads them one after another."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 12)
        self.cell = nn.GRU(12, size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        state, _ = self.cell(self.table(x.long().clamp(0, WORDS - 1)))
        return torch.as_tensor(state[:, -1])


def _text_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        _Reads(width // 2),
        nn.Linear(width // 2, width),
        nn.ReLU(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(width, outputs),
    )


class _Bag(nn.Module):
    """The mean of the words' vectors, which knows nothing of their order."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.table(x.long().clamp(0, WORDS - 1))).mean(dim=1)


def _bag_of_words(outputs: int) -> nn.Module:
    return nn.Sequential(_Bag(), nn.Linear(2, outputs))


FAR: tuple[Family, ...] = (
    Family(
        name="photographs",
        classes=5,
        inputs=_patches,
        network=_patch_network,
        small=_one_filter,
        easy=0.2,
        hard=2.0,
        two=2.0,
        few=240,
        many=1100,
        held_out=800,
        rate=2e-3,
        width=48,
    ),
    Family(
        name="clouds",
        classes=5,
        inputs=_clouds,
        network=_cloud_network,
        small=_two_moments,
        easy=0.05,
        hard=0.4,
        two=0.8,
        few=150,
        many=1250,
        held_out=1100,
        rate=3e-3,
        width=96,
        far=False,
    ),
    Family(
        name="texts",
        classes=6,
        inputs=_texts,
        network=_text_network,
        small=_bag_of_words,
        easy=0.2,
        hard=0.55,
        two=0.7,
        few=340,
        many=1400,
        held_out=1000,
        rate=3e-3,
        width=56,
        far=False,
    ),
)
