"""When and on what loops evaluate."""

from __future__ import annotations

import torch
from torch import nn

from tests.capture.loops.registry import evaluate, loop, sgd, train_one
from tests.capture.truth import EPOCHS, TRUTH, Net, make_loaders


@loop("validation every k epochs")
def validation_every_second_epoch() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, 7):
        train_one(model, train_loader, criterion, optimizer, epoch)
        if epoch % 2 == 0:
            evaluate(model, val_loader, criterion, epoch)


@loop("validation inside the training function")
def validation_batch_in_every_step() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    val_batches = iter(val_loader)
    for epoch in range(1, EPOCHS + 1):
        for xb, yb in train_loader:
            TRUTH.at("train", epoch)
            model.train()
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            try:
                xv, yv = next(val_batches)
            except StopIteration:
                val_batches = iter(val_loader)
                xv, yv = next(val_batches)
            TRUTH.at("val", epoch)
            model.eval()
            with torch.no_grad():
                TRUTH.value(criterion(model(xv), yv))


@loop("validation inside the training function")
def validation_in_the_middle_of_an_epoch() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    steps = 0
    for epoch in range(1, EPOCHS + 1):
        for xb, yb in train_loader:
            TRUTH.at("train", epoch)
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            if steps % 3 == 0:
                evaluate(model, val_loader, criterion, epoch)


@loop("validation inside the training function")
def validation_with_gradients() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        TRUTH.at("val", epoch)
        for xb, yb in val_loader:
            TRUTH.value(criterion(model(xb), yb))


@loop("validation before training and on train")
def evaluation_before_training_and_on_train() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    evaluate(model, val_loader, criterion, 0)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, train_loader, criterion, epoch, "train_eval")
        evaluate(model, val_loader, criterion, epoch)


@loop("validation on test too")
def val_and_test_every_epoch() -> None:
    train_loader, val_loader, test_loader = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)
        evaluate(model, test_loader, criterion, epoch, "test")


@loop("validation on test too")
def lone_test_loader_every_epoch() -> None:
    train_loader, _, test_loader = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, test_loader, criterion, epoch, "val")
