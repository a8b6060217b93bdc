"""A compiler does as much and as little as without a recording: no graph break, no graph more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.utils import counters

from jupyter_lossacc.capture.capture import Capture
from tests.capture.loops.custom import focal
from tests.capture.truth import D, K, Sink, make_data

if TYPE_CHECKING:
    from collections.abc import Callable


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, K))


def wrapped(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    made: Any = torch.compile(model, backend="aot_eager")
    return lambda x, y: F.cross_entropy(made(x), y)


def in_place(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    model.compile(backend="aot_eager")
    return lambda x, y: F.cross_entropy(model(x), y)


def whole_step(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    step: Any = torch.compile(lambda x, y: F.cross_entropy(model(x), y), backend="aot_eager")
    return step  # type: ignore[no-any-return]


def own_criterion(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    made: Any = torch.compile(model, backend="aot_eager")
    return lambda x, y: focal(made(x), y)


def train(model: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor]) -> list[float]:
    x, y = make_data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    values = []
    for _ in range(3):
        for i in range(0, 64, 32):
            loss = loss_of(x[i : i + 32], y[i : i + 32])
            values.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            values.append(loss_of(x[64:96], y[64:96]).item())
    return values


def counted() -> tuple[int, dict[str, int]]:
    return counters["stats"]["unique_graphs"], dict(counters["graph_break"])


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch._dynamo.reset()
    counters.clear()


@pytest.mark.parametrize("compile_it", [wrapped, in_place, whole_step, own_criterion])
def test_nothing_is_compiled_again(compile_it: Callable[[nn.Module], Any]) -> None:
    model = network()
    bare_values = train(model, compile_it(model))
    bare = counted()
    for before in (False, True):
        torch._dynamo.reset()
        counters.clear()
        model = network()
        early = compile_it(model) if before else None
        with Capture(Sink()):
            values = train(model, early or compile_it(model))
        assert counted() == bare, before
        assert values == bare_values


def test_a_model_compiled_before_is_not_compiled_again_in_and_after() -> None:
    model = network()
    loss_of = wrapped(model)
    train(model, loss_of)
    before = counted()
    with Capture(Sink()):
        train(model, loss_of)
    train(model, loss_of)
    assert counted() == before
