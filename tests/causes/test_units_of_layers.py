"""What activations add to dead units: layers by name, and saturation, which decides nothing alone."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import jupyter_lossacc as la
from jupyter_lossacc.capture.taps import optimizers, units
from jupyter_lossacc.causes import dead_activations

if TYPE_CHECKING:
    from jupyter_lossacc.records import Finding, Recording


def net(activation: nn.Module, bias: float | None = None) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(8, 24), activation, nn.Linear(24, 3))
    if bias is not None:
        with torch.no_grad():
            model[0].bias.fill_(bias)
    return model


RUNS = {
    "healthy": (lambda: net(nn.ReLU()), 1.0),
    "healthy tanh": (lambda: net(nn.Tanh()), 1.0),
    "healthy, stands still": (lambda: net(nn.Tanh()), 1.0),
    "dead": (lambda: net(nn.ReLU(), -20.0), 1.0),
    "saturated, learns": (lambda: net(nn.Tanh()), 100.0),
    "saturated, stuck": (lambda: net(nn.Sigmoid(), 9.0), 0.3),
}


@cache
def recording(name: str) -> Recording:
    """Three overlapping classes, eight epochs; evaluated before and after each."""
    make, scale = RUNS[name]
    rng = np.random.default_rng(0)
    y = torch.arange(384) % 3
    x = torch.tensor(rng.normal(size=(384, 8)) + 1.2 * np.eye(8)[:3][y], dtype=torch.float32) * scale
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), 0.0 if name == "healthy, stands still" else 0.05)
    patch = pytest.MonkeyPatch()
    patch.setattr(units, "_compiles", lambda: False)  # whatever other tests have compiled
    patch.setattr(units, "_SHARE", 1e9)  # every evaluation and every step may be looked at
    patch.setattr(optimizers, "_NORM_SHARE", 1e9)
    patch.setattr(optimizers, "_UPDATE_SHARE", 1e9)
    with la.record("units", store="none", view="none"):
        for epoch in range(9):
            for i in range(0, 256 if epoch else 0, 32):
                optimizer.zero_grad()
                F.cross_entropy(model(x[i : i + 32]), y[i : i + 32]).backward()
                optimizer.step()
            with torch.no_grad():
                F.cross_entropy(model(x[256:]), y[256:])
    patch.undo()
    return la.last_run().recording


def examined(name: str) -> Finding:
    finding = dead_activations.examine(recording(name), None)
    assert finding is not None
    return finding


def named(finding: Finding) -> list[str]:
    return [e.name for e in finding.evidence if " units of " in e.name]


@pytest.mark.parametrize("name", RUNS)
def test_every_evaluation_is_looked_at(name: str) -> None:
    assert [(s.epoch, len(s.units)) for s in recording(name).series("val")] == [(e, 1) for e in range(9)]


@pytest.mark.parametrize("name", ["healthy", "healthy tanh", "healthy, stands still"])
def test_a_healthy_network_has_no_layer_to_name(name: str) -> None:
    finding = examined(name)
    assert finding.verdict == "rejected"
    assert named(finding) == []


def test_a_dead_layer_is_named() -> None:
    finding = examined("dead")
    assert finding.verdict == "supported"
    assert named(finding) == ["dead units of ReLU '1'"]


def test_saturated_units_that_learn_are_evidence_only() -> None:
    finding = examined("saturated, learns")
    assert finding.verdict == "rejected"
    assert named(finding) == ["saturated units of Tanh '1'"]


def test_saturated_units_and_no_learning_leave_it_open() -> None:
    finding = examined("saturated, stuck")
    assert finding.verdict == "undecided"
    assert named(finding) == ["saturated units of Sigmoid '1'"]
    assert "100 % of the units behind activation modules are saturated" in finding.statement
    assert finding.experiment is not None
    assert "nn.Sigmoid" in finding.experiment.code
    compile(finding.experiment.code, "experiment", "exec")
