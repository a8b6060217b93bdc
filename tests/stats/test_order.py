"""The runs test against statsmodels, against simulation, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.sandbox.stats.runs import runstest_1samp

from jupyter_lossacc.stats.order import runs_of_targets


@pytest.mark.parametrize("seed", range(5))
def test_two_classes_agree_with_statsmodels(seed: int) -> None:
    y = (np.random.default_rng(seed).random(200) < 0.3).astype(int)
    expected, _ = runstest_1samp(y, cutoff=0.5, correction=False)
    assert runs_of_targets(y)[1] == pytest.approx(expected)


def test_many_classes_agree_with_permutations() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    z = np.array([runs_of_targets(rng.permutation(y))[1] for _ in range(3000)])
    assert abs(z.mean()) < 0.06
    assert z.std() == pytest.approx(1.0, abs=0.04)


def test_sorted_targets_are_far_from_random() -> None:
    ratio, z = runs_of_targets(np.repeat(np.arange(10), 100))
    assert ratio < 0.02
    assert z < -50


@pytest.mark.parametrize("y", [[], [1], [1, 1, 1]])
def test_without_two_classes_there_is_no_order(y: list[int]) -> None:
    assert np.isnan(runs_of_targets(y)).all()
