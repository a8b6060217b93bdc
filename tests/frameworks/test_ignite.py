"""Ignite: supervised trainers and evaluators, with and without the loss among the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import LRScheduler
from ignite.metrics import Accuracy, Loss
from torch import nn

import jupyter_lossacc as la
from tests.frameworks.truth import EPOCHS, STEPS, TRUTH, Done, Net, loaders, watched

NAN = float("nan")


def engines(model: nn.Module, metrics: dict[str, Any], **options: Any) -> tuple[Engine, Engine, Any]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    trainer = create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss(), **options)
    return trainer, create_supervised_evaluator(model, metrics=metrics), optimizer


def train(metrics: dict[str, Any], **options: Any) -> Done:
    train_loader, val_loader, _ = loaders()
    model = Net()
    done = Done(model, {"val": []})
    trainer, evaluator, optimizer = engines(model, metrics, **options)
    schedule = LRScheduler(torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9))
    trainer.add_event_handler(Events.ITERATION_STARTED, schedule)
    accumulated = options.get("gradient_accumulation_steps", 1)

    @trainer.on(Events.EPOCH_STARTED)
    def place(engine: Engine) -> None:
        TRUTH.at("train", engine.state.epoch)

    @trainer.on(Events.ITERATION_COMPLETED)
    def note(engine: Engine) -> None:
        if engine.state.iteration % accumulated == 0:
            done.rates.append(optimizer.param_groups[0]["lr"])

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate(engine: Engine) -> None:
        TRUTH.at("val", engine.state.epoch, engine.state.iteration // accumulated)
        evaluator.run(val_loader)
        found = evaluator.state.metrics
        done.reported["val"].append((found.get("loss", NAN), found["accuracy"]))

    trainer.run(train_loader, EPOCHS)
    return done


def loss_and_accuracy() -> Done:
    return train({"accuracy": Accuracy(), "loss": Loss(nn.CrossEntropyLoss())})


def accumulated_gradients() -> Done:
    metrics = {"accuracy": Accuracy(), "loss": Loss(nn.CrossEntropyLoss())}
    return train(metrics, gradient_accumulation_steps=2)


@pytest.mark.parametrize("training", [loss_and_accuracy, accumulated_gradients])
def test_recorded_exactly(training: Any) -> None:
    watched(training)


def test_an_evaluation_without_a_loss_is_seen_and_its_loss_not_made_up() -> None:
    torch.manual_seed(0)
    TRUTH.batches = []
    with la.record(store="none", view="none", keep="all") as recorder:
        done = train({"accuracy": Accuracy()})
    mine = recorder.run.metrics.query("split == 'val'")
    assert mine.accuracy.tolist() == pytest.approx([accuracy for _, accuracy in done.reported["val"]])
    assert mine.reported_loss.isna().all()
    assert mine.nll.notna().all()
    assert len(recorder.run.steps) == EPOCHS * STEPS
    (ids, logits) = TRUTH.passes()["val", EPOCHS, EPOCHS * STEPS]
    samples = recorder.run.samples("val", EPOCHS)
    np.testing.assert_array_equal(samples.index, ids)
    np.testing.assert_array_equal(samples["predicted"], logits.argmax(1))


def test_one_line_above_run(shell: Any) -> None:
    train_loader, val_loader, _ = loaders()
    metrics = {"accuracy": Accuracy(), "loss": Loss(nn.CrossEntropyLoss())}
    trainer, evaluator, _ = engines(Net(), metrics)
    reported: list[Any] = []

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate(engine: Engine) -> None:
        found = evaluator.run(val_loader).metrics
        reported.append((found["loss"], found["accuracy"]))

    shell.user_ns.update(trainer=trainer, train_loader=train_loader)
    shell.run_cell("%%lossacc ignite --store none --view none\ntrainer.run(train_loader, 3)").raise_error()
    mine = la.last_run().metrics.query("split == 'val'")
    np.testing.assert_allclose(mine[["reported_loss", "accuracy"]], np.array(reported), rtol=2e-6)
