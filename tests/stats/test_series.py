"""Trends against wobble: closed forms against dense algebra, scipy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kendalltau, linregress, theilslopes

from jupyter_lossacc.stats.series import Moments, knot_interval, ramp_ends, slope_inflation, slope_weights
from jupyter_lossacc.stats.wobble import MOST_RHO, wobble, wobble_rho

SERIES = arrays(np.float64, st.integers(8, 60), elements=st.floats(-5, 5, width=32))


def trend(values: np.ndarray, first: int, last: int, rho: float = MOST_RHO) -> tuple[float, float]:
    found = Moments(values, wobble(values, rho=rho), rho).trends(np.array([first]), np.array([last]))
    return float(found.change[0]), float(found.error[0])


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("length", [2, 3, 8, 20, 57])
def test_inflation_is_the_quadratic_form(length, rho):
    w = slope_weights(length)
    dense = rho ** np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    assert slope_inflation(length, rho) == pytest.approx(w @ dense @ w / (w @ w), rel=1e-12)


@given(SERIES, st.data())
@settings(max_examples=50, deadline=None)
def test_change_is_that_of_the_least_squares_line(values, data):
    last = data.draw(st.integers(2, len(values) - 1))
    first = data.draw(st.integers(0, last - 2))
    line = linregress(np.arange(first, last + 1), values[first : last + 1])
    change, _ = trend(values, first, last)
    assert change == pytest.approx(line.slope * (last - first), abs=1e-8)
    assert change == pytest.approx(slope_weights(last - first + 1) @ values[first : last + 1], abs=1e-8)


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_error_under_constant_wobble_is_exact(rho):
    values, m = np.random.default_rng(0).normal(size=30), 12
    moments = Moments(values, np.full(30, 0.7), rho)
    w = slope_weights(m)
    dense = 0.49 * rho ** np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    assert moments.trends(np.array([5]), np.array([16])).error[0] == pytest.approx(
        np.sqrt(w @ dense @ w), rel=1e-9
    )


@given(SERIES, st.floats(-100, 100), st.floats(0.1, 10))
@settings(max_examples=50, deadline=None)
def test_shift_changes_nothing_and_scale_scales(values, shift, scale):
    change, error = trend(values, 0, len(values) - 1)
    moved, same = trend(values * scale + shift, 0, len(values) - 1)
    assert moved == pytest.approx(scale * change, abs=1e-6)
    assert same == pytest.approx(scale * error, rel=1e-4, abs=1e-6)


@given(SERIES)
@settings(max_examples=50, deadline=None)
def test_direction_flips_with_the_sign_and_with_time(values):
    change, error = trend(values, 0, len(values) - 1)
    assert trend(-values, 0, len(values) - 1) == pytest.approx((-change, error), abs=1e-9)
    assert trend(values[::-1], 0, len(values) - 1)[0] == pytest.approx(-change, abs=1e-8)
    assert wobble(values[::-1]) == pytest.approx(wobble(values)[::-1], abs=1e-9)


def test_score_of_white_noise_is_below_its_nominal_size():
    generator = np.random.default_rng(3)
    scores = []
    for _ in range(400):
        values = generator.normal(size=40)
        change, error = trend(values, 0, 39, wobble_rho(values))
        scores.append(change / error)
    assert np.std(scores) < 1


@pytest.mark.parametrize("slope", [-0.3, 0.3])
def test_direction_agrees_with_the_robust_trend_tests(slope):
    t = np.arange(40)
    values = slope * t + np.random.default_rng(4).normal(size=40)
    change, error = trend(values, 0, 39)
    tau, p = kendalltau(t, values)
    assert np.sign(change) == np.sign(tau) == np.sign(theilslopes(values, t).slope)
    assert abs(change) > 3.4 * error
    assert p < 1e-3


def test_knot_of_a_hinge_is_found():
    t = np.arange(40.0)
    hinge = np.maximum(t - 15, 0) * 0.1 + 0.02 * np.random.default_rng(5).normal(size=40)
    best, low, high = knot_interval((hinge,), (np.full(40, 0.02),), np.arange(3, 37), rho=0.0)
    assert low <= best <= high
    assert abs(best - 15) <= 1
    assert high - low <= 6


def test_knot_profile_is_that_of_least_squares():
    generator = np.random.default_rng(6)
    values, sd, t = generator.normal(size=25), generator.uniform(0.5, 2, 25), np.arange(25.0)
    sums = []
    for knot in range(2, 23):
        design = np.stack([np.ones(25), t, np.maximum(t - knot, 0)], axis=1) / sd[:, None]
        sums.append(np.linalg.lstsq(design, values / sd, rcond=None)[1][0])
    best, low, high = knot_interval((values,), (sd,), np.arange(2, 23), rho=0.0)
    assert best == 2 + int(np.argmin(sums))
    inside = 2 + np.flatnonzero(np.array(sums) <= min(sums) + 3.8414588)
    assert (low, high) == (inside[0], inside[-1])


def test_ramp_is_that_of_least_squares():
    generator = np.random.default_rng(8)
    values, sd, t = generator.normal(size=20), generator.uniform(0.5, 2, 20), np.arange(20.0)
    left = {}
    for start in range(20):
        for end in range(start + 1, 20):
            ramp = np.clip((t - start) / (end - start), 0, 1)
            design = np.stack([np.ones(20), ramp], axis=1) / sd[:, None]
            left[start, end] = np.linalg.lstsq(design, values / sd, rcond=None)[1][0]
    start, end, gain = ramp_ends((values,), (sd,), np.arange(20), rho=0.0)
    assert (start, end) == min(left, key=left.__getitem__)
    assert gain == pytest.approx(left[0, 19] - min(left.values()))
