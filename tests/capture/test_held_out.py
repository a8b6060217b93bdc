"""The held-out loops stay exact once they have been met."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jupyter_lossacc.capture.capture import Capture
from tests.capture import (  # enter their loops
    held_out_books,
    held_out_cells,
    held_out_domains,
    held_out_posts,
    held_out_public,
)
from tests.capture.held_out import EXPECTED, FIRST_RUN, HELD_OUT, LEFT_OUT
from tests.capture.truth import TRUTH, Sink, check


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_loop_is_recorded_exactly(name: str) -> None:
    TRUTH.reset()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what users draw from
    sink = Sink()
    with Capture(sink):
        HELD_OUT[name]()
    expected = EXPECTED[name]
    check(sink, weights=expected.weights, judge=expected.judge, skip=expected.skip)
    assert len(sink.limits) == len(expected.limits), sink.limits
    for part in expected.limits:
        assert any(part in sentence for sentence in sink.limits), (part, sink.limits)


def test_every_loop_has_its_first_run() -> None:
    files = held_out_books, held_out_cells, held_out_domains, held_out_posts, held_out_public
    assert len({file.__name__ for file in files}) == 5
    assert sum(n for _, n in FIRST_RUN.values()) == len(HELD_OUT) + LEFT_OUT


def test_averaged_weights_are_not_said_to_be_in_training_mode() -> None:
    sink = Sink()
    with Capture(sink):
        HELD_OUT["moving_average_of_the_weights"]()
    assert [passed.training for _, passed in sink.passes] == [True, False] * 3
