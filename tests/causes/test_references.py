"""Numbers that others have published or compute: the same come out here."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_self_confidence_for_each_label
from scipy.stats import linregress
from sklearn.metrics import log_loss
from torch.nn import functional as F

from jupyter_lossacc.causes.cause import window
from jupyter_lossacc.causes.contradictions import compare_epochs
from jupyter_lossacc.causes.double_softmax import floor
from jupyter_lossacc.diagnosis.decompose import decompose
from tests.causes.cases import case, over
from tests.recordings import RecordingBuilder, predictions_from_logits
from tests.scenarios import digits, flip


def test_two_samples_on_which_loss_and_accuracy_both_rise() -> None:
    """From the PyTorch forum: wrong by little twice, against right once and very wrong once."""
    targets = torch.tensor([0, 0])
    builder = RecordingBuilder()
    builder.add("val", 1, 1, torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]), targets)
    builder.add("val", 2, 2, torch.tensor([[1.0, -1.0], [-5.0, 1.0]]), targets)
    r = builder.build()
    first, last = r.summary("val", 1), r.summary("val", 2)
    assert (round(first.nll, 4), first.accuracy) == (2.1269, 0.0)
    assert (round(last.nll, 4), last.accuracy) == (3.0647, 0.5)
    parts = decompose(r, "val", 1, 2, "transitions")
    moved = dict(zip(parts["part"], parts["loss_change"], strict=True))
    assert moved["became_right"] == pytest.approx((log(1 + exp(-2)) - log(1 + exp(2))) / 2, abs=1e-6)
    assert moved["stayed_wrong"] == pytest.approx((log(1 + exp(6)) - log(1 + exp(2))) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("p", "as_logits", "as_probabilities"), [(0.9, 0.3711, 0.1054), (0.6, 0.5981, 0.5108)]
)
def test_the_losses_of_the_question_are_those_of_a_double_softmax(
    p: float, as_logits: float, as_probabilities: float
) -> None:
    """Question 282160 gives about 0.37 and 0.6 for predictions of 0.9 and 0.6: the softmax ran twice."""
    probabilities, target = torch.tensor([[p, 1 - p]]), torch.tensor([0])
    twice = predictions_from_logits(probabilities, target).nll[0]
    once = predictions_from_logits(probabilities.log(), target).nll[0]
    assert (round(float(twice), 4), round(float(once), 4)) == (as_logits, as_probabilities)
    assert twice > floor(2)


def test_a_constant_answer_to_95_against_5_would_lose_less_than_a_fifth() -> None:
    """The fraud example: 95 % accuracy with a loss of 0.90, where the base rates alone give 0.1985."""
    y = np.repeat([0, 1], [95, 5])
    assert round(log_loss(y, np.tile([0.95, 0.05], (100, 1))), 4) == 0.1985
    logits = torch.tensor([[0.95, 0.05]]).log().repeat(100, 1)
    assert predictions_from_logits(logits, torch.as_tensor(y)).nll.mean() == pytest.approx(0.1985, abs=5e-5)


def test_a_temperature_moves_the_loss_and_nothing_else() -> None:
    """Guo et al. 2017: dividing the logits changes no prediction, and no loss with calibration repaired."""
    g = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 5, (400,), generator=g)
    z = torch.randn(400, 5, generator=g) + 2 * F.one_hot(targets, 5)
    builder = RecordingBuilder()
    for epoch, t in enumerate((1.0, 0.4, 2.5), 1):
        builder.add("val", epoch, epoch, z / t, targets)
    a, b, c = builder.build().series("val")
    assert a.accuracy == b.accuracy == c.accuracy
    assert a.calibrated_nll == pytest.approx(b.calibrated_nll, abs=2e-4)
    assert a.calibrated_nll == pytest.approx(c.calibrated_nll, abs=2e-4)
    assert abs(b.nll - a.nll) > 0.01
    for end in (2, 3):
        parts = decompose(builder.build(), "val", 1, end, "scale")
        direction = parts["loss_change"][parts["part"].tolist().index("direction")]
        assert direction == pytest.approx(0.0, abs=1e-3)


def test_the_loss_is_cleanlabs_self_confidence() -> None:
    r = case("label_noise").recording
    p = r.predictions("val", -1)
    rng = np.random.default_rng(0)
    probabilities = rng.random((len(p), 10)) + 1e-3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    mine = predictions_from_logits(
        torch.as_tensor(probabilities).log().float(), torch.tensor(p.targets.astype(np.int64))
    )
    theirs = get_self_confidence_for_each_label(p.targets.astype(int), probabilities)
    np.testing.assert_allclose(np.exp(-mine.nll), theirs, rtol=1e-5)


def test_label_suspects_are_as_good_as_cleanlabs() -> None:
    """Of as many samples as labels are wrong, no fewer are found than by confident learning."""
    _, val = digits(0, 500, 1200)
    _, flipped = flip(val, 0.10, 10, 0)
    n = int(flipped.sum())
    recording = case("label_noise").recording
    compared = compare_epochs(recording, recording.series("val"))
    assert compared is not None
    mine = flipped[compared.suspects[:n]].mean()
    last = recording.predictions("val", -1)
    # Cleanlab asks for all probabilities; what is not on the prediction or the label is spread evenly.
    k, rows = 10, np.arange(len(last))
    rest = np.clip(1 - last.confidence - np.where(last.correct, 0, np.exp(-last.nll)), 1e-6, 1)
    probabilities = np.repeat(rest[:, None] / (k - 2), k, axis=1)
    probabilities[rows, last.targets] = np.exp(-last.nll)
    probabilities[rows, last.predicted] = last.confidence
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    theirs = find_label_issues(
        last.targets.astype(int), probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    assert mine >= flipped[theirs[:n]].mean() - 0.02
    assert mine > 0.7


def test_a_trend_is_scipys_straight_line() -> None:
    r = case("overconfidence").recording
    w = window(r, over(r, "both_rise", 15, 50))
    assert w is not None
    losses = np.array([s.nll for s in w.inside])
    line = linregress([s.epoch for s in w.inside], losses)
    assert w.trend(losses) == pytest.approx(line.slope * (w.end.epoch - w.start.epoch), rel=1e-9)
