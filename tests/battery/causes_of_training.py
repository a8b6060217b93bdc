"""Trainings whose cause lies in the model, the criterion or the optimiser, and their twins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.battery.loop import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.records import EpochSummary, Recording
    from tests.battery.families import Family

TEST = 1500


def adam(model: nn.Module, rate: float, decay: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)


def sgd(model: nn.Module, rate: float, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)


def setup(
    f: Family,
    seed: int,
    *,
    n: int,
    spread: float,
    epochs: int,
    rate: float | None = None,
    dropout: float = 0.0,
    width: int = 0,
    decay: float = 0.0,
    model: nn.Module | None = None,
    **rest: object,
) -> Setup:
    """Train the family's network by Adam on `n` samples of every class alike."""
    network = model or f.network(f.classes, width or f.width, dropout)
    return Setup(
        model=network,
        train=f.even(n, seed, "train", spread),
        val=f.even(f.held_out, seed, "val", spread),
        test=f.even(TEST, seed, "test", spread),
        epochs=epochs,
        optimizer=adam(network, f.rate if rate is None else rate, decay),
        **rest,  # type: ignore[arg-type]
    )


def modest(f: Family, seed: int, **rest: object) -> Setup:
    """Enough samples, dropout and weight decay, and a stop before the turn: nothing to report."""
    options: dict[str, object] = {"n": f.many, "spread": f.hard, "epochs": 10, "dropout": 0.3, "decay": 0.3}
    options |= {"rate": 0.7 * f.rate, "batch": 64}
    return setup(f, seed, **(options | rest))  # type: ignore[arg-type]


# ---- the model


def overconfidence(f: Family, seed: int) -> Setup:
    """Few samples and a wide network: the logits grow long after the training samples are right."""
    return setup(f, seed, n=f.few, spread=f.hard, epochs=36, width=2 * f.width, rate=1.5 * f.rate)


class OneLogit(nn.Module):
    """Binary cross-entropy of one logit per sample."""

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z.squeeze(1), y.float())


def _binary(f: Family, seed: int, *, n: int, epochs: int, dropout: float, decay: float, rate: float) -> Setup:
    model = f.network(1, f.width, dropout)
    return Setup(
        model=model,
        train=f.even(n, seed, "train", f.two, 2),
        val=f.even(f.held_out, seed, "val", f.two, 2),
        test=f.even(TEST, seed, "test", f.two, 2),
        epochs=epochs,
        optimizer=adam(model, rate, decay),
        criterion=OneLogit(),
        says="one logit",
    )


