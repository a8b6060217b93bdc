"""Two models that choose for each other what to train on, tasks one after the other, windows that walk on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from tests.capture.loops.registry import evaluate, loop, sgd, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, N, Net, make_data, make_loaders


def co_teaching(y_1: Tensor, y_2: Tensor, t: Tensor, forget_rate: float) -> tuple[Tensor, Tensor]:
    loss_1 = F.cross_entropy(y_1, t, reduction="none")
    ind_1_sorted = np.argsort(loss_1.data.numpy())
    loss_2 = F.cross_entropy(y_2, t, reduction="none")
    ind_2_sorted = np.argsort(loss_2.data.numpy())
    num_remember = int((1 - forget_rate) * len(t))
    ind_1_update, ind_2_update = ind_1_sorted[:num_remember], ind_2_sorted[:num_remember]
    loss_1_update = F.cross_entropy(y_1[ind_2_update], t[ind_2_update])
    loss_2_update = F.cross_entropy(y_2[ind_1_update], t[ind_1_update])
    return loss_1_update, loss_2_update


@loop("several models in one cell; reduction none", limits=("only chosen samples",))
def two_models_that_choose_for_each_other() -> None:
    train_loader, val_loader, _ = make_loaders()
    model1, model2 = Net(), Net()
    optimizer1 = torch.optim.Adam(model1.parameters(), lr=0.01)
    optimizer2 = torch.optim.Adam(model2.parameters(), lr=0.01)
    for epoch in range(1, EPOCHS + 1):
        model1.train(), model2.train()
        TRUTH.at("train", epoch)
        for images, labels in train_loader:
            logits1 = model1(images)
            TRUTH.quiet = True
            logits2 = model2(images)
            TRUTH.quiet = False
            loss_1, loss_2 = co_teaching(logits1, logits2, labels, 0.1 * (epoch - 1))
            TRUTH.value(loss_1)
            optimizer1.zero_grad()
            loss_1.backward()
            optimizer1.step()
            optimizer2.zero_grad()
            loss_2.backward()
            optimizer2.step()
        evaluate(model1, val_loader, F.cross_entropy, epoch)


@loop("several tasks, one after the other", limits=("evaluated for the first time late",))
def tasks_with_new_classes_evaluated_on_all_before() -> None:
    x, y = make_data()
    data, tasks = TensorDataset(x, y), []
    for k in range(3):
        rows = (y == k).nonzero().flatten().tolist()
        cut = int(0.7 * len(rows))
        tasks.append((DataLoader(Subset(data, rows[:cut]), BATCH, shuffle=True), rows[cut:]))
    model = Net()
    seen = []
    for number, (train_loader, rows) in enumerate(tasks):
        optimizer = sgd(model)
        for epoch in range(1, EPOCHS + 1):
            train_one(model, train_loader, F.cross_entropy, optimizer, EPOCHS * number + epoch)
        seen.append(DataLoader(Subset(data, rows), BATCH))
        for k, test_loader in enumerate(seen):
            evaluate(
                model, test_loader, F.cross_entropy, EPOCHS * (number + 1), f"val_{k + 1}" if k else "val"
            )


@loop("several tasks, one after the other", limits=("evaluated for the first time late",))
def windows_that_walk_forward() -> None:
    x, y = make_data()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    epoch = 0
    for number, start in enumerate(range(96, 160, 20)):
        tr = DataLoader(TensorDataset(x[:start], y[:start]), BATCH, shuffle=True)
        va = DataLoader(TensorDataset(x[start : start + 20], y[start : start + 20]), BATCH)
        for _ in range(2):
            epoch += 1
            train_one(model, tr, criterion, optimizer, epoch)
            evaluate(model, va, criterion, epoch, f"val_{number + 1}" if number else "val")


@loop("validation on test too; a dictionary of loaders")
def test_loader_in_a_dictionary_when_validation_improves() -> None:
    loaders = dict(zip(("train", "val", "test"), make_loaders(), strict=True))
    model = Net()
    optimizer = sgd(model)
    best = float("inf")
    for epoch in range(1, EPOCHS + 1):
        train_one(model, loaders["train"], F.cross_entropy, optimizer, epoch)
        now = evaluate(model, loaders["val"], F.cross_entropy, epoch)
        if now < best:
            best = now
            evaluate(model, loaders["test"], F.cross_entropy, epoch, "test")


class Trainer:
    def __init__(self, train_dl: DataLoader, extra_dl: DataLoader, test_dl: DataLoader) -> None:  # type: ignore[type-arg]
        self.train_dl, self.extra_dl, self.test_dl = train_dl, extra_dl, test_dl
        self.model = Net()
        self.optimizer = sgd(self.model)

    def fit(self) -> None:
        for epoch in range(1, EPOCHS + 1):
            train_one(self.model, self.train_dl, F.cross_entropy, self.optimizer, epoch)
            evaluate(self.model, self.test_dl, F.cross_entropy, epoch, "test")
            evaluate(self.model, self.extra_dl, F.cross_entropy, epoch, "val")


@loop("validation on test too; Trainer-like class")
def loaders_that_a_trainer_holds() -> None:
    data = TensorDataset(*make_data())
    parts = (range(N_TRAIN), range(N_TRAIN, N_TRAIN + N_VAL), range(N_TRAIN + N_VAL, N))
    Trainer(*(DataLoader(Subset(data, part), BATCH) for part in parts)).fit()
