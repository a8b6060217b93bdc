"""Class imbalance on real trainings: supported when rare classes carry the loss, else not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn import metrics

from jupyter_lossacc.causes.class_imbalance import examine, rare_classes
from tests.recordings import RecordingBuilder
from tests.scenarios_classes import episode_of, imbalance

if TYPE_CHECKING:
    from jupyter_lossacc.records import Recording


@pytest.fixture(scope="module")
def imbalanced() -> Recording:
    return imbalance(0).build()


def test_rare_class_carrying_the_loss_is_supported(imbalanced: Recording) -> None:
    episode = episode_of(imbalanced)
    finding = examine(imbalanced, episode)
    assert finding is not None
    assert finding.verdict == "supported"
    before, after = imbalanced.paired("val", episode.start_epoch, episode.end_epoch)
    rare = after.targets == 1
    change = after.nll.astype(float) - before.nll
    assert finding.share is not None
    assert finding.share.value == pytest.approx(change[rare].sum() / change.sum())
    assert finding.share.low > 2 * rare.mean()
    assert finding.counterfactual is not None
    assert finding.counterfactual.value == pytest.approx(
        after.nll.mean() - change[rare].sum() / len(rare), abs=1e-6
    )
    assert set(finding.sample_ids) <= set(after.sample_ids[rare])
    assert finding.overlay is not None
    assert finding.overlay[episode.start_epoch] == pytest.approx(before.nll.mean(), abs=1e-6)
    assert finding.overlay[episode.end_epoch] == pytest.approx(finding.counterfactual.value, abs=1e-6)
    assert "10 % of the training samples" in finding.statement


def test_its_numbers_are_scikit_learns(imbalanced: Recording) -> None:
    episode = episode_of(imbalanced)
    finding = examine(imbalanced, episode)
    assert finding is not None
    p = imbalanced.predictions("val", episode.end_epoch)
    named = {e.name: e.value for e in finding.evidence}
    recall = metrics.recall_score(p.targets, p.predicted, average=None)
    assert named["recall of rare classes at the end"] == pytest.approx(recall[1])
    assert named["recall of the other classes at the end"] == pytest.approx(recall[0])
    assert named["balanced accuracy at the end"] == pytest.approx(
        metrics.balanced_accuracy_score(p.targets, p.predicted)
    )
    assert named["macro F1 at the end"] == pytest.approx(
        metrics.f1_score(p.targets, p.predicted, average="macro")
    )


def test_balanced_twin_is_rejected() -> None:
    recording = imbalance(0, rare=300, common=300, epochs=15).build()
    finding = examine(recording, episode_of(recording))
    assert finding is not None
    assert finding.verdict == "rejected"


def scaled(seed: int, common_scale: float, rare_scale: float) -> Recording:
    """Imbalanced classes whose logits grow by a factor per class: who carries the rise is chosen."""
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.arange(2000) % 10 == 0).long()
    signal = 1.5 * torch.randn(2000, generator=generator) + (2 * targets - 1)
    builder = RecordingBuilder()
    for epoch, factors in ((1, (1.0, 1.0)), (2, (common_scale, rare_scale))):
        z = signal * torch.where(targets == 1, factors[1], factors[0])
        logits = torch.stack([torch.zeros_like(z), z], dim=1)
        builder.add("train", epoch, epoch, logits, targets, training=True)
        builder.add("val", epoch, epoch, logits, targets)
    return builder.build()


def test_imbalance_without_a_part_in_the_rise_is_rejected() -> None:
    """Imbalanced data are not the cause when the common class carries the rise."""
    recording = scaled(0, 4.0, 1.0)
    finding = examine(recording, episode_of(recording, start=1, end=2))
    assert finding is not None
    assert finding.verdict == "rejected"
    recording = scaled(0, 1.0, 4.0)
    finding = examine(recording, episode_of(recording, start=1, end=2))
    assert finding is not None
    assert finding.verdict == "supported"


def test_few_rare_samples_leave_it_undecided() -> None:
    recording = scaled(0, 1.0, 4.0)

    def few(key: tuple[str, int, int]) -> object:
        p = recording.load(key)
        keep = np.flatnonzero((p.targets == 0) | (p.sample_ids < 100))
        columns = {k: v[keep] for k, v in vars(p).items() if isinstance(v, np.ndarray)}
        return replace(p, **columns)

    finding = examine(replace(recording, load=few), episode_of(recording, start=1, end=2))
    assert finding is not None
    assert finding.verdict == "undecided"
    assert "10 validation samples" in finding.statement


def test_absent_classes_are_not_rare() -> None:
    assert rare_classes(np.array([50, 0, 50, 5])).tolist() == [3]


def test_without_per_sample_records_it_is_not_tested(imbalanced: Recording) -> None:
    def nothing(key: object) -> None:
        raise KeyError(key)

    finding = examine(replace(imbalanced, load=nothing), episode_of(imbalanced))
    assert finding is not None
    assert finding.verdict == "not_tested"
    assert examine(imbalanced, None) is None
