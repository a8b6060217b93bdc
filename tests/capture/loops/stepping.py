"""How loops step: accumulation, closures, scalers, compilers."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tests.capture.judges import labels
from tests.capture.loops.registry import evaluate, fit, loop, sgd, train_one
from tests.capture.truth import EPOCHS, TRUTH, Net, make_data, make_loaders


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


class Parts(Net):
    """Two blocks that are trained in turn."""


def blocks_of(model: Net) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD(model.hidden.parameters(), 0.1), torch.optim.SGD(model.out.parameters(), 0.1)]


@loop("several optimisers: alternating blocks")
def blocks_trained_in_alternating_epochs() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Parts()
    optimizers = blocks_of(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, 5):
        train_one(model, train_loader, criterion, optimizers[epoch % 2], epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop("several optimisers: alternating blocks")
def blocks_trained_in_alternating_batches() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Parts()
    optimizers = blocks_of(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for i, (xb, yb) in enumerate(train_loader):
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            model.zero_grad()
            loss.backward()
            optimizers[i % 2].step()
        evaluate(model, val_loader, criterion, epoch)


@loop("several optimisers: one per part, stepped together")
def one_optimizer_per_part() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Parts()
    optimizers = blocks_of(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
        evaluate(model, val_loader, criterion, epoch)


@loop("several optimisers: GAN-like", judge=labels((make_data()[1] > 0).numpy()))
def classifier_against_an_adversary() -> None:
    """A domain adversary with an optimiser of its own beside the classifier's."""
    x, y = make_data()
    train_loader, val_loader, _ = make_loaders(TensorDataset(x, (y > 0).float()))
    model, adversary = Net(1), nn.Linear(1, 1)
    optimizer, other = sgd(model), torch.optim.Adam(adversary.parameters(), 1e-2)
    criterion = nn.BCEWithLogitsLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            z = model(xb)
            main = criterion(z[:, 0], yb)
            TRUTH.value(main)
            optimizer.zero_grad()
            main.backward()
            optimizer.step()
            other.zero_grad()
            adversary(z.detach()).square().mean().backward()
            other.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(criterion(model(xb)[:, 0], yb))


def compiled(thing: Any) -> Any:
    torch._dynamo.reset()
    return torch.compile(thing, backend="aot_eager")


class Quiet(Net):
    """Says what it answered outside of what is compiled."""

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(torch.relu(self.hidden(x)))
        return z


class Told:
    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, x: Tensor) -> Tensor:
        z: Tensor = self.model(x)
        TRUTH.saw(x, z)
        return z

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


@loop("torch.compile")
def compiled_model() -> None:
    fit(nn.CrossEntropyLoss(), Told(compiled(Quiet())))  # type: ignore[arg-type]


@loop("torch.compile")
def model_compiled_in_place() -> None:
    torch._dynamo.reset()
    model = Quiet()
    model.compile(backend="aot_eager")
    fit(nn.CrossEntropyLoss(), Told(model))  # type: ignore[arg-type]


@loop("torch.compile", limits=("by hand or inside a compiled function",), skip=("reported val",))
def compiled_criterion() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a compiler looks at .grad of what it is given
        fit(compiled(nn.CrossEntropyLoss()))


HIDDEN = "inside a compiled function"


@loop("torch.compile", limits=(HIDDEN,), skip=("no train",))
def loss_inside_a_compiled_step() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Quiet()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()

    @compiled
    def step(x: Tensor, y: Tensor) -> Tensor:
        value: Tensor = criterion(model(x), y)
        return value

    for epoch in range(1, EPOCHS + 1):
        for xb, yb in train_loader:
            loss = step(xb, yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate(Told(model), val_loader, criterion, epoch)  # type: ignore[arg-type]


@loop("autocast and GradScaler; custom functions")
def autocast_with_a_criterion_of_ones_own() -> None:
    from tests.capture.loops.custom import focal

    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu")
    for epoch in range(1, EPOCHS + 1):
        for split, loader in (("train", train_loader), ("val", val_loader)):
            TRUTH.at(split, epoch)
            model.train(split == "train")
            for xb, yb in loader:
                with (
                    torch.autocast("cpu", dtype=torch.bfloat16),
                    torch.set_grad_enabled(split == "train"),
                ):
                    loss = focal(model(xb), yb)
                TRUTH.value(loss)
                if split == "train":
                    optimizer.zero_grad(set_to_none=True)
                    scaler.scale(loss).backward()
                    scaler.step(optimizer)
                    scaler.update()
