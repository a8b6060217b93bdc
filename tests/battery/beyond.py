"""Kinds of data of the fourth battery: cellular automata, random graphs and rhythms, each with its network.

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

__all__ = ["BEYOND"]


# ---- automata: which rule made the picture

RULES = (30, 45, 90, 110, 54, 150, 22)  # Wolfram's numbers
ROWS, CELLS = 7, 10


def _automata(
    y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str
) -> NDArray[np.float64]:
    """Seven generations of ten cells on a ring from a random first one, `spread` of the cells flipped."""
    table = (np.asarray(RULES)[y][:, None] >> np.arange(8)) & 1
    rows = [rng.integers(0, 2, (len(y), CELLS))]
    for _ in range(ROWS - 1):
        before = rows[-1]
        code = 4 * np.roll(before, 1, axis=1) + 2 * before + np.roll(before, -1, axis=1)
        rows.append(np.take_along_axis(table, code, axis=1))
    cells = np.stack(rows, axis=1)
    cells = np.where(rng.random(cells.shape) < spread, 1 - cells, cells)
    return (2.0 * cells - 1.0 + 0.1 * rng.normal(size=cells.shape)).reshape(len(y), -1)


class _Residual(nn.Module):
    """Adds to every place what two layers make of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, channels, 1)
        self.act = nn.ReLU()
        self.norm = nn.GroupNorm(2, channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(x + self.act(self.inner(self.norm(x))))


class _Places(nn.Module):
    """What is there on the whole, and what there is at the most in each of six places."""

    def __init__(self) -> None:
        super().__init__()
        self.most = nn.AdaptiveMaxPool2d((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(dim=(2, 3)), self.most(x).flatten(1)], dim=1)


def _automaton_network(outputs: int, width: int, dropout: float) -> nn.Module:
    """Looks at three cells and those below, mixes what it saw at each place, and keeps the place."""
    return nn.Sequential(
        Shaped(1, ROWS, CELLS),
        nn.Conv2d(1, width, (2, 3)),
        nn.ReLU(),
        _Residual(width),
        _Places(),
        nn.Linear(7 * width, 2 * width),
        nn.ReLU(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(2 * width, outputs),
    )


def _one_look(outputs: int) -> nn.Module:
    """The mean response of one filter must tell all rules apart."""
    return nn.Sequential(
        Shaped(1, ROWS, CELLS),
        nn.Conv2d(1, 1, (2, 3)),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1, outputs),
    )


# ---- graphs: how the edges were drawn, at one mean number of edges

NODES, DENSITY = 14, 0.3


def _chances(k: int, place: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the probability of an edge between nodes at these places: shape (n, NODES, NODES)."""
    a, b = place[:, :, None], place[:, None, :]
    same = (a < NODES // 2) == (b < NODES // 2)
    around = np.minimum((a - b) % NODES, (b - a) % NODES)
    hub = (a < 3) | (b < 3)
    kinds = (
        np.where(same, 0.62, 0.03),  # two groups
        np.full(same.shape, DENSITY),  # no structure
        np.where(same, 0.0, 0.55),  # two sides
        np.where(around <= 2, 0.9, 0.02),  # a ring of neighbours
        np.where(hub, 0.7, 0.04),  # three hubs
    )
    return kinds[k]


def _graphs(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """Adjacency matrices of 14 nodes in any order; `spread` of the pairs are drawn anew without structure."""
    place = np.argsort(rng.random((len(y), NODES)), axis=1)
    chance = np.empty((len(y), NODES, NODES))
    for k in np.unique(y):
        chance[y == k] = _chances(int(k), place[y == k])
    chance = np.where(rng.random(chance.shape) < spread, DENSITY, chance)
    upper = np.triu(rng.random(chance.shape) < chance, 1)
    return (upper | upper.transpose(0, 2, 1)).reshape(len(y), -1).astype(np.float64)


class _Pairs(nn.Module):
    """Sends over every pair of nodes: whether they are joined, by how many others, and how busy both are.

    Gives the mean of what all nodes make of their messages, and the messages of each.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.edge = nn.Linear(4, size)
        self.node = nn.Linear(size, width)
        self.act = nn.ReLU()

    def forward(self, a: Tensor) -> Tensor:
        degree = a.sum(dim=2, keepdim=True).expand_as(a) / 4
        pairs = torch.stack([2 * a, a @ a, degree, degree.transpose(1, 2)], dim=-1)
        messages = self.act(self.edge(pairs)).mean(dim=2)
        nodes = torch.as_tensor(self.act(self.node(messages)))
        return torch.cat([nodes.mean(dim=1), messages.flatten(1)], dim=1)


def _graph_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        Shaped(NODES, NODES),
        _Pairs(width // 2, width),
        nn.Linear(width + NODES * (width // 2), width),
        nn.ReLU(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(width, outputs),
    )


class _Degrees(nn.Module):
    """The mean square of the degrees: one number per graph."""

    def forward(self, a: Tensor) -> Tensor:
        return a.sum(dim=2).square().mean(dim=1, keepdim=True) / 10


def _one_number(outputs: int) -> nn.Module:
    return nn.Sequential(Shaped(NODES, NODES), _Degrees(), nn.Linear(1, outputs))


# ---- rhythms: which pattern of short and long steps is beaten

PATTERNS = ("SL", "SSL", "SLL", "SSLL", "SSSL", "SSLSL")
BEATS = 16


def _rhythms(y: NDArray[np.int64], rng: np.random.Generator, spread: float, role: str) -> NDArray[np.float64]:
    """Logarithms of sixteen intervals from any place of the pattern on, at any pace, each a little off."""
    beats = np.empty((len(y), BEATS))
    for i, k in enumerate(y):
        pattern = np.array([1.0 if c == "L" else -1.0 for c in PATTERNS[k]])
        beats[i] = np.resize(np.roll(pattern, -int(rng.integers(len(pattern)))), BEATS)
    pace = 0.3 * rng.normal(size=(len(y), 1))
    return np.asarray(beats + pace + spread * rng.normal(size=beats.shape))


class _Listens(nn.Module):
    """Hears the intervals one after another and keeps the mean of what it thought."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(1, size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x)
        return torch.as_tensor(states).mean(dim=1)


def _rhythm_network(outputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        Shaped(BEATS, 1),
        _Listens(width // 2),
        nn.LayerNorm(width // 2),
        nn.Linear(width // 2, width),
        nn.ReLU(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(width, outputs),
    )


class _Moments(nn.Module):
    """Mean and mean cube: how many steps are long, which nothing says in what order."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean(dim=1), (x**3).mean(dim=1)], dim=1)


def _out_of_order(outputs: int) -> nn.Module:
    return nn.Sequential(_Moments(), nn.Linear(2, 1), nn.Linear(1, outputs))


BEYOND: tuple[Family, ...] = (
    Family(
        name="automata",
        classes=7,
        inputs=_automata,
        network=_automaton_network,
        small=_one_look,
        easy=0.01,
        hard=0.09,
        two=0.18,
        few=280,
        many=1300,
        held_out=850,
        rate=4e-3,
        width=20,
        sgd=0.004,
    ),
    Family(
        name="graphs",
        classes=5,
        inputs=_graphs,
        network=_graph_network,
        small=_one_number,
        easy=0.0,
        hard=0.3,
        two=0.35,
        few=150,
        many=1200,
        held_out=900,
        rate=6e-3,
        width=64,
        sgd=0.015,
    ),
    Family(
        name="rhythms",
        classes=6,
        inputs=_rhythms,
        network=_rhythm_network,
        small=_out_of_order,
        easy=0.5,
        hard=0.9,
        two=2.2,
        few=240,
        many=1350,
        held_out=1100,
        rate=1.2e-2,
        width=48,
        sgd=0.025,
        far=False,
    ),
)
