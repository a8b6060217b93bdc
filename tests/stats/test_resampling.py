"""Paired comparisons against scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap
from statsmodels.stats.contingency_tables import mcnemar as reference

from jupyter_lossacc.stats.resampling import bootstrap, mcnemar, paired_difference

ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=300)


@given(ANSWERS)
@settings(max_examples=100, deadline=None)
def test_mcnemar_is_the_exact_test(answers):
    before, after = np.array(answers).T
    table = [
        [np.sum(before & after), np.sum(before & ~after)],
        [np.sum(~before & after), np.sum(~before & ~after)],
    ]
    found = mcnemar(before, after)
    assert found.p == pytest.approx(float(reference(table, exact=True).pvalue), rel=1e-9)
    back = mcnemar(after, before)
    assert (back.gained, back.lost) == (found.lost, found.gained)
    assert back.p == pytest.approx(found.p, rel=1e-12)


def test_mcnemar_of_a_published_size():
    before = np.repeat([False, True, True], [225, 152, 623])
    after = np.repeat([True, False, True], [225, 152, 623])
    assert mcnemar(before, after).p == pytest.approx(2.00187e-4, rel=1e-5)


def test_bootstrap_interval_is_scipys():
    values = np.random.default_rng(0).exponential(size=300)
    found = bootstrap(values[:, None], lambda m: m[..., 0], unit="nats", draws=4000)
    ours = np.array([found.low, found.high])
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert ours == pytest.approx(np.array(theirs), abs=0.01)


def test_bootstrap_keeps_pairs_together():
    x = np.random.default_rng(2).normal(size=200)
    found = bootstrap(np.stack([x, x + 1], axis=1), lambda m: m[..., 1] - m[..., 0], unit="nats")
    assert (found.low, found.high) == pytest.approx((1, 1))


def test_bootstrap_is_deterministic_and_leaves_the_global_generator_alone():
    np.random.seed(0)  # noqa: NPY002 - the state that must not move
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    x = np.arange(20.0)
    assert paired_difference(x, x**1.1, unit="nats") == paired_difference(x, x**1.1, unit="nats")
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@given(st.floats(-10, 10))
@settings(max_examples=20, deadline=None)
def test_common_shift_changes_nothing(shift):
    x = np.random.default_rng(3).normal(size=50)
    y = x + np.random.default_rng(4).normal(size=50)
    moved, still = paired_difference(x + shift, y + shift, unit="nats"), paired_difference(x, y, unit="nats")
    assert (moved.value, moved.low, moved.high) == pytest.approx(
        (still.value, still.low, still.high), abs=1e-9
    )


def test_order_of_samples_does_not_move_the_value():
    x, y = np.random.default_rng(5).normal(size=(2, 80))
    order = np.random.default_rng(6).permutation(80)
    assert paired_difference(x[order], y[order], unit="nats").value == pytest.approx(
        paired_difference(x, y, unit="nats").value
    )


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_samples_have_no_interval(n):
    found = paired_difference(np.zeros(n), np.ones(n), unit="nats")
    assert np.isnan(found.low)
    assert not found.excludes_zero


def test_infinite_losses_are_left_out():
    found = paired_difference(np.array([0.0, 0, 0, 0]), np.array([1.0, 1, 1, np.inf]), unit="nats")
    assert found.value == 1
