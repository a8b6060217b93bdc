"""Small real trainings whose cause is known by construction, each with a healthy twin.

Data are Gaussian classes around random centres: any number of samples, any class proportions, and
known irreducible error, in a second or two on one core.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from jupyter_lossacc.records import Episode, EpisodeKind, LossInfo, Pass, Recording
from jupyter_lossacc.stats.estimate import Estimate
from tests.recordings import RecordingBuilder, train_and_record

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "PAIRS",
    "class_divergence",
    "class_weights",
    "collapse",
    "double_softmax",
    "draw",
    "episode_of",
    "held_out",
    "imbalance",
    "label_shift",
    "misaligned",
    "mlp",
    "optimiser",
    "overlap",
    "unshuffled",
]


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


Split = tuple[Tensor, Tensor]


def _adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


def _sgd(model: nn.Module, lr: float, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)


def collapse(seed: int, *, informative: bool = False, rare: float = 0.05) -> RecordingBuilder:
    """Five percent of a second class whose inputs say nothing about it; `informative` is the twin."""
    rng = np.random.default_rng(seed)

    def make(n: int) -> Split:
        y = (rng.random(n) < rare).astype(np.int64)
        x = rng.normal(size=(n, 10)) + (3.0 * y[:, None] * np.eye(10)[0] if informative else 0.0)
        return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)

    model = mlp(10, 2, 16, seed=seed)
    return train_and_record(model, make(800), make(1000), epochs=15, optimizer=_adam(model, 3e-3), seed=seed)


def class_divergence(seed: int, *, mixed: bool = True) -> RecordingBuilder:
    """Half of the classes see a few samples over and over, half see many different ones.

    The twin (`mixed=False`) repeats the samples of every class alike.
    """
    x, y = draw([240] * 6, spread=2.6, seed=seed)
    rows = []
    for k in range(6):
        mine = np.flatnonzero((y == k).numpy())
        many = np.tile(mine[:40], 6) if not mixed else mine
        rows.append(np.tile(mine[:12], 20) if mixed and k < 3 else many)
    keep = torch.as_tensor(np.concatenate(rows))
    model = mlp(20, 6, seed=seed)
    val = draw([200] * 6, spread=2.6, seed=10_000 + seed)
    return train_and_record(
        model, (x[keep], y[keep]), val, epochs=20, optimizer=_adam(model, 5e-4), seed=seed
    )


def double_softmax(seed: int, *, twice: bool = True) -> RecordingBuilder:
    """A softmax at the end of the model, and cross-entropy on top of it; the twin has it once."""
    model = mlp(20, 5, seed=seed)
    if twice:
        model.append(nn.Softmax(dim=1))
    loss = LossInfo(name="cross_entropy", on_simplex=twice)
    train, val = draw([100] * 5, spread=1.5, seed=seed), draw([100] * 5, spread=1.5, seed=10_000 + seed)
    return train_and_record(model, train, val, epochs=10, optimizer=_adam(model), loss=loss, seed=seed)


def misaligned(seed: int, *, on_probabilities: bool = False) -> RecordingBuilder:
    """Trained with cross-entropy, watched by the squared error of the logits (twin: of the probabilities)."""
    model = mlp(20, 5, seed=seed)
    train, val = draw([100] * 5, spread=1.5, seed=seed), draw([150] * 5, spread=1.5, seed=10_000 + seed)
    watched = RecordingBuilder("misaligned", LossInfo(name="mse_loss"))

    def watch(epoch: int) -> None:
        if epoch == 1:
            return
        with torch.no_grad():
            z = model(val[0])
            outputs = z.softmax(1) if on_probabilities else z
            error = ((outputs - nn.functional.one_hot(val[1], 5)) ** 2).mean(1)
        watched.add("val", epoch - 1, epoch - 1, z, val[1], reported=error.numpy())

    train_and_record(model, train, val, epochs=13, optimizer=_adam(model), seed=seed, on_epoch=watch)
    return watched


def label_shift(seed: int, *, shifted: bool = True) -> RecordingBuilder:
    """Training holds the classes 1:1:1, validation 6:2:1; the twin holds them alike."""
    val = [400, 130, 70] if shifted else [200, 200, 200]
    model = mlp(20, 3, 32, seed=seed)
    return train_and_record(
        model,
        draw([150] * 3, spread=1.5, seed=seed),
        draw(val, spread=1.5, seed=10_000 + seed),
        epochs=5,
        optimizer=_adam(model),
        seed=seed,
    )


def unshuffled(seed: int, *, shuffle: bool = False) -> RecordingBuilder:
    """Training data sorted by class and never shuffled."""
    x, y = draw([120] * 5, spread=1.5, seed=seed)
    order = torch.argsort(y, stable=True)
    model = mlp(20, 5, seed=seed)
    return train_and_record(
        model,
        (x[order], y[order]),
        draw([60] * 5, spread=1.5, seed=10_000 + seed),
        epochs=8,
        optimizer=_sgd(model, 0.05),
        batch_size=32,
        shuffle=shuffle,
        seed=seed,
    )


def class_weights(seed: int, *, changing: bool = True) -> RecordingBuilder:
    """The weight of a rare class rises from 1 to 9 during training, in training and validation alike."""
    weight = torch.ones(2, dtype=torch.float64)
    train, val = draw([540, 60], spread=2.5, seed=seed), draw([900, 100], spread=2.5, seed=10_000 + seed)
    model = mlp(20, 2, 32, seed=seed)
    infos: dict[int, LossInfo] = {}

    def on_epoch(epoch: int) -> None:
        weight[1] = 1 + (0.5 * max(0, epoch - 4) if changing else 2.0)
        infos[epoch] = LossInfo(name="cross_entropy", class_weights=weight.numpy().copy())

    def criterion(z: Tensor, y: Tensor) -> Tensor:
        # Per sample so that the mean is torch's weighted mean over the batch.
        w = weight.float()[y]
        return nn.functional.cross_entropy(z, y, reduction="none") * w * len(y) / w.sum()

    builder = train_and_record(
        model,
        train,
        val,
        epochs=20,
        optimizer=_adam(model),
        criterion=criterion,
        on_epoch=on_epoch,
        seed=seed,
    )
    builder.passes = [replace(p, loss=infos[p.epoch]) for p in builder.passes]
    return builder


def held_out(seed: int, *, noise: float = 2.5) -> RecordingBuilder:
    """Validation inputs are noisier than training and test inputs; `noise=0` is the twin."""
    model = mlp(20, 5, seed=seed)
    x, y = draw([120] * 5, spread=1.5, seed=10_000 + seed)
    x = x + noise * torch.as_tensor(np.random.default_rng(seed).normal(size=x.shape), dtype=torch.float32)
    test = draw([100] * 5, spread=1.5, seed=20_000 + seed)
    return train_and_record(
        model,
        draw([100] * 5, spread=1.5, seed=seed),
        (x, y),
        epochs=8,
        optimizer=_adam(model, 3e-3),
        extra=[("test", test)],
        seed=seed,
    )


def overlap(seed: int, *, shared: bool = True) -> RecordingBuilder:
    """Validation samples that also stand in the training set, which is evaluated too (ids as in Subsets)."""
    train, val = draw([60] * 5, spread=1.5, seed=seed), draw([60] * 5, spread=1.5, seed=10_000 + seed)
    if shared:
        val = (torch.cat([train[0][:100], val[0][100:]]), torch.cat([train[1][:100], val[1][100:]]))
    model = mlp(20, 5, 32, seed=seed)
    builder = train_and_record(
        model, train, val, epochs=4, optimizer=_adam(model), extra=[("train_eval", train)], seed=seed
    )
    if shared:  # one dataset: the samples of validation that are its own have ids behind the training's
        builder.passes = [_shift_ids(p) if p.split == "val" else p for p in builder.passes]
    return builder


def _shift_ids(p: Pass) -> Pass:
    ids = p.predictions.sample_ids.copy()
    ids[100:] += 1000
    return replace(p, predictions=replace(p.predictions, sample_ids=ids))


def optimiser(
    seed: int, *, lr: float, batch: int = 64, momentum: float = 0.9, epochs: int = 12, bias: float = 0.0
) -> RecordingBuilder:
    """Ten overlapping classes trained by SGD; the rate, the batch and the initial bias are the cause."""
    model = mlp(20, 10, seed=seed)
    if bias:
        with torch.no_grad():
            for layer in model:
                if isinstance(layer, nn.Linear) and layer.out_features != 10:
                    layer.bias.fill_(bias)
    return train_and_record(
        model,
        draw([40] * 10, spread=1.5, seed=seed),
        draw([20] * 10, spread=1.5, seed=10_000 + seed),
        epochs=epochs,
        optimizer=_sgd(model, lr, momentum),
        batch_size=batch,
        seed=seed,
    )


# Cause -> (a training that has it, its healthy twin); both take a seed.
PAIRS: dict[str, tuple[Callable[[int], RecordingBuilder], Callable[[int], RecordingBuilder]]] = {
    "class_imbalance": (imbalance, partial(imbalance, rare=300, common=300)),
    "majority_collapse": (collapse, partial(collapse, informative=True)),
    "class_divergence": (class_divergence, partial(class_divergence, mixed=False)),
    "double_softmax": (double_softmax, partial(double_softmax, twice=False)),
    "misaligned_loss": (misaligned, partial(misaligned, on_probabilities=True)),
    "class_weights_changed": (class_weights, partial(class_weights, changing=False)),
    "label_shift": (label_shift, partial(label_shift, shifted=False)),
    "split_mismatch": (held_out, partial(held_out, noise=0.0)),
    "split_overlap": (overlap, partial(overlap, shared=False)),
    "unshuffled_training": (unshuffled, partial(unshuffled, shuffle=True)),
    "learning_rate_too_high": (partial(optimiser, lr=2.0), partial(optimiser, lr=0.05)),
    "learning_rate_too_low": (partial(optimiser, lr=1e-4), partial(optimiser, lr=0.05)),
    "gradient_noise": (partial(optimiser, lr=0.015, batch=2), partial(optimiser, lr=0.015, batch=64)),
    "dead_activations": (partial(optimiser, lr=0.02, bias=-12.0), partial(optimiser, lr=0.05)),
}
