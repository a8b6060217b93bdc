"""Real trainings whose cause is known by construction, and their healthy twins.

Every scenario takes a seed and returns the `RecordingBuilder` of a small training (a few seconds on
one core). The data are scikit-learn's scanned digits and Gaussian classes, whose best possible loss
is known.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from jupyter_lossacc.records import LossInfo
from tests.recordings import RecordingBuilder, train_and_record

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SCENARIOS", "digits", "flip", "gaussians", "network"]

Split = tuple[Tensor, Tensor]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return (data.data / 16.0).astype(np.float32), data.target.astype(np.int64)


def digits(seed: int, n_train: int, n_val: int, noise: float = 0.0) -> tuple[Split, Split]:
    """Scanned digits in random order, with Gaussian pixel noise to make them harder."""
    x, y = _digits()
    rng = np.random.default_rng(1000 + seed)
    order = rng.permutation(len(y))[: n_train + n_val]
    x = x[order] + noise * rng.normal(size=(len(order), x.shape[1])).astype(np.float32)
    xs, ys = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y[order])
    return (xs[:n_train], ys[:n_train]), (xs[n_train:], ys[n_train:])


def gaussians(
    seed: int, n_train: int, n_val: int, *, classes: int = 5, dims: int = 20, distance: float = 2.0
) -> tuple[Split, Split]:
    """Gaussian classes with unit variance and means `distance` from the origin."""
    means = np.random.default_rng(7).normal(size=(classes, dims))
    means *= distance / np.linalg.norm(means, axis=1, keepdims=True)
    rng = np.random.default_rng(2000 + seed)
    y = rng.integers(0, classes, n_train + n_val)
    x = means[y] + rng.normal(size=(len(y), dims))
    xs, ys = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)
    return (xs[:n_train], ys[:n_train]), (xs[n_train:], ys[n_train:])


def flip(split: Split, rate: float, classes: int, seed: int) -> tuple[Split, np.ndarray]:
    """Replace a share of the labels by another class at random; also say which."""
    rng = np.random.default_rng(3000 + seed)
    y = split[1].numpy().copy()
    flipped = rng.random(len(y)) < rate
    y[flipped] = (y[flipped] + rng.integers(1, classes, int(flipped.sum()))) % classes
    return (split[0], torch.as_tensor(y)), flipped


def network(
    inputs: int, classes: int, hidden: tuple[int, ...] = (128, 128), dropout: float = 0.0
) -> nn.Module:
    """A plain ReLU network."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def _train(
    model: nn.Module, train: Split, val: Split, epochs: int, seed: int, lr: float = 1e-3, **rest: object
) -> RecordingBuilder:
    weight_decay = float(rest.pop("weight_decay", 0.0))  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    return train_and_record(model, train, val, epochs=epochs, optimizer=optimizer, seed=seed, **rest)  # type: ignore[arg-type]


def overconfidence(seed: int) -> RecordingBuilder:
    """A wide network, few noisy digits: the logits grow long after accuracy has settled."""
    torch.manual_seed(seed)
    train, val = digits(seed, 300, 1400, noise=0.3)
    return _train(network(64, 10), train, val, 50, seed, lr=2e-3, batch_size=32)


def overconfidence_healthy(seed: int) -> RecordingBuilder:
    """The same data and network, stopped before the turn."""
    torch.manual_seed(seed)
    train, val = digits(seed, 300, 1400, noise=0.3)
    return _train(network(64, 10), train, val, 12, seed, lr=5e-4, batch_size=32)


def overfitting(seed: int) -> RecordingBuilder:
    """A third of the training labels are wrong: memorising them costs what was learned."""
    torch.manual_seed(seed)
    train, val = digits(seed, 500, 1200, noise=0.2)
    train, _ = flip(train, 0.35, 10, seed)
    return _train(network(64, 10, (256, 256)), train, val, 40, seed, batch_size=32)


def overfitting_healthy(seed: int) -> RecordingBuilder:
    """The same wrong labels, but a model too regularised to memorise them."""
    torch.manual_seed(seed)
    train, val = digits(seed, 500, 1200, noise=0.2)
    train, _ = flip(train, 0.35, 10, seed)
    return _train(network(64, 10, (64,), 0.3), train, val, 20, seed, batch_size=32, weight_decay=0.5)


def label_noise(seed: int) -> RecordingBuilder:
    """A tenth of the validation labels are wrong."""
    torch.manual_seed(seed)
    train, val = digits(seed, 500, 1200)
    val, _ = flip(val, 0.10, 10, seed)
    return _train(network(64, 10), train, val, 40, seed, batch_size=32)


def label_noise_healthy(seed: int) -> RecordingBuilder:
    """The same training on clean labels."""
    torch.manual_seed(seed)
    train, val = digits(seed, 500, 1200)
    return _train(network(64, 10), train, val, 40, seed, batch_size=32)


def confident_errors(seed: int) -> RecordingBuilder:
    """Two percent of the validation samples cannot be got right: their labels are wrong."""
    torch.manual_seed(seed)
    train, val = digits(seed, 600, 1190)
    val, _ = flip(val, 0.02, 10, seed)
    return _train(network(64, 10), train, val, 35, seed, lr=2e-3, batch_size=32)


