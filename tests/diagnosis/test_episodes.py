"""Episodes of real and planted runs: kinds, ends, both tiers, and what must stay silent."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import nn

from jupyter_lossacc.diagnosis.episodes import find_episodes
from jupyter_lossacc.records import LossInfo, Recording
from tests.recordings import RecordingBuilder
from tests.studies.live import HARMFUL, first_shown, watch, without
from tests.studies.simulated import part, planted
from tests.studies.trainings import Training, train

QUICKSTART = Training(
    "a fifth to learn from",
    "digits",
    (300, 1497, 0),
    90,
    (32, 32, 32, 32, 32),
    optimizer="adam",
    batch_size=8,
)


@lru_cache(maxsize=1)
def digits() -> Recording:
    return train(QUICKSTART, seed=0)


@lru_cache(maxsize=4)
def blank(n_epochs: int) -> Recording:
    return planted(n_samples=50, accuracy_rise=0.0, before=n_epochs - 1, epochs=1)


def curves(
    loss, accuracy, n_samples: int = 1000, *, losses: LossInfo | None = None, split: str = "val"
) -> Recording:
    """A recording whose curves are these, with samples that carry them exactly."""
    base = blank(len(loss))
    summaries = tuple(
        replace(
            s,
            split=split,
            reported_loss=float(a),
            nll=float(a),
            accuracy=float(b),
            calibrated_nll=float(a),
            n_samples=n_samples,
            loss=losses or s.loss,
        )
        for s, a, b in zip(base.summaries, loss, accuracy, strict=True)
    )

    def load(key):
        raise KeyError(key)

    return replace(base, summaries=summaries, load=load)


def noisy(path, sd: float, seed: int = 0) -> np.ndarray:
    return np.asarray(path) + sd * np.random.default_rng(seed).normal(size=len(path))


T = np.arange(50)
UP, STAY, DOWN = T / 50, 0 * T, -T / 50


@pytest.mark.parametrize(
    ("loss", "accuracy", "kind"),
    [
        (UP, UP, "both_rise"),
        (DOWN, DOWN, "both_fall"),
        (UP, DOWN, "loss_rises_accuracy_falls"),
        (UP, STAY, "loss_rises_accuracy_flat"),
        (DOWN, STAY, "loss_falls_accuracy_flat"),
    ],
)
def test_every_moving_kind_is_found_over_the_whole_stretch(loss, accuracy, kind):
    recording = curves(noisy(1 + 0.3 * loss, 0.01), noisy(0.8 + 0.08 * accuracy, 0.002, 1))
    (episode,) = find_episodes(recording)
    assert episode.kind == kind
    assert episode.start_epoch <= 6
    assert episode.end_epoch >= 45
    assert episode.loss_change.value == pytest.approx(0.3 * loss[-1], abs=0.06)
    assert episode.loss_change.low - 0.02 <= 0.3 * loss[-1] <= episode.loss_change.high + 0.02
    assert episode.accuracy_change.value == pytest.approx(0.08 * accuracy[-1], abs=0.02)
    assert (episode.loss_change.unit, episode.accuracy_change.unit) == ("nats", "share")
    assert episode.holds_on_new_data == "undecided"  # no samples, so nothing is claimed of new data
    assert episode.n_needed is None


def test_normal_learning_is_no_episode():
    learning = np.exp(-T / 15)
    recording = curves(noisy(0.4 + learning, 0.01), noisy(0.9 - 0.6 * learning, 0.004, 1))
    assert not [e for e in find_episodes(recording) if e.harmful]


def test_stuck_accuracy_with_a_loss_above_chance():
    """The case of 95 % accuracy with a loss of 0.90, where guessing would cost 0.20."""
    recording = curves(noisy(0.90 + STAY, 0.005), noisy(0.95 + STAY, 0.001, 1))
    (episode,) = find_episodes(recording)
    assert episode.kind == "accuracy_stuck_loss_high"
    assert episode.harmful


def test_stuck_accuracy_with_a_fitting_loss_is_silent():
    recording = curves(noisy(0.15 + STAY, 0.005), noisy(0.95 + STAY, 0.001, 1))
    assert find_episodes(recording) == ()


def test_loss_that_is_no_likelihood_is_never_called_high():
    recording = curves(noisy(3 + STAY, 0.005), noisy(0.5 + STAY, 0.001, 1), losses=LossInfo(name="mse_loss"))
    assert find_episodes(recording) == ()


def test_turning_point_lies_in_the_interval_of_the_start():
    t = np.arange(60)
    loss = noisy(0.5 + 0.01 * np.abs(t - 20), 0.006)
    recording = curves(np.resize(loss, 60), noisy(0.7 + 0.002 * t, 0.003, 1), 2000)
    (episode,) = [e for e in find_episodes(recording) if e.kind == "both_rise"]
    low, high = episode.start_interval
    assert low <= 21 <= high
    assert abs(episode.start_epoch - 21) <= 3
    assert episode.end_interval == (60, 60)


def test_two_episodes_in_order_and_apart():
    t = np.arange(80)
    loss = np.where(t < 40, 0.5 + 0.01 * t, 0.9 - 0.008 * (t - 40))
    accuracy = np.where(t < 40, 0.6 + 0.002 * t, 0.68 - 0.0015 * (t - 40))
    first, second = find_episodes(curves(noisy(loss, 0.008), noisy(accuracy, 0.002, 1)))
    assert (first.kind, second.kind) == ("both_rise", "both_fall")
    assert first.end_epoch < second.start_epoch


def test_real_digits_show_both_rising_before_the_training_ends():
    shown = first_shown(without(digits(), "train"))
    assert shown["val", "both_rise"] <= 80
    (episode,) = [e for e in find_episodes(without(digits(), "train")) if e.kind == "both_rise"]
    losses = np.array([s.reported_loss for s in digits().series("val")])
    # The loss is level from epoch 22 to 36, where it is lowest, and accuracy rises all along.
    assert losses[episode.start_epoch - 1] - losses.min() <= 0.03
    assert episode.start_epoch <= 8 + 1 + int(np.argmin(losses))


def test_shown_epochs_never_overlap_and_a_vanished_episode_stays_retracted():
    for _, episodes in watch(part(digits(), 700, 3)):
        standing = [e for e in episodes if not e.retracted]
        for a in standing:
            assert a.end_epoch - a.start_epoch + 1 >= 8
            assert not any(
                b is not a and a.start_epoch <= b.end_epoch and b.start_epoch <= a.end_epoch for b in standing
            )


def test_an_episode_that_dissolves_comes_back_retracted_once_and_for_all():
    rising = noisy(1 + np.concatenate([0.3 * UP, 0.3 - 1.2 * UP]), 0.01)
    accuracy = noisy(0.8 + 0.08 * np.concatenate([UP, 1 + UP]), 0.003, 1)
    early = find_episodes(curves(rising[:50], accuracy[:50]))
    (episode,) = early
    assert episode.kind == "both_rise"
    made_up = replace(episode, start_epoch=55, end_epoch=80)
    later = find_episodes(curves(rising, accuracy), (made_up,))
    (gone,) = [e for e in later if e.retracted]
    assert (gone.start_epoch, gone.end_epoch) == (55, 80)
    assert gone in find_episodes(curves(rising, accuracy), later)


def test_what_is_shown_stays_while_a_lower_bar_holds():
    path = noisy(0.8 + 0.012 * UP, 0.008, 7)
    loss = noisy(1 + 0.3 * UP, 0.01)
    recording = curves(loss, path)
    weak = [e for e in find_episodes(recording) if e.kind == "both_rise"]
    assert weak == []
    (strong,) = find_episodes(curves(loss, noisy(0.8 + 0.08 * UP, 0.003, 1)))
    kept = [e for e in find_episodes(recording, (strong,)) if e.kind == "both_rise" and not e.retracted]
    assert len(kept) == 1


def test_more_samples_turn_undecided_into_yes():
    small, large = (
        planted(n_samples=n, accuracy_rise=0.05, before=20, epochs=30, seed=2) for n in (1500, 20_000)
    )
    (first,) = [e for e in find_episodes(small) if e.kind == "both_rise"]
    (second,) = [e for e in find_episodes(large) if e.kind == "both_rise"]
    assert second.holds_on_new_data == "yes"
    assert second.n_needed is None
    if first.holds_on_new_data == "undecided":
        assert first.n_needed is None or first.n_needed > 1500
    width = [e.accuracy_change.high - e.accuracy_change.low for e in (first, second)]
    assert width[1] < width[0]


def test_order_of_samples_and_of_epochs_recorded_does_not_matter():
    recording = planted(n_samples=800, accuracy_rise=0.05, before=20, epochs=30, seed=3)
    order = np.random.default_rng(0).permutation(800)

    def load(key):
        p = recording.load(key)
        names = (
            "sample_ids",
            "targets",
            "predicted",
            "correct",
            "nll",
            "reported_loss",
            "confidence",
            "margin",
        )
        return replace(p, **{name: getattr(p, name)[order] for name in names})

    shuffled = find_episodes(replace(recording, load=load))
    for one, other in zip(find_episodes(recording), shuffled, strict=True):
        assert (one.kind, one.start_epoch, one.holds_on_new_data) == (
            other.kind,
            other.start_epoch,
            other.holds_on_new_data,
        )
        assert one.loss_change.low == pytest.approx(other.loss_change.low, rel=1e-6)


def test_class_weights_enter_the_sampling_error_as_the_criterion_averages_them():
    torch.manual_seed(0)
    n, k = 400, 3
    targets, weights = torch.randint(0, k, (n,)), torch.tensor([1.0, 5.0, 0.5])
    info = LossInfo(name="cross_entropy", class_weights=weights.double().numpy())
    builder = RecordingBuilder(loss=info)
    base = torch.randn(n, k) + 2 * nn.functional.one_hot(targets, k)
    for epoch in range(1, 31):
        logits = base * (1 + 0.08 * epoch) + 0.05 * torch.randn(n, k)
        mean = float(nn.functional.cross_entropy(logits, targets, weight=weights))
        builder.add("val", epoch, epoch, logits, targets, reported_mean=mean, loss=info)
    recording = builder.build()
    from jupyter_lossacc.diagnosis.sampling import loss_contributions

    for s in recording.summaries:
        part_of = loss_contributions(recording.load(s.key), s)
        assert part_of.mean() == pytest.approx(s.reported_loss, rel=1e-6)
    last = recording.summaries[-1]
    ratio = loss_contributions(recording.load(last.key), last) / recording.load(last.key).nll
    assert np.ptp(ratio[recording.load(last.key).targets == 1]) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("n_epochs", [0, 1, 2, 7])
def test_short_runs_have_no_episode(n_epochs):
    recording = blank(10)
    assert find_episodes(replace(recording, summaries=recording.summaries[:n_epochs])) == ()


def test_two_samples_one_class_and_constant_curves_do_not_fail():
    builder = RecordingBuilder()
    for epoch in range(1, 16):
        builder.add("val", epoch, epoch, torch.tensor([[2.0, 0], [2.0, 0]]), torch.zeros(2, dtype=torch.long))
    assert find_episodes(builder.build()) == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_epochs_without_a_finite_loss_are_left_out(bad):
    loss = noisy(1 + 0.3 * UP, 0.01)
    loss[[3, 20, 49]] = bad
    (episode,) = find_episodes(curves(loss, noisy(0.8 + 0.08 * UP, 0.003, 1)))
    assert episode.kind == "both_rise"
    assert episode.end_epoch <= 49
    assert np.isfinite(episode.loss_change.value)


def test_a_validation_set_that_changes_its_size_is_judged_only_after_the_change():
    recording = curves(noisy(1 + 0.3 * UP, 0.01), noisy(0.8 + 0.08 * UP, 0.003, 1))
    changed = replace(
        recording,
        summaries=tuple(replace(s, n_samples=500) if s.epoch <= 25 else s for s in recording.summaries),
    )
    assert all(e.start_epoch > 25 for e in find_episodes(changed))


def test_interrupted_passes_are_not_judged():
    recording = curves(noisy(1 + 0.3 * UP, 0.01), noisy(0.8 + 0.08 * UP, 0.003, 1))
    stopped = tuple(replace(s, complete=s.epoch < 6) for s in recording.summaries)
    assert find_episodes(replace(recording, summaries=stopped)) == ()


def test_unknown_sample_ids_leave_new_data_undecided():
    recording = planted(n_samples=20_000, accuracy_rise=0.05, before=20, epochs=30, seed=2)
    blind = replace(recording, load=lambda key: replace(recording.load(key), ids_known=False))
    assert {e.holds_on_new_data for e in find_episodes(recording) if e.kind == "both_rise"} == {"yes"}
    assert {e.holds_on_new_data for e in find_episodes(blind)} == {"undecided"}


def test_training_mode_passes_are_judged_from_their_curves():
    recording = curves(noisy(1 - 0.3 * UP, 0.01), noisy(0.8 - 0.08 * UP, 0.003, 1), split="train")
    (episode,) = find_episodes(recording)
    assert (episode.split, episode.kind) == ("train", "both_fall")
    assert episode.holds_on_new_data == "undecided"


def test_harmful_kinds_are_all_but_one():
    assert set(HARMFUL) | {"loss_falls_accuracy_flat"} == {
        "both_rise",
        "both_fall",
        "loss_rises_accuracy_flat",
        "loss_falls_accuracy_flat",
        "accuracy_stuck_loss_high",
        "loss_rises_accuracy_falls",
    }
