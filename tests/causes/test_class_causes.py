"""Collapse, divergence, label shift and changing weights on real trainings, each with a healthy twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency
from sklearn import metrics

from jupyter_lossacc.causes import (
    class_divergence,
    class_weights_changed,
    double_softmax,
    label_shift,
    majority_collapse,
    misaligned_loss,
)
from jupyter_lossacc.causes.cause import percent, window
from jupyter_lossacc.causes.threshold import moved_threshold
from jupyter_lossacc.diagnosis.decompose import decompose
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.episodes import find_episodes
from jupyter_lossacc.records import Finding, LossInfo, Recording
from tests import scenarios_classes as scenarios
from tests.recordings import RecordingBuilder
from tests.scenarios_classes import episode_of


def values(finding: Finding) -> dict[str, float]:
    return {e.name: e.value for e in finding.evidence}


def complete(finding: Finding | None) -> Finding:
    """A supported finding says what, why, what to do and how to check it."""
    assert finding is not None
    assert finding.verdict == "supported", finding.statement
    assert finding.statement.endswith(".")
    assert finding.because
    assert finding.evidence
    assert finding.action
    assert finding.experiment is not None
    compile(finding.experiment.code, finding.cause, "exec")
    assert 0 < finding.strength <= 1
    return finding


def verdict(finding: Finding | None) -> str:
    assert finding is not None
    return finding.verdict


# --- majority collapse --------------------------------------------------------------------------


def test_collapse_is_supported_with_the_base_rates_numbers() -> None:
    recording = scenarios.collapse(0).build()
    finding = complete(majority_collapse.examine(recording, None))
    p = recording.predictions("val", -1)
    share = np.bincount(p.targets) / len(p)
    assert finding.counterfactual is not None
    assert finding.counterfactual.value == pytest.approx(-(share * np.log(share)).sum())
    assert set(p.targets[np.isin(p.sample_ids, finding.sample_ids)]) == {1}


def test_informative_inputs_do_not_collapse() -> None:
    assert (
        verdict(majority_collapse.examine(scenarios.collapse(0, informative=True).build(), None))
        == "rejected"
    )


def test_a_constant_answer_to_balanced_classes_is_another_matter() -> None:
    builder = RecordingBuilder()
    targets = torch.arange(300) % 3
    for epoch in range(1, 7):
        builder.add("val", epoch, epoch, torch.tensor([[1.0, 0.0, 0.0]]).repeat(300, 1), targets)
    finding = majority_collapse.examine(builder.build(), None)
    assert verdict(finding) == "rejected"
    assert finding is not None
    assert "optimisation" in finding.statement


def test_a_constant_answer_at_the_very_start_is_undecided() -> None:
    builder = RecordingBuilder()
    targets = (torch.arange(1000) % 20 == 0).long()
    for epoch in range(1, 7):
        builder.add("val", epoch, epoch, torch.tensor([[3.0, 0.0]]).repeat(1000, 1), targets)
    assert verdict(majority_collapse.examine(builder.build(upto=3), None)) == "undecided"
    assert verdict(majority_collapse.examine(builder.build(), None)) == "supported"


def test_a_validation_set_of_one_class_is_no_collapse() -> None:
    builder = RecordingBuilder()
    for epoch in range(1, 7):
        builder.add("val", epoch, epoch, torch.tensor([[3.0, 0.0]]).repeat(50, 1), torch.zeros(50).long())
    recording = builder.build()
    assert verdict(majority_collapse.examine(recording, None)) == "not_tested"
    said = [limit for d in diagnose(recording, find_episodes(recording)) for limit in d.limits]
    assert not any("could not be examined" in limit for limit in said)


def test_a_loss_below_chance_is_a_matter_of_the_threshold() -> None:
    """All predictions are the majority, but the probabilities tell the classes apart."""
    generator = torch.Generator().manual_seed(0)
    targets = (torch.arange(2000) % 20 == 0).long()
    p = torch.where(targets == 1, 0.4, 0.02) + 0.02 * torch.rand(2000, generator=generator)
    builder = RecordingBuilder()
    for epoch in range(1, 7):
        builder.add("val", epoch, epoch, torch.stack([(1 - p).log(), p.log()], 1), targets)
    finding = majority_collapse.examine(builder.build(), None)
    assert verdict(finding) == "undecided"
    assert finding is not None
    assert "threshold" in finding.action


# --- class divergence ---------------------------------------------------------------------------


def test_classes_that_part_are_named() -> None:
    recording = scenarios.class_divergence(0).build()
    finding = complete(class_divergence.examine(recording, episode_of(recording)))
    assert values(finding)["classes that get worse"] == 3
    p = recording.predictions("val", -1)
    assert set(p.targets[np.isin(p.sample_ids, finding.sample_ids)]) <= {0, 1, 2}


def test_a_fall_within_chance_beside_a_sure_rise_leaves_it_open() -> None:
    """Two classes rise; the others fall by as much as would count, each within chance; or next to nothing."""
    recording = scenarios.class_divergence(0).build()
    followed = class_divergence.follow_classes("class_divergence", recording, episode_of(recording))
    assert not isinstance(followed, Finding)
    found = class_divergence._trends(followed)
    falls = found.change < 0
    doubtful = replace(found, z=np.where(falls, -1.0, found.z))
    assert len(doubtful.worse)
    assert class_divergence._verdict(doubtful, 0.1) == "undecided"
    assert "within chance class by class" in class_divergence._finding(followed, doubtful).statement
    tiny = replace(doubtful, change=np.where(falls, -1e-3, found.change))
    assert class_divergence._verdict(tiny, 0.1) == "rejected"
    calm = replace(doubtful, z=np.clip(doubtful.z, -1, 1))
    assert class_divergence._verdict(calm, 0.1) == "rejected"


def test_classes_that_rise_together_do_not_part() -> None:
    recording = scenarios.class_divergence(0, mixed=False).build()
    assert verdict(class_divergence.examine(recording, episode_of(recording))) == "rejected"


# --- class weights ------------------------------------------------------------------------------


def test_changed_weights_are_split_from_the_samples() -> None:
    recording = scenarios.class_weights(0).build()
    episode = episode_of(recording, start=5)
    finding = complete(class_weights_changed.examine(recording, episode))
    w = window(recording, episode)
    assert w is not None
    columns = decompose(recording, "val", w.start.epoch, w.end.epoch, "weights")
    named = values(finding)
    assert named["change through the weights"] == pytest.approx(columns["loss_change"][0], abs=1e-9)
    assert named["change through the samples"] == pytest.approx(columns["loss_change"][1], abs=1e-9)


def test_constant_or_absent_weights_are_rejected() -> None:
    recording = scenarios.class_weights(0, changing=False).build()
    assert verdict(class_weights_changed.examine(recording, episode_of(recording, start=5))) == "rejected"
    bare = tuple(replace(s, loss=LossInfo(name="cross_entropy")) for s in recording.summaries)
    recording = replace(recording, summaries=bare)
    assert verdict(class_weights_changed.examine(recording, episode_of(recording, start=5))) == "rejected"


# --- label shift --------------------------------------------------------------------------------


def test_shifted_proportions_are_found_by_scipys_test() -> None:
    recording = scenarios.label_shift(0).build()
    finding = complete(label_shift.examine(recording, None))
    table = [[150, 150, 150], [400, 130, 70]]
    named = values(finding)
    assert named["p of equal proportions (chi-squared)"] == pytest.approx(
        chi2_contingency(table).pvalue, abs=1e-12
    )
    assert named["total variation between the proportions"] == pytest.approx(400 / 600 - 1 / 3)
    assert finding.counterfactual is not None
    p = recording.predictions("val", -1)
    per_class = [p.nll[p.targets == k].mean() for k in range(3)]
    assert finding.counterfactual.value == pytest.approx(np.mean(per_class), abs=1e-6)


def test_equal_proportions_are_rejected() -> None:
    assert verdict(label_shift.examine(scenarios.label_shift(0, shifted=False).build(), None)) == "rejected"


def test_a_class_that_training_never_saw_is_a_shift() -> None:
    builder = RecordingBuilder()
    logits = torch.zeros(200, 2)
    builder.add("train", 1, 1, logits, torch.zeros(200, dtype=torch.long), training=True)
    builder.add("val", 1, 1, logits, (torch.arange(200) % 10 == 0).long())
    finding = label_shift.examine(builder.build(), None)
    assert verdict(finding) == "supported"
    assert finding is not None
    assert values(finding)["evaluated classes never trained on"] == 1


# --- the criterion ------------------------------------------------------------------------------


def test_double_softmax_is_a_fact_with_a_floor() -> None:
    recording = scenarios.double_softmax(0).build()
    finding = complete(double_softmax.examine(recording, None))
    assert finding.counterfactual is not None
    one_hot = torch.eye(5, dtype=torch.float64)
    floor = torch.nn.functional.cross_entropy(one_hot, torch.arange(5)).item()
    assert finding.counterfactual.value == pytest.approx(floor)
    assert recording.summary("val", -1).reported_loss > floor


def test_one_softmax_is_rejected() -> None:
    assert (
        verdict(double_softmax.examine(scenarios.double_softmax(0, twice=False).build(), None)) == "rejected"
    )


@pytest.mark.parametrize(("twice", "expected"), [(True, "supported"), (False, "rejected")])
def test_double_sigmoid(twice: bool, expected: str) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (200,), generator=generator)
    z = 3 * torch.randn(200, generator=generator) + 2 * (2 * targets - 1)
    z = z.sigmoid() if twice else z
    builder = RecordingBuilder(loss=LossInfo(name="binary_cross_entropy_with_logits", task="binary"))
    builder.add("val", 1, 1, torch.stack([torch.zeros(200), z], 1), targets)
    assert verdict(double_softmax.examine(builder.build(), None)) == expected


def test_squared_error_on_logits_is_misaligned() -> None:
    recording = scenarios.misaligned(0).build()
    finding = complete(misaligned_loss.examine(recording, episode_of(recording, start=2)))
    assert values(finding)["rank correlation of margin and loss, right samples"] > 0.3


def test_the_brier_score_is_not() -> None:
    recording = scenarios.misaligned(0, on_probabilities=True).build()
    assert verdict(misaligned_loss.examine(recording, episode_of(recording, start=2))) == "rejected"


@pytest.mark.parametrize("name", ["cross_entropy", "multi_margin_loss", "weighted", "smoothed"])
def test_criteria_in_order_are_not_misaligned(name: str) -> None:
    recording = aligned(name)
    finding = misaligned_loss.examine(recording, episode_of(recording, start=1, end=2))
    assert verdict(finding) in ("rejected", "undecided" if name == "smoothed" else "rejected")


def aligned(name: str) -> Recording:
    """Logits that grow between two epochs, with the per-sample loss of a criterion in order."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 5, (500,), generator=generator)
    logits = torch.randn(500, 5, generator=generator) + 2.5 * torch.nn.functional.one_hot(targets, 5)
    weights = torch.tensor([1.0, 1.0, 8.0, 1.0, 0.2])
    info = LossInfo(
        name="multi_margin_loss" if name == "multi_margin_loss" else "cross_entropy",
        class_weights=weights.numpy().astype(np.float64) if name == "weighted" else None,
        label_smoothing=0.1 if name == "smoothed" else 0.0,
    )
    builder = RecordingBuilder(loss=info)
    for epoch in (1, 2):
        z = logits * epoch
        options: dict[str, object] = {"label_smoothing": info.label_smoothing, "reduction": "none"}
        if name == "weighted":
            options["weight"] = weights
        if name == "multi_margin_loss":
            reported = torch.nn.functional.multi_margin_loss(z, targets, reduction="none")
        else:
            reported = torch.nn.functional.cross_entropy(z, targets, **options)  # type: ignore[arg-type]
        builder.add("val", epoch, epoch, z, targets, reported=reported.numpy())
    return builder.build()


