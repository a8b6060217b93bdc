"""Per-sample rows and calibration sums against float64, at the edges of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jupyter_lossacc.capture.reading import criteria, reduction
from jupyter_lossacc.capture.reading.criteria import read_call, reduce_call
from jupyter_lossacc.capture.reading.reduction import Sums, reduce_rows
from jupyter_lossacc.stats.calibration import BETAS, ETAS


def reference(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and slope of shape (n_betas, n), and the noise sums, all in float64."""
    z = z.double()
    betas = torch.from_numpy(BETAS)[:, None, None]
    log_p = torch.log_softmax(betas * z, dim=2)
    at = y.expand(len(BETAS), -1)[:, :, None]
    loss = -log_p.gather(2, at)[:, :, 0]
    slope = (log_p.exp() * z).sum(dim=2) - z.gather(1, y[:, None])[:, 0]
    etas = torch.from_numpy(ETAS)
    mixed = (1 - etas)[:, None, None] * torch.exp(-loss) + (etas / z.shape[1])[:, None, None]
    return loss, slope, -mixed.log().sum(dim=2).T


@pytest.mark.parametrize(("n", "k", "spread"), [(7, 2, 1.0), (1500, 10, 5.0), (40, 300, 40.0)])
def test_calibration_sums_equal_float64(n: int, k: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(n)
    z = spread * torch.randn(n, k, generator=generator)
    y = torch.randint(0, k, (n,), generator=generator)
    folds = torch.arange(n) % 5
    sums = Sums.empty(k)
    sums.add(z, y, folds)
    found = sums.to_accumulators()
    loss, slope, noise = reference(z, y)
    for fold in range(5):
        mine = folds == fold
        np.testing.assert_allclose(found.nll[fold], loss[:, mine].sum(1), rtol=2e-6, atol=1e-5)
        np.testing.assert_allclose(found.slope[fold], slope[:, mine].sum(1), rtol=2e-5, atol=1e-3)
    np.testing.assert_allclose(found.noise_nll[:, 1:], noise[:, 1:], rtol=2e-6)
    score = slope[len(BETAS) // 2]
    np.testing.assert_allclose(found.score_sum, score.sum(), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.score_square, (score**2).sum(), rtol=1e-5)
    assert found.count.tolist() == np.bincount(folds, minlength=5).tolist()
    assert found.bins[:, 0].sum() == n


def test_rows_keep_their_digits_where_the_model_is_sure() -> None:
    z = torch.tensor([[0.0, -30.0, -200.0], [0.0, float("-inf"), -80.0], [300.0, 0.0, -300.0]])
    y = torch.tensor([0, 0, 1])
    _, correct, nll, confidence, margin = reduce_rows(z, y)
    exact = torch.nn.functional.cross_entropy(z.double(), y, reduction="none")
    np.testing.assert_allclose(nll, exact, rtol=1e-6, atol=1e-15)
    assert float(nll[0]) == pytest.approx(float(np.exp(-30.0)), rel=1e-5)
    assert correct.tolist() == [1, 1, 0]
    assert margin.tolist() == [30, 80, -300]
    np.testing.assert_allclose(confidence, torch.softmax(z.double(), 1).amax(1), rtol=1e-7)


class _Largest(TorchDispatchMode):
    """Notes the largest tensor that is made, in elements; views make none."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        for made in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(made, Tensor) and made.untyped_storage().data_ptr() not in given:
                self.size = max(self.size, made.numel())
        return result


@pytest.mark.parametrize("task", ["segmentation", "large vocabulary"])
def test_large_predictions_are_reduced_in_parts(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device may be nearly full: no copy of ours is as large as the predictions."""
    torch.manual_seed(0)
    shape, targets = ((6, 21, 20, 20), (6, 20, 20)) if task == "segmentation" else ((1000, 48), (1000,))
    z, y = torch.randn(shape), torch.randint(0, shape[1], targets)
    y[0] = -100
    weight = torch.rand(shape[1]) if task == "segmentation" else None
    cross_entropy = torch._C._nn.cross_entropy_loss
    call = read_call("cross_entropy", (y, weight, 1, -100), cross_entropy)
    whole = reduce_call(call, z, y)
    for module in (reduction, criteria):
        monkeypatch.setattr(module, "PART", z.numel() // 6)
    with _Largest() as largest:
        parts = reduce_call(call, z, y)
    np.testing.assert_array_equal(parts.columns, whole.columns)
    np.testing.assert_array_equal(parts.flags, whole.flags)
    assert parts.task == whole.task
    assert largest.size <= z.numel() // 3
