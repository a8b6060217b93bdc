"""Nodes of one graph, told apart by masks or index tensors; accuracies from tensors alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import log_softmax
from torch import Tensor, nn

from tests.capture.loops.registry import WEIGHTS, loop
from tests.capture.truth import EPOCHS, N_TRAIN, N_VAL, TRUTH, D, K, N, make_data

RECOMPUTED = ("recomputed as the criterion of the training",)
SIZES = {"train": N_TRAIN, "val": N_VAL, "test": N - N_TRAIN - N_VAL}


class Data:
    """Features, edges, labels and masks, behind a store as graph libraries have it."""

    def __init__(self) -> None:
        x, y = make_data()
        generator = torch.Generator().manual_seed(1)
        edges = (torch.rand(N, N, generator=generator) < 4 / N).float() + 3 * torch.eye(N)
        order = torch.randperm(N, generator=generator)
        self.__dict__["_store"] = {"x": x, "y": y, "adj": edges / edges.sum(1, keepdim=True)}
        for name, rows in zip(SIZES, order.split(list(SIZES.values())), strict=True):
            mask = torch.zeros(N, dtype=torch.bool)
            mask[rows] = True
            self._store[f"{name}_mask"] = mask

    def __getattr__(self, name: str) -> Tensor:
        try:
            found: Tensor = self.__dict__["_store"][name]
        except KeyError:
            raise AttributeError(name) from None
        return found


class Graph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(D, 16), nn.Linear(16, K)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        h = F.dropout(torch.relu(adj @ self.first(x)), 0.3, self.training)
        out: Tensor = adj @ self.second(h)
        return out


def noted(out: Tensor, rows: Tensor, loss: Tensor | None = None, weights: Tensor | None = None) -> None:
    """Tell the truth without any call that a recording could see."""
    ids = rows.numpy().nonzero()[0] if rows.dtype == torch.bool else rows.numpy()
    z, y = out.detach().numpy()[ids], make_data()[1].numpy()[ids]
    TRUTH.met(ids.tolist(), torch.from_numpy(z))
    w = np.ones(len(y)) if weights is None else weights.numpy()[y]
    nll = -log_softmax(z.astype(np.float64), axis=1)[np.arange(len(y)), y]
    TRUTH.records[-1].value = float(np.average(nll, weights=w)) if loss is None else float(loss.detach())


@loop("loader-less: nodes of a graph; validation on test too", limits=RECOMPUTED)
def nodes_with_masks_and_a_test_function() -> None:
    data, model = Data(), Graph()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()

    def train() -> Tensor:
        model.train()
        optimizer.zero_grad()
        out = model(data.x, data.adj)
        loss = criterion(out[data.train_mask], data.y[data.train_mask])
        noted(out, data.train_mask, loss)
        loss.backward()
        optimizer.step()
        return loss  # type: ignore[no-any-return]

    @torch.no_grad()
    def test() -> list[float]:
        model.eval()
        out = model(data.x, data.adj)
        pred = out.argmax(dim=1)
        accs = []
        for split, mask in zip(
            ("train_eval", "val", "test"), (data.train_mask, data.val_mask, data.test_mask), strict=True
        ):
            TRUTH.at(split, epoch)
            correct = pred[mask] == data.y[mask]
            accs.append(int(correct.sum()) / int(mask.sum()))
            noted(out, mask)
        return accs

    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        train()
        test()


@loop("loader-less: nodes of a graph", limits=RECOMPUTED, weights=WEIGHTS)
def accuracy_of_validation_nodes_alone() -> None:
    data, model = Data(), Graph()
    x, y, adj, train_mask, val_mask = data.x, data.y, data.adj, data.train_mask, data.val_mask
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        out = model(x, adj)
        loss = F.cross_entropy(out[train_mask], y[train_mask], weight=WEIGHTS)
        noted(out, train_mask, loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            out = F.log_softmax(model(x, adj), 1)
            pred = out.argmax(1)
            (pred[val_mask] == y[val_mask]).float().mean()
        TRUTH.at("val", epoch)
        noted(out, val_mask, weights=WEIGHTS)


@loop("loader-less: nodes of a graph; validation inside the training function", limits=RECOMPUTED)
def accuracies_of_the_outputs_that_are_trained_on() -> None:
    data, model = Data(), Graph()
    features, labels = data.x, data.y
    train_mask, val_mask, test_mask = data.train_mask, data.val_mask, data.test_mask
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    best = 0.0
    for e in range(12):
        TRUTH.at("train", e + 1)
        logits = model(features, data.adj)
        pred = logits.argmax(1)
        loss = F.cross_entropy(logits[train_mask], labels[train_mask])
        noted(logits, train_mask, loss)
        _ = (pred[train_mask] == labels[train_mask]).float().mean()
        val_acc = (pred[val_mask] == labels[val_mask]).float().mean()
        test_acc = (pred == labels)[test_mask].float().mean()
        if best < val_acc.item():
            best = max(val_acc.item(), 0 * test_acc.item())
        for split, mask in (("val", val_mask), ("test", test_mask)):
            TRUTH.at(split, e + 1)
            noted(logits, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Evaluator:
    def eval(self, given: dict[str, Tensor]) -> dict[str, float]:
        true, pred = given["y_true"].numpy(), given["y_pred"].numpy()
        return {"acc": float((true == pred).mean())}


@loop("loader-less: nodes of a graph; loader-less: permuted indices", limits=RECOMPUTED)
def nodes_by_index_tensors_with_an_evaluator() -> None:
    data, model, evaluator = Data(), Graph(), Evaluator()
    split_idx = {
        {"val": "valid"}.get(name, name): data._store[f"{name}_mask"].nonzero().flatten() for name in SIZES
    }
    data._store["y"] = data.y[:, None]
    train_idx = split_idx["train"]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    @torch.no_grad()
    def test(model: nn.Module, data: Any, split_idx: dict[str, Tensor]) -> tuple[float, ...]:
        model.eval()
        out = model(data.x, data.adj)
        y_pred = out.argmax(dim=-1, keepdim=True)
        for split, rows in zip(("train_eval", "val", "test"), split_idx.values(), strict=True):
            TRUTH.at(split, epoch)
            noted(out, rows)
        return tuple(
            evaluator.eval({"y_true": data.y[split_idx[s]], "y_pred": y_pred[split_idx[s]]})["acc"]
            for s in ("train", "valid", "test")
        )

    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        optimizer.zero_grad()
        out = F.log_softmax(model(data.x, data.adj)[train_idx], dim=-1)
        loss = F.nll_loss(out, data.y.squeeze(1)[train_idx])
        TRUTH.met(train_idx.tolist(), out)
        TRUTH.value(loss)
        loss.backward()
        optimizer.step()
        test(model, data, split_idx)


@loop("loader-less: nodes of a graph")
def losses_and_accuracies_of_nodes() -> None:
    """What is judged by a loss is recorded once, whichever comes first."""
    data, model = Data(), Graph()
    adj, features, labels = data.adj, data.x, data.y
    idx_train, idx_val = (m.nonzero().flatten() for m in (data.train_mask, data.val_mask))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def accuracy(output: Tensor, labels: Tensor) -> Tensor:
        preds = output.max(1)[1].type_as(labels)
        return preds.eq(labels).double().sum() / len(labels)

    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        optimizer.zero_grad()
        output = model(features, adj)
        loss_train = F.cross_entropy(output[idx_train], labels[idx_train])
        noted(output, idx_train, loss_train)
        accuracy(output[idx_train], labels[idx_train])
        loss_train.backward()
        optimizer.step()
        model.eval()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            output = model(features, adj)
            accuracy(output[idx_val], labels[idx_val])
            loss_val = F.cross_entropy(output[idx_val], labels[idx_val])
            noted(output, idx_val, loss_val)