def test_another_threshold_is_tried_at_once_and_measured_on_other_samples() -> None:
    """A rare class that is told apart but never said: the threshold is what hides it."""
    rng = np.random.default_rng(0)
    y = (rng.random(3000) < 0.05).astype(np.int64)
    logit = torch.as_tensor(rng.normal(size=3000) + 2.5 * y - 4.0, dtype=torch.float32)
    builder = RecordingBuilder()
    builder.add("val", 1, 1, torch.stack([torch.zeros(3000), logit], dim=1), torch.as_tensor(y))
    r = builder.build()
    moved = moved_threshold(r.predictions("val", 1), r.summary("val", 1))
    assert moved is not None
    assert moved.before == pytest.approx(metrics.balanced_accuracy_score(y, logit.numpy() > 0))
    best = max(metrics.balanced_accuracy_score(y, logit.numpy() >= t) for t in np.linspace(-4, 1, 101))
    assert 0.84 < moved.after <= best + 1e-3
    assert moved.probability < 0.2
    said = moved.text(replace(r, info=replace(r.info, class_names=("many", "few"))))
    assert percent(moved.after, 1) in said
    assert "class few from a probability" in said


def test_every_supported_cause_carries_an_experiment_and_what_the_records_allow_is_done() -> None:
    done = {
        "class_imbalance",
        "majority_collapse",
        "label_shift",
        "misaligned_loss",
        "class_weights_changed",
    }
    for cause, (make, _) in scenarios.PAIRS.items():
        recording = make(0).build()
        episodes = find_episodes(recording) or (episode_of(recording),)
        held_out = tuple(e for e in episodes if e.split != "train")  # no samples of training passes are kept
        found = [f for d in diagnose(recording, held_out) for f in d.supported if f.cause != "fluctuation"]
        assert found, cause
        for f in found:
            assert f.experiment is not None, f.cause
            compile(f.experiment.code, f.cause, "exec")
            assert f.experiment.prediction, f.cause
            if f.cause in done:
                assert f.experiment.result, f.cause
