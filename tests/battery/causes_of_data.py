"""Trainings whose cause lies in the data or their splits, and their twins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from tests.battery.causes_of_training import TEST, adam, flip, modest, setup
from tests.battery.loop import Setup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.battery.families import Family


# ---- labels and inputs


def clean_labels(f: Family, seed: int) -> Setup:
    """Easy data with right labels and a modest model."""
    return modest(f, seed, spread=f.easy, epochs=12)


def _sure(f: Family, seed: int, epochs: int = 28) -> Setup:
    """Train long on easy data: the model is sure, and nearly always right."""
    return setup(f, seed, n=f.many // 2, spread=f.easy, epochs=epochs, rate=2 * f.rate)


def confident_errors(f: Family, seed: int) -> Setup:
    """One validation label in fifty is that of another class."""
    s = _sure(f, seed)
    s.val, flipped = flip(s.val, 0.02, f.classes, seed)
    s.truth = {"samples": float(flipped.sum())}
    return s


def label_noise(f: Family, seed: int) -> Setup:
    """One validation label in ten is wrong."""
    s = _sure(f, seed)
    s.val, flipped = flip(s.val, 0.10, f.classes, seed)
    s.truth = {"wrong labels, noise-floor fit": float(flipped.float().mean())}
    return s


def label_noise_everywhere(f: Family, seed: int) -> Setup:
    """Fifteen labels in a hundred are wrong, in training and validation."""
    s = setup(f, seed, n=f.many, spread=f.easy, epochs=24, rate=1.5 * f.rate, batch=64)
    s.train, _ = flip(s.train, 0.15, f.classes, seed)
    s.val, flipped = flip(s.val, 0.15, f.classes, seed + 50)
    s.truth = {"wrong labels, noise-floor fit": float(flipped.float().mean())}
    return s


def rescaled(x: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Enlarge and disorder two inputs in a hundred; also say which."""
    x = x.clone()
    few = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: len(x) // 50]
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(3))
    x[few] = 40 * x[few][:, order]
    return x, few


def outlier_inputs(f: Family, seed: int) -> Setup:
    """Two validation inputs in a hundred come on another scale."""
    s = _sure(f, seed)
    x, few = rescaled(s.val[0], seed)
    s.val = (x, s.val[1])
    s.truth = {"samples": float(len(few))}
    return s


# ---- classes


