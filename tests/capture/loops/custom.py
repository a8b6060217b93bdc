"""Criteria that torch does not know: functions and modules of the user's own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.capture.judges import labels
from tests.capture.loops.registry import evaluate, fit, loop, sgd, train_one
from tests.capture.loops.targets import IMAGES, MASKS, PerPixel
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, K, Net, make_data, make_loaders


def focal(z: Tensor, y: Tensor, gamma: float = 2.0) -> Tensor:
    log_p = F.log_softmax(z, 1).gather(1, y[:, None])[:, 0]
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()


@loop("custom functions (focal)")
def focal_loss_as_a_function() -> None:
    fit(focal)


class FocalLoss(nn.Module):
    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        each = F.cross_entropy(logits, target, reduction="none")
        p = torch.exp(-each)
        return ((1 - p) ** self.gamma * each).mean()


@loop("custom modules (focal)")
def focal_loss_as_a_module_over_cross_entropy() -> None:
    fit(FocalLoss())


class SmoothedCrossEntropy(nn.Module):
    """As fastai and many notebooks write it."""

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        log_p = F.log_softmax(z, dim=-1)
        spread = -log_p.mean(dim=-1).mean()
        return 0.9 * F.nll_loss(log_p, y) + 0.1 * spread


@loop("custom modules; label smoothing")
def smoothing_written_by_hand() -> None:
    fit(SmoothedCrossEntropy())


def by_hand(logp: Tensor, y: Tensor) -> Tensor:
    return -logp[range(len(y)), y].mean()


@loop("hand-written -logp[range, y].mean()")
def negative_log_likelihood_as_a_function() -> None:
    fit(lambda z, y: by_hand(z - z.exp().sum(-1).log().unsqueeze(-1), y))


@loop("hand-written -logp[range, y].mean()", limits=("computed by hand",), skip=("reported val",))
def negative_log_likelihood_inline() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            logp = F.log_softmax(model(xb), 1)
            loss = -logp[range(len(yb)), yb].mean()
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                logp = F.log_softmax(model(xb), 1)
                loss = -logp[range(len(yb)), yb].mean()
                TRUTH.value(loss)


@loop("custom functions; gradient accumulation")
def focal_loss_divided_for_accumulation() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for i, (xb, yb) in enumerate(train_loader):
            loss = focal(model(xb), yb)
            TRUTH.value(loss)
            (loss / 3).backward()
            if i % 3 == 2:
                optimizer.step()
                optimizer.zero_grad()
        evaluate(model, val_loader, focal, epoch)


class Learner:
    def __init__(self, model: nn.Module) -> None:
        self.model, self.optimizer = model, sgd(model)

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        value = self.criterion(self.model(x), y)
        TRUTH.value(value)
        return value

    @staticmethod
    def criterion(z: Tensor, y: Tensor) -> Tensor:
        p = F.softmax(z, dim=1)
        return ((p - F.one_hot(y, K)) ** 2).sum(1).mean()

    def fit(self, train: Any, val: Any) -> None:
        for epoch in range(1, EPOCHS + 1):
            TRUTH.at("train", epoch)
            self.model.train()
            for batch in train:
                loss = self.loss(batch)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
            TRUTH.at("val", epoch)
            self.model.eval()
            with torch.no_grad():
                for batch in val:
                    self.loss(batch)


@loop("custom functions; Trainer-like class")
def brier_score_in_a_class() -> None:
    train_loader, val_loader, _ = make_loaders()
    Learner(Net()).fit(train_loader, val_loader)


def soft_dice(z: Tensor, y: Tensor) -> Tensor:
    p = z.sigmoid()
    return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


class CrossEntropyAndDice(nn.Module):
    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z, y) + soft_dice(z, y)


@loop("custom modules; dense predictions (N,C,H,W)", judge=labels(MASKS.numpy()))
def dice_and_cross_entropy() -> None:
    from torch.utils.data import TensorDataset

    fit(CrossEntropyAndDice(), PerPixel(1), TensorDataset(IMAGES, MASKS))


@loop("custom functions; loader-less: slices")
def focal_loss_on_slices() -> None:
    x, y = make_data()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for i in range(0, N_TRAIN, BATCH):
            loss = focal(model(x[i : i + BATCH]), y[i : i + BATCH])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            part = slice(N_TRAIN, N_TRAIN + N_VAL)
            TRUTH.value(focal(model(x[part]), y[part]))


def mixup_criterion(criterion: Any, z: Tensor, ya: Tensor, yb: Tensor, share: float) -> Tensor:
    value: Tensor = share * criterion(z, ya) + (1 - share) * criterion(z, yb)
    return value


@loop("mixup")
def mixup_with_a_criterion_function() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            order = torch.randperm(len(xb))
            mixed = 0.7 * xb + 0.3 * xb[order]
            mixed[:, 0] = xb[:, 0]
            loss = mixup_criterion(criterion, model(mixed), yb, yb[order], 0.7)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate(model, val_loader, criterion, epoch)


@loop("reduction none; custom functions")
def unreduced_values_of_an_own_function() -> None:
    def each(z: Tensor, y: Tensor) -> Tensor:
        return -F.log_softmax(z, 1).gather(1, y[:, None])[:, 0]

    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            loss = each(model(xb), yb).mean()
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(each(model(xb), yb).mean())


@loop("custom functions; validation before training and on train")
def focal_loss_evaluated_before_training() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    evaluate(model, val_loader, nn.CrossEntropyLoss(), 0)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, focal, optimizer, epoch)
        evaluate(model, val_loader, focal, epoch)
