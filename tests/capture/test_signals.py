"""Optimisation as it was: rates of every group, and the norm that the step uses, also after clipping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_

from jupyter_lossacc.capture.capture import Capture
from jupyter_lossacc.capture.taps import optimizers
from tests.capture import loops
from tests.capture.truth import TRUTH, Net, Sink, make_loaders


@pytest.fixture(autouse=True)
def _fresh() -> None:
    TRUTH.reset()
    torch.manual_seed(0)


def norm_of(model: nn.Module) -> float:
    return float(torch.stack([p.grad.norm() for p in model.parameters()]).norm())  # type: ignore[union-attr]


def train(model: nn.Module, optimizer: Any, limit: float, how: str = "all") -> list[float]:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    norms = []
    for xb, yb in make_loaders()[0]:
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(xb), yb)).backward()
        if how != "without unscaling":
            scaler.unscale_(optimizer)
        clip_grad_norm_(list(model.parameters())[: 2 if how == "a part" else None], limit)
        if how == "changed afterwards":
            for p in model.parameters():
                p.grad.mul_(3)  # type: ignore[union-attr]
        norms.append(norm_of(model) / (1024 if how == "without unscaling" else 1))
        scaler.step(optimizer)
        scaler.update()
    return norms


class Measured:
    """Never lets capture measure a norm itself."""

    def __init__(self, share: float) -> None:
        self.share = share

    def due(self, now: float) -> bool:
        return False

    def took(self, cost: float, now: float) -> None:
        raise AssertionError("measured")


@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_clipping_gives_the_norm_of_every_step_for_free(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizers, "Cadence", Measured)
    model, sink = Net(), Sink()
    with Capture(sink):
        norms = train(model, loops.sgd(model), limit)
    np.testing.assert_allclose(sink.column("grad_norm"), norms, rtol=1e-5)
    assert [s for s in sink.limits if "failed" in s] == []


@pytest.mark.parametrize("how", ["a part", "changed afterwards", "without unscaling"])
def test_a_norm_that_is_not_the_steps_is_not_taken(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sink = Net(), Sink()
    with Capture(sink):
        norms = train(model, loops.sgd(model), 0.01 if how != "without unscaling" else 1e9, how)
    got = sink.column("grad_norm")
    assert np.isfinite(got[0])
    taken = np.isfinite(got)
    np.testing.assert_allclose(got[taken], np.array(norms)[taken], rtol=1e-4)
    monkeypatch.setattr(optimizers, "Cadence", Measured)
    with Capture(Sink()) as capture:
        train(model, loops.sgd(model), 1.0, how)
    assert capture.counters.steps == 6


def test_every_group_has_its_rate() -> None:
    model, sink = Net(), Sink()
    optimizer = torch.optim.SGD([{"params": model.hidden.parameters()}], 0.1)
    loader = make_loaders()[0]
    with Capture(sink):
        loops.train_one(model, loader, F.cross_entropy, optimizer, 1)
        optimizer.add_param_group({"params": model.out.parameters(), "lr": 0.02})
        optimizer.param_groups[0]["lr"] = 0.05
        loops.train_one(model, loader, F.cross_entropy, optimizer, 2)
        columns: dict[str, list[float]] = {}
    for _, chunk in sink.chunks:
        for name in ("learning_rate", "learning_rate_2"):
            columns.setdefault(name, []).extend(chunk.get(name, np.full(len(chunk["step"]), np.nan)))
    np.testing.assert_allclose(columns["learning_rate"], [0.1] * 6 + [0.05] * 6)
    np.testing.assert_allclose(columns["learning_rate_2"], [np.nan] * 6 + [0.02] * 6)