def one_logit(f: Family, seed: int) -> Setup:
    """The same with two classes and one logit."""
    return _binary(f, seed, n=f.few // 2, epochs=36, dropout=0.0, decay=0.0, rate=2 * f.rate)


def one_logit_modest(f: Family, seed: int) -> Setup:
    """Two classes, enough samples, stopped early."""
    n = min(f.many, 300) if f.name == "digits" else f.many
    return _binary(f, seed, n=n, epochs=8, dropout=0.3, decay=0.3, rate=0.5 * f.rate)


def flip(
    split: tuple[Tensor, Tensor], rate: float, classes: int, seed: int
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Replace a share of the labels by another class at random; also say which."""
    rng = torch.Generator().manual_seed(7000 + seed)
    flipped = torch.rand(len(split[1]), generator=rng) < rate
    other = (split[1] + torch.randint(1, classes, split[1].shape, generator=rng)) % classes
    return (split[0], torch.where(flipped, other, split[1])), flipped


def overfitting(f: Family, seed: int) -> Setup:
    """A third of the training labels are wrong and get memorised, at the cost of what was learned."""
    s = setup(
        f, seed, n=2 * f.few, spread=(f.easy + f.hard) / 2, epochs=35, width=2 * f.width, rate=1.5 * f.rate
    )
    s.train, _ = flip(s.train, 0.35, f.classes, seed)
    return s


def overfitting_healthy(f: Family, seed: int) -> Setup:
    """The same wrong labels in many more samples, a smaller network, and a stop."""
    s = modest(f, seed, spread=(f.easy + f.hard) / 2, epochs=8, width=f.width // 2)
    s.train, _ = flip(s.train, 0.35, f.classes, seed)
    return s


def underconfidence(f: Family, seed: int) -> Setup:
    """Label smoothing that grows while the model still learns."""
    s = setup(f, seed, n=f.many, spread=(f.easy + f.hard) / 2, epochs=22, rate=0.7 * f.rate, batch=64)
    criterion = nn.CrossEntropyLoss()

    def grow(epoch: int) -> None:
        criterion.label_smoothing = min(0.75, max(0.0, (epoch - 5) * 0.06))

    s.criterion, s.on_epoch = criterion, grow
    return s


def smoothing_from_the_start(f: Family, seed: int) -> Setup:
    """The same mild smoothing throughout."""
    return modest(f, seed, criterion=nn.CrossEntropyLoss(label_smoothing=0.1))


def growing_confidence(f: Family, seed: int) -> Setup:
    """Easy data and a regularised model: accuracy saturates while margins go on growing."""
    return setup(
        f, seed, n=f.many, spread=f.easy, epochs=35, rate=0.4 * f.rate, dropout=0.2, decay=0.1, batch=64
    )


def growing_stopped(f: Family, seed: int) -> Setup:
    """The same, stopped while it still learns."""
    return setup(
        f, seed, n=f.many, spread=f.easy, epochs=5, rate=0.4 * f.rate, dropout=0.2, decay=0.1, batch=64
    )


def tail_relief(f: Family, seed: int) -> Setup:
    """An over-confident network meets wrong labels: its worst mistakes soften, right answers go."""
    s = setup(f, seed, n=2 * f.few, spread=(f.easy + f.hard) / 2, epochs=14, rate=0.3 * f.rate)
    s.train, _ = flip(s.train, 0.2, f.classes, seed)
    s.val, _ = flip(s.val, 0.2, f.classes, seed + 50)
    clean = f.even(2 * f.few, seed, "train", (f.easy + f.hard) / 2)
    before = adam(s.model, 2 * f.rate)
    rng = torch.Generator().manual_seed(seed)
    for _ in range(25):
        for batch in torch.randperm(len(clean[0]), generator=rng).split(32):
            before.zero_grad()
            F.cross_entropy(s.model(clean[0][batch]), clean[1][batch]).backward()
            before.step()
    return s


def tail_relief_healthy(f: Family, seed: int) -> Setup:
    """A modest network goes on training on clean labels."""
    s = modest(f, seed, epochs=10, rate=0.3 * f.rate)
    before = adam(s.model, f.rate, 0.3)
    for batch in torch.randperm(len(s.train[0]), generator=torch.Generator().manual_seed(seed)).split(32):
        before.zero_grad()
        F.cross_entropy(s.model(s.train[0][batch]), s.train[1][batch]).backward()
        before.step()
    return s


def _settling(s: Setup, epochs: int) -> Setup:
    """Let the rate fall to a hundredth, so that the training comes to rest."""
    group = s.optimizer.param_groups[0]
    rate = group["lr"]

    def on_epoch(epoch: int) -> None:
        group["lr"] = rate * (1.0 if epoch <= epochs // 2 else 0.1 if epoch <= 3 * epochs // 4 else 0.01)

    s.on_epoch = on_epoch
    return s


def capacity(f: Family, seed: int) -> Setup:
    """A network that cannot tell all classes apart, trained until it stands still."""
    s = setup(f, seed, n=f.many, spread=f.easy, epochs=32, rate=15 * f.rate, model=f.small(f.classes))
    return _settling(s, 32)


def capacity_healthy(f: Family, seed: int) -> Setup:
    """The network without the neck, on the same data."""
    return setup(f, seed, n=f.many, spread=f.easy, epochs=12, dropout=0.2, decay=0.1, batch=64)


def noise(f: Family, seed: int) -> Setup:
    """40 % of all labels are drawn at random, of so many samples that none can be memorised."""
    s = setup(f, seed, n=f.many, spread=f.easy, epochs=20, rate=2 * f.rate, batch=64, decay=0.3, width=8)
    s = _settling(s, 20)
    s.train, _ = flip(s.train, 0.4, f.classes, seed)
    s.val, _ = flip(s.val, 0.4, f.classes, seed + 50)
    return s


def fluctuation(f: Family, seed: int) -> Setup:
    """A healthy training watched on 150 samples: everything moves, nothing goes anywhere."""
    s = modest(f, seed, epochs=16, rate=0.5 * f.rate, decay=0.5)
    s.val = f.even(150, seed, "val", f.hard)
    return s


# ---- the criterion


def _squared(on_probabilities: bool, classes: int) -> Callable[[Tensor, Tensor], Tensor]:
    def watch(z: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(z.softmax(1) if on_probabilities else z, F.one_hot(y, classes).float())

    return watch


def misaligned(f: Family, seed: int) -> Setup:
    """Trained by cross-entropy, watched by the squared error of the logits."""
    return setup(
        f,
        seed,
        n=f.many,
        spread=f.easy,
        epochs=15,
        dropout=0.1,
        watch=_squared(False, f.classes),
        rate=f.rate,
    )


def aligned(f: Family, seed: int) -> Setup:
    """Watched by the squared error of the probabilities."""
    return setup(f, seed, n=f.many, spread=f.easy, epochs=15, dropout=0.1, watch=_squared(True, f.classes))


def double_softmax(f: Family, seed: int) -> Setup:
    """A softmax at the end of the model under cross-entropy."""
    model = nn.Sequential(f.network(f.classes, f.width, 0.1), nn.Softmax(dim=1))
    return setup(f, seed, n=f.many, spread=f.easy, epochs=15, model=model, batch=64)


def single_softmax(f: Family, seed: int) -> Setup:
    """The same without it."""
    return setup(f, seed, n=f.many, spread=f.easy, epochs=10, dropout=0.2, decay=0.1)


def averaging(f: Family, seed: int) -> Setup:
    """The curve is a mean of batch means, and the last batch holds four ever harder samples."""
    s = setup(f, seed, n=f.few, spread=f.hard, epochs=20, decay=0.3)
    s.after = _mean_of_batches
    return s


def averaging_healthy(f: Family, seed: int) -> Setup:
    """The curve of a healthy run averaged over samples."""
    return modest(f, seed)


def _mean_of_batches(recording: Recording) -> Recording:
    """Report the mean of two means: of the four samples with the largest losses, and of all others."""

    def report(s: EpochSummary) -> EpochSummary:
        if s.split == "train":
            return s
        loss = np.sort(recording.load(s.key).nll.astype(np.float64))
        return replace(s, reported_loss=float((loss[:-4].mean() + loss[-4:].mean()) / 2))

    return replace(recording, summaries=tuple(report(s) for s in recording.summaries))


# ---- the loop


def evaluates_in_training_mode(f: Family, seed: int) -> Setup:
    """`model.eval()` is forgotten, with dropout in the model."""
    return modest(f, seed, dropout=0.5, evaluates_in="train")


def trains_in_evaluation_mode(f: Family, seed: int) -> Setup:
    """`model.train()` is forgotten after the first validation."""
    return modest(f, seed, dropout=0.5, trains_in=("train", "eval"), epochs=8)


def modest_modes(f: Family, seed: int) -> Setup:
    """The same model in the right modes."""
    return modest(f, seed, dropout=0.5, epochs=8)


def dead_units(f: Family, seed: int) -> Setup:
    """Hidden biases so low that no unit ever fires."""
    s = setup(f, seed, n=f.many // 2, spread=f.easy, epochs=12)
    with torch.no_grad():
        layers = [m for m in s.model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))]
        for layer in layers[:-1]:
            layer.bias.fill_(-20.0)  # type: ignore[union-attr]
    return s


def living_units(f: Family, seed: int) -> Setup:
    """The framework's own initialisation."""
    return setup(f, seed, n=f.many // 2, spread=f.easy, epochs=8, dropout=0.2, decay=0.1)


def _by_sgd(f: Family, seed: int, rate: float, batch: int, epochs: int = 14) -> Setup:
    s = setup(f, seed, n=f.many // 2, spread=(f.easy + f.hard) / 2, epochs=epochs, batch=batch)
    s.optimizer = sgd(s.model, rate)
    return s


def rate_too_high(f: Family, seed: int) -> Setup:
    """A learning rate a hundred times too large."""
    return _by_sgd(f, seed, 2.0, 64)


def rate_too_low(f: Family, seed: int) -> Setup:
    """A learning rate a thousand times too small."""
    return _by_sgd(f, seed, 2e-5, 64)


def rate_healthy(f: Family, seed: int) -> Setup:
    """A rate that suits the network, enough samples, and a stop."""
    s = modest(f, seed, spread=(f.easy + f.hard) / 2, batch=64)
    s.optimizer = sgd(s.model, 0.02)
    return s


def tiny_batches(f: Family, seed: int) -> Setup:
    """Batches of two at a rate that suits batches of 64."""
    s = _by_sgd(f, seed, f.sgd, 2, epochs=10)
    few = torch.randperm(len(s.train[0]), generator=torch.Generator().manual_seed(seed))[:500]
    s.train = (s.train[0][few], s.train[1][few])
    return s
