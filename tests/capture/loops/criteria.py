"""What loops minimise."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import cross_entropy as imported_alias

from tests.capture.loops.registry import WEIGHTS, evaluate, fit, loop, sgd
from tests.capture.truth import EPOCHS, TRUTH, K, Net, make_loaders


@loop("cross_entropy; aliases imported by name")
def alias_imported_by_name() -> None:
    fit(imported_alias)


@loop("label smoothing; class weights (static)", weights=WEIGHTS)
def partial_with_smoothing_and_weights() -> None:
    fit(partial(F.cross_entropy, weight=WEIGHTS, label_smoothing=0.1))


@loop("reduction none", limits=("combined by hand",))
def reduction_none_weighted_by_hand() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss(reduction="none")
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            values = criterion(model(xb), yb)
            weight = 1 + yb.float()
            loss = (values * weight).sum() / weight.sum()
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(criterion(model(xb), yb).mean())


@loop("mixup")
def mixup_with_two_terms() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            share = np.random.beta(1, 1)  # noqa: NPY002 - what users draw from
            order = torch.randperm(len(xb))
            mixed = share * xb + (1 - share) * xb[order]
            mixed[:, 0] = xb[:, 0]
            z = model(mixed)
            loss = share * criterion(z, yb) + (1 - share) * criterion(z, yb[order])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate(model, val_loader, criterion, epoch)


@loop("nll_loss")
def log_softmax_and_nll() -> None:
    fit(lambda z, y: F.nll_loss(F.log_softmax(z, 1), y))


@loop("mse on one-hot")
def squared_error_on_one_hot() -> None:
    mse = nn.MSELoss()
    fit(lambda z, y: mse(z, F.one_hot(y, K).float()))


@loop("hinge/margin")
def multi_margin() -> None:
    fit(nn.MultiMarginLoss())


class TwoHeads(Net):
    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Linear(16, K)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        hidden = torch.relu(self.hidden(x))
        z = self.out(hidden)
        TRUTH.saw(x, z)
        return z, self.side(hidden)


@loop("several terms", limits=("several predictions for the same labels",))
def auxiliary_head() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = TwoHeads()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            z, side = model(xb)
            main = criterion(z, yb)
            TRUTH.value(main)
            optimizer.zero_grad()
            (main + 0.3 * criterion(side, yb)).backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                z, _ = model(xb)
                TRUTH.value(criterion(z, yb))
