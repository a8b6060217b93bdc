"""The wobble between epochs: unbiased where it is known, unknown where it cannot be told from a trend."""

from __future__ import annotations

import numpy as np
import pytest

from jupyter_lossacc.stats.series import Moments
from jupyter_lossacc.stats.wobble import MOST_RHO, running_median, wobble, wobble_rho
from tests.studies.simulated import autoregression


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.5])
def test_wobble_of_noise_is_unbiased_under_its_own_correlation(rho):
    generator = np.random.default_rng(1)
    squared = [np.mean(wobble(autoregression(generator, 60, rho), rho=rho) ** 2) for _ in range(300)]
    assert np.sqrt(np.mean(squared)) == pytest.approx(1, abs=0.06)


def test_wobble_of_a_parabola_is_its_floor():
    assert wobble(np.arange(30.0) ** 2, floor=0.01) == pytest.approx(np.full(30, 0.01))


def test_wobble_of_four_epochs_is_unknown():
    assert np.isinf(wobble(np.arange(4.0))).all()
    assert Moments(np.arange(4.0), wobble(np.arange(4.0))).trends(np.array([0]), np.array([3])).score[0] == 0


def test_autocorrelation_is_granted_where_it_is_there():
    generator = np.random.default_rng(2)
    granted = {
        rho: np.mean([wobble_rho(autoregression(generator, 80, rho)) for _ in range(100)])
        for rho in (0.0, 0.5)
    }
    assert granted[0.0] < 0.4
    assert granted[0.5] > 0.45
    assert wobble_rho(np.zeros(40)) == MOST_RHO
    assert wobble_rho(generator.normal(size=12)) == MOST_RHO


def test_running_median_keeps_steps_and_slopes_and_drops_bursts():
    t = np.arange(30.0)
    step, burst = (t >= 12) * 1.0, (abs(t - 20) <= 1) * 5.0
    assert (running_median(step) == step).all()
    assert (running_median(t)[3:-3] == t[3:-3]).all()
    assert (running_median(burst) == 0).all()
    assert (running_median(burst[:22]) == 0).all()
