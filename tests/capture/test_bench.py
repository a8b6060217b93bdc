"""`make bench` works: one round of its smallest training."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from jupyter_lossacc.capture.reading import governor


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    path = Path(__file__).parents[2] / "examples" / "bench.py"
    spec = importlib.util.spec_from_file_location("bench", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench", module)
    monkeypatch.setattr(governor, "GRACE", governor.GRACE)  # put back what the script changes
    spec.loader.exec_module(module)
    return module


def test_a_row_of_the_table(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SETTLE", 0.0)
    torch.manual_seed(0)
    x, y = torch.randn(256, 20), torch.randint(0, 10, (256,))
    training = bench.with_loader("small", bench.mlp(10), x, y, 10, 64)
    row = bench.measure(training, 1, "none")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "small"
    assert len(cells) == 7
    assert "1 in " in cells[4]


def test_what_is_compared_measures_what_it_says(bench: Any) -> None:
    out, y = torch.eye(4), torch.tensor([0, 1, 2, 0])
    loss = torch.nn.functional.cross_entropy(out, y)
    for observer in (bench.Torchmetrics(4), bench.ByHand()):
        observer.batch(out, y, loss)
        if isinstance(observer, bench.Torchmetrics):
            assert float(observer.accuracy.compute()) == pytest.approx(0.75)
            assert observer.evaluating
        else:
            assert len(observer.preds) == 1
        observer.end()
