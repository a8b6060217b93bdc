"""Batching without a DataLoader."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests.capture.judges import labels
from tests.capture.loops.registry import loop, sgd, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, N, Net, make_data, make_loaders


@loop("loader-less: permuted indices")
def permuted_indices() -> None:
    x, y = make_data()
    model = Net()
    optimizer = sgd(model)
    x_train, y_train, x_val, y_val = x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:]
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        order = torch.randperm(N_TRAIN)
        for i in range(0, N_TRAIN, BATCH):
            index = order[i : i + BATCH]
            loss = F.cross_entropy(model(x_train[index]), y_train[index])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            TRUTH.value(F.cross_entropy(model(x_val), y_val))


@loop("loader-less: slices")
def slices() -> None:
    x, y = make_data()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for i in range(0, N_TRAIN, BATCH):
            loss = F.cross_entropy(model(x[i : i + BATCH]), y[i : i + BATCH])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            TRUTH.value(F.cross_entropy(model(x[N_TRAIN:]), y[N_TRAIN:]))


@loop("loader-less: permuted indices")
def permuted_copy_in_parts() -> None:
    x, y = make_data()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        order = torch.randperm(N_TRAIN)
        for xb, yb in zip(x[order].split(BATCH), y[order].split(BATCH), strict=True):
            loss = F.cross_entropy(model(xb), yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@loop("loader-less: full batch")
def full_batch() -> None:
    x, y = make_data()
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x_train, y_train, x_val, y_val = x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:]
    for epoch in range(1, 9):
        TRUTH.at("train", epoch)
        loss = F.cross_entropy(model(x_train), y_train)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            TRUTH.value(F.cross_entropy(model(x_val), y_val))


@loop("loader-less: full batch")
def loader_for_training_tensors_for_validation() -> None:
    train_loader, _, _ = make_loaders()
    x, y = make_data()
    x_val, y_val = x[N_TRAIN : N_TRAIN + N_VAL].clone(), y[N_TRAIN : N_TRAIN + N_VAL].clone()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        TRUTH.at("val", epoch)
        model.eval()
        with torch.inference_mode():
            TRUTH.value(criterion(model(x_val), y_val))


BY_INPUT = "told apart by their inputs"


@loop("loader-less: numpy", limits=(BY_INPUT,), skip=("numbers",))
def numpy_arrays_and_indices() -> None:
    x, y = (t.numpy() for t in make_data())
    model = Net()
    optimizer = sgd(model)
    rng = np.random.default_rng(0)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        order = rng.permutation(N_TRAIN)
        for i in range(0, N_TRAIN, BATCH):
            part = order[i : i + BATCH]
            xb, yb = torch.from_numpy(x[part]), torch.from_numpy(y[part])
            loss = F.cross_entropy(model(xb), yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            xv, yv = torch.tensor(x[N_TRAIN : N_TRAIN + N_VAL]), torch.tensor(y[N_TRAIN : N_TRAIN + N_VAL])
            TRUTH.value(F.cross_entropy(model(xv), yv))


@loop("loader-less: numpy", limits=(BY_INPUT,), skip=("numbers",))
def numpy_without_validation() -> None:
    x, y = (t.numpy() for t in make_data())
    model = Net()
    optimizer = sgd(model)
    rng = np.random.default_rng(0)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        order = rng.permutation(N_TRAIN)
        for i in range(0, N_TRAIN, BATCH):
            part = order[i : i + BATCH]
            loss = F.cross_entropy(model(torch.tensor(x[part])), torch.tensor(y[part]))
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@loop(
    "loader-less: numpy",
    limits=("It is not known which samples the 'train'", "It is not known which samples the 'val'"),
    skip=("ids train after 1", "ids val after 1", "numbers"),
)
def numpy_with_noise_on_every_batch() -> None:
    x, y = (t.numpy() for t in make_data())
    model = Net()
    optimizer = sgd(model)
    rng = np.random.default_rng(0)

    def noisy(part: Any) -> Tensor:
        batch = x[part].copy()
        batch[:, 1:] += 0.1 * rng.standard_normal(batch[:, 1:].shape)
        return torch.from_numpy(batch)

    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        order = rng.permutation(N_TRAIN)
        for i in range(0, N_TRAIN, BATCH):
            part = order[i : i + BATCH]
            loss = F.cross_entropy(model(noisy(part)), torch.from_numpy(y[part]))
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            part = slice(N_TRAIN, N_TRAIN + N_VAL)
            TRUTH.value(F.cross_entropy(model(noisy(part)), torch.from_numpy(y[part].copy())))


@loop(
    "loader-less: permuted indices",
    judge=labels((make_data()[1] > 0).numpy()),
    limits=(BY_INPUT,),
    skip=("numbers",),
)
def targets_converted_in_every_batch() -> None:
    x, y = make_data()
    model = Net(1)
    optimizer = sgd(model)
    criterion = nn.BCEWithLogitsLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for index in torch.randperm(N_TRAIN).split(BATCH):
            loss = criterion(model(x[index]).squeeze(), (y[index] > 0).float())
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            part = slice(N_TRAIN, N_TRAIN + N_VAL)
            TRUTH.value(criterion(model(x[part]).squeeze(), (y[part] > 0).float()))


@loop("loader-less: slices; validation on test too")
def validation_and_test_cut_out_of_one_tensor() -> None:
    x, y = make_data()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for i in range(0, N_TRAIN, BATCH):
            loss = F.cross_entropy(model(x[i : i + BATCH]), y[i : i + BATCH])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            TRUTH.at("val", epoch)
            TRUTH.value(F.cross_entropy(model(x[N_TRAIN : N_TRAIN + N_VAL]), y[N_TRAIN : N_TRAIN + N_VAL]))
            TRUTH.at("val_2", epoch)
            TRUTH.value(F.cross_entropy(model(x[N_TRAIN + N_VAL :]), y[N_TRAIN + N_VAL :]))


@loop("loader-less: slices; validation on test too", limits=("holds several sets",))
def validation_and_test_cut_out_in_batches() -> None:
    x, y = make_data()
    model = Net()
    optimizer = sgd(model)

    def evaluate_between(first: int, last: int) -> None:
        with torch.no_grad():
            for i in range(first, last, BATCH):
                TRUTH.value(F.cross_entropy(model(x[i : i + BATCH]), y[i : i + BATCH]))

    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for i in range(0, N_TRAIN, BATCH):
            loss = F.cross_entropy(model(x[i : i + BATCH]), y[i : i + BATCH])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        evaluate_between(N_TRAIN, N_TRAIN + N_VAL)
        TRUTH.at("val_2", epoch)
        evaluate_between(N_TRAIN + N_VAL, N)


def in_slices(model: nn.Module, x: Tensor, y: Tensor) -> None:
    with torch.no_grad():
        for i in range(0, len(x), BATCH):
            TRUTH.value(F.cross_entropy(model(x[i : i + BATCH]), y[i : i + BATCH]))


@loop("loader-less: slices; validation on test too")
def validation_and_test_in_slices_of_one_tensor() -> None:
    x, y = make_data()
    ends = [N_TRAIN, N_VAL, N - N_TRAIN - N_VAL]
    (x_train, x_val, x_test), (y_train, y_val, y_test) = x.split(ends), y.split(ends)
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for i in range(0, N_TRAIN, BATCH):
            loss = F.cross_entropy(model(x_train[i : i + BATCH]), y_train[i : i + BATCH])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        in_slices(model, x_val, y_val)
        TRUTH.at("test", epoch)
        in_slices(model, x_test, y_test)


@loop("loader-less: slices; validation before training and on train")
def training_data_evaluated_in_slices() -> None:
    x, y = make_data()
    x_train, y_train, x_val, y_val = x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:144], y[N_TRAIN:144]
    model = Net()
    optimizer = sgd(model)
    TRUTH.at("val", 0)
    in_slices(model, x_val, y_val)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for index in torch.randperm(N_TRAIN).split(BATCH):
            loss = F.cross_entropy(model(x_train[index]), y_train[index])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("train_eval", epoch)
        in_slices(model, x_train, y_train)
        TRUTH.at("val", epoch)
        in_slices(model, x_val, y_val)


@loop("loader-less: slices")
def slices_of_a_dataset() -> None:
    data = TensorDataset(*make_data())
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for i in range(0, N_TRAIN, BATCH):
            xb, yb = data[i : i + BATCH]
            loss = F.cross_entropy(model(xb), yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            xv, yv = data[N_TRAIN : N_TRAIN + N_VAL]
            TRUTH.value(F.cross_entropy(model(xv), yv))


@loop("loader-less: permuted indices; validation inside the training function")
def selected_with_a_mask() -> None:
    x, y = make_data()
    held = torch.zeros(N, dtype=torch.bool)
    held[N_TRAIN : N_TRAIN + N_VAL] = True
    train = torch.arange(N) < N_TRAIN
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, 9):
        TRUTH.at("train", epoch)
        loss = F.cross_entropy(model(x[train]), y[train])
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            TRUTH.value(F.cross_entropy(model(x[held]), y[held]))


@loop("loader-less: permuted indices; validation on test too")
def selected_with_masks_in_a_loop() -> None:
    x, y = make_data()
    place = torch.arange(N)
    masks = {
        "train": place < N_TRAIN,
        "val": (place >= N_TRAIN) & (place < N_TRAIN + N_VAL),
        "test": place >= N_TRAIN + N_VAL,
    }
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        loss = F.cross_entropy(model(x[masks["train"]]), y[masks["train"]])
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                TRUTH.at({"train": "train_eval"}.get(name, name), epoch)
                TRUTH.value(F.cross_entropy(model(x[mask]), y[mask]))
