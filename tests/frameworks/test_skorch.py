"""skorch: its internal split, a split of the user's, its default criterion, cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import Tensor, nn

import jupyter_lossacc as la
from tests.frameworks.truth import BATCH, EPOCHS, N_TRAIN, TRUTH, Done, K, Net, parts, watched


class Place(Callback):
    """Says where a batch belongs."""

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **more: Any) -> None:
        self.steps = 0

    def on_batch_begin(self, net: Any, batch: Any = None, training: Any = None, **more: Any) -> None:
        self.steps += bool(training)
        TRUTH.at("train" if training else "val", len(net.history), None if training else self.steps)


def net(module: type[nn.Module] = Net, **options: Any) -> NeuralNetClassifier:
    usual: dict[str, Any] = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": EPOCHS,
        "batch_size": BATCH,
        "lr": 0.1,
        "verbose": 0,
        "iterator_train__shuffle": True,
        "classes": range(K),
        "callbacks": [Place()],
    }
    return NeuralNetClassifier(module, **{**usual, **options})


def fitted(net: NeuralNetClassifier, split: str = "train") -> Done:
    """Fit on the digits to train on; ids count in the array handed to `fit`."""
    x, y = parts()["train"].tensors
    net.fit(x.numpy(), y.numpy())
    history = net.history
    reported = {
        "train": [(row["train_loss"], float("nan")) for row in history],
        "val": [(row["valid_loss"], row["valid_acc"]) for row in history],
    }
    rates = [row["event_lr"] for row in history for _ in range(5)] if "event_lr" in history[0] else []
    return Done(net.module_, reported, rates, targets={"val": parts()[split].tensors[1]})


def internal_split() -> Done:
    return fitted(net())


def predefined_validation_data() -> Done:
    x, y = parts()["val"].tensors
    return fitted(net(train_split=predefined_split(Dataset(x.numpy(), y.numpy()))), "val")


class Probabilities(Net):
    """skorch's default criterion takes probabilities, and their logarithm itself."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(super().forward(x), dim=1)


def default_criterion() -> Done:
    return fitted(net(Probabilities, criterion=nn.NLLLoss))


def scheduler_and_clipping() -> Done:
    schedule = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    callbacks = [Place(), schedule, GradientNormClipping(0.5)]
    return fitted(net(optimizer=torch.optim.Adam, lr=0.01, callbacks=callbacks))


@pytest.mark.parametrize(
    "training", [internal_split, predefined_validation_data, default_criterion, scheduler_and_clipping]
)
def test_recorded_exactly(training: Any) -> None:
    run = watched(training)
    assert run.steps.grad_norm.notna().any(), "skorch steps with a closure"


def test_a_split_keeps_the_ids_of_the_whole() -> None:
    run = watched(internal_split)
    train, val = run.samples("train", EPOCHS).index, run.samples("val", EPOCHS).index
    assert sorted([*train, *val]) == list(range(N_TRAIN))


def test_folds_of_a_cross_validation_are_runs() -> None:
    x, y = parts()["train"].tensors
    with la.record(store="none", view="none") as recorder:
        cross_val_score(net(callbacks=[]), x.numpy(), y.numpy(), cv=3)
    assert [run.metrics.query("split == 'val'").epoch.tolist() for run in recorder.runs] == [[1, 2, 3]] * 3


def test_one_line_above_fit(shell: Any) -> None:
    x, y = parts()["train"].tensors
    shell.user_ns.update(net=net(), x=x.numpy(), y=y.numpy())
    shell.run_cell("%%lossacc skorch --store none --view none\nnet.fit(x, y)").raise_error()
    mine = la.last_run().metrics.query("split == 'val'")
    reported = shell.user_ns["net"].history[:, ("valid_loss", "valid_acc")]
    np.testing.assert_allclose(mine[["reported_loss", "accuracy"]], np.array(reported), rtol=2e-6)
