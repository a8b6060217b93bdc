"""DataLoaders, datasets and samplers of every kind."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    random_split,
)
from tqdm.auto import tqdm

from tests.capture.loops.registry import evaluate, fit, loop, sgd, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, N, Net, make_data, make_loaders

if TYPE_CHECKING:
    from collections.abc import Iterator


@loop("tqdm-wrapped loader; persistent workers")
def tqdm_and_persistent_workers() -> None:
    train_loader, val_loader, _ = make_loaders(num_workers=2, persistent_workers=True)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in tqdm(range(1, EPOCHS + 1), disable=True):
        train_one(model, tqdm(train_loader, disable=True), criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop("workers")
def workers_out_of_order() -> None:
    fit(nn.CrossEntropyLoss(), num_workers=2, in_order=False)


@loop("plain tutorial loop")
def batches_kept_in_a_cycle() -> None:
    train_loader, _, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for i, (xb, yb) in enumerate(itertools.islice(itertools.cycle(train_loader), 18)):
        TRUTH.at("train", i // 6 + 1)
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@loop("plain tutorial loop")
def batches_kept_in_lists() -> None:
    train_loader, val_loader, _ = make_loaders(batch=4)
    train_batches, val_batches = list(train_loader), list(val_loader)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_batches, criterion, optimizer, epoch)
        evaluate(model, val_batches, criterion, epoch)


@loop("plain tutorial loop")
def copies_in_another_type() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net().double()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            loss = criterion(model(xb.to(torch.float64)), yb.clone())
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.inference_mode():
            for xb, yb in val_loader:
                TRUTH.value(criterion(model(xb.to(torch.float64)), yb.clone()))


class UnevenBatches(Sampler[list[int]]):
    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(N_TRAIN).tolist()
        return iter([order[i : i + 12 + i % 5] for i in range(0, N_TRAIN, 16)])

    def __len__(self) -> int:
        return N_TRAIN // 16


@loop("ConcatDataset; custom samplers")
def concatenated_datasets_and_batch_sampler() -> None:
    x, y = make_data()
    data = ConcatDataset([TensorDataset(x[:50], y[:50]), TensorDataset(x[50:N_TRAIN], y[50:N_TRAIN])])
    val_loader = DataLoader(TensorDataset(x[N_TRAIN : N_TRAIN + N_VAL], y[N_TRAIN : N_TRAIN + N_VAL]), BATCH)
    train_loader = DataLoader(data, batch_sampler=UnevenBatches())
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop("random_split")
def random_split_datasets() -> None:
    data = TensorDataset(*make_data())
    train, val, rest = random_split(data, [N_TRAIN, N_VAL, N - N_TRAIN - N_VAL])
    del rest
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):  # loaders made anew each epoch
        train_one(model, DataLoader(train, BATCH, shuffle=True), criterion, optimizer, epoch)
        evaluate(model, DataLoader(val, BATCH), criterion, epoch)


@loop("the same dataset behind two loaders; Subset")
def same_dataset_behind_two_loaders() -> None:
    data = TensorDataset(*make_data())
    order = np.random.default_rng(1).permutation(N).tolist()
    train_loader = DataLoader(data, BATCH, sampler=SubsetRandomSampler(order[:N_TRAIN]))
    val_loader = DataLoader(data, BATCH, sampler=SubsetRandomSampler(order[N_TRAIN:]))
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


class Stream(IterableDataset[Any]):
    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.x, self.y = make_data()

    def __iter__(self) -> Iterator[Any]:
        yield from ((self.x[i], self.y[i]) for i in range(self.first, self.last))


@loop("IterableDataset")
def iterable_datasets() -> None:
    train_loader = DataLoader(Stream(0, N_TRAIN), BATCH)
    val_loader = DataLoader(Stream(N_TRAIN, N_TRAIN + N_VAL), BATCH)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


class Rows(Dataset[Any]):
    """Dictionaries as samples."""

    def __init__(self) -> None:
        self.x, self.y = make_data()

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"features": self.x[i], "label": self.y[i]}


@loop("plain tutorial loop")
def batches_as_dictionaries() -> None:
    train_loader, val_loader, _ = make_loaders(Rows())
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for batch in train_loader:
            loss = criterion(model(batch["features"]), batch["label"])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for batch in val_loader:
                TRUTH.value(criterion(model(batch["features"]), batch["label"]))
