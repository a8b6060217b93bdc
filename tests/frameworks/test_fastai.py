"""fastai: its own loaders, optimisers and tensors; torch's loaders in a Learner; fine-tuning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fastai.basics import (
    Callback,
    CategoryBlock,
    DataBlock,
    DataLoaders,
    IndexSplitter,
    OptimWrapper,
    TransformBlock,
    accuracy,
    ranger,
)
from fastai.callback.schedule import Learner  # with its one-cycle policy
from fastai.data.load import DataLoader, SkipItemException
from fastai.losses import CrossEntropyLossFlat, LabelSmoothingCrossEntropyFlat
from fastai.optimizer import Optimizer
from fastai.tabular.all import Categorify, Normalize, TabularDataLoaders, tabular_learner
from torch import nn

import jupyter_lossacc as la
from tests.frameworks.truth import BATCH, EPOCHS, N_TRAIN, STEPS, TRUTH, Done, Net, loaders, parts, watched


class Place(Callback):
    """Says where a batch belongs, and keeps the learning rate and gradient norm of every step."""

    def __init__(self, before: int = 0) -> None:
        self.before, self.norms = before, []
        self.steps = 0

    def before_batch(self) -> None:
        epoch = self.before + self.epoch + 1
        TRUTH.at("train" if self.training else "val", epoch, None if self.training else self.steps)

    def before_step(self) -> None:
        self.steps += 1
        self.norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters()])))


def fitted(learner: Learner, place: Place) -> Done:
    validated = [tuple(row[-2:]) for row in learner.recorder.values]  # valid_loss, accuracy
    return Done(learner.model, {"val": validated}, list(learner.recorder.lrs), place.norms)


def quietly(learner: Learner) -> Any:
    learner.no_bar().__enter__()
    learner.no_logging().__enter__()
    return learner


def own_loaders(**options: Any) -> DataLoaders:
    data = parts()
    train = DataLoader(data["train"], bs=BATCH, shuffle=True, **options)
    return DataLoaders(train, DataLoader(data["val"], bs=2 * BATCH, **options))


def one_cycle() -> Done:
    place = Place()
    learner = Learner(own_loaders(), Net(), loss_func=nn.CrossEntropyLoss(), metrics=accuracy, cbs=place)
    quietly(learner).fit_one_cycle(EPOCHS, 1e-2)
    return fitted(learner, place)


def one_cycle_with_workers() -> Done:
    place = Place()
    learner = Learner(
        own_loaders(num_workers=2), Net(), loss_func=CrossEntropyLossFlat(), metrics=accuracy, cbs=place
    )
    quietly(learner).fit_one_cycle(2, 1e-2)
    return fitted(learner, place)


def loaders_of_torch_and_an_optimiser_of_torch() -> Done:
    train_loader, val_loader, _ = loaders()
    place = Place()

    def adamw(params: Any, **options: Any) -> OptimWrapper:
        return OptimWrapper(params, torch.optim.AdamW, **options)

    learner = Learner(
        DataLoaders(train_loader, val_loader),
        Net(),
        loss_func=F.cross_entropy,
        opt_func=adamw,
        metrics=accuracy,
        cbs=place,
    )
    quietly(learner).fit_one_cycle(EPOCHS, 1e-2)
    return fitted(learner, place)


def lookahead() -> Done:
    place = Place()
    learner = Learner(
        own_loaders(), Net(), loss_func=nn.CrossEntropyLoss(), opt_func=ranger, metrics=accuracy, cbs=place
    )
    quietly(learner).fit_flat_cos(EPOCHS, 1e-2)
    return fitted(learner, place)


def data_block() -> Done:
    """Items go through transforms, and targets are fastai's own tensors."""
    place = Place()
    x, y = parts()["train"].tensors
    block = DataBlock(
        blocks=(TransformBlock, CategoryBlock(vocab=list(range(10)))),
        get_x=lambda i: x[i],
        get_y=lambda i: int(y[i]),
        splitter=IndexSplitter(list(range(120, N_TRAIN))),
    )
    dls = block.dataloaders(list(range(N_TRAIN)), bs=BATCH, num_workers=0)
    learner = Learner(dls, Net(), loss_func=CrossEntropyLossFlat(), metrics=accuracy, cbs=place)
    quietly(learner).fit_one_cycle(EPOCHS, 1e-2)
    return fitted(learner, place)


@pytest.mark.parametrize(
    "training",
    [one_cycle, one_cycle_with_workers, loaders_of_torch_and_an_optimiser_of_torch, lookahead],
)
def test_recorded_exactly(training: Any) -> None:
    init, step = Optimizer.__init__, Optimizer.step
    run = watched(training)
    assert (Optimizer.__init__, Optimizer.step) == (init, step), "something of ours is left behind"
    assert len(run.steps) == len(run.metrics) // 2 * STEPS


