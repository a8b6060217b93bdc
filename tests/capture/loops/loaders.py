"""DataLoaders, datasets and samplers of every kind."""

from __future__ import annotations

import itertools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    Subset,
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


UNKNOWN = "It is not known which samples"


class Shards(Stream):
    def __iter__(self) -> Iterator[Any]:
        worker = torch.utils.data.get_worker_info()
        assert worker is not None
        yield from itertools.islice(super().__iter__(), worker.id, None, worker.num_workers)


@loop("IterableDataset; workers", limits=(UNKNOWN, UNKNOWN), skip=("ids",))
def iterable_datasets_read_by_workers() -> None:
    train_loader = DataLoader(Shards(0, N_TRAIN), BATCH, num_workers=2)
    val_loader = DataLoader(Shards(N_TRAIN, N_TRAIN + N_VAL), BATCH, num_workers=2)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop("pin_memory; workers")
def pinned_memory() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no accelerator here
        fit(nn.CrossEntropyLoss(), num_workers=1, pin_memory=True)


class TensorOrder(Sampler[Any]):
    """Gives tensors as indices, in an order of its own that depends on the epoch."""

    epoch = 0

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(self.epoch)
        yield from torch.randperm(N_TRAIN, generator=generator)

    def __len__(self) -> int:
        return N_TRAIN


@loop("custom samplers")
def sampler_with_set_epoch() -> None:
    data = TensorDataset(*make_data())
    sampler = TensorOrder()
    train_loader = DataLoader(data, BATCH, sampler=sampler)
    _, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        sampler.epoch = epoch
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop("Subset; ConcatDataset")
def subsets_of_subsets_of_concatenated_datasets() -> None:
    x, y = make_data()
    whole = ConcatDataset([TensorDataset(x[:70], y[:70]), TensorDataset(x[70:], y[70:])])
    inner = Subset(whole, range(N - 1, -1, -1))  # reversed
    train = Subset(inner, range(N - 1, N - 1 - N_TRAIN, -1))  # samples 0, 1, ...
    val = Subset(inner, [N - 1 - i for i in range(N_TRAIN, N_TRAIN + N_VAL)])
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, DataLoader(train, BATCH, shuffle=True), criterion, optimizer, epoch)
        evaluate(model, DataLoader(val, BATCH), criterion, epoch)


class Augmented(Dataset[Any]):
    def __init__(self, noise: float) -> None:
        self.x, self.y = make_data()
        self.noise = noise

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        x = self.x[i].clone()
        x[1:] += self.noise * torch.randn(len(x) - 1)
        return x, int(self.y[i])


@loop("the same dataset behind two loaders; Subset")
def same_files_with_and_without_augmentation() -> None:
    order = torch.randperm(N).tolist()
    train = Subset(Augmented(0.1), order[:N_TRAIN])
    val = Subset(Augmented(0.0), order[N_TRAIN:])
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    train_loader, val_loader = DataLoader(train, BATCH, shuffle=True), DataLoader(val, BATCH)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop("Subset; HF-style rebuilt loaders")
def loaders_and_subsets_rebuilt_for_every_evaluation() -> None:
    data = TensorDataset(*make_data())

    def loader_of(first: int, last: int, shuffle: bool) -> Any:
        return DataLoader(Subset(data, list(range(first, last))), BATCH, shuffle=shuffle)

    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, loader_of(0, N_TRAIN, True), criterion, optimizer, epoch)
        evaluate(model, loader_of(N_TRAIN, N_TRAIN + N_VAL, False), criterion, epoch)
        evaluate(model, loader_of(N_TRAIN + N_VAL, N, False), criterion, epoch, "val_2")


@loop("zip of two loaders")
def labelled_and_extra_data_zipped() -> None:
    x, y = make_data()
    main = DataLoader(TensorDataset(x[:48], y[:48]), 8, shuffle=True)
    extra = DataLoader(TensorDataset(x[48:96], y[48:96]), 8, shuffle=True)
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        for (xa, ya), (xb, yb) in zip(main, extra, strict=True):
            TRUTH.at("train", epoch)
            first = F.cross_entropy(model(xa), ya)
            TRUTH.value(first)
            TRUTH.at("extra", epoch)
            second = F.cross_entropy(model(xb), yb)
            TRUTH.value(second)
            optimizer.zero_grad()
            (first + 0.5 * second).backward()
            optimizer.step()


class WholeBatches(Dataset[Any]):
    """One item is one batch, as datasets of files do it."""

    def __init__(self, first: int, last: int) -> None:
        self.x, self.y = (t[first:last].split(BATCH) for t in make_data())

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.x[i], self.y[i]


@loop("custom samplers; batch_size=None", limits=(UNKNOWN, UNKNOWN), skip=("ids",))
def items_that_are_batches() -> None:
    train_loader = DataLoader(WholeBatches(0, N_TRAIN), batch_size=None, shuffle=True)
    val_loader = DataLoader(WholeBatches(N_TRAIN, N_TRAIN + N_VAL), batch_size=None)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


def without_bad_samples(samples: list[Any]) -> Any:
    kept = [s for s in samples if round(float(s[0][0]) * 1024) % 7]
    return torch.stack([x for x, _ in kept]), torch.stack([y for _, y in kept])


@loop("collate_fn that leaves samples out", limits=(UNKNOWN, UNKNOWN), skip=("ids",))
def collate_that_leaves_samples_out() -> None:
    fit(nn.CrossEntropyLoss(), collate_fn=without_bad_samples)


def longest_first(samples: list[Any]) -> Any:
    samples = sorted(samples, key=lambda s: -float(s[0][1]))
    return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])


@loop("collate_fn that changes the order", limits=(UNKNOWN, UNKNOWN), skip=("ids",))
def collate_that_sorts_samples() -> None:
    fit(nn.CrossEntropyLoss(), collate_fn=longest_first)


@loop("collate_fn that changes the order; workers", limits=(UNKNOWN, UNKNOWN), skip=("ids",))
def collate_that_sorts_samples_in_workers() -> None:
    fit(nn.CrossEntropyLoss(), collate_fn=longest_first, num_workers=2)


def in_order(samples: list[Any]) -> Any:
    return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])


@loop("collate_fn of the user's own")
def collate_that_stacks() -> None:
    fit(nn.CrossEntropyLoss(), collate_fn=in_order)


@loop("plain tutorial loop; batches of one sample")
def batches_of_one_sample() -> None:
    fit(nn.CrossEntropyLoss(), batch=1)


@loop("workers; custom samplers")
def workers_with_uneven_batches() -> None:
    train_loader = DataLoader(TensorDataset(*make_data()), batch_sampler=UnevenBatches(), num_workers=2)
    _, val_loader, _ = make_loaders(num_workers=1)
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        evaluate(model, val_loader, F.cross_entropy, epoch)
