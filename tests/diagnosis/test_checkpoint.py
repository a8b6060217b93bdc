"""Which epoch to keep: the lowest calibrated loss, with paired evidence against the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from statsmodels.stats.contingency_tables import mcnemar

from jupyter_lossacc.causes.cause import rounded
from jupyter_lossacc.diagnosis import checkpoint
from jupyter_lossacc.diagnosis.checkpoint import advise, best_epoch, stop_or_go
from jupyter_lossacc.stats.calibration import cross_fitted_by_fold
from tests.causes.cases import builder, case
from tests.recordings import RecordingBuilder
from tests.scenarios_classes import PAIRS

if TYPE_CHECKING:
    from jupyter_lossacc.records import EpochSummary, PassKey, Predictions, Recording


@pytest.fixture
def recording() -> Recording:
    return case("overconfidence").recording


def test_the_epoch_with_the_lowest_calibrated_loss_is_advised(recording: Recording) -> None:
    advice = advise(recording, running=False)
    want = min(recording.series("val"), key=lambda s: s.calibrated_nll)
    assert advice.epoch == want.epoch == best_epoch(recording)
    assert advice.temperature == want.temperature
    assert rounded(want.calibrated_nll) in advice.reason
    assert f"epoch {want.epoch}" in advice.reason
    assert "so far" not in advice.reason
    assert "so far" in advise(recording, running=True).reason


def test_alternatives_are_the_epochs_a_reader_would_think_of(recording: Recording) -> None:
    series = recording.series("val")
    found = {a.name: a for a in advise(recording, running=False).alternatives}
    assert found["lowest loss"].epoch == min(series, key=lambda s: s.reported_loss).epoch
    assert found["highest accuracy"].epoch == max(series, key=lambda s: s.accuracy).epoch
    assert found["last"].epoch == series[-1].epoch
    if "earliest equivalent" in found:
        assert found["earliest equivalent"].epoch < (advise(recording, running=False).epoch or 0)


def test_paired_evidence_equals_the_references(recording: Recording) -> None:
    advice = advise(recording, running=False)
    last = next(a for a in advice.alternatives if a.name == "last")
    assert advice.epoch is not None
    assert last.epoch != advice.epoch
    a, b = recording.paired("val", last.epoch, advice.epoch)
    right = np.stack([a.correct > 0, b.correct > 0])
    table = [[int(np.sum((right[0] == i) & (right[1] == j))) for j in (True, False)] for i in (True, False)]
    assert last.mcnemar_p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert last.accuracy_difference.value == pytest.approx(b.correct.mean() - a.correct.mean(), abs=1e-6)
    best, other = recording.summary("val", advice.epoch), recording.summary("val", last.epoch)
    gap = last.calibrated_nll_difference
    assert gap.value == pytest.approx(best.calibrated_nll - other.calibrated_nll)
    assert gap.low < gap.value < gap.high < 0  # long after the turn the last epoch is surely worse
    assert "costs" in last.cost
    assert f"epoch {last.epoch}" in last.cost


def test_the_advised_epoch_costs_nothing_against_itself() -> None:
    advice = advise(case("healthy").recording, running=False)
    same = [a for a in advice.alternatives if a.epoch == advice.epoch]
    assert same
    assert all(a.cost == "It is the advised epoch." and a.mcnemar_p == 1.0 for a in same)


def test_the_calibrated_choice_is_later_and_no_worse_than_the_lowest_loss() -> None:
    """Wrong validation labels draw the lowest loss far too early; accuracy is the witness."""
    recording = case("label_noise").recording
    advice = advise(recording, running=False)
    lowest = next(a for a in advice.alternatives if a.name == "lowest loss")
    assert advice.epoch is not None
    assert advice.epoch > lowest.epoch + 5
    assert lowest.accuracy_difference.low > 0


def test_stop_now_long_after_the_turn(recording: Recording) -> None:
    assert stop_or_go(recording)[0] == "now"
    assert advise(recording, running=True).stop == "now"


def test_keep_going_while_the_calibrated_loss_falls() -> None:
    early = builder("healthy").build(status="running", upto=12)
    stop, why = stop_or_go(early)
    assert stop == "keep going"
    assert why.startswith("Along its last 10 epochs the calibrated loss still falls, by 0.")


def test_a_rising_loss_is_no_reason_to_stop() -> None:
    rising = builder("underconfidence").build(status="running", upto=22)
    series = rising.series("val")
    assert series[-1].reported_loss > min(s.reported_loss for s in series) * 1.1
    stop, why = stop_or_go(rising)
    assert stop == "keep going"
    assert "no reason to stop" in why


def test_too_early_to_say(recording: Recording) -> None:
    assert stop_or_go(builder("healthy").build(upto=3))[0] == "undecided"


def test_optimism_is_stated(recording: Recording) -> None:
    assert "nats" in advise(recording, running=False).optimism
    assert "test set" in advise(recording, running=False).optimism


def test_an_update_fits_the_temperatures_of_the_new_epoch_only(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[float] = []

    def fit(count, nll, slope, betas):  # type: ignore[no-untyped-def]
        fitted.append(nll[0, 0])
        return cross_fitted_by_fold(count, nll, slope, betas)

    monkeypatch.setattr(checkpoint, "cross_fitted_by_fold", fit)
    checkpoint._by_fold.cache_clear()
    last = recording.series("val")[-1].epoch
    before = replace(recording, summaries=tuple(s for s in recording.summaries if s.epoch < last))
    first = advise(before, running=True).optimism
    assert len(fitted) == len(before.series("val"))
    advise(recording, running=True)
    assert len(fitted) == len(recording.series("val"))
    assert advise(before, running=True).optimism == first


def test_no_evaluation_no_advice(recording: Recording) -> None:
    train_only = replace(recording, summaries=tuple(s for s in recording.summaries if s.split == "train"))
    advice = advise(train_only, running=False)
    assert advice.epoch is None
    assert advice.reason
    assert advice.stop == "undecided"
    assert best_epoch(replace(recording, summaries=())) is None


def test_without_calibration_the_plain_loss_decides_and_it_is_said(recording: Recording) -> None:
    plain = tuple(
        replace(s, accumulators=None, calibrated_nll=np.nan, temperature=np.nan) for s in recording.summaries
    )
    advice = advise(replace(recording, summaries=plain), running=False)
    assert advice.epoch == min(recording.series("val"), key=lambda s: s.nll).epoch
    assert "could not be repaired" in advice.reason
    assert "test set" in advice.optimism


def test_without_samples_there_is_no_interval(recording: Recording) -> None:
    def load(key: PassKey) -> Predictions:
        raise KeyError(key)

    advice = advise(replace(recording, load=load), running=False)
    last = next(a for a in advice.alternatives if a.name == "last")
    assert np.isnan(last.mcnemar_p)
    assert np.isnan(last.calibrated_nll_difference.low)
    assert np.isfinite(last.calibrated_nll_difference.value)
    assert advice.epoch == best_epoch(recording)


def test_of_equivalent_epochs_the_most_accurate_is_kept(recording: Recording) -> None:
    """An epoch whose calibrated loss is lower by less than one paired standard error decides nothing."""
    low = min(recording.series("val"), key=lambda s: s.calibrated_nll)
    other = next(s for s in recording.series("val") if s.epoch == low.epoch + 1)
    a, b = recording.paired("val", other.epoch, low.epoch)
    wobble = float(np.std(a.nll - b.nll) / np.sqrt(len(a)))

    highest = max(s.accuracy for s in recording.series("val")) + 0.005

    def with_gap(gap: float) -> Recording:
        def put(s: EpochSummary) -> EpochSummary:
            if s.key == other.key:
                return replace(s, calibrated_nll=low.calibrated_nll + gap, accuracy=highest)
            return s

        return replace(recording, summaries=tuple(put(s) for s in recording.summaries))

    near, far = advise(with_gap(0.1 * wobble), running=False), advise(with_gap(20 * wobble), running=False)
    assert near.epoch == best_epoch(with_gap(0.1 * wobble)) == other.epoch
    assert f"at epoch {low.epoch}) within chance" in near.reason
    assert "of equivalent epochs the most accurate" in near.reason
    assert far.epoch == low.epoch
    assert "equivalent epochs" not in far.reason


def test_a_collapsed_model_has_no_epoch_worth_keeping() -> None:
    collapsed = PAIRS["majority_collapse"][0](0).build()
    advice = advise(collapsed, running=False)
    assert advice.epoch is None
    assert best_epoch(collapsed) is None
    assert "share of the largest class" in advice.reason
    twin = advise(PAIRS["majority_collapse"][1](0).build(), running=False)
    assert twin.epoch is not None


def test_without_calibration_no_sentence_speaks_of_a_calibrated_loss(recording: Recording) -> None:
    """As in validation passes that ran in training mode."""
    plain = tuple(
        replace(s, accumulators=None, calibrated_nll=np.nan, temperature=np.nan) for s in recording.summaries
    )
    advice = advise(replace(recording, summaries=plain), running=False)
    said = [advice.reason, advice.stop_reason, advice.optimism, *(a.cost for a in advice.alternatives)]
    assert not [text for text in said if "calibrated" in text or "nan" in text.split()]


def _growing(n_epochs: int, wrong: int) -> Recording:
    """Logits that grow from epoch to epoch, of 60 samples of which `wrong` are wrong."""
    targets = torch.arange(60) % 3
    predicted = targets.clone()
    predicted[:wrong] = (predicted[:wrong] + 1) % 3
    told = RecordingBuilder()
    for epoch in range(1, n_epochs + 1):
        logits = 0.5 * epoch * torch.nn.functional.one_hot(predicted, 3).float()
        told.add("train", epoch, epoch, logits, targets, training=True)
        uneven = 0.01 * torch.arange(60)[:, None] * torch.tensor([0.0, 1, 0])
        told.add("val", epoch, epoch, logits + uneven, targets)
    return told.build()


@pytest.mark.parametrize(
    ("wrong", "said"), [(0, "No sample is"), (1, "One sample is"), (4, "Only 4 samples are")]
)
def test_a_few_mistakes_tell_no_temperature(wrong: int, said: str) -> None:
    """The lowest that the fit knows, 0.05, is theirs; the fold without them gives it to the others."""
    recording = _growing(12, wrong=wrong)
    lowest = min(recording.series("val"), key=lambda s: s.nll)
    advice = advise(recording, running=False)
    assert advice.epoch == lowest.epoch
    assert advice.temperature == 1.0
    assert f"{said} wrong at epoch" in advice.reason
    assert "Divide" not in advice.reason
    twin = advise(_growing(12, wrong=9), running=False)
    assert "with calibration repaired" in twin.reason


def test_an_epoch_that_knows_the_proportions_only_is_not_worth_keeping() -> None:
    guessing = _growing(12, wrong=40)  # a third is right, as when guessing
    advice = advise(guessing, running=False)
    assert advice.epoch is None
    assert best_epoch(guessing) is None
    assert "knows no more than the proportions of the classes (accuracy 33.3 %)" in advice.reason
    assert advise(_growing(12, wrong=36), running=False).epoch is not None
