"""The user's own criterion is found by what backward starts from, and watched without being changed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jupyter_lossacc.capture.capture import Capture
from tests.capture import loops
from tests.capture.loops.custom import FocalLoss, focal
from tests.capture.truth import TRUTH, Net, Sink, check, make_loaders


@pytest.fixture(autouse=True)
def _fresh() -> None:
    TRUTH.reset()
    torch.manual_seed(0)


def test_nothing_is_left_of_it() -> None:
    codes = focal.__code__, FocalLoss.forward.__code__
    before = set(focal.__globals__)
    sink = Sink()
    with Capture(sink):
        loops.fit(focal)
        assert focal.__code__ is not codes[0]
        loops.fit(FocalLoss())
    assert (focal.__code__, FocalLoss.forward.__code__) == codes
    assert set(focal.__globals__) == before
    assert sys.getprofile() is None


def test_looking_ends_when_nothing_is_to_be_found() -> None:
    looks = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "setprofile", looks.append)
        with Capture(Sink()):
            loops.fit(nn.CrossEntropyLoss())
    assert len(looks) <= 4  # around the first two batches, on and off


def test_a_profiler_of_the_user_stays() -> None:
    def mine(*_: Any) -> None:
        return None

    sys.setprofile(mine)
    try:
        with Capture(Sink()):
            loops.fit(focal)
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)


def scaled(loss: Tensor) -> Tensor:
    return loss * 128


def accumulated(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, y)


@pytest.mark.parametrize("alone", [False, True])
def test_helpers_are_no_criteria(alone: bool) -> None:
    """Neither what scales a loss nor what only passes one on is taken for the criterion."""
    train_loader, val_loader, _ = make_loaders()
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    before = scaled.__code__, accumulated.__code__
    with Capture(sink):
        for epoch in (1, 2):
            TRUTH.at("train", epoch)
            for xb, yb in train_loader:
                loss = accumulated(model(xb), yb)
                TRUTH.value(loss)
                optimizer.zero_grad()
                (loss if alone else scaled(loss)).backward()
                optimizer.step()
            loops.evaluate(model, val_loader, F.cross_entropy, epoch)
        assert (scaled.__code__, accumulated.__code__) == before
    check(sink)


def test_terms_added_in_the_loop_are_no_criterion() -> None:
    """Two functions of the user's, added in the loop: neither is the value of the pass."""
    train_loader, val_loader, _ = make_loaders()
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)

    def confident(z: Tensor, y: Tensor) -> Tensor:
        return -F.softmax(z, 1).gather(1, y[:, None]).mean()

    with Capture(sink):
        TRUTH.at("train", 1)
        for xb, yb in train_loader:
            z = model(xb)
            loss = focal(z, yb) + 0.1 * confident(z, yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loops.evaluate(model, val_loader, focal, 1)
    check(sink, skip=("reported val",))
    assert len(sink.limits) == 1
    assert "computed by hand" in sink.limits[0]


def test_an_error_in_the_criterion_is_the_users() -> None:
    def broken(z: Tensor, y: Tensor) -> Tensor:
        if not z.requires_grad:
            raise ValueError("mine")
        return focal(z, y)

    sink = Sink()
    with pytest.raises(ValueError, match="mine"), Capture(sink):
        loops.fit(broken)
    assert [s for s in sink.limits if "failed" in s] == []


def test_a_compiler_traces_the_users_function() -> None:
    train_loader, _, _ = make_loaders()
    model = Net()
    with Capture(Sink()):
        loops.train_one(model, train_loader, focal, loops.sgd(model), 1)
        torch._dynamo.reset()
        explained = torch._dynamo.explain(focal)(
            torch.randn(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 0])
        )
    assert explained.graph_break_count == 0
    np.testing.assert_equal(explained.graph_count, 1)
