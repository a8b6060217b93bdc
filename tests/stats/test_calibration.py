"""Calibration from sums over a grid equals what exact fits on the logits give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from netcal.metrics import ECE
from netcal.scaling import TemperatureScaling
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from jupyter_lossacc.capture.reading.reduction import Sums, reduce_rows
from jupyter_lossacc.stats.calibration import (
    BETAS,
    ETAS,
    cross_fitted_by_fold,
    cross_fitted_nll,
    expected_calibration_error,
    fit_noise_floor,
    fit_temperature,
    fold_of,
    nll_at,
)
from jupyter_lossacc.stats.miscalibration import floor_interval, miscalibration

if TYPE_CHECKING:
    from jupyter_lossacc.records import Accumulators


def sample(
    seed: int, n: int = 1500, classes: int = 10, temperature: float = 2.0, flipped: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose best temperature is about `temperature`, and targets drawn from them."""
    g = torch.Generator().manual_seed(seed)
    z = 3.0 * torch.randn(n, classes, generator=g)
    y = torch.multinomial(torch.softmax(z / temperature, dim=1), 1, generator=g)[:, 0]
    noisy = torch.rand(n, generator=g) < flipped
    y[noisy] = (y[noisy] + torch.randint(1, classes, (int(noisy.sum()),), generator=g)) % classes
    return z, y


def sums(z: torch.Tensor, y: torch.Tensor) -> Accumulators:
    s = Sums.empty(z.shape[1])
    s.add(z, y, torch.as_tensor(fold_of(np.arange(len(y)))), reduce_rows(z, y))
    return s.to_accumulators()


def exact_nll(z: torch.Tensor, y: torch.Tensor, temperature: float) -> np.ndarray:
    return -log_softmax(z.double().numpy() / temperature, axis=1)[np.arange(len(y)), y.numpy()]


