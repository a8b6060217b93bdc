"""The held-out loops stay exact once they have been met."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jupyter_lossacc.capture.capture import Capture
from tests.capture.held_out import FIRST_RUN, HELD_OUT, NOT_MULTICLASS
from tests.capture.truth import TRUTH, Sink, check


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_loop_is_recorded_exactly(name: str) -> None:
    TRUTH.reset()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what users draw from
    sink = Sink()
    with Capture(sink):
        HELD_OUT[name]()
    check(sink, multiclass=name not in NOT_MULTICLASS)
    assert sink.limits == []


def test_every_loop_has_its_first_run() -> None:
    assert sum(n for _, n in FIRST_RUN.values()) == len(HELD_OUT)
