"""What recording costs: the same training bare, recorded, and measured in the usual other ways.

Run ``make bench``, or ``python examples/bench.py [ROUNDS] [WORD ...]`` for the trainings whose names
contain one of the words. Every round runs each variant once, in random order, between two bare blocks; a
ratio compares with the mean of these two. CPU time of all threads counts first, because it is steadier than
the clock on a shared machine. The variants:

in full      all samples recorded, as in the first second of every recording, its beginning included
kept short   as it goes on: the governor leaves out training samples where steps are short (all but one
             batch in N)
torchmetrics accuracy of training and validation, calibration error of validation, computed every epoch
by hand      ``losses.append(loss.item())``, ``preds.append(out.cpu())``; accuracy every epoch

The last two have no per-sample records, sample ids, gradient norms or temperatures.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

import jupyter_lossacc as la
from jupyter_lossacc.capture.reading import governor

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
SETTLE = 10.0  # seconds of recording after which the governor has found its measure


class Nothing:
    """Measures nothing."""

    def batch(self, out: Tensor, y: Tensor, loss: Tensor) -> None:
        """Take a batch."""

    def end(self) -> None:
        """Take the end of a pass."""


class Torchmetrics(Nothing):
    """Accuracy, and in evaluation the calibration error too."""

    def __init__(self, classes: int) -> None:
        self.accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self.calibration = MulticlassCalibrationError(classes, n_bins=15, validate_args=False)
        self.evaluating = False

    def batch(self, out: Tensor, y: Tensor, loss: Tensor) -> None:
        """Update the metrics."""
        out = out.detach()
        self.accuracy.update(out, y)
        if not loss.requires_grad:
            self.evaluating = True
            self.calibration.update(out, y)

    def end(self) -> None:
        """Compute them."""
        float(self.accuracy.compute())
        self.accuracy.reset()
        if self.evaluating:
            float(self.calibration.compute())
            self.calibration.reset()
            self.evaluating = False


class ByHand(Nothing):
    """Lists of predictions, as in most tutorials."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.preds: list[Tensor] = []
        self.targets: list[Tensor] = []

    def batch(self, out: Tensor, y: Tensor, loss: Tensor) -> None:
        """Append."""
        self.losses.append(loss.item())
        self.preds.append(out.detach().cpu())
        self.targets.append(y.cpu())

    def end(self) -> None:
        """Mean loss and accuracy."""
        float(np.mean(self.losses))
        float((torch.cat(self.preds).argmax(1) == torch.cat(self.targets)).float().mean())
        self.__init__()  # type: ignore[misc]


@dataclass
class Training:
    """One training: a name, and a block of it, long enough that what is written to disk falls into it."""

    name: str
    classes: int
    block: Callable[[Nothing], int]  # trains, returns the number of steps


def without_loader(name: str, model: nn.Module, classes: int, steps: int) -> Training:
    """Return a training on one fixed batch: every step is an epoch."""
    x, y = torch.randn(64, 20), torch.randint(0, classes, (64,))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def block(measure: Nothing) -> int:
        for step in range(steps):
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            measure.batch(out, y, loss)
            if step % 100 == 99:
                measure.end()
        return steps

    return Training(name, classes, block)


def with_loader(
    name: str, model: nn.Module, x: Tensor, y: Tensor, classes: int, batch: int, epochs: int = 1
) -> Training:
    """Return a training with an evaluation after every epoch, on an eighth as many samples."""
    train = DataLoader(TensorDataset(x, y), batch, shuffle=True)
    val = DataLoader(TensorDataset(x[: len(x) // 8], y[: len(x) // 8]), batch)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def predict(xb: Tensor) -> Tensor:
        out: Tensor = model(xb)
        return out.reshape(-1, classes)

    def block(measure: Nothing) -> int:
        for _ in range(epochs):
            model.train()
            for xb, yb in train:
                out, flat = predict(xb), yb.reshape(-1)
                loss = F.cross_entropy(out, flat)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                measure.batch(out, flat, loss)
            measure.end()
            model.eval()
            with torch.no_grad():
                for xb, yb in val:
                    out, flat = predict(xb), yb.reshape(-1)
                    measure.batch(out, flat, F.cross_entropy(out, flat))
            measure.end()
        return epochs * len(train)

    return Training(name, classes, block)


def mlp(classes: int) -> nn.Module:
    """Return two small layers: a step of a tenth of a millisecond."""
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, classes))


def cnn() -> nn.Module:
    """Return a small network for images of 28 by 28 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


class Block(nn.Module):
    """A residual block of ResNet-18."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n_out) for _ in range(2))
        same = stride == 1 and n_in == n_out
        self.short = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + self.short(x))


