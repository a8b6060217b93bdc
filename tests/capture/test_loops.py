"""Every loop style: runs, splits, epochs, reported loss, sample ids and per-sample losses are exact."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from jupyter_lossacc.capture.capture import Capture
from tests.capture.loops import EXPECTED, LOOPS
from tests.capture.loops.table import README, written
from tests.capture.truth import TRUTH, Sink, check


def record(name: str) -> Sink:
    TRUTH.reset()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what users' loops draw from
    random.seed(0)
    sink = Sink()
    with Capture(sink):
        LOOPS[name]()
    return sink


@pytest.mark.parametrize("name", LOOPS)
def test_loop_is_recorded_exactly(name: str) -> None:
    sink, expected = record(name), EXPECTED[name]
    check(sink, weights=expected.weights, judge=expected.judge, skip=expected.skip)
    assert len(sink.limits) == len(expected.limits), sink.limits
    for part in expected.limits:
        assert any(part in sentence for sentence in sink.limits), (part, sink.limits)


def test_the_table_lists_every_style() -> None:
    assert README.read_text(encoding="utf-8") == written(README.read_text(encoding="utf-8")), (
        "run `python -m tests.capture.loops`"
    )
    assert len(LOOPS) >= 45
