"""The detector on what is at the edge of being a training at all: it neither fails nor makes things up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from jupyter_lossacc.diagnosis.episodes import find_episodes, settled
from jupyter_lossacc.diagnosis.sampling import sampling_error
from tests.recordings import RecordingBuilder
from tests.studies.simulated import planted

if TYPE_CHECKING:
    from jupyter_lossacc.records import Recording

COLUMNS = ("targets", "predicted", "correct", "nll", "reported_loss", "confidence", "margin")


def run(n_epochs: int, n: int, n_classes: int = 2, *, targets: torch.Tensor | None = None) -> Recording:
    """Record a model that becomes surer of what it says, right or wrong."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, n_classes, (n,), generator=generator) if targets is None else targets
    base = torch.randn(n, n_classes, generator=generator)
    base[torch.arange(n), y] += 1.0
    builder = RecordingBuilder()
    for epoch in range(1, n_epochs + 1):
        noise = 0.05 * torch.randn(n, n_classes, generator=generator)
        builder.add("val", epoch, epoch, base * (1 + 0.15 * epoch) + noise, y)
    return builder.build()


@pytest.mark.parametrize("n_epochs", [1, 2, 7, 8, 9])
@pytest.mark.parametrize("n", [2, 3])
def test_a_few_samples_for_a_few_epochs_show_nothing_harmful(n_epochs, n):
    assert not [e for e in find_episodes(run(n_epochs, n)) if e.harmful]


def test_one_class_only():
    recording = run(20, 50, targets=torch.zeros(50, dtype=torch.long))
    assert {e.split for e in find_episodes(recording)} <= {"val"}


def test_ten_thousand_classes_and_all_but_a_few_absent_from_the_split():
    recording = run(12, 40, 10_000)
    for episode in find_episodes(recording):
        assert np.isfinite(episode.loss_change.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_without_a_finite_loss_leave_new_data_to_the_others(bad):
    recording = planted(n_samples=600, accuracy_rise=0.03, seed=1)

    def load(key):
        p = recording.load(key)
        nll, reported = p.nll.copy(), p.reported_loss.copy()
        nll[:5], reported[:5] = bad, bad
        return replace(p, nll=nll, reported_loss=reported)

    passes = recording.series("val")[20:]
    error = sampling_error(replace(recording, load=load), passes)
    assert error is not None
    assert np.isfinite([error.loss, error.accuracy]).all()
    assert error.accuracy == pytest.approx(sampling_error(recording, passes).accuracy, rel=0.1)


def test_all_epochs_without_a_finite_loss():
    recording = run(20, 50)
    broken = tuple(replace(s, reported_loss=float("nan"), nll=float("nan")) for s in recording.summaries)
    assert find_episodes(replace(recording, summaries=broken)) == ()


def test_a_sample_that_every_pass_holds_twice_counts_once():
    recording = planted(n_samples=800, accuracy_rise=0.03, seed=1)

    def load(key):
        p = recording.load(key)
        twice = {name: np.repeat(getattr(p, name), 2) for name in ("sample_ids", *COLUMNS)}
        return replace(p, **twice)

    passes = recording.series("val")[20:]
    once, twice = sampling_error(recording, passes), sampling_error(replace(recording, load=load), passes)
    assert (twice.n_samples, twice.loss, twice.accuracy) == pytest.approx(
        (once.n_samples, once.loss, once.accuracy)
    )


def test_some_samples_twice_keep_the_mean_and_widen_the_error():
    recording = planted(n_samples=800, accuracy_rise=0.03, seed=1)

    def load(key):
        p = recording.load(key)
        rows = np.sort(np.concatenate([np.arange(800), np.arange(0, 800, 2)]))
        return replace(p, **{name: getattr(p, name)[rows] for name in ("sample_ids", *COLUMNS)})

    passes = recording.series("val")[20:]
    once, some = sampling_error(recording, passes), sampling_error(replace(recording, load=load), passes)
    assert some.n_samples == 800
    assert some.accuracy > once.accuracy


def test_validation_sets_that_change_from_epoch_to_epoch_leave_new_data_undecided():
    recording = planted(n_samples=3000, accuracy_rise=0.03, seed=1)

    def load(key):
        p = recording.load(key)
        return replace(p, sample_ids=p.sample_ids + 10_000 * key[1])

    changing = find_episodes(replace(recording, load=load))
    assert [e.kind for e in changing] == [e.kind for e in find_episodes(recording)]
    assert {(e.holds_on_new_data, e.n_needed) for e in changing} == {("undecided", None)}


def test_without_ids_the_curves_are_judged_and_new_data_left_open():
    recording = planted(n_samples=3000, accuracy_rise=0.03, seed=1)
    blind = replace(recording, load=lambda key: replace(recording.load(key), ids_known=False))
    assert {e.holds_on_new_data for e in find_episodes(recording)} == {"yes"}
    episodes = find_episodes(blind)
    assert {e.kind for e in episodes} == {"both_rise"}
    assert {e.holds_on_new_data for e in episodes} == {"undecided"}


def test_without_samples_at_all_the_curves_are_judged():
    recording = planted(n_samples=3000, accuracy_rise=0.03, seed=1)

    def load(key):
        raise KeyError(key)

    assert {e.kind for e in find_episodes(replace(recording, load=load))} == {"both_rise"}


def test_no_pass_at_all():
    recording = run(1, 2)
    assert settled(replace(recording, summaries=())) == ()
