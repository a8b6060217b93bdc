"""What is kept of a sample suffices to follow its loss to another temperature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_lossacc.capture.reading.reduction import ROW_NAMES, reduce_rows
from jupyter_lossacc.stats.noise import epoch_noise
from jupyter_lossacc.stats.rescaling import rescaled_confidence, rescaled_nll, sure_errors
from tests.stats.test_calibration import exact_nll, sample


def kept(z: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    rows = dict(zip(ROW_NAMES, reduce_rows(z, y).numpy(), strict=True))
    return rows["nll"], rows["margin"]


@given(temperature=st.floats(0.2, 8.0), seed=st.integers(0, 30))
@settings(max_examples=25, deadline=None)
def test_two_classes_are_exact(temperature: float, seed: int) -> None:
    z, y = sample(seed, n=50, classes=2)
    nll, margin = kept(z, y)
    assert rescaled_nll(nll, margin, 2, temperature) == pytest.approx(exact_nll(z, y, temperature), abs=1e-4)


@pytest.mark.parametrize("classes", [3, 10, 100])
@pytest.mark.parametrize("temperature", [0.5, 2.0, 3.0])
def test_differences_between_samples_are_kept_with_many_classes(classes: int, temperature: float) -> None:
    z, y = sample(1, n=2000, classes=classes)
    nll, margin = kept(z, y)
    found, exact = rescaled_nll(nll, margin, classes, temperature), exact_nll(z, y, temperature)
    assert np.corrcoef(found, exact)[0, 1] > 0.98
    assert found.std() == pytest.approx(exact.std(), rel=0.15)


@pytest.mark.parametrize("classes", [2, 10])
def test_temperature_one_changes_nothing(classes: int) -> None:
    z, y = sample(2, n=500, classes=classes)
    nll, margin = kept(z, y)
    assert rescaled_nll(nll, margin, classes, 1.0) == pytest.approx(nll, abs=1e-3)


def test_standard_error_of_a_paired_difference_is_close_to_the_exact_one() -> None:
    g = torch.Generator().manual_seed(3)
    first, y = sample(3, n=2000)
    second = 1.4 * first + torch.randn(first.shape, generator=g)
    exact = exact_nll(second, y, 2.8) - exact_nll(first, y, 2.0)
    a, b = kept(first, y), kept(second, y)
    found = rescaled_nll(*b, 10, 2.8) - rescaled_nll(*a, 10, 2.0)
    assert found.std() == pytest.approx(exact.std(), rel=0.15)


def test_very_wrong_samples_stay_finite() -> None:
    nll, margin = np.array([1e4, 0.0, 60.0]), np.array([-1e4, 90.0, -60.0])
    assert np.isfinite(rescaled_nll(nll, margin, 10, 3.0)).all()


def test_sure_errors_are_as_many_as_promised_when_calibrated_and_more_with_wrong_labels() -> None:
    def measure(flipped: float) -> tuple[int, float, float]:
        nll, margin = kept(*sample(4, n=4000, temperature=1.0, flipped=flipped))
        confidence = rescaled_confidence(nll, margin, 10, 1.0)
        sure = confidence >= 0.95
        expected, z = sure_errors(confidence[sure], margin[sure] <= 0)
        return int((margin[sure] <= 0).sum()), expected, z

    observed, expected, z = measure(0.0)
    assert expected > 5
    assert abs(z) < 3.5
    more, expected, z = measure(0.1)
    assert more > observed
    assert more > 2 * expected
    assert z > 5


@pytest.mark.parametrize("classes", [2, 10])
def test_confidence_is_rescaled_with_the_loss(classes: int) -> None:
    z, y = sample(6, n=800, classes=classes)
    found = rescaled_confidence(*kept(z, y), classes, 2.0)
    want = torch.softmax(z.double() / 2.0, dim=1).amax(dim=1).numpy()
    assert np.abs(found - want).mean() < (1e-6 if classes == 2 else 0.06)
    assert ((found > 0) & (found <= 1)).all()


def test_epoch_noise_ignores_a_straight_trend_and_measures_white_noise() -> None:
    t = np.arange(400.0)
    assert epoch_noise(0.3 * t) == pytest.approx(0.0, abs=1e-9)
    noise = np.random.default_rng(0).normal(size=400)
    assert epoch_noise(0.3 * t + 0.1 * noise) == pytest.approx(0.1, rel=0.15)
    assert np.isnan(epoch_noise(np.array([1.0, np.nan, 2.0, 3.0])))
