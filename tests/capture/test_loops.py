"""Every loop style: runs, splits, epochs, reported loss, sample ids and per-sample losses are exact."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from jupyter_lossacc.capture.capture import Capture
from tests.capture.loops import COMBINED_BY_HAND, LOOPS, WEIGHTED, WEIGHTS
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
    sink = record(name)
    check(sink, weights=WEIGHTS if name in WEIGHTED else None)
    assert [s for s in sink.limits if "by hand" not in s] == []
    assert len(sink.limits) == (name in COMBINED_BY_HAND)
