"""Stop at the end of the epoch: nothing of the next one is left, and nothing of this one is missing."""

import threading

import pytest
import torch
from torch import nn

import jupyter_lossacc as la
from tests.digits import Training


class AskedIn(Training):
    """The training of `tests.digits`; asks for the stop after so many optimiser steps."""

    def ask(self, event: threading.Event, step: int) -> None:
        self._event, self._at, self._step = event, step, 0

    def after_step(self) -> None:
        self._step += 1
        if self._step == self._at:
            self._event.set()


@pytest.mark.parametrize("step", [7, 9, 12])  # first, middle and last of the six steps of epoch 2
def test_the_weights_are_those_of_the_end_of_the_epoch(step: int) -> None:
    bare, watched = Training(epochs=2), AskedIn(epochs=9)
    bare.run()
    recorder = la.record("later", store="none", view="none")
    watched.ask(recorder.stop_later, step)
    with pytest.raises(la.StopTraining) as stopped, recorder:
        watched.run()
    assert stopped.value.step == 12
    for left, right in zip(bare.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(left, right)
    assert watched.truth == bare.truth
    metrics = la.last_run().metrics
    assert metrics["epoch"].max() == 2
    assert metrics["complete"].all()
    assert len(la.last_run().steps) == 12
    assert not recorder.stop_later.is_set()


def test_without_loaders_one_step_shows_that_the_epoch_is_over() -> None:
    x, y = torch.randn(96, 4), torch.randint(0, 3, (96,))
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = la.record("later", store="none", view="none")
    with pytest.raises(la.StopTraining) as stopped, recorder:  # noqa: PT012 - a whole cell
        for _ in range(9):
            for i in range(0, 96, 16):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[i : i + 16]), y[i : i + 16]).backward()
                optimizer.step()
                if i == 32:
                    recorder.stop_later.set()
    assert 7 <= stopped.value.step <= 8


def test_stop_at_once_overtakes_stop_later() -> None:
    training = AskedIn()
    recorder = la.record("both", store="none", view="none")
    recorder.stop_later.set()
    training.ask(recorder.stop, 3)
    with pytest.raises(la.StopTraining) as stopped, recorder:
        training.run()
    assert stopped.value.step in (3, 4)
    assert not recorder.stop_later.is_set()


def test_a_training_that_ends_anyway_is_not_stopped() -> None:
    recorder = la.record("ends", store="none", view="none")
    training = AskedIn(epochs=2)
    training.ask(recorder.stop_later, 8)
    with recorder:
        training.run()
    assert la.last_run().status == "finished"