def unlike_inputs(seed: int) -> RecordingBuilder:
    """Three percent of the validation inputs are dark on light: surely wrong, but not mislabelled."""
    torch.manual_seed(seed)
    train, val = digits(seed, 600, 1190)
    x = val[0].clone()
    few = torch.as_tensor(np.random.default_rng(seed).permutation(len(x))[:36])
    x[few] = 1 - x[few]
    return _train(network(64, 10), train, (x, val[1]), 25, seed, batch_size=32)


def underconfidence(seed: int) -> RecordingBuilder:
    """Label smoothing that grows during training: less sure, and more often right."""
    torch.manual_seed(seed)
    train, val = digits(seed, 500, 1200, noise=0.2)
    smoothing = [0.0]

    def ramp(epoch: int) -> float:
        return min(0.7, max(0.0, (epoch - 6) * 0.04))

    def criterion(z: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(z, y, label_smoothing=smoothing[0], reduction="none")

    def on_epoch(epoch: int) -> None:
        smoothing[0] = ramp(epoch)

    built = _train(
        network(64, 10), train, val, 30, seed, lr=5e-4, batch_size=32, criterion=criterion, on_epoch=on_epoch
    )
    # As capture sees it: every pass carries the smoothing of its own calls.
    built.passes = [
        replace(p, loss=LossInfo(name="cross_entropy", label_smoothing=ramp(p.epoch))) for p in built.passes
    ]
    return built


def growing_confidence(seed: int) -> RecordingBuilder:
    """Easy data and a regularised model: accuracy saturates, margins go on growing."""
    torch.manual_seed(seed)
    train, val = digits(seed, 900, 850)
    return _train(network(64, 10, (64,), 0.2), train, val, 45, seed, lr=5e-4, batch_size=32, weight_decay=0.1)


def tail_relief(seed: int) -> RecordingBuilder:
    """An over-confident network meets wrong labels: its worst mistakes soften, some right answers go."""
    torch.manual_seed(seed)
    train, val = digits(seed, 600, 1000)
    model = network(64, 10)
    _train(model, train, val, 40, seed, lr=3e-3, batch_size=32)
    train, _ = flip(train, 0.15, 10, seed)
    val, _ = flip(val, 0.15, 10, seed)
    return _train(model, train, val, 15, seed + 1, lr=3e-4, batch_size=32)


def capacity_or_noise(seed: int) -> RecordingBuilder:
    """Three hidden units for ten classes: both losses settle far above what is possible."""
    torch.manual_seed(seed)
    train, val = gaussians(seed, 3000, 1000, classes=10, dims=10, distance=3.0)
    return _train(network(10, 10, (2,)), train, val, 40, seed, lr=2e-2, batch_size=256)


def outlier_inputs(seed: int) -> RecordingBuilder:
    """Two percent of the validation inputs come on another scale."""
    torch.manual_seed(seed)
    train, val = digits(seed, 700, 1000)
    x = val[0].clone()
    few = torch.as_tensor(np.random.default_rng(seed).permutation(len(x))[:20])
    x[few] = x[few].flip(1) * 30
    return _train(network(64, 10), train, (x, val[1]), 40, seed, batch_size=32)


def capacity_or_noise_healthy(seed: int) -> RecordingBuilder:
    """The same classes, told apart better, and a network wide enough."""
    torch.manual_seed(seed)
    train, val = gaussians(seed, 3000, 1000, classes=10, dims=10, distance=6.0)
    return _train(network(10, 10, (64,)), train, val, 20, seed, lr=2e-3, batch_size=128)


def underconfidence_healthy(seed: int) -> RecordingBuilder:
    """The same mild smoothing from beginning to end: too modest, but the loss falls."""
    torch.manual_seed(seed)
    train, val = digits(seed, 500, 1200, noise=0.2)

    def criterion(z: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(z, y, label_smoothing=0.2, reduction="none")

    return _train(network(64, 10), train, val, 15, seed, lr=5e-4, batch_size=32, criterion=criterion)


def tail_relief_healthy(seed: int) -> RecordingBuilder:
    """The same second training without wrong labels."""
    torch.manual_seed(seed)
    train, val = digits(seed, 700, 1000)
    model = network(64, 10)
    _train(model, train, val, 8, seed, lr=1e-3, batch_size=32)
    return _train(model, train, val, 12, seed + 1, lr=3e-4, batch_size=32, weight_decay=0.3)


def healthy(seed: int) -> RecordingBuilder:
    """Enough data, weight decay and dropout: nothing to report."""
    torch.manual_seed(seed)
    train, val = digits(seed, 900, 850)
    return _train(network(64, 10, (64,), 0.3), train, val, 25, seed, batch_size=32, weight_decay=0.3)


def healthy_linear(seed: int) -> RecordingBuilder:
    """The right model for its data: logistic regression on Gaussian classes."""
    torch.manual_seed(seed)
    train, val = gaussians(seed, 4000, 1000)
    return _train(network(20, 5, ()), train, val, 25, seed, lr=3e-3)


SCENARIOS: dict[str, Callable[[int], RecordingBuilder]] = {
    f.__name__: f
    for f in (
        overconfidence,
        overconfidence_healthy,
        overfitting,
        overfitting_healthy,
        label_noise,
        label_noise_healthy,
        confident_errors,
        unlike_inputs,
        underconfidence,
        growing_confidence,
        underconfidence_healthy,
        tail_relief,
        tail_relief_healthy,
        capacity_or_noise,
        capacity_or_noise_healthy,
        outlier_inputs,
        healthy,
        healthy_linear,
    )
}
