"""Margins carried on along their slopes, and judged by their own past."""

from __future__ import annotations

import numpy as np
import pytest

from jupyter_lossacc.stats.forecast import crossing_forecast


def test_steady_margins_cross_when_their_lines_say() -> None:
    starts = np.linspace(-3.0, 3.0, 64)[None, :]
    margins = starts + 0.1 * np.arange(14)[:, None]
    found = crossing_forecast(margins, ahead=5, fit=5)
    assert found is not None
    assert found.accuracy == pytest.approx(np.mean(margins[-1] + 0.5 > 0))
    assert found.error < 1e-12 < found.no_change_error
    assert found.useful


def test_a_standstill_is_not_forecast() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(size=(1, 400))
    found = crossing_forecast(level + 0.5 * rng.normal(size=(20, 400)))
    assert found is not None
    assert not found.useful
    assert found.error > found.no_change_error


def test_too_few_epochs_give_no_forecast() -> None:
    assert crossing_forecast(np.zeros((11, 5)), ahead=5, fit=5) is None