def _two(
    f: Family, seed: int, counts: Sequence[int], held_out: Sequence[int], spread: float, **rest: object
) -> Setup:
    """Train on given numbers of samples per class."""
    options: dict[str, object] = {"epochs": 30, "dropout": 0.0, "decay": 0.0, "rate": f.rate, **rest}
    model = f.network(len(counts), f.width, float(options.pop("dropout")))  # type: ignore[arg-type]
    test = [TEST * c // sum(held_out) for c in held_out]
    return Setup(
        model=model,
        train=f.draw(counts, seed, "train", spread),
        val=f.draw(held_out, seed, "val", spread),
        test=f.draw(test, seed, "test", spread),
        epochs=int(options.pop("epochs")),  # type: ignore[call-overload]
        optimizer=adam(model, float(options.pop("rate")), float(options.pop("decay"))),  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )


def imbalance(f: Family, seed: int) -> Setup:
    """One sample in ten belongs to the second class, and the two overlap."""
    n, m = f.few, f.held_out
    return _two(f, seed, [n - n // 10, n // 10], [m - m // 10, m // 10], f.two, epochs=40, rate=1.5 * f.rate)


def balanced(f: Family, seed: int) -> Setup:
    """As many of each, a modest model, a stop."""
    n, m = min(f.many, 160 if f.name == "digits" else f.many), f.held_out
    return _two(
        f, seed, [n // 2] * 2, [m // 2] * 2, f.two, epochs=8, dropout=0.3, decay=0.3, rate=0.7 * f.rate
    )


def collapse(f: Family, seed: int) -> Setup:
    """One sample in twenty belongs to the second class, and the inputs do not say which."""
    m = f.held_out
    s = _two(
        f,
        seed,
        [760, 40],
        [m - m // 20, m // 20],
        f.hard,
        epochs=14,
        dropout=0.3,
        decay=0.3,
        rate=0.5 * f.rate,
    )
    for split in (s.train, s.val, s.test):
        split[1].copy_(split[1][torch.randperm(len(split[1]), generator=torch.Generator().manual_seed(seed))])
    s.truth = {"accuracy": 1 - (m // 20) / (m - m // 20 + m // 20)}
    return s


def rare_but_told(f: Family, seed: int) -> Setup:
    """As few of the second class, told apart by their inputs."""
    m = f.held_out
    return _two(
        f, seed, [760, 40], [m - m // 20, m // 20], f.easy, epochs=14, dropout=0.3, decay=0.3, rate=f.rate
    )


def divergence(f: Family, seed: int) -> Setup:
    """Half of the classes repeat a few samples, the other half have many."""
    k = f.classes - f.classes % 2
    each = f.many // (2 * k)
    s = _two(f, seed, [each] * k, [f.held_out // k] * k, (f.easy + f.hard) / 2, epochs=18, rate=0.6 * f.rate)
    x, y = s.train
    rows = []
    for c in range(k):
        mine = torch.nonzero(y == c).squeeze(1)
        rows.append(mine[: max(each // 20, 4)].repeat(20)[:each] if c < k // 2 else mine)
    keep = torch.cat(rows)
    s.train = (x[keep], y[keep])
    return s


def converging(f: Family, seed: int) -> Setup:
    """Every class has many samples."""
    k = f.classes - f.classes % 2
    return _two(
        f,
        seed,
        [f.many // k] * k,
        [f.held_out // k] * k,
        (f.easy + f.hard) / 2,
        epochs=10,
        rate=0.6 * f.rate,
        dropout=0.3,
        decay=0.3,
    )


def weights_changed(f: Family, seed: int) -> Setup:
    """The weight of a rare class grows from 1 to 9, in training and validation alike."""
    weight = torch.ones(2)

    def grow(epoch: int) -> None:
        weight[1] = 1 + 0.5 * max(0, epoch - 4)

    return _weighted(f, seed, weight, on_epoch=grow)


def weights_fixed(f: Family, seed: int) -> Setup:
    """The same weight of 3 throughout."""
    return _weighted(f, seed, torch.tensor([1.0, 3.0]))


def _weighted(f: Family, seed: int, weight: torch.Tensor, **rest: object) -> Setup:
    m = f.held_out
    return _two(
        f,
        seed,
        [720, 80],
        [m - m // 10, m // 10],
        (f.easy + f.hard) / 2,
        epochs=18,
        dropout=0.3,
        decay=0.3,
        rate=0.4 * f.rate,
        criterion=nn.CrossEntropyLoss(weight=weight),
        **rest,
    )


# ---- splits


def label_shift(f: Family, seed: int) -> Setup:
    """Training holds three classes evenly, validation six to two to one."""
    m = f.held_out // 9
    s = _two(f, seed, [150] * 3, [6 * m, 2 * m, m], f.easy, epochs=8, dropout=0.2, decay=0.1)
    shares = np.array([6, 2, 1]) / 9
    s.truth = {"total variation between the proportions": float(0.5 * np.abs(shares - 1 / 3).sum())}
    return s


def same_proportions(f: Family, seed: int) -> Setup:
    """Both hold them evenly."""
    return _two(f, seed, [150] * 3, [f.held_out // 3] * 3, f.easy, epochs=8, dropout=0.2, decay=0.1)


def _with_test(f: Family, seed: int) -> Setup:
    s = setup(f, seed, n=f.many, spread=f.easy, epochs=10, dropout=0.2, decay=0.1)
    s.others = {"test": f.even(800, seed + 100, "test", f.easy)}
    return s


def split_mismatch(f: Family, seed: int) -> Setup:
    """Validation samples come from a harder source than training and a second held-out split."""
    s = _with_test(f, seed)
    s.val = f.even(f.held_out, seed, "val", f.hard)
    return s


def like_splits(f: Family, seed: int) -> Setup:
    """Both held-out splits come from one source."""
    return _with_test(f, seed)


def _in_one(f: Family, seed: int, first: int) -> Setup:
    s = setup(f, seed, n=600, spread=f.easy, epochs=7, dropout=0.2, decay=0.1)
    data = TensorDataset(*s.train)
    s.data = (Subset(data, range(400)), Subset(data, range(first, len(s.train[0]))))
    s.train_evaluated = True
    s.truth = {"samples in both splits": float(400 - first)}
    return s


def split_overlap(f: Family, seed: int) -> Setup:
    """A hundred samples stand in training and validation."""
    return _in_one(f, seed, 300)


def apart(f: Family, seed: int) -> Setup:
    """One dataset cut in two."""
    return _in_one(f, seed, 400)


def unshuffled(f: Family, seed: int) -> Setup:
    """Training samples sorted by class and never shuffled."""
    s = setup(f, seed, n=f.many // 2, spread=f.easy, epochs=12, shuffle=False)
    order = torch.argsort(s.train[1], stable=True)
    s.train = (s.train[0][order], s.train[1][order])
    return s


def shuffled(f: Family, seed: int) -> Setup:
    """The same samples in random order."""
    return modest(f, seed, spread=f.easy, epochs=10)
