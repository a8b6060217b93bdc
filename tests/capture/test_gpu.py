"""On a GPU the training never waits for us: torch raises where anything would make it wait."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from jupyter_lossacc.capture.capture import Capture
from tests.capture.truth import Sink

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]


def train(steps: int) -> list[torch.Tensor]:
    """Train and evaluate on tensors that lie on the GPU, without a loader: it would wait by itself."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 16, generator=generator).cuda()
    y = torch.randint(0, 10, (512,), generator=generator).cuda()
    held_x, held_y = x[256:], y[256:]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(steps):
            model.train()
            for start in range(0, 256, 64):
                optimizer.zero_grad()
                cross_entropy(model(x[start : start + 64]), y[start : start + 64]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for start in range(0, 256, 64):
                    cross_entropy(model(held_x[start : start + 64]), held_y[start : start + 64])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [p.detach().clone() for p in model.parameters()]


def test_nothing_waits_for_the_device_during_training() -> None:
    bare = train(30)
    sink = Sink()
    with Capture(sink):
        recorded = train(30)
    assert sink.limits == []
    assert all(torch.equal(a, b) for a, b in zip(bare, recorded, strict=True))
    assert {passed.epoch for _, passed in sink.passes} == set(range(1, 31))
    assert all(len(passed.predictions) == 256 for _, passed in sink.passes)