def resnet(width: int = 16) -> nn.Module:
    """Return ResNet-18's layers at a quarter of its width."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    n_in = width
    for stage in range(4):
        for block in range(2):
            layers.append(Block(n_in, width << stage, 2 if stage and not block else 1))
            n_in = width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, 10))


def transformer(vocabulary: int = 100, d: int = 64) -> nn.Module:
    """Return two layers over sequences of 32 tokens."""
    layer = nn.TransformerEncoderLayer(d, 4, 128, batch_first=True, dropout=0.0)
    return nn.Sequential(
        nn.Embedding(vocabulary, d), nn.TransformerEncoder(layer, 2), nn.Linear(d, vocabulary)
    )


def trainings() -> list[Training]:
    """Return all trainings of the table."""
    x = torch.randn(6400, 20)
    few, many = torch.randint(0, 10, (6400,)), torch.randint(0, 1000, (6400,))
    tokens = torch.randint(0, 100, (640, 33))
    return [
        without_loader("tiny MLP, fixed tensors, 10 classes", mlp(10), 10, 2500),
        without_loader("tiny MLP, fixed tensors, 1,000 classes", mlp(1000), 1000, 1000),
        with_loader("tiny MLP, DataLoader, 10 classes", mlp(10), x, few, 10, 64, epochs=5),
        with_loader("tiny MLP, DataLoader, 1,000 classes", mlp(1000), x, many, 1000, 64, epochs=5),
        with_loader("small CNN, 28x28", cnn(), torch.randn(2048, 1, 28, 28), few[:2048], 10, 64),
        with_loader("ResNet-18-like, 32x32", resnet(), torch.randn(512, 3, 32, 32), few[:512], 10, 32),
        with_loader("small transformer, 1,024 tokens", transformer(), tokens[:, :-1], tokens[:, 1:], 100, 32),
    ]


def timed(block: Callable[[], int]) -> tuple[float, float, float]:
    """Return CPU seconds (all threads) and wall seconds per step, and the block's wall seconds."""
    began = time.process_time(), time.perf_counter()
    steps = block()
    ended = time.process_time(), time.perf_counter()
    return (ended[0] - began[0]) / steps, (ended[1] - began[1]) / steps, ended[1] - began[1]


def recorded(training: Training, every: int | None, store: str) -> tuple[float, float, float, int]:
    """Run one recorded block; `every` None records all samples.

    Returns CPU and wall seconds per step, our accounted share of the wall time, and the governor's measure.
    """
    governor.GRACE = inf if every is None else 0.0
    recorder = la.record("bench", store=store, view="none")
    recorder.start()
    capture: Any = recorder._capture
    capture.governor.every = every or 1
    if every is not None:
        training.block(Nothing())  # what a recording does at its beginning only is not what goes on
    before = capture.governor.spent
    cpu, wall, total = timed(lambda: training.block(Nothing()))
    share = (capture.governor.spent - before) / total
    recorder.finish()
    return cpu, wall, share, capture.governor.every


def settled(training: Training, store: str) -> int:
    """Return one batch in how many the governor records, once it has settled."""
    governor.GRACE = 0.0
    with la.record("bench", store=store, view="none") as recorder:
        capture: Any = recorder._capture
        end = time.perf_counter() + SETTLE
        while time.perf_counter() < end:
            training.block(Nothing())
    every: int = capture.governor.every
    return every


def measure(training: Training, rounds: int, store: str) -> str:
    """Return a row of the table."""
    every = settled(training, store)
    names = ["in full", "kept short", "torchmetrics", "by hand"]
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in names}  # CPU, wall
    shares: list[float] = []
    bare = [timed(lambda: training.block(Nothing()))]
    for _ in range(rounds):
        for name in random.sample(names, len(names)):
            if name in ("in full", "kept short"):
                cpu, wall, share, _ = recorded(training, None if name == "in full" else every, store)
                if name == "kept short":
                    shares.append(share)
            else:
                observer = Torchmetrics(training.classes) if name == "torchmetrics" else ByHand()
                cpu, wall, _ = timed(lambda observer=observer: training.block(observer))  # type: ignore[misc]
            bare.append(timed(lambda: training.block(Nothing())))
            beside = [(bare[-2][i] + bare[-1][i]) / 2 for i in range(2)]
            ratios[name].append((cpu / beside[0], wall / beside[1]))
    cells = [f"{1e6 * float(np.median([cpu for cpu, *_ in bare])):,.0f} µs"]
    for name in names:
        cpu_ratios, wall_ratios = np.array(ratios[name]).T
        low, middle, high = interval(cpu_ratios)
        cells.append(f"{middle:.2f} [{low:.2f}, {high:.2f}] ({float(np.median(wall_ratios)):.2f})")
    cells.insert(3, f"1 in {every}, {100 * float(np.median(shares)):.1f} %")
    return f"| {training.name} | {' | '.join(cells)} |"


def interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Median with the 95 % bootstrap interval of the median."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(np.median(ratios)), float(high)


def main(rounds: int, words: list[str]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("CPU time over bare, median [95 %] (wall time); `accounted`: the governor's measure, own time.\n")
    print("| training | bare step | in full | kept short | accounted | torchmetrics | by hand |")
    print("| --- | ---: | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as directory:
        for training in trainings():
            if not words or any(word in training.name for word in words):
                training.block(Nothing())
                print(measure(training, rounds, directory), flush=True)


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[1:] if a.isdigit()]
    main(numbers[0] if numbers else ROUNDS, [a for a in sys.argv[1:] if not a.isdigit()])
