"""Batching without a DataLoader."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.capture.loops.registry import loop, sgd, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, Net, make_data, make_loaders


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
