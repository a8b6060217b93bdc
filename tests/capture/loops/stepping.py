"""How loops step: accumulation, closures, scalers, compilers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.capture.loops.registry import evaluate, loop, sgd
from tests.capture.truth import EPOCHS, TRUTH, Net, make_loaders


@loop("gradient accumulation")
def gradient_accumulation() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        for i, (xb, yb) in enumerate(train_loader):
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            (loss / 3).backward()
            if (i + 1) % 3 == 0:
                optimizer.step()
                optimizer.zero_grad()
        evaluate(model, val_loader, criterion, epoch)


@loop("gradient accumulation")
def micro_batches() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            optimizer.zero_grad()
            for xc, yc in zip(xb.chunk(4), yb.chunk(4), strict=True):
                loss = criterion(model(xc), yc)
                TRUTH.value(loss)
                (loss / 4).backward()
            optimizer.step()
        evaluate(model, val_loader, criterion, epoch)


@loop("LBFGS closures")
def lbfgs_closure() -> None:
    train_loader, val_loader, _ = make_loaders(batch=48)
    model = Net()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        for xb, yb in train_loader:
            TRUTH.at("train", epoch)
            TRUTH.quiet = False

            def closure(xb: Tensor = xb, yb: Tensor = yb) -> Tensor:
                optimizer.zero_grad()
                loss = criterion(model(xb), yb)
                if not TRUTH.quiet:  # the first evaluation of a batch is its visit
                    TRUTH.value(loss)
                TRUTH.quiet = True
                loss.backward()
                return loss

            optimizer.step(closure)
        TRUTH.quiet = False
        evaluate(model, val_loader, criterion, epoch)


@loop("gradient accumulation")
def one_backward_for_an_epoch() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        total = torch.zeros(())
        for xb, yb in train_loader:
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            total = total + loss
        optimizer.zero_grad()
        (total / len(train_loader)).backward()
        optimizer.step()
        evaluate(model, val_loader, criterion, epoch)


@loop("plain tutorial loop")
def gradients_without_an_optimizer() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for weight, gradient in zip(model.parameters(), gradients, strict=True):
                    weight.sub_(0.1 * gradient)
        evaluate(model, val_loader, criterion, epoch)


@loop("autocast and GradScaler")
def bfloat16_and_scaler() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    scaler = torch.amp.GradScaler("cpu")
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        for xb, yb in train_loader:
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        TRUTH.at("val", epoch)
        model.eval()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            for xb, yb in val_loader:
                TRUTH.value(criterion(model(xb), yb))
