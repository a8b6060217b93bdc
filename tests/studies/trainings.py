"""Real trainings for the studies: healthy by construction, and with a cause built in.

Healthy means that the loss on new data has no reason to rise: linear models with many more samples
than weights, strong weight decay and dropout, or a stop before the turn. Whether it did is checked on a
test split that the detector never sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor, nn

from tests.recordings import train_and_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.records import Recording

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Training:
    """One configuration: data of `kind`, sizes of its splits, a model and how it is trained."""

    name: str
    data: str  # "digits", "mnist1d", "gaussians", "breast cancer"
    sizes: tuple[int, int, int]  # train, validation, test
    epochs: int
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    rate: float = 1e-3
    decay: float = 0.0
    optimizer: str = "adamw"
    separation: float = 1.0
    prior: float = 0.5  # share of class 1 in two-class Gaussians
    classes: int = 2
    train_noise: float = 0.0
    val_noise: float = 0.0
    one_against_rest: bool = False
    batch_size: int = 100


HEALTHY = (
    Training("linear model", "digits", (900, 450, 447), 40, rate=3e-3),
    Training("weight decay", "digits", (900, 450, 447), 40, hidden=(64,), rate=2e-3, decay=0.5),
    Training("SGD, constant rate", "digits", (900, 450, 447), 60, rate=0.05, optimizer="sgd", decay=1e-3),
    Training("dropout and decay", "mnist1d", (4000, 1500, 1500), 40, (128, 128), 0.3, decay=0.3),
    Training("stopped before the turn", "mnist1d", (4000, 1000, 1500), 13, (128, 128)),
    Training("200 validation samples", "mnist1d", (6000, 200, 1500), 40, (64,), 0.3, decay=0.3),
    Training("two classes, linear", "gaussians", (4000, 2000, 1500), 40, rate=3e-3),
    Training(
        "five classes, linear", "gaussians", (4000, 1000, 1500), 40, rate=3e-3, separation=2.0, classes=5
    ),
    Training("90 to 10, linear", "gaussians", (5000, 2000, 1500), 40, rate=3e-3, separation=1.5, prior=0.1),
    Training("logistic", "breast cancer", (300, 269, 0), 60, rate=3e-3, decay=1.0, batch_size=50),
)

POSITIVE = (
    Training("overconfident", "mnist1d", (4000, 3000, 0), 60, (128, 128), optimizer="adam"),
    Training("90 to 10", "mnist1d", (1500, 3000, 0), 60, (128, 128), optimizer="adam", one_against_rest=True),
    Training("noisy validation", "mnist1d", (4000, 3000, 0), 60, (256, 256), optimizer="adam", val_noise=0.1),
    Training("noisy training", "mnist1d", (4000, 3000, 0), 40, (256, 256), optimizer="adam", train_noise=0.3),
    Training(
        "small training share",
        "digits",
        (300, 1497, 0),
        80,
        (32, 32, 32, 32, 32),
        optimizer="adam",
        batch_size=8,
    ),
)


@lru_cache(maxsize=1)
def _mnist1d() -> Arrays:
    from mnist1d.data import get_dataset_args, make_dataset  # only the studies need it

    arguments = get_dataset_args()
    arguments.num_samples, arguments.seed = 12_000, 42
    data = make_dataset(arguments)
    x = np.concatenate([data["x"], data["x_test"]]).astype(np.float32)
    return x, np.concatenate([data["y"], data["y_test"]]).astype(np.int64)


def _gaussians(training: Training, generator: np.random.Generator) -> Arrays:
    n, k = sum(training.sizes), training.classes
    centres = np.random.default_rng(1234).normal(size=(k, 20))
    centres *= training.separation / np.linalg.norm(centres, axis=1, keepdims=True)
    shares = np.full(k, 1 / k) if k > 2 else np.array([1 - training.prior, training.prior])
    y = generator.choice(k, size=n, p=shares)
    return (centres[y] + generator.normal(size=(n, 20))).astype(np.float32), y.astype(np.int64)


def _data(training: Training, generator: np.random.Generator) -> Arrays:
    if training.data == "gaussians":
        return _gaussians(training, generator)
    if training.data == "mnist1d":
        x, y = _mnist1d()
    else:
        loaded = load_digits() if training.data == "digits" else load_breast_cancer()
        x, y = loaded.data.astype(np.float32), loaded.target.astype(np.int64)
        x = x / 16 if training.data == "digits" else (x - x.mean(0)) / x.std(0)
    order = generator.permutation(len(y))[: sum(training.sizes)]
    return x[order], y[order]


def _noisy(y: np.ndarray, rate: float, classes: int, generator: np.random.Generator) -> np.ndarray:
    flipped = generator.random(len(y)) < rate
    return np.where(flipped, (y + generator.integers(1, classes, len(y))) % classes, y)


def _model(training: Training, width: int, classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for hidden in training.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(training.dropout)]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, classes))


def _optimizer(training: Training, model: nn.Module) -> torch.optim.Optimizer:
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=training.rate, momentum=0.9, weight_decay=training.decay
        )
    make: Callable[..., torch.optim.Optimizer] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[
        training.optimizer
    ]
    return make(model.parameters(), lr=training.rate, weight_decay=training.decay)


def train(training: Training, seed: int) -> Recording:
    """Train once; splits "train" (training mode), "val" and, where there is one, "test"."""
    generator = np.random.default_rng(10_000 + seed)
    torch.manual_seed(seed)
    x, y = _data(training, generator)
    if training.one_against_rest:
        y = (y == 3).astype(np.int64)
    classes = int(y.max()) + 1
    ends = np.cumsum(training.sizes)
    splits: list[tuple[Tensor, Tensor]] = []
    for rate, rows in zip(
        (training.train_noise, training.val_noise, 0.0),
        (slice(0, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2])),
        strict=True,
    ):
        labels = _noisy(y[rows], rate, classes, generator) if rate else y[rows]
        splits.append((torch.from_numpy(x[rows].copy()), torch.from_numpy(labels.copy())))
    model = _model(training, x.shape[1], classes)
    builder = train_and_record(
        model,
        splits[0],
        splits[1],
        epochs=training.epochs,
        optimizer=_optimizer(training, model),
        batch_size=training.batch_size,
        seed=seed,
        extra=[("test", splits[2])] if training.sizes[2] else [],
        name=f"{training.data}, {training.name}",
        watch_steps=False,
    )
    return builder.build()
