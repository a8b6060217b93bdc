"""Of trainings that people published: what was seen wrongly there, in loops of our own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.capture.held_out import held
from tests.capture.judges import labels
from tests.capture.loops import evaluate, sgd, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, K, Net, make_data, make_loaders

if TYPE_CHECKING:
    from collections.abc import Iterator

RANKS = (np.arange(K + 1) < make_data()[1].numpy()[:, None]).astype(float)  # how many of the steps are passed


class InTwoStreams:
    """Batches of two parts, each drawn for itself: a tuple of numbers per batch, and no list."""

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        first, second = torch.randperm(N_TRAIN // 2).split(8), torch.randperm(N_TRAIN // 2).split(8)
        for a, b in zip(first, second, strict=True):
            yield tuple(np.concatenate([a.numpy(), b.numpy() + N_TRAIN // 2]))

    def __len__(self) -> int:
        return N_TRAIN // BATCH


@held()
def batches_of_two_streams() -> None:
    x, y = make_data()
    train_loader = DataLoader(TensorDataset(x[:N_TRAIN], y[:N_TRAIN]), batch_sampler=InTwoStreams())
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        evaluate(model, make_loaders()[1], F.cross_entropy, epoch)


class OverTime(nn.Module):
    """Answers once per step of a sequence that has been averaged to one step: (n, 1, classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Net()

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.body(x).unsqueeze(1), dim=2)


@held()
def sound_with_one_step_left() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = OverTime()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        for x, y in train_loader:
            loss = F.nll_loss(model(x).squeeze(), y)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        model.eval()
        sum(model(x).argmax(-1).squeeze().eq(y).sum().item() for x, y in val_loader)


class Ranked(Dataset[Any]):
    """A sample, its rank, and the steps up to it."""

    def __init__(self, first: int, n: int) -> None:
        x, y = make_data()
        self.x, self.y = x[first : first + n], y[first : first + n]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, int, Tensor]:
        rank = int(self.y[i])
        return self.x[i], rank, torch.tensor([1.0] * rank + [0.0] * (K + 1 - rank))


def of_ranks(logits: Tensor, steps: Tensor) -> Tensor:
    sure = F.logsigmoid(logits)
    return -(sure * steps + (sure - logits) * (1 - steps)).sum(dim=1).mean()


@held(judge=labels(RANKS), limits=("computed by hand",), skip=("reported val",))
def ranks_with_a_criterion_by_hand() -> None:
    train_loader = DataLoader(Ranked(0, N_TRAIN), BATCH, shuffle=True)
    val_loader = DataLoader(Ranked(N_TRAIN, N_VAL), BATCH)
    model = Net(K + 1)
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for x, _rank, steps in train_loader:
            loss = of_ranks(model(x), steps)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            sum(((model(x) > 0).sum(1) - rank).abs().sum().item() for x, rank, _steps in val_loader)


class Trainer:
    """Its loaders have no name but its own attributes."""

    def __init__(self) -> None:
        self.fit_on, self.valid_loader, self.test_loader = make_loaders()
        self.model = Net()
        self.optimizer = sgd(self.model)

    def run(self, loader_name: str, split: str, epoch: int) -> None:
        TRUTH.at(split, epoch)
        self.model.eval()
        with torch.no_grad():
            for x, y in getattr(self, loader_name):
                TRUTH.value(F.cross_entropy(self.model(x), y))


@held()
def trainer_that_holds_its_loaders() -> None:
    trainer = Trainer()
    for epoch in range(1, EPOCHS + 1):
        train_one(trainer.model, trainer.fit_on, F.cross_entropy, trainer.optimizer, epoch)
        trainer.run("valid_loader", "val", epoch)
        trainer.run("test_loader", "test", epoch)


@held()
def model_built_anew_for_every_test() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)

    def hits(weights: dict[str, Tensor]) -> int:
        again = Net()
        again.load_state_dict(weights)
        again.eval()
        return sum(int(again(x).argmax(1).eq(y).sum()) for x, y in val_loader)

    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        TRUTH.at("val", epoch)
        hits(copy.deepcopy(model.state_dict()))


@held()
def attack_on_a_copy_after_training() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
    attacked = Net()
    attacked.load_state_dict(model.state_dict())
    attacked.eval()
    TRUTH.at("val", EPOCHS)
    for x, y in val_loader:
        delta = torch.zeros_like(x, requires_grad=True)
        TRUTH.quiet = True
        for _ in range(3):
            F.cross_entropy(attacked(x + delta), y).backward()
            delta.data[:, 1:] += 0.1 * delta.grad[:, 1:].sign()  # type: ignore[index]
            delta.grad = None
        TRUTH.quiet = False
        with torch.no_grad():
            TRUTH.value(F.cross_entropy(attacked(x + delta), y))


@held()
def two_sets_that_are_both_called_test() -> None:
    train_loader, test_loader, test_noisy_loader = make_loaders()
    model = Net()
    for epoch in range(1, EPOCHS + 1):
        optimizer = sgd(model)  # made anew in every epoch
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        evaluate(model, test_loader, F.cross_entropy, epoch)
        evaluate(model, test_noisy_loader, F.cross_entropy, epoch, split="test_noisy_loader")


@held(judge=labels(RANKS), skip=("ids train after 1", "ids val after 1"), limits=("'train'", "'val'"))
def several_labels_in_datasets_made_anew() -> None:
    x, _y = make_data()
    steps = torch.from_numpy(RANKS).float()
    model = Net(K + 1)
    optimizer = sgd(model)

    def made(first: int, n: int, **options: Any) -> DataLoader[Any]:
        part = slice(first, first + n)
        return DataLoader(TensorDataset(x[part].clone(), steps[part].clone()), BATCH, **options)

    for epoch in range(1, EPOCHS + 1):
        train_loader, val_loader = made(0, N_TRAIN, shuffle=True), made(N_TRAIN, N_VAL)
        train_one(model, train_loader, F.binary_cross_entropy_with_logits, optimizer, epoch)
        evaluate(model, val_loader, F.binary_cross_entropy_with_logits, epoch)
