"""Trainings with a known cause get that cause; their healthy twins get none."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from jupyter_lossacc.causes import growing_confidence, overfitting, tail_relief
from jupyter_lossacc.causes.cause import percent, points, rounded, share_text, window
from jupyter_lossacc.causes.repair import repair
from jupyter_lossacc.diagnosis.decompose import decompose
from jupyter_lossacc.stats.estimate import Estimate
from tests.causes.cases import Case, case, over
from tests.recordings import train_and_record
from tests.scenarios import digits, flip, gaussians, network

KNOWN = (
    "overconfidence",
    "underconfidence",
    "overfitting",
    "confident_errors",
    "label_noise",
    "outlier_inputs",
    "tail_relief",
    "capacity_or_noise",
)
# What else is true of a scenario by its construction.
ALSO = {
    "confident_errors": {"overconfidence", "label_noise"},
    "label_noise": {"overconfidence"},
    "outlier_inputs": {"confident_errors"},
    "tail_relief": {"label_noise"},
    "capacity_or_noise": {"growing_confidence"},
    "overconfidence": {"confident_errors"},
}
HEALTHY = (
    "healthy",
    "healthy_linear",
    "overconfidence_healthy",
    "overfitting_healthy",
    "underconfidence_healthy",
    "tail_relief_healthy",
    "capacity_or_noise_healthy",
)
BENIGN = {"growing_confidence"}


@pytest.mark.parametrize("cause", KNOWN)
def test_a_known_cause_is_supported_and_no_wrong_one(cause: str) -> None:
    found = case(cause)
    assert cause in found.supported()
    assert found.supported() <= {cause} | ALSO.get(cause, set())
    if cause != "confident_errors":
        assert cause in found.first()


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_twin_has_no_harmful_cause(name: str) -> None:
    found = case(name)
    true_by_construction = {"capacity_or_noise"} if name == "healthy_linear" else set()
    assert found.supported() <= BENIGN | true_by_construction
    assert not any(e.harmful for e in found.episodes)


@pytest.mark.parametrize("cause", KNOWN)
def test_a_supported_finding_is_complete(cause: str) -> None:
    f = case(cause).finding(cause)
    assert f.verdict == "supported"
    assert any(c.isdigit() for c in f.statement)
    assert f.statement.endswith(".")
    assert f.because
    assert not f.because.endswith(".")
    assert f.action
    assert f.experiment is not None
    compile(f.experiment.code, cause, "exec")
    assert f.experiment.prediction
    assert len(f.evidence) >= 2
    assert all(np.isfinite(e.value) for e in f.evidence)
    assert np.mean([e.supports for e in f.evidence if e.threshold]) > 0.5
    assert f.strength > 0
    if f.share is not None:
        assert np.isfinite([f.share.low, f.share.high]).all()
        assert f.share.low < f.share.value < f.share.high
    assert f.link == f"#lossacc-page-{cause}"
    ids = case(cause).recording.predictions("val", -1).sample_ids
    assert set(f.sample_ids) <= set(ids)


def test_overconfidence_has_exact_numbers() -> None:
    r = case("overconfidence").recording
    f = case("overconfidence").finding("overconfidence")
    episode = next(e for e in case("overconfidence").episodes if e.split == "val" and e.harmful)
    end = r.summary("val", episode.end_epoch)
    start = min(
        (
            s
            for s in r.series("val")
            if episode.start_epoch <= s.epoch <= (episode.start_epoch + end.epoch) / 2
        ),
        key=lambda s: s.nll,
    )
    rise = end.nll - start.nll
    want = 1 - (end.calibrated_nll - start.calibrated_nll) / rise
    assert f.share is not None
    assert f.share.value == pytest.approx(want, abs=2e-3)
    assert f.share.low < want < f.share.high
    parts = decompose(r, "val", start.epoch, end.epoch, "calibration")
    assert sum(parts["loss_change"]) == pytest.approx(rise, abs=1e-9)
    assert f.counterfactual is not None
    assert f.counterfactual.value == pytest.approx(end.calibrated_nll)
    assert f.counterfactual.actual == pytest.approx(end.nll, abs=1e-4)
    assert f.overlay is not None
    assert f.overlay[end.epoch] == end.calibrated_nll
    assert len(f.overlay) == len(r.series("val"))
    assert f.experiment is not None
    assert rounded(end.calibrated_nll) in f.experiment.result
    assert case("overconfidence").finding("overfitting").verdict != "supported"
    before, after = r.paired("val", start.epoch, end.epoch)
    rows = np.searchsorted(after.sample_ids, f.sample_ids)
    increase = after.nll[rows] - before.nll[rows]
    assert (after.correct[rows] == 0).all()
    assert (np.diff(increase) <= 0).all()


def test_underconfidence_mirrors_overconfidence() -> None:
    over, under = (case("underconfidence").finding(c) for c in ("overconfidence", "underconfidence"))
    assert under.verdict == "supported"
    assert over.verdict == "rejected"
    assert case("overconfidence").finding("underconfidence").verdict == "rejected"


def test_overfitting_stays_when_calibration_is_repaired() -> None:
    found = case("overfitting")
    f = found.finding("overfitting")
    assert f.share is not None
    assert f.share.low > 0.5
    assert found.finding("overconfidence").verdict == "rejected"
    assert f.counterfactual is not None
    assert f.counterfactual.value == min(s.calibrated_nll for s in found.recording.series("val"))


def test_label_noise_estimates_the_rate_and_names_the_samples() -> None:
    found = case("label_noise")
    _, val = digits(0, 500, 1200)
    _, flipped = flip(val, 0.10, 10, 0)
    f = found.finding("label_noise")
    rate = next(e.value for e in f.evidence if e.name == "wrong labels, noise-floor fit")
    assert rate == pytest.approx(flipped.mean(), abs=0.025)
    n = int(flipped.sum())
    assert flipped[f.sample_ids[:n]].mean() > 0.7  # ten times the base rate
    assert flipped[f.sample_ids[: n // 2]].mean() > 0.8
    assert f.counterfactual is not None
    clean = found.recording.predictions("val", -1)
    assert f.counterfactual.value < 0.5 * f.counterfactual.actual
    assert clean.nll[~flipped].mean() < f.counterfactual.actual


def test_wrong_at_both_epochs_holds_the_wrong_labels() -> None:
    found = case("label_noise")
    _, val = digits(0, 500, 1200)
    _, flipped = flip(val, 0.10, 10, 0)
    series = found.recording.series("val")
    lowest, highest = min(series, key=lambda s: s.nll), max(series, key=lambda s: s.accuracy)
    a, b = found.recording.paired("val", lowest.epoch, highest.epoch)
    both, one = (a.correct == 0) & (b.correct == 0), (a.correct == 0) ^ (b.correct == 0)
    assert flipped[both].mean() > 0.5
    assert flipped[one].mean() < 0.1
    f = found.finding("label_noise")
    assert f.experiment is not None
    assert f"{int(both.sum())} samples are wrong at both" in f.experiment.result


def test_the_epoch_compared_with_the_lowest_loss_is_what_it_is_said_to_be() -> None:
    said = set()
    for name in ("overconfidence", "overfitting", "underconfidence", "healthy", "label_noise"):
        series = case(name).recording.series("val")
        experiment = case(name).finding("label_noise").experiment
        found = experiment and re.search(r"and epoch (\d+) \((.*?)\)", experiment.result)
        if found:
            highest = max(series, key=lambda s: s.accuracy).epoch
            said.add(found[2])
            assert int(found[1]) == (highest if found[2] == "highest accuracy" else series[-1].epoch), name
    assert said == {"highest accuracy", "the last one"}


def test_clean_labels_are_not_blamed() -> None:
    for name in ("overconfidence", "overfitting", "underconfidence", "healthy"):
        assert case(name).finding("label_noise").verdict in ("rejected", "undecided"), name
    rejected = case("overconfidence").finding("label_noise")
    assert rejected.verdict == "rejected"
    assert "wrong only on borderline samples would not show" in rejected.statement
    assert rejected.experiment is not None


def test_confident_errors_finds_the_few() -> None:
    found = case("confident_errors")
    f = found.finding("confident_errors")
    _, val = digits(0, 600, 1190)
    _, flipped = flip(val, 0.02, 10, 0)
    assert flipped[f.sample_ids].mean() > 0.4  # twenty times the base rate
    assert len(f.sample_ids) <= 0.05 * 1190
    assert f.share is not None
    assert f.share.low > 0.5
    assert f.counterfactual is not None
    assert f.counterfactual.value < 0.7 * f.counterfactual.actual
    assert f.counterfactual.value == pytest.approx(mean_without(found, f.sample_ids))


def mean_without(found: Case, left_out: np.ndarray) -> float:
    """Mean loss of the last epoch of the validation stretch without some samples."""
    end = next(e.end_epoch for e in found.episodes if e.split == "val" and e.harmful)
    p = found.recording.predictions("val", end)
    return float(p.nll[~np.isin(p.sample_ids, left_out)].mean(dtype=np.float64))


def test_inputs_unlike_training_are_not_called_wrong_labels() -> None:
    found = case("unlike_inputs")
    f = found.finding("label_noise")
    assert f.verdict == "undecided"
    assert "pile up" in f.statement
    assert "label_noise" not in found.supported()


def test_outliers_are_named_and_leave_the_rest_undecided() -> None:
    found = case("outlier_inputs")
    f = found.finding("outlier_inputs")
    few = np.random.default_rng(0).permutation(1000)[:20]
    assert set(f.sample_ids) <= set(few)
    assert f.counterfactual is not None
    assert f.counterfactual.value == pytest.approx(mean_without(found, f.sample_ids))
    over = found.finding("overconfidence")
    assert over.verdict == "undecided"


def test_growing_confidence_forecasts_only_with_its_error() -> None:
    recording = case("growing_confidence").recording
    f = growing_confidence.CAUSE.examine(recording, over(recording, "loss_falls_accuracy_flat", 25, 45))
    assert f is not None
    assert f.verdict == "supported"
    assert f.share is not None
    assert f.share.low > 0.5
    told = "back-tests" in f.statement
    assert told == any(e.name == "forecast error in back-tests" for e in f.evidence)
    assert f.experiment is not None
    assert ("Accuracy near" in f.experiment.prediction) == told
    after = recording.predictions("val", 45)
    rows = np.searchsorted(after.sample_ids, f.sample_ids)
    assert (after.margin[rows] <= 0).all()


def test_fluctuation_says_nothing_is_wrong() -> None:
    found = case("healthy")
    f = found.finding("fluctuation")
    assert f.verdict == "supported"
    assert "Nothing unusual" in f.statement
    assert found.diagnoses[-1].headline == f.statement


def test_a_rise_too_unsure_to_show_is_not_called_nothing() -> None:
    """Accuracy on 60 samples wobbles too much for an episode, yet the loss clearly rises."""
    torch.manual_seed(0)
    train, val = digits(0, 200, 60, noise=0.5)
    model = network(64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    recording = train_and_record(model, train, val, epochs=30, optimizer=optimizer, batch_size=32).build()
    from jupyter_lossacc.diagnosis.diagnose import diagnose

    run = diagnose(recording, ())[-1]
    f = next(x for x in run.findings if x.cause == "fluctuation")
    assert f.verdict == "undecided"
    assert "loss has risen by" in f.statement
    assert any(x.cause == "overconfidence" for x in run.findings)
    assert run.headline


def test_two_classes_that_overlap_are_capacity_or_noise_and_nothing_else() -> None:
    torch.manual_seed(0)
    train, val = gaussians(1, 3000, 1000, classes=2, distance=1.0)
    model = network(20, 2, ())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    recording = train_and_record(model, train, val, epochs=20, optimizer=optimizer, batch_size=128).build()
    from jupyter_lossacc.diagnosis.diagnose import diagnose
    from jupyter_lossacc.diagnosis.episodes import find_episodes

    episodes = find_episodes(recording)
    found = Case(recording, episodes, diagnose(recording, episodes))
    assert found.supported() <= {"capacity_or_noise", "growing_confidence"}
    either = found.finding("capacity_or_noise")
    assert "cannot tell which" in either.statement
    assert either.experiment is not None
    assert (
        "wider" in either.experiment.code + either.experiment.prediction or "width" in either.experiment.code
    )


def test_words_for_numbers() -> None:
    assert percent(0.618, 1) == "61.8 %"
    assert points(-0.004) == "-0.4 points"
    assert share_text(Estimate(1.1, 0.9, 1.3, "share")) == "110 % [90, 130]"
    assert share_text(Estimate(0.5, unit="share")) == "50 %"


def test_a_loss_that_falls_by_learning_is_no_relief() -> None:
    """In the first epochs nearly all samples are wrong, so the wrong ones carry the fall of any training."""
    r = case("healthy").recording
    f = tail_relief.CAUSE.examine(r, over(r, "loss_falls_accuracy_flat", 1, 4))
    assert f is not None
    assert f.verdict == "rejected"
    row = next(e for e in f.evidence if e.name == "share of the fall with calibration repaired")
    first, last = r.summary("val", 1), r.summary("val", 4)
    assert row.value == pytest.approx(
        (last.calibrated_nll - first.calibrated_nll) / (last.nll - first.nll), abs=1e-6
    )


def test_overfitting_counts_as_a_small_part_of_a_rise_where_accuracy_surely_falls() -> None:
    """Over-confidence makes most of many rises; samples that are lost are overfitting all the same."""
    r = case("overfitting").recording
    e = over(r, "loss_rises_accuracy_falls", 5, 40)
    w = window(r, e)
    assert w is not None
    assert w.before is not None
    assert w.after is not None
    assert w.accuracy_change < -0.01
    found = overfitting.CAUSE.examine(r, e)
    assert found is not None
    assert found.verdict == "supported"
    # The same rise, blown up by nine times as much over-confidence: the share of overfitting is small.
    big = replace(w.end, nll=w.end.nll + 9 * w.loss_change)
    grown = replace(w, end=big)
    repaired = repair(w)
    assert not isinstance(repaired, str)
    assert repaired.refinement.value < overfitting.PART * grown.loss_change
    floored, train = overfitting._floor_change(w), overfitting._training_loss(w)
    assert overfitting._verdict(grown, repaired, floored, train) == "supported"
    kept = replace(grown, after=replace(w.after, correct=w.before.correct))
    unmoved = replace(kept, end=replace(big, accuracy=w.start.accuracy))
    assert overfitting._verdict(unmoved, repaired, floored, train) != "supported"
