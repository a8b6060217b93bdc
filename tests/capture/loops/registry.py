"""The list of loop styles, and the few functions that many of them share.

``TRUTH`` is the only thing in a loop that is not a user's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tests.capture.truth import EPOCHS, TRUTH, Net, make_loaders

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.capture.truth import Judge

WEIGHTS = torch.tensor([1.0, 2.0, 0.5])


@dataclass(frozen=True)
class Expected:
    """What the truth of one style needs to know.

    Parameters
    ----------
    items : str
        What the style stands for in the table of README.md, separated by semicolons.
    weights : Tensor, optional
        Class weights: a weighted mean divides by the weights of its targets.
    judge : callable, optional
        What the predictions are worth, where targets are not the classes of `make_data`.
    limits : tuple of str
        A part of every sentence that ``run.limits`` has to contain; nothing else may be there.
    skip : tuple of str
        What `truth.check` cannot judge here because the limits say that it is not known.
    """

    items: str
    weights: Tensor | None = None
    judge: Judge | None = None
    limits: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()


LOOPS: dict[str, Callable[[], Any]] = {}
EXPECTED: dict[str, Expected] = {}


def loop(items: str, **expected: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Enter a style; see `Expected`."""

    def enter(function: Callable[[], Any]) -> Callable[[], Any]:
        LOOPS[function.__name__] = function
        EXPECTED[function.__name__] = Expected(items, **expected)
        return function

    return enter


def sgd(model: nn.Module, rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), rate)


def train_one(
    model: nn.Module, loader: Any, criterion: Any, optimizer: Any, epoch: int, run: int = 0
) -> None:
    TRUTH.at("train", epoch, run)
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def evaluate(
    model: nn.Module, loader: Any, criterion: Any, epoch: int, split: str = "val", run: int = 0
) -> float:
    TRUTH.at(split, epoch, run)
    model.eval()
    total = 0.0
    for xb, yb in loader:
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        total += loss.item() * len(xb)
    return total


def fit(criterion: Any, model: nn.Module | None = None, dataset: Any = None, **options: Any) -> None:
    train_loader, val_loader, _ = make_loaders(dataset, **options)
    model = model or Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)
