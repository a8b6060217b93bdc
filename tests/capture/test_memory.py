"""A recording of a thousand epochs holds its rows, and nothing else grows."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import jupyter_lossacc as la
from jupyter_lossacc.capture.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Callable

N_VAL = 32


class Forgetful:
    """A sink that keeps nothing, so that all that stays is capture's own."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def train(epochs: int, at: tuple[int, ...], measure: Callable[[], Any]) -> list[Any]:
    """Train a small model; return what `measure` gives after the epochs `at`."""
    x, y = torch.randn(96, 4), torch.arange(96) % 3
    train_loader = DataLoader(TensorDataset(x[:64], y[:64]), 64, shuffle=True)
    val_loader = DataLoader(TensorDataset(x[64:], y[64:]), N_VAL)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    marks = []
    for epoch in range(1, epochs + 1):
        model.train()
        for xb, yb in train_loader:
            optimizer.zero_grad()
            cross_entropy(model(xb), yb).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for xb, yb in val_loader:
                cross_entropy(model(xb), yb)
        if epoch in at:
            gc.collect()
            marks.append(measure())
    return marks


def blocks_and_tensors() -> tuple[int, int]:
    """Count Python's own memory blocks, and tensors: their memory is not Python's."""
    return sys.getallocatedblocks(), sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def test_capture_stays_flat_over_a_thousand_epochs() -> None:
    with Capture(Forgetful()):  # type: ignore[arg-type]
        first, last = train(1000, (200, 1000), blocks_and_tensors)
    # Of each pass its key is remembered, to notice a second evaluation: three blocks, twice an epoch.
    assert (last[0] - first[0]) / 800 < 8
    assert last[1] <= first[1] + 2


def test_a_recording_grows_by_its_rows_alone() -> None:
    tracemalloc.start()
    try:
        with la.record("rows", store="none", view="none"):
            first, last = train(150, (50, 150), lambda: tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    row = 870 * 8 + 9 * 3 * 8  # sums for calibration and the table of classes, of one evaluation
    samples = N_VAL * 36
    step = 8 * 8
    objects = 60 * 112  # the arrays, keys and records that hold these numbers
    assert (last - first) / 100 < row + samples + step + objects