def lbfgs(z: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Temperature and loss by torch's own optimiser on the logits."""
    log_t = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    fit = torch.optim.LBFGS([log_t], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        fit.zero_grad()
        loss = torch.nn.functional.cross_entropy(z.double() / log_t.exp(), y)
        loss.backward()
        return loss

    fit.step(closure)
    return float(log_t.exp().detach()), float(closure().detach())


@pytest.mark.parametrize(("classes", "temperature"), [(2, 0.5), (2, 3.0), (10, 1.0), (10, 2.3), (100, 1.7)])
def test_temperature_equals_an_exact_fit(classes: int, temperature: float) -> None:
    z, y = sample(0, classes=classes, temperature=temperature)
    a = sums(z, y)
    n = a.count.sum()
    found = fit_temperature(a.nll.sum(0) / n, a.slope.sum(0) / n, a.betas)
    exact, loss = lbfgs(z, y)
    assert found.temperature == pytest.approx(exact, rel=5e-3)
    assert found.nll == pytest.approx(loss, abs=3e-5)
    assert not found.at_bound


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_temperature_equals_netcal() -> None:
    z, y = sample(1)
    scaling = TemperatureScaling()
    scaling.fit(torch.softmax(z.double(), dim=1).numpy(), y.numpy())
    a = sums(z, y)
    n = a.count.sum()
    found = fit_temperature(a.nll.sum(0) / n, a.slope.sum(0) / n)
    assert found.temperature == pytest.approx(1 / float(np.ravel(scaling.weights)[0]), rel=1e-2)


def test_ece_equals_netcal() -> None:
    for seed in range(3):
        z, y = sample(seed, temperature=3.0)
        want = ECE(15).measure(torch.softmax(z.double(), dim=1).numpy(), y.numpy())
        assert expected_calibration_error(sums(z, y).bins) == pytest.approx(want, abs=1e-6)


def test_loss_equals_scikit_learn() -> None:
    z, y = sample(2)
    a = sums(z, y)
    n = a.count.sum()
    probabilities = torch.softmax(z.double(), dim=1).numpy()
    want = log_loss(y.numpy(), probabilities, labels=range(10))
    assert nll_at(1.0, a.nll.sum(0) / n, a.slope.sum(0) / n) == pytest.approx(want, abs=3e-5)


def test_cross_fitting_equals_fitting_on_the_other_folds() -> None:
    z, y = sample(3, n=800)
    a = sums(z, y)
    folds = fold_of(np.arange(len(y)))
    want = np.zeros(len(y))
    for fold in range(5):
        rest = torch.as_tensor(folds != fold)
        temperature, _ = lbfgs(z[rest], y[rest])
        want[folds == fold] = exact_nll(z, y, temperature)[folds == fold]
    assert cross_fitted_nll(a.count, a.nll, a.slope) == pytest.approx(want.mean(), abs=1e-4)
    by_fold = cross_fitted_by_fold(a.count, a.nll, a.slope)
    assert by_fold == pytest.approx([want[folds == fold].mean() for fold in range(5)], abs=2e-4)


@given(scale=st.floats(0.3, 3.0), shift=st.floats(-50, 50), seed=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_scaling_the_logits_scales_the_temperature_and_nothing_else(
    scale: float, shift: float, seed: int
) -> None:
    z, y = sample(seed, n=400, classes=4, temperature=1.0)
    a, b = sums(z, y), sums(z * scale + shift, y)
    n = a.count.sum()
    one = fit_temperature(a.nll.sum(0) / n, a.slope.sum(0) / n)
    two = fit_temperature(b.nll.sum(0) / n, b.slope.sum(0) / n)
    assert two.temperature == pytest.approx(one.temperature * scale, rel=2e-2)
    assert two.nll == pytest.approx(one.nll, abs=2e-4)
    assert two.nll <= nll_at(1.0, b.nll.sum(0) / n, b.slope.sum(0) / n) + 1e-6


def test_scale_without_information_is_said_to_be_at_the_bound() -> None:
    y = torch.zeros(50, dtype=torch.int64)
    right, wrong = torch.zeros(50, 2), torch.zeros(50, 2)
    right[:, 0], wrong[:, 1] = 4.0, 4.0
    for z, temperature in ((right, 1 / BETAS[-1]), (wrong, 1 / BETAS[0])):
        a = sums(z, y)
        found = fit_temperature(a.nll.sum(0) / 50, a.slope.sum(0) / 50)
        assert found.at_bound
        assert found.temperature == pytest.approx(temperature)


def test_a_loss_that_is_not_finite_gives_no_temperature() -> None:
    value = np.full(len(BETAS), np.inf)
    assert np.isnan(fit_temperature(value, value).temperature)
    assert np.isnan(fit_noise_floor(np.full((len(BETAS), len(ETAS)), np.nan), 10, 3).eta)
    zeros = np.zeros((5, len(BETAS)))
    assert np.isnan(cross_fitted_nll(np.zeros(5), zeros, zeros))
    alone = np.array([4.0, 0, 0, 0, 0])
    assert np.isnan(cross_fitted_nll(alone, zeros, zeros))


def test_folds_are_even_and_do_not_follow_the_order() -> None:
    folds = fold_of(np.arange(10_000))
    assert np.bincount(folds, minlength=5) == pytest.approx(2000, rel=0.05)
    assert fold_of(np.array([17])) == fold_of(np.array([1, 17]))[1:]


@pytest.mark.parametrize(
    ("classes", "flipped"), [(2, 0.0), (2, 0.1), (10, 0.0), (10, 0.05), (10, 0.15), (10, 0.3)]
)
def test_noise_floor_equals_an_exact_fit(classes: int, flipped: float) -> None:
    z, y = sample(5, n=2500, classes=classes, temperature=1.5, flipped=flipped)
    a = sums(z, y)
    found = fit_noise_floor(a.noise_nll, float(a.count.sum()), classes)
    logits, rows = z.double().numpy(), np.arange(len(y))

    def loss(at: np.ndarray) -> float:
        beta, eta = np.exp(at[0]), 1 / (1 + np.exp(-at[1]))
        p = np.exp(log_softmax(logits * beta, axis=1)[rows, y.numpy()])
        return float(-np.log((1 - eta) * p + eta / classes).mean())

    tries = [minimize(loss, [0.0, x], method="Nelder-Mead") for x in (-6.0, -2.0)]
    best = min(tries, key=lambda r: r.fun)
    eta = 1 / (1 + np.exp(-best.x[1]))
    assert found.eta == pytest.approx(eta, abs=max(0.004, 0.04 * eta))
    assert found.nll == pytest.approx(best.fun, abs=3e-4)
    low, high = floor_interval(a.noise_nll, a.betas, a.etas, classes)
    assert low <= found.flip_rate <= high
    assert low - 0.01 <= flipped <= high + 0.01
    assert found.llr < 6 if flipped == 0 else found.llr > 10


def test_score_test_is_standard_normal_when_calibrated() -> None:
    scores, gains = [], []
    for seed in range(120):
        z, y = sample(seed, n=300, classes=5, temperature=1.0)
        a = sums(z, y)
        found = miscalibration(a.betas, a.count, a.nll, a.slope, (a.score_sum, a.score_square))
        scores.append(found.score_z)
        gains.append(found.llr)
    assert abs(np.mean(scores)) < 0.35
    assert 0.8 < np.std(scores) < 1.25
    assert np.mean(np.array(gains) > 3.84) < 0.12  # 5 % expected


@pytest.mark.parametrize(("temperature", "sign"), [(2.0, 1), (0.5, -1)])
def test_miscalibration_has_a_sign_and_a_cost(temperature: float, sign: int) -> None:
    z, y = sample(7, temperature=temperature)
    a = sums(z, y)
    found = miscalibration(a.betas, a.count, a.nll, a.slope, (a.score_sum, a.score_square))
    assert sign * found.score_z > 3.3
    assert found.llr > 10.83
    assert found.cost > 0.005
    assert found.nll - found.repaired == found.cost
    assert found.llr / (2 * len(y)) == pytest.approx(found.cost, abs=2e-3)
