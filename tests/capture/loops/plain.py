"""Loops as tutorials, scripts and notebooks write them, and several models in one cell."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from tests.capture.loops.registry import WEIGHTS, evaluate, loop, sgd, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, TRUTH, K, Net, make_data, make_loaders

if TYPE_CHECKING:
    from collections.abc import Iterator


@loop("plain tutorial loop")
def plain_tutorial() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(EPOCHS):
        TRUTH.at("train", epoch + 1)
        model.train()
        for xb, yb in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch + 1)
        model.eval()
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(criterion(model(xb), yb))


@loop("train()/evaluate() functions")
def functions_and_test_at_the_end() -> None:
    train_loader, val_loader, test_loader = make_loaders()
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)
    evaluate(model, test_loader, criterion, EPOCHS, "test")


class Trainer:
    def __init__(self, model: nn.Module, train: Any, val: Any) -> None:
        self.model, self.loaders = model, {"train": train, "val": val}
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        self.criterion = nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.05)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.1, total_steps=18)

    def step(self, batch: Any) -> Tensor:
        x, y = batch
        loss: Tensor = self.criterion(self.model(x), y)
        TRUTH.value(loss)
        return loss

    def fit(self, epochs: int) -> None:
        for epoch in range(1, epochs + 1):
            for phase, loader in self.loaders.items():
                TRUTH.at(phase, epoch)
                self.model.train(phase == "train")
                with torch.set_grad_enabled(phase == "train"):
                    for batch in loader:
                        loss = self.step(batch)
                        if phase == "train":
                            self.optimizer.zero_grad(set_to_none=True)
                            loss.backward()
                            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                            self.optimizer.step()
                            self.schedule.step()


@loop("Trainer-like class", weights=WEIGHTS)
def trainer_class_with_schedule() -> None:
    train_loader, val_loader, _ = make_loaders()
    Trainer(Net(), train_loader, val_loader).fit(EPOCHS)


@loop("while-loop with early stopping")
def while_loop_with_early_stopping() -> None:
    train_loader, val_loader, test_loader = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    best, bad, epoch = float("inf"), 0, 0
    while bad < 2 and epoch < 5:
        epoch += 1
        train_one(model, train_loader, criterion, optimizer, epoch)
        value = evaluate(model, val_loader, criterion, epoch)
        best, bad = (value, 0) if value < best else (best, bad + 1)
    evaluate(model, test_loader, criterion, epoch, "test")


@loop("enumerate-wrapped loader")
def enumerate_and_next() -> None:
    train_loader, val_loader, _ = make_loaders(drop_last=True)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    batches = iter(train_loader)
    for i in range(18):
        TRUTH.at("train", i // 6 + 1)
        try:
            xb, yb = next(batches)
        except StopIteration:
            batches = iter(train_loader)
            xb, yb = next(batches)
        model.train()
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 6 == 5:
            evaluate(model, val_loader, criterion, i // 6 + 1)


@loop("enumerate-wrapped loader")
def endless_generator() -> None:
    train_loader, val_loader, _ = make_loaders(drop_last=True)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()

    def forever() -> Iterator[Any]:
        while True:
            yield from train_loader

    batches = forever()
    for i in range(18):
        TRUTH.at("train", i // 6 + 1)
        xb, yb = next(batches)
        model.train()
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 6 == 5:
            evaluate(model, val_loader, criterion, i // 6 + 1)


@loop("enumerate-wrapped loader")
def one_random_batch_at_a_time() -> None:
    train_loader, val_loader, _ = make_loaders(drop_last=True)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for i in range(18):
        TRUTH.at("train", i // 6 + 1)
        xb, yb = next(iter(train_loader))
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 6 == 5:
            evaluate(model, val_loader, criterion, i // 6 + 1)


@loop("plain tutorial loop")
def epochs_left_early() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, 5):
        TRUTH.at("train", epoch)
        for i, (xb, yb) in enumerate(train_loader):
            if i == 3:
                break
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate(model, val_loader, criterion, epoch)


@loop("Trainer-like class")
def weights_averaged_by_deepcopy() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(copy.deepcopy(model), val_loader, criterion, epoch)


@loop("k-fold")
def k_folds() -> None:
    data = TensorDataset(*make_data())
    criterion = nn.CrossEntropyLoss()
    order = np.random.default_rng(0).permutation(N_TRAIN)
    for run in range(3):
        held = order[run * 32 : (run + 1) * 32]
        rest = np.setdiff1d(order, held)
        train_loader = DataLoader(data, BATCH, sampler=SubsetRandomSampler(rest.tolist()))
        val_loader = DataLoader(Subset(data, held.tolist()), BATCH)
        model = Net()
        optimizer = sgd(model)
        for epoch in range(1, 3):
            train_one(model, train_loader, criterion, optimizer, epoch, run)
            evaluate(model, val_loader, criterion, epoch, "val", run)


@loop("several models in one cell")
def two_models_made_first() -> None:
    train_loader, val_loader, _ = make_loaders()
    models = [Net(), Net()]
    optimizers = [sgd(model) for model in models]
    criterion = nn.CrossEntropyLoss()
    for run in range(2):
        for epoch in range(1, 3):
            train_one(models[run], train_loader, criterion, optimizers[run], epoch, run)
            evaluate(models[run], val_loader, criterion, epoch, "val", run)


@loop("several models in one cell")
def frozen_then_unfrozen() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.out.parameters(), 0.1)
    for epoch in (1, 2):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)
    optimizer = sgd(model, 0.01)
    for epoch in (3, 4):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop("several models in one cell; several optimisers: alternating epochs")
def two_models_trained_in_turn() -> None:
    train_loader, val_loader, _ = make_loaders()
    models = [Net(), Net()]
    optimizers = [sgd(model) for model in models]
    criterion = nn.CrossEntropyLoss()
    for epoch in (1, 2, 3):
        for run in range(2):
            train_one(models[run], train_loader, criterion, optimizers[run], epoch, run)
            evaluate(models[run], val_loader, criterion, epoch, "val", run)


@loop("several models in one cell")
def an_ensemble_in_one_container() -> None:
    train_loader, val_loader, _ = make_loaders()
    ensemble = nn.ModuleList([Net() for _ in range(3)])
    criterion = nn.CrossEntropyLoss()
    for run, model in enumerate(ensemble):
        optimizer = sgd(model)
        for epoch in (1, 2):
            train_one(model, train_loader, criterion, optimizer, epoch, run)
            evaluate(model, val_loader, criterion, epoch, "val", run)


@loop("several models in one cell; loader-less: full batch")
def a_sweep_without_loaders() -> None:
    x, y = make_data()
    for run, rate in enumerate((0.01, 0.1)):
        model = Net()
        optimizer = sgd(model, rate)
        for epoch in range(1, 9):
            TRUTH.at("train", epoch, run)
            loss = F.cross_entropy(model(x[:N_TRAIN]), y[:N_TRAIN])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            TRUTH.at("val", epoch, run)
            with torch.no_grad():
                TRUTH.value(F.cross_entropy(model(x[N_TRAIN:]), y[N_TRAIN:]))


class Student(Net):
    """Learns from a teacher as well."""


@loop("KL; soft targets; distillation")
def distillation() -> None:
    train_loader, val_loader, _ = make_loaders()
    teacher, model = nn.Linear(6, K), Student()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            with torch.no_grad():
                soft = teacher(xb).softmax(1)
            z = model(xb)
            kl = F.kl_div(F.log_softmax(z / 2, 1), soft, reduction="batchmean")
            hard = F.cross_entropy(z, yb)
            TRUTH.value(hard)
            loss = 0.5 * hard + 0.5 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate(model, val_loader, F.cross_entropy, epoch)
