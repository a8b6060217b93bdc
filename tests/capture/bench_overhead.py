"""What recording costs: the same loop bare and recorded, interleaved, as a ratio of process times.

Run ``make bench``, or ``python -m tests.capture.bench_overhead [rounds]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from jupyter_lossacc.capture.capture import Capture

Loop = Callable[[], int]  # runs one block and returns its number of steps


class Silent:
    """A sink that keeps nothing."""

    def run_started(self, run: int, name_hint: str) -> None: ...
    def pass_finished(self, run: int, passed: Any) -> None: ...
    def steps(self, run: int, columns: Any) -> None: ...
    def progress(self, *place: Any) -> None: ...
    def limit(self, sentence: str) -> None:
        sys.stderr.write(f"limit: {sentence}\n")


def mlp(classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, classes))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 49, 10),
    )  # fmt: skip


def fixed_tensors(classes: int, steps: int) -> Loop:
    x, y = torch.randn(64, 20), torch.randint(0, classes, (64,))
    model = mlp(classes)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def loop() -> int:
        for _ in range(steps):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return steps

    return loop


def with_loader(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> Loop:
    train = DataLoader(TensorDataset(x, y), 64, shuffle=True)
    val = DataLoader(TensorDataset(x[:256], y[:256]), 64)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def loop() -> int:
        for _ in range(epochs):
            model.train()
            for xb, yb in train:
                loss = F.cross_entropy(model(xb), yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for xb, yb in val:
                    F.cross_entropy(model(xb), yb)
        return epochs * len(train)

    return loop


def workloads() -> dict[str, Loop]:
    labels = torch.randint(0, 10, (2048,))
    many = torch.randint(0, 1000, (2048,))
    return {
        "tiny MLP, fixed tensors, K=10": fixed_tensors(10, 300),
        "tiny MLP, fixed tensors, K=1000": fixed_tensors(1000, 150),
        "tiny MLP, DataLoader, K=10": with_loader(mlp(10), torch.randn(2048, 20), labels, 4),
        "tiny MLP, DataLoader, K=1000": with_loader(mlp(1000), torch.randn(2048, 20), many, 2),
        "small CNN 28x28, K=10": with_loader(cnn(), torch.randn(2048, 1, 28, 28), labels, 1),
    }


def measure(loop: Loop, rounds: int) -> tuple[float, float, float, float]:
    """Median microseconds of a bare step, and the ratio with its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    ratios, bare = [], []
    for _ in range(rounds):
        seconds = {}
        for record in rng.permutation([False, True]):
            with Capture(Silent()) if record else nullcontext():
                began = time.process_time()
                steps = loop()
                seconds[bool(record)] = (time.process_time() - began) / steps
        ratios.append(seconds[True] / seconds[False])
        bare.append(seconds[False])
    boots = np.median(rng.choice(ratios, (2000, rounds)), axis=1)
    return 1e6 * float(np.median(bare)), float(np.median(ratios)), *np.percentile(boots, [2.5, 97.5])


def main(rounds: int = 15) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'workload':34s} {'bare step':>10s}   recorded / bare [95 %]")  # noqa: T201
    for name, loop in workloads().items():
        with Capture(Silent()):
            loop()  # first use compiles caches on both sides
        step, ratio, low, high = measure(loop, rounds)
        print(f"{name:34s} {step:7.0f} us   {ratio:.3f} [{low:.3f}, {high:.3f}]", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:2]))
