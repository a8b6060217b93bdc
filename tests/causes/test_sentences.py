"""What the sentences say holds together: one size for one rise, one training loss, reasons for refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from jupyter_lossacc.causes import learning_rate_too_high, misaligned_loss, mode_mismatch, overconfidence
from jupyter_lossacc.causes.cause import epochs_of, rounded, signed, training_series, window
from jupyter_lossacc.causes.optimisation import descent_of
from jupyter_lossacc.diagnosis.diagnose import diagnose
from tests.causes.cases import case, over
from tests.recordings import RecordingBuilder, train_and_record
from tests.scenarios import digits, flip, network
from tests.scenarios_classes import PAIRS, optimiser

if TYPE_CHECKING:
    from jupyter_lossacc.records import EpisodeKind, Finding, Recording


def findings(
    recording: Recording, kind: str = "both_rise", start: int = 15, end: int = 50
) -> dict[str, Finding]:
    d = diagnose(recording, (over(recording, kind, start, end),))[0]  # type: ignore[arg-type]
    return {f.cause: f for f in d.findings}


def test_a_rise_is_measured_from_its_lowest_loss_and_every_sentence_says_so() -> None:
    r = case("overconfidence").recording
    w = window(r, over(r, "both_rise", 15, 50))
    assert w is not None
    assert w.from_lowest
    lowest = min(r.series("val"), key=lambda s: s.nll).epoch
    assert lowest < 15, "the loss was lower before the stretch"
    span = f"between epoch {w.start.epoch}, where the loss was lowest in this stretch, and epoch 50"
    assert epochs_of(w) == span
    whole = window(r, over(r, "both_rise", lowest, 50))
    assert whole is not None
    assert epochs_of(whole) == f"between epoch {lowest}, where the loss was lowest, and epoch 50"
    found = findings(r)
    assert f"{signed(w.loss_change)} nats {span}" in found["overconfidence"].statement
    for cause in ("overconfidence", "overfitting"):
        assert span in found[cause].statement, cause


def test_a_fall_is_measured_from_the_first_epoch_of_the_stretch() -> None:
    r = case("growing_confidence").recording
    w = window(r, over(r, "loss_falls_accuracy_flat", 20, 40))
    assert w is not None
    assert epochs_of(w) == "from epoch 20 to 40"


def test_every_cause_reads_the_same_training_loss() -> None:
    r = case("capacity_or_noise").recording
    last = training_series(r)[-1]
    assert (
        f"training loss {rounded(last.nll)}"
        in case("capacity_or_noise").finding("capacity_or_noise").statement
    )
    d = descent_of(r)
    assert not isinstance(d, str)
    assert d.loss[-1] == pytest.approx(last.reported_loss, abs=1e-5)  # over samples, not over batches
    high = learning_rate_too_high.examine(r, None)
    assert high is not None
    assert f"to {rounded(last.reported_loss)} in the last" in high.statement
    train = findings(case("overfitting").recording, "loss_rises_accuracy_falls", 5, 40)["overfitting"]
    value = case("overfitting").recording.summary("train", 40).nll
    assert f"to {rounded(value)};" in train.statement


def test_evaluated_training_data_take_precedence() -> None:
    r = PAIRS["split_overlap"][1](0).build()
    assert {s.split for s in training_series(r)} == {"train_eval"}
    assert [s.epoch for s in training_series(r, until=2)] == [1, 2]


def test_confident_errors_counts_at_the_end_and_says_when_it_chose() -> None:
    found = case("confident_errors")
    f = found.finding("confident_errors")
    end = int(re.search(r"confidence at epoch (\d+)", f.statement)[1])  # type: ignore[index]
    p = found.recording.predictions("val", end)
    sure = int(((p.correct < 0.5) & (p.confidence >= 0.9)).sum())
    assert f.statement.startswith(f"{sure} of {len(p):,} ")
    assert f"the {len(f.sample_ids)} that were so at epoch {end - 1} carry" in f.statement


def test_too_many_confident_errors_are_refused_with_the_reason_and_without_a_share() -> None:
    f = findings(case("label_noise").recording, "both_rise", 5, 40)["confident_errors"]
    assert f.verdict == "rejected"
    assert f.share is None
    assert "more than the 5 %" in f.statement


# ---- losses that are not finite


def broken(builder: RecordingBuilder, epoch: int) -> Recording:
    """The run as it would be had the losses of two samples become infinite."""
    r = builder.build()

    def load(key):  # type: ignore[no-untyped-def]
        p = r.load(key)
        if key[1] < epoch:
            return p
        nll = p.nll.copy()
        nll[:2] = np.inf
        return replace(p, nll=nll)

    return replace(r, load=load)


def test_not_finite_is_told_from_no_ids() -> None:
    r = broken(PAIRS["class_imbalance"][0](0), 20)
    found = findings(r, "both_rise", 10, 30)
    for cause in ("class_imbalance", "class_divergence", "confident_errors"):
        assert found[cause].verdict == "not_tested"
        assert "2 of 1500 losses at epoch 30 are not finite" in found[cause].statement, cause
    unknown = replace(r, load=lambda key: replace(r.load(key), ids_known=False))
    for cause in ("class_imbalance", "class_divergence", "confident_errors"):
        assert "ids are not known" in findings(unknown, "both_rise", 10, 30)[cause].statement, cause
    f = misaligned_loss.examine(broken(PAIRS["misaligned_loss"][0](0), 5), None)
    assert f is not None
    assert "not finite" in f.statement


@pytest.mark.parametrize("at", [0, 30, 80])
def test_a_loss_that_broke_is_told_without_nan(at: int) -> None:
    r = optimiser(0, lr=2.0).build()
    loss = r.steps["loss"].copy()
    loss[at:] = np.nan
    r = replace(r, steps={**r.steps, "loss": loss})
    for f in diagnose(r, ())[-1].findings:
        if f.cause in ("learning_rate_too_high", "learning_rate_too_low", "gradient_noise"):
            texts = [f.statement, f.because, f.action]
            texts += [f.experiment.prediction] if f.experiment is not None else []
            assert not any(re.search(r"\bnan\b", t) for t in texts), texts
    high = learning_rate_too_high.examine(r, None)
    assert high is not None
    if not high.statement.startswith("Fewer"):
        assert f"not finite from step {at + 1} on" in high.statement


# ---- what is not so


def test_one_layer_is_one_layer() -> None:
    builder = PAIRS["label_shift"][1](0)
    builder.passes = [
        replace(p, training=True, mode_layers=1) if p.split == "val" else p for p in builder.passes
    ]
    f = mode_mismatch.examine(builder.build(), None)
    assert f is not None
    assert "The model has 1 layer that behaves differently there." in f.statement


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n", "lr"), [(64, 1e-4), (100, 3e-5), (200, 1e-4)])
def test_a_noisy_fine_tune_is_not_a_high_learning_rate(n: int, lr: float, seed: int) -> None:
    """Few samples, dropout and wrong labels make the loss swing; the steps are far too short for it."""
    torch.manual_seed(seed)
    train, val = digits(seed, 900, 300, noise=0.3)
    model = network(64, 10, (64,), 0.5)
    before = torch.optim.Adam(model.parameters(), lr=1e-3)
    train_and_record(model, train, val, epochs=6, optimizer=before, batch_size=64, seed=seed)
    few, _ = flip((train[0][:n], train[1][:n]), 0.3, 10, seed)
    after = torch.optim.Adam(model.parameters(), lr=lr)
    r = train_and_record(model, few, val, epochs=20, optimizer=after, batch_size=32, seed=seed).build()
    f = learning_rate_too_high.examine(r, None)
    assert f is not None
    assert f.verdict == "rejected", f.statement


def test_a_collapse_keeps_no_epoch_and_is_never_benign() -> None:
    r = PAIRS["majority_collapse"][0](0).build()
    last = r.series("val")[-1]
    benign = over(r, "loss_falls_accuracy_flat", 5, last.epoch)
    d, run = diagnose(r, (benign,))
    assert "Keep epoch" not in run.headline + d.headline
    verdicts = {f.cause: f for f in d.findings}
    assert verdicts["growing_confidence"].verdict != "supported"
    f = next(f for f in run.findings if f.cause == "majority_collapse")
    assert f.verdict == "supported"
    if f.counterfactual is not None:
        assert f.counterfactual.value < f.counterfactual.actual


# ---- what to try goes with what was seen


@pytest.mark.parametrize(
    ("flipped", "kind", "says"),
    [
        (0, "both_rise", "Training may go on"),
        (3, "loss_rises_accuracy_flat", "nothing was gained"),
        (3, None, "nothing was gained"),
        (40, "loss_rises_accuracy_flat", "Accuracy fell"),
        (3, "loss_rises_accuracy_falls", "Accuracy fell"),
    ],
)
def test_over_confidence_says_of_accuracy_what_the_band_says(
    flipped: int, kind: EpisodeKind | None, says: str
) -> None:
    """The same doubts at ever larger logits; `flipped` right answers of 500 are lost on the way."""
    torch.manual_seed(0)
    logits, targets = torch.randn(500, 4), torch.randint(0, 4, (500,))
    logits[torch.arange(500), targets] += 1.5
    lost = torch.nonzero(logits.argmax(1) == targets)[:flipped, 0]
    worse = logits.clone()
    worse[lost, targets[lost]] -= 5
    builder = RecordingBuilder()
    for epoch in range(1, 11):
        builder.add("val", epoch, epoch, (logits if epoch < 5 else worse) * (1 + 0.3 * epoch), targets)
    r = builder.build()
    found = overconfidence.examine(r, None if kind is None else over(r, kind, 1, 10))
    assert found is not None
    assert found.verdict == "supported"
    assert says in found.action


def test_advice_to_keep_another_epoch_quotes_no_temperature_of_the_last() -> None:
    found = case("overconfidence").finding("overconfidence")
    assert "by the temperature of that epoch" in found.action
    assert not re.search(r"\d\.\d+ at epoch", found.action)
