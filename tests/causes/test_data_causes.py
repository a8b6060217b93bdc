"""Order, splits, averaging and mode: facts about the loop and the data, each with a healthy twin."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, ttest_ind

from jupyter_lossacc.causes import (
    averaging_artifact,
    mode_mismatch,
    split_mismatch,
    split_overlap,
    unshuffled_training,
)
from tests import scenarios_classes as scenarios
from tests.recordings import RecordingBuilder
from tests.scenarios_classes import episode_of

if TYPE_CHECKING:
    from jupyter_lossacc.records import Finding, Recording


def verdict(finding: Finding | None) -> str:
    assert finding is not None
    return finding.verdict


def values(finding: Finding | None) -> dict[str, float]:
    assert finding is not None
    return {e.name: e.value for e in finding.evidence}


def supported(finding: Finding | None) -> Finding:
    assert finding is not None
    assert finding.verdict == "supported", finding.statement
    assert finding.experiment is not None
    compile(finding.experiment.code, finding.cause, "exec")
    assert finding.because
    assert finding.action
    return finding


@pytest.fixture(scope="module")
def healthy() -> Recording:
    return scenarios.held_out(0, noise=0.0).build()


def test_sorted_training_is_supported() -> None:
    finding = supported(unshuffled_training.examine(scenarios.unshuffled(0).build(), None))
    assert values(finding)["runs of equal targets against random order"] < 0.05


def test_shuffled_training_is_rejected(healthy: Recording) -> None:
    assert verdict(unshuffled_training.examine(healthy, None)) == "rejected"


def test_the_order_within_one_full_batch_does_not_matter() -> None:
    recording = scenarios.unshuffled(0).build()
    first = {
        k: v[np.unique(recording.steps["epoch"], return_index=True)[1]] for k, v in recording.steps.items()
    }
    assert verdict(unshuffled_training.examine(replace(recording, steps=first), None)) == "rejected"


def test_an_order_that_was_not_recorded_is_not_tested(healthy: Recording) -> None:
    bare = tuple(replace(s, order_runs=None) for s in healthy.summaries)
    assert verdict(unshuffled_training.examine(replace(healthy, summaries=bare), None)) == "not_tested"


def test_a_validation_set_unlike_the_test_set_is_supported() -> None:
    recording = scenarios.held_out(0).build()
    finding = supported(split_mismatch.examine(recording, None))
    val, test = (recording.predictions(split, -1).nll.astype(float) for split in ("val", "test"))
    named = values(finding)
    welch = ttest_ind(val, test, equal_var=False).statistic
    assert named["difference of the mean losses"] == pytest.approx(welch)
    p = ks_2samp(val, test).pvalue
    assert named["p of equal loss distributions (Kolmogorov-Smirnov)"] == pytest.approx(p)


def test_two_samples_of_one_distribution_are_rejected(healthy: Recording) -> None:
    assert verdict(split_mismatch.examine(healthy, None)) == "rejected"


def test_one_held_out_split_has_nothing_to_compare() -> None:
    recording = scenarios.unshuffled(0, shuffle=True).build()
    assert verdict(split_mismatch.examine(recording, None)) == "not_tested"
    assert verdict(split_overlap.examine(recording, None)) == "not_tested"


def test_shared_samples_are_found_by_their_outputs() -> None:
    finding = supported(split_overlap.examine(scenarios.overlap(0).build(), None))
    assert finding.sample_ids.tolist() == list(range(100))


def test_equal_ids_of_two_datasets_are_no_overlap() -> None:
    assert verdict(split_overlap.examine(scenarios.overlap(0, shared=False).build(), None)) == "rejected"


def test_a_constant_model_does_not_make_samples_equal() -> None:
    """Outputs of different inputs agree when the model ignores its inputs; that proves nothing."""
    builder = RecordingBuilder()
    targets = torch.arange(200) % 2
    for split in ("val", "test"):
        builder.add(split, 1, 1, torch.zeros(200, 2), targets)
    assert verdict(split_overlap.examine(builder.build(), None)) != "supported"


def mean_of_batch_means(loss: np.ndarray, batch: int) -> float:
    return float(np.mean([loss[i : i + batch].mean() for i in range(0, len(loss), batch)]))


@pytest.mark.parametrize(("batch", "expected"), [(199, "supported"), (50, "rejected"), (1000, "rejected")])
def test_a_ragged_last_batch_counts_too_much(batch: int, expected: str) -> None:
    """With 200 samples in batches of 199, the last sample counts as much as all others together."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 3, (200,), generator=generator)
    logits = torch.randn(200, 3, generator=generator) + 2 * torch.nn.functional.one_hot(targets, 3)
    builder = RecordingBuilder()
    for epoch, last in ((1, 0.0), (2, -9.0)):
        z = logits.clone()
        z[-1, targets[-1]] += last
        loss = torch.nn.functional.cross_entropy(z, targets, reduction="none").numpy()
        builder.add("val", epoch, epoch, z, targets, reported_mean=mean_of_batch_means(loss, batch))
    recording = builder.build()
    finding = averaging_artifact.examine(recording, episode_of(recording, start=1, end=2))
    assert verdict(finding) == expected
    assert finding is not None
    assert finding.counterfactual is not None
    assert finding.counterfactual.value == pytest.approx(recording.predictions("val", 2).nll.mean(), abs=1e-6)


@pytest.mark.parametrize(("reported", "expected"), [(0.3, "supported"), (0.0, None)])
def test_a_reported_loss_that_rises_alone_is_asked_about_without_a_stretch(
    healthy: Recording, reported: float, expected: str | None
) -> None:
    """The samples' own losses mark no stretch, because they do not move; what is printed does."""
    last = healthy.series("val")[-1]
    passes = tuple(replace(last, epoch=e, reported_loss=last.nll + reported * e / 10) for e in range(1, 11))
    recording = replace(healthy, summaries=passes, load=lambda key: healthy.load(last.key))
    finding = averaging_artifact.examine(recording, None)
    assert (finding and finding.verdict) == expected


def test_our_own_averages_have_no_artifact(healthy: Recording) -> None:
    assert verdict(averaging_artifact.examine(healthy, episode_of(healthy))) == "rejected"


@pytest.mark.parametrize(("layers", "expected"), [(2, "supported"), (None, "undecided"), (0, "rejected")])
def test_validation_in_training_mode(healthy: Recording, layers: int | None, expected: str) -> None:
    passes = tuple(replace(s, training=True, mode_layers=layers) for s in healthy.summaries)
    assert verdict(mode_mismatch.examine(replace(healthy, summaries=passes), None)) == expected


def test_training_that_never_came_back_from_evaluation_mode(healthy: Recording) -> None:
    passes = tuple(
        replace(s, mode_layers=1, training=s.split == "train" and s.epoch == 1) for s in healthy.summaries
    )
    finding = supported(mode_mismatch.examine(replace(healthy, summaries=passes), None))
    assert "model.train()" in finding.action


def test_the_right_modes_are_rejected(healthy: Recording) -> None:
    assert verdict(mode_mismatch.examine(healthy, None)) == "rejected"