def test_a_data_block() -> None:
    """Ids are places in `dls.train_ds` and `dls.valid_ds`: the training set drops its last short batch."""
    torch.manual_seed(0)
    TRUTH.batches = []
    with la.record(store="none", view="none", keep="all") as recorder:
        done = data_block()
    run = recorder.run
    y = parts()["train"].tensors[1].numpy()
    for place, (ids, logits) in TRUTH.passes().items():
        split, epoch, _ = place
        samples = run.samples(split, epoch)
        first = 0 if split == "train" else 120
        order = np.argsort(ids)
        np.testing.assert_array_equal(samples.index + first, np.array(ids)[order])
        np.testing.assert_array_equal(samples["target"], y[np.array(ids)[order]])
        np.testing.assert_array_equal(samples["predicted"], logits.argmax(1).numpy()[order])
    validated = run.metrics.query("split == 'val'")
    assert validated.reported_loss.tolist() == pytest.approx([v[0] for v in done.reported["val"]], rel=2e-6)
    assert run.limits == ()


def test_fitting_twice_is_one_run_that_goes_on() -> None:
    train = own_loaders()
    learner = Learner(train, Net(), loss_func=LabelSmoothingCrossEntropyFlat(), metrics=accuracy)
    with la.record(store="none", view="none") as recorder:
        quietly(learner).fit(1, 1e-2)
        first = [row[1] for row in learner.recorder.values]
        learner.freeze_to(0)
        learner.fit_one_cycle(2, 1e-3)
    (run,) = recorder.runs
    mine = run.metrics.query("split == 'val'")
    assert mine.epoch.tolist() == [1, 2, 3]
    reported = first + [row[1] for row in learner.recorder.values]
    assert mine.reported_loss.tolist() == pytest.approx(reported, rel=2e-6)
    assert len(run.steps) == 3 * STEPS


def test_two_learners_are_two_runs() -> None:
    with la.record(store="none", view="none") as recorder:
        for _ in range(2):
            learner = Learner(own_loaders(), Net(), loss_func=nn.CrossEntropyLoss())
            quietly(learner).fit(2, 1e-2)
    assert [run.metrics.epoch.tolist() for run in recorder.runs] == [[1, 1, 2, 2]] * 2


def test_left_out_items_make_ids_unknown_and_not_wrong() -> None:
    class Holes(DataLoader):
        def create_item(self, s: Any) -> Any:
            if s == 5:
                raise SkipItemException
            return super().create_item(s)

    data = parts()
    dls = DataLoaders(Holes(data["train"], bs=BATCH), DataLoader(data["val"], bs=BATCH))
    learner = Learner(dls, Net(), loss_func=nn.CrossEntropyLoss())
    with la.record(store="none", view="none", keep="all") as recorder:
        quietly(learner).fit(2, 1e-2)
    run = recorder.run
    assert run.metrics.query("split == 'train'").n_samples.tolist() == [N_TRAIN - 1] * 2
    assert [s for s in run.limits if "which samples the 'train' batches contain" in s]
    assert not [s for s in run.limits if "'val'" in s]


def test_a_table() -> None:
    x, y = parts()["train"].tensors
    frame = pd.DataFrame(x[:, 18:24].numpy(), columns=[f"p{i}" for i in range(6)])
    frame["row"], frame["digit"] = np.arange(N_TRAIN) % 4, y.numpy().astype(str)
    dls = TabularDataLoaders.from_df(
        frame,
        y_names="digit",
        cat_names=["row"],
        cont_names=[f"p{i}" for i in range(6)],
        procs=[Categorify, Normalize],
        valid_idx=list(range(150, N_TRAIN)),
        y_block=CategoryBlock(),
        bs=BATCH,
    )
    learner = tabular_learner(dls, layers=[16], n_out=10, metrics=accuracy, loss_func=CrossEntropyLossFlat())
    with la.record(store="none", view="none") as recorder:
        quietly(learner).fit_one_cycle(EPOCHS, 1e-2)
    mine = recorder.run.metrics.query("split == 'val'")
    reported = np.array([row[1:] for row in learner.recorder.values])
    np.testing.assert_allclose(mine[["reported_loss", "accuracy"]], reported, rtol=2e-6)
    samples = recorder.run.samples("val", EPOCHS)
    np.testing.assert_array_equal(samples.index, np.arange(50))
    np.testing.assert_array_equal(samples["target"], y.numpy()[150:])
    assert recorder.run.limits == ()


def test_one_line_above_fit(shell: Any) -> None:
    learner = Learner(own_loaders(), Net(), loss_func=nn.CrossEntropyLoss(), metrics=accuracy)
    shell.user_ns["learn"] = quietly(learner)
    shell.run_cell("%%lossacc fastai --store none --view none\nlearn.fit_one_cycle(3, 1e-2)").raise_error()
    mine = la.last_run().metrics.query("split == 'val'")
    reported = np.array([row[1:] for row in learner.recorder.values])
    np.testing.assert_allclose(mine[["reported_loss", "accuracy"]], reported, rtol=2e-6)
