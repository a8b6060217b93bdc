"""What is said about training passes of which only a random part of the samples was recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from jupyter_lossacc.causes.cause import training_series
from jupyter_lossacc.causes.wording import trained_support
from jupyter_lossacc.diagnosis.ranks import _without_samples
from tests.recordings import train_and_record

if TYPE_CHECKING:
    from jupyter_lossacc.records import EpochSummary, Recording

NAN = float("nan")


@pytest.fixture(scope="module")
def whole() -> Recording:
    torch.manual_seed(0)
    x, y = torch.randn(400, 4), torch.arange(400) % 2
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return train_and_record(model, (x, y), (x[:100], y[:100]), epochs=3, optimizer=optimizer).build()


def thinned(s: EpochSummary, n: int, accuracy: float) -> EpochSummary:
    """A pass of 400 samples of which `n` happened to be recorded, with a loss far off the mean."""
    table = None if s.classes is None else replace(s.classes, support=np.array([n, 0]))
    return replace(s, n_samples=n, n_total=400, accuracy=accuracy, nll=9.0 if n else NAN, classes=table)


def test_few_samples_stand_for_no_loss_and_no_class_counts(whole: Recording) -> None:
    first, *rest = whole.series("train")
    parts = (first, thinned(rest[0], 0, NAN), thinned(rest[1], 100, 1.0))
    recording = replace(whole, summaries=(*parts, *whole.series("val")))
    series = training_series(recording)
    assert [s.nll for s in series] == [s.reported_loss for s in parts]
    assert series[1].accuracy == first.accuracy
    assert series[2].accuracy == pytest.approx((400 * first.accuracy + 100) / 500)
    support = trained_support(recording)
    assert support is not None
    assert support.tolist() == [200, 200]
    assert trained_support(replace(whole, summaries=parts[1:])) is None
    assert training_series(whole) == whole.series("train")


def test_ranks_weigh_by_all_samples_that_went_through(whole: Recording) -> None:
    s = whole.series("train")[-1]
    one, two = (
        replace(thinned(s, 0, NAN), reported_loss=1.0),
        replace(thinned(s, 300, 0.5), reported_loss=3.0),
    )
    merged = _without_samples((one, two))
    assert merged.reported_loss == pytest.approx(2.0)
    assert (merged.n_samples, merged.n_total, merged.accuracy) == (300, 800, 0.5)
    assert _without_samples((s, s)).n_total is None
