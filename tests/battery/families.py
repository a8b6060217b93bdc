"""Kinds of data with the networks that learn them.

``HOME`` is what causes were tuned on first, ``AWAY`` (other data, networks, sizes) after its results had
been printed. A third set is in `far`. See README.md for which of them are spent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["AWAY", "HOME", "Family"]

ROLES = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of data.

    Parameters
    ----------
    inputs : callable
        ``inputs(labels, rng, spread, role)`` draws one input per label; a larger spread is harder.
    network : callable
        ``network(outputs, width, dropout)``.
    small : callable
        ``small(outputs)``: a network that cannot tell all classes apart, however long it is trained.
    easy, hard, two : float
        Spreads at which a good network is nearly always right, and often wrong; the latter for two classes.
    few, many : int
        Training samples: so few that they can be memorised, and enough to learn from.
    held_out : int
        Validation samples.
    rate : float
        Learning rate of Adam that suits the network.
    sgd : float
        The same of SGD with momentum and batches of 64.
    far : bool
        Inputs are numbers that may come on another scale.
    longer : int
        Times as many epochs as the recipes say.
    """

    name: str
    classes: int
    inputs: Callable[[NDArray[np.int64], np.random.Generator, float, str], NDArray[np.float64]]
    network: Callable[[int, int, float], nn.Module]
    small: Callable[[int], nn.Module]
    easy: float
    hard: float
    two: float
    few: int
    many: int
    held_out: int
    rate: float
    width: int
    far: bool = True
    sgd: float = 0.03
    longer: int = 1

    def draw(self, counts: Sequence[int], seed: int, role: str, spread: float) -> tuple[Tensor, Tensor]:
        """Draw `counts[k]` samples of class k in random order."""
        rng = np.random.default_rng([seed, ROLES.index(role), len(self.name), self.classes])
        y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        x = self.inputs(y, rng, spread, role)
        return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)

    def even(self, n: int, seed: int, role: str, spread: float, classes: int = 0) -> tuple[Tensor, Tensor]:
        """Draw about `n` samples, as many of each class."""
        k = classes or self.classes
        return self.draw([max(n // k, 1)] * k, seed, role, spread)


def _relu(width: int, inputs: int, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Linear(inputs, width), nn.ReLU()]
    return [*layers, nn.Dropout(dropout)] if dropout else layers


def _mlp(inputs: int) -> Callable[[int, int, float], nn.Module]:
    def make(outputs: int, width: int, dropout: float) -> nn.Module:
        return nn.Sequential(
            *_relu(width, inputs, dropout), *_relu(width, width, dropout), nn.Linear(width, outputs)
        )

    return make


def _one_direction(inputs: int, *before: nn.Module) -> Callable[[int], nn.Module]:
    """All classes must be told apart by one linear feature."""

    def make(outputs: int) -> nn.Module:
        return nn.Sequential(*before, nn.Linear(inputs, 1), nn.Linear(1, outputs))

    return make


# ---- at home: scanned digits, Gaussian classes, waves


@cache
def _scans() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    data = load_digits()
    part = np.random.default_rng(5).permutation(len(data.target)) % 10  # 0-4 train, 5-7 val, 8-9 test
    return data.data / 16.0, data.target.astype(np.int64), part


def _digit_inputs(
    y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str
) -> NDArray[np.float64]:
    """Scans of the role's own pool, a scan at most once while there are enough, with pixel noise."""
    x, target, part = _scans()
    low, high = {"train": (0, 5), "val": (5, 8), "test": (8, 10)}[role]
    rows = np.empty(len(y), np.int64)
    for k in np.unique(y):
        mine = np.flatnonzero(y == k)
        pool = rng.permutation(np.flatnonzero((target == k) & (part >= low) & (part < high)))
        rows[mine] = np.resize(pool, len(mine))
    return np.asarray(x[rows] + spread * rng.normal(size=(len(y), x.shape[1])))


def _gaussian_inputs(
    y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str
) -> NDArray[np.float64]:
    centres = np.random.default_rng(1000).normal(size=(8, 20))
    return np.asarray(centres[y] + spread * rng.normal(size=(len(y), 20)))


def _wave_inputs(
    y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str
) -> NDArray[np.float64]:
    """Sine waves of random phase, a frequency per class."""
    t = np.linspace(0, 1, 32)
    frequency = (1.5 + 1.25 * y)[:, None]
    wave = np.sin(2 * np.pi * (frequency * t + rng.random((len(y), 1))))
    return np.asarray(wave + spread * rng.normal(size=wave.shape))


def _wave_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 32)),
        nn.Conv1d(1, width // 4, 7, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        *_relu(width, 13 * (width // 4), dropout),
        nn.Linear(width, outputs),
    )


HOME: tuple[Family, ...] = (
    Family(
        name="digits",
        classes=10,
        inputs=_digit_inputs,
        network=_mlp(64),
        small=_one_direction(64),
        easy=0.05,
        hard=0.35,
        two=1.0,
        few=300,
        many=800,
        held_out=500,
        rate=1e-3,
        width=128,
    ),
    Family(
        name="gaussians",
        classes=6,
        inputs=_gaussian_inputs,
        network=_mlp(20),
        small=_one_direction(20),
        easy=1.0,
        hard=2.2,
        two=2.6,
        few=300,
        many=1200,
        held_out=1200,
        rate=1e-3,
        width=64,
    ),
    Family(
        name="waves",
        classes=5,
        inputs=_wave_inputs,
        network=_wave_network,
        small=_one_direction(32),
        easy=0.8,
        hard=1.3,
        two=1.4,
        few=300,
        many=1200,
        held_out=1000,
        rate=2e-3,
        width=64,
    ),
)


# ---- away: drawn shapes, token sequences, tables with categories, spirals


def _shape_masks() -> NDArray[np.float64]:
    """Return six shapes in a 7 x 7 box: bars, diagonal, plus, frame, disc."""
    i, j = np.mgrid[-3:4, -3:4]
    shapes = (
        np.abs(i) <= 0.5,
        np.abs(j) <= 0.5,
        np.abs(i - j) <= 0.5,
        (np.abs(i) <= 0.5) | (np.abs(j) <= 0.5),
        np.maximum(np.abs(i), np.abs(j)) == 3,
        i**2 + j**2 <= 8,
    )
    return np.stack(shapes).astype(np.float64)


def _shape_inputs(
    y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str
) -> NDArray[np.float64]:
    """Shapes at a random place of a 12 x 12 image, of random brightness, with noise."""
    masks = _shape_masks()
    images = np.zeros((len(y), 12, 12))
    corner = rng.integers(0, 6, size=(len(y), 2))
    bright = rng.uniform(0.5, 1.0, len(y))
    for n, k in enumerate(y):
        a, b = corner[n]
        images[n, a : a + 7, b : b + 7] = bright[n] * masks[k]
    return np.asarray((images + spread * rng.normal(size=images.shape)).reshape(len(y), -1))


def _shape_network(outputs: int, width: int, dropout: float) -> nn.Module:
    channels = max(width // 8, 1)
    return nn.Sequential(
        nn.Unflatten(1, (1, 12, 12)),
        nn.Conv2d(1, channels, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        *_relu(width, 25 * channels, dropout),
        nn.Linear(width, outputs),
    )


def _token_inputs(
    y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str
) -> NDArray[np.float64]:
    """Walks of 12 tokens; each class has its own likely successors, `spread` of the tokens are random."""
    vocabulary, length = 20, 12
    grammar = np.random.default_rng(11)
    successors = np.stack([grammar.permutation(vocabulary) for _ in range(8)])
    tokens = np.empty((len(y), length), np.int64)
    tokens[:, 0] = rng.integers(0, vocabulary, len(y))
    for t in range(1, length):
        follow = successors[y, tokens[:, t - 1]]
        lost = rng.random(len(y)) < spread
        tokens[:, t] = np.where(lost, rng.integers(0, vocabulary, len(y)), follow)
    return tokens.astype(np.float64)


class _Words(nn.Module):
    """Embeds tokens that come as floats."""

    def __init__(self, vocabulary: int, size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, size)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.table(x.long().clamp(0, self.table.num_embeddings - 1))).transpose(1, 2)


def _token_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        _Words(20, 12),
        nn.Conv1d(12, width, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        *_relu(width, width, dropout),
        nn.Linear(width, outputs),
    )


def _two_features(outputs: int) -> nn.Module:
    """Two numbers per pair of neighbouring tokens must tell all classes apart."""
    return nn.Sequential(
        _Words(20, 2),
        nn.Conv1d(2, 2, 2),
        nn.Tanh(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(2, outputs),
    )


CARDINALITIES = (6, 9, 4)


def _table_inputs(
    y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str
) -> NDArray[np.float64]:
    """Three categories and five numbers; a class prefers some categories and shifts the numbers with them."""
    fixed = np.random.default_rng(23)
    columns = []
    shift = fixed.normal(size=(8, CARDINALITIES[0], 5))
    for size in CARDINALITIES:
        taste = fixed.gumbel(size=(8, size)) / max(spread, 1e-6)
        columns.append((taste[y] + rng.gumbel(size=(len(y), size))).argmax(axis=1))
    numbers = shift[y, columns[0]] + spread * rng.normal(size=(len(y), 5))
    return np.column_stack([*columns, numbers]).astype(np.float64)


class _Table(nn.Module):
    """Embeds the categories and puts them beside the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, 4) for n in CARDINALITIES)

    def forward(self, x: Tensor) -> Tensor:
        k = len(CARDINALITIES)
        codes = [t(x[:, i].long().clamp(0, CARDINALITIES[i] - 1)) for i, t in enumerate(self.tables)]
        return torch.cat([*codes, x[:, k:]], dim=1)


def _table_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(_Table(), *_mlp(4 * len(CARDINALITIES) + 5)(outputs, width, dropout).children())


def _one_row(outputs: int) -> nn.Module:
    return _one_direction(4 * len(CARDINALITIES) + 5, _Table())(outputs)


AWAY: tuple[Family, ...] = (
    Family(
        name="shapes",
        classes=6,
        inputs=_shape_inputs,
        network=_shape_network,
        small=_one_direction(144),
        easy=0.15,
        hard=0.4,
        two=0.45,
        few=200,
        many=1200,
        held_out=1200,
        rate=1.5e-3,
        width=64,
    ),
    Family(
        name="tokens",
        classes=4,
        inputs=_token_inputs,
        network=_token_network,
        small=_two_features,
        easy=0.45,
        hard=0.8,
        two=0.85,
        few=320,
        many=1400,
        held_out=1300,
        rate=3e-3,
        width=48,
        far=False,
    ),
    Family(
        name="tables",
        classes=5,
        inputs=_table_inputs,
        network=_table_network,
        small=_one_row,
        easy=0.5,
        hard=1.4,
        two=1.8,
        few=350,
        many=1300,
        held_out=900,
        rate=2e-3,
        width=80,
    ),
)
