"""Failures of ours, wherever they may happen: every function in turn raises at its first call.

The functions are those that a recorded training is seen to call, so a new one is covered the day it
is written.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import jupyter_lossacc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

PACKAGE = str(Path(jupyter_lossacc.__file__).parent)


class InjectedError(RuntimeError):
    """Not one that any code of ours expects."""


def small_training(epochs: int = 1) -> tuple[Any, ...]:
    """Everything a training leaves: its losses, weights, optimiser state and random streams."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(36, 5, generator=generator), torch.arange(36) % 3
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    train = DataLoader(TensorDataset(x[:24], y[:24]), 8, shuffle=True)
    val = DataLoader(TensorDataset(x[24:], y[24:]), 8)
    losses = []
    for _ in range(epochs):
        model.train()
        for xb, yb in train:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(xb), yb)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            losses += [nn.functional.cross_entropy(model(xb), yb).item() for xb, yb in val]
    picked = x[torch.tensor([1, 2])]  # an index that is no batch
    state = [s["momentum_buffer"].clone() for s in optimizer.state.values()]
    weights = [p.detach().clone() for p in model.parameters()]
    return losses, weights, state, picked, torch.get_rng_state()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, (list, tuple)) else a == b


def name_of(code: CodeType) -> str:
    path = Path(code.co_filename).relative_to(PACKAGE).with_suffix("").as_posix()
    return f"{path}:{getattr(code, 'co_qualname', code.co_name)}"


@contextmanager
def traced(trace: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    """Call `trace` at the beginning of every Python function, in all threads that start inside."""
    before = sys.gettrace()
    threading.settrace(trace)  # type: ignore[arg-type]
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(None)  # type: ignore[arg-type]


def functions_called(run: Callable[[], Any], *folders: str) -> list[CodeType]:
    """Every function of ours below `folders` that `run` calls, in the order of the first calls."""
    found: dict[CodeType, None] = {}
    below = tuple(f"{PACKAGE}/{folder}/" for folder in folders)

    def collect(frame: FrameType, event: str, arg: Any) -> None:
        if frame.f_code.co_filename.startswith(below):
            found[frame.f_code] = None

    with traced(collect):
        run()
    return list(found)


@contextmanager
def failing(code: CodeType) -> Iterator[list[bool]]:
    """Raise when `code` is called for the first time; the list says whether it was."""
    hit: list[bool] = []

    def inject(frame: FrameType, event: str, arg: Any) -> None:
        if frame.f_code is code and not hit:
            hit.append(True)
            raise InjectedError("injected")

    with traced(inject):
        yield hit
