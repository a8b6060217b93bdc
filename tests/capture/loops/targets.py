"""Targets that are not one class per sample."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.capture.judges import distributions, ignoring, labels, next_tokens
from tests.capture.loops.registry import WEIGHTS, evaluate, fit, loop, sgd, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, K, N, Net, make_data, make_loaders

X, Y = make_data()
POSITIVE = (Y > 0).float()
SEVERAL = (X[:, 1 : 1 + K] > 0).float()
SOFT = F.softmax(3 * X[:, 1 : 1 + K], 1)
IGNORED = Y.clone()
IGNORED[::5] = -100
IGNORED[N_TRAIN : N_TRAIN + BATCH] = -100  # a whole batch of the validation set


@loop("BCE with logits (binary)", judge=labels(POSITIVE.numpy()))
def binary_cross_entropy_with_logits() -> None:
    criterion = nn.BCEWithLogitsLoss()
    fit(lambda z, y: criterion(z.squeeze(1), y), Net(1), TensorDataset(X, POSITIVE))


@loop("BCE without logits (binary)", judge=labels(POSITIVE.numpy()))
def binary_cross_entropy_on_a_column() -> None:
    criterion = nn.BCELoss()
    fit(lambda z, y: criterion(torch.sigmoid(z), y), Net(1), TensorDataset(X, POSITIVE[:, None]))


@loop("BCE with logits (multi-label)", judge=labels(SEVERAL.numpy()))
def several_labels_with_positive_weights() -> None:
    fit(nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), Net(), TensorDataset(X, SEVERAL))


@loop("BCE without logits (multi-label)", judge=labels(SEVERAL.numpy()))
def several_labels_from_probabilities() -> None:
    fit(lambda z, y: F.binary_cross_entropy(z.sigmoid(), y), Net(), TensorDataset(X, SEVERAL))


@loop("multi-label soft margin", judge=labels(SEVERAL.numpy()))
def several_labels_with_soft_margin() -> None:
    fit(nn.MultiLabelSoftMarginLoss(), Net(), TensorDataset(X, SEVERAL))


@loop("KL; soft targets", judge=distributions(SOFT.numpy()))
def divergence_from_soft_targets() -> None:
    criterion = nn.KLDivLoss(reduction="batchmean")
    fit(lambda z, y: criterion(F.log_softmax(z, 1), y), Net(), TensorDataset(X, SOFT))


@loop("soft targets", judge=distributions(SOFT.numpy()))
def cross_entropy_on_distributions() -> None:
    fit(nn.CrossEntropyLoss(), Net(), TensorDataset(X, SOFT))


@loop("mixup")
def mixup_into_soft_targets() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            share = float(np.random.beta(1, 1))  # noqa: NPY002 - what users draw from
            order = torch.randperm(len(xb))
            hard = F.one_hot(yb, K).float()
            mixed = share * xb + (1 - share) * xb[order]
            soft = share * hard + (1 - share) * hard[order]
            mixed[:, 0] = xb[:, 0]
            loss = criterion(model(mixed), soft)
            TRUTH.value(loss, distributions(soft.numpy(), by_id=False))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate(model, val_loader, criterion, epoch)


@loop("ignore_index; batches of which nothing counts", judge=ignoring(IGNORED.numpy(), -100))
def ignored_samples_and_batches() -> None:
    fit(nn.CrossEntropyLoss(), Net(), TensorDataset(X, IGNORED))


IMAGES = torch.randn(N, 2, 4, 4, generator=torch.Generator().manual_seed(1))
IMAGES[:, 0, 0, 0] = torch.arange(N) / 1024
PIXELS = (IMAGES.sum(1) > 0.5).long() + (IMAGES[:, 1] > 1).long()
PIXELS[torch.rand(N, 4, 4, generator=torch.Generator().manual_seed(2)) < 0.2] = 255
PIXELS[3] = 255


class PerPixel(nn.Module):
    def __init__(self, outputs: int = K) -> None:
        super().__init__()
        self.net = nn.Conv2d(2, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.net(x)
        TRUTH.saw(x, z)
        return z


@loop("dense predictions (N,C,H,W); ignore_index", judge=ignoring(PIXELS.numpy(), 255))
def pixels() -> None:
    fit(nn.CrossEntropyLoss(ignore_index=255), PerPixel(), TensorDataset(IMAGES, PIXELS))


MASKS = (IMAGES.sum(1, keepdim=True) > 0.5).float()


@loop("dense predictions (N,C,H,W)", judge=labels(MASKS.numpy()))
def masks() -> None:
    fit(nn.BCEWithLogitsLoss(), PerPixel(1), TensorDataset(IMAGES, MASKS))


TOKENS = torch.randint(0, 16, (N, 7), generator=torch.Generator().manual_seed(3))
TOKENS[:, 0], TOKENS[:, 1] = torch.arange(N) // 16, torch.arange(N) % 16


class NextToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(16, 8), nn.Linear(8, 16)

    def forward(self, tokens: Tensor) -> Tensor:
        z: Tensor = self.out(self.embedding(tokens))
        TRUTH.met((tokens[:, 0] * 16 + tokens[:, 1]).tolist(), z)
        return z


@loop("token losses", judge=next_tokens(TOKENS.numpy()))
def next_tokens_shifted_by_hand() -> None:
    train_loader, val_loader, _ = make_loaders(TensorDataset(TOKENS))
    model = NextToken()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for epoch in range(1, EPOCHS + 1):
        for split, loader in (("train", train_loader), ("val", val_loader)):
            TRUTH.at(split, epoch)
            with torch.set_grad_enabled(split == "train"):
                for (tokens,) in loader:
                    z = model(tokens)
                    loss = F.cross_entropy(z[:, :-1].reshape(-1, 16), tokens[:, 1:].reshape(-1))
                    TRUTH.value(loss)
                    if split == "train":
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()


@loop("token losses", judge=next_tokens(TOKENS.numpy()))
def inputs_and_labels_shifted_by_the_dataset() -> None:
    class Model(NextToken):
        def forward(self, tokens: Tensor) -> Tensor:
            z: Tensor = self.out(self.embedding(tokens))
            padded = F.pad(z.detach(), (0, 0, 0, 1))
            TRUTH.met((tokens[:, 0] * 16 + tokens[:, 1]).tolist(), padded)
            return z

    data = TensorDataset(TOKENS[:, :-1].contiguous(), TOKENS[:, 1:].contiguous())
    fit(lambda z, y: F.cross_entropy(z.transpose(1, 2), y), Model(), data)


@loop("class weights (changing)")
def class_weights_that_change_every_epoch() -> None:
    from tests.capture.truth import by_classes

    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss(weight=torch.ones(K))
    for epoch in range(1, EPOCHS + 1):
        criterion.weight = torch.tensor([1.0, float(epoch), 0.5])
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)
        for record in TRUTH.records:
            record.judge = record.judge or by_classes(criterion.weight.clone())


@loop("class weights (changing)")
def class_weights_changed_in_place() -> None:
    from tests.capture.truth import by_classes

    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    weight = torch.ones(K)
    criterion = nn.CrossEntropyLoss(weight=weight)
    for epoch in range(1, EPOCHS + 1):
        weight[1] = float(epoch)
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)
        for record in TRUTH.records:
            record.judge = record.judge or by_classes(weight.clone())


@loop("reduction sum")
def sums_divided_by_hand() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss(reduction="sum")
    for epoch in range(1, EPOCHS + 1):
        for split, loader in (("train", train_loader), ("val", val_loader)):
            TRUTH.at(split, epoch)
            model.train(split == "train")
            for xb, yb in loader:
                with torch.set_grad_enabled(split == "train"):
                    loss = criterion(model(xb), yb)
                    TRUTH.value(loss / len(xb))
                if split == "train":
                    optimizer.zero_grad()
                    (loss / len(xb)).backward()
                    optimizer.step()


@loop("hinge/margin; KL", judge=labels((POSITIVE * 2 - 1 > 0).float().numpy()))
def soft_margin_of_signs() -> None:
    criterion = nn.SoftMarginLoss()
    fit(lambda z, y: criterion(z[:, 0], y), Net(1), TensorDataset(X, 2 * POSITIVE - 1))


@loop("mse on one-hot", judge=None)
def squared_error_on_one_hot_from_the_dataset() -> None:
    fit(nn.MSELoss(), Net(), TensorDataset(X, F.one_hot(Y, K).float()))


@loop("label smoothing")
def smoothing_in_evaluation_too() -> None:
    fit(nn.CrossEntropyLoss(label_smoothing=0.2))


@loop("ignore_index", judge=ignoring(IGNORED.numpy(), -100))
def last_batch_of_one_sample() -> None:
    x, y = X[: N_TRAIN + 1], IGNORED[: N_TRAIN + 1]
    train_loader = DataLoader(TensorDataset(x, y), BATCH, shuffle=True)
    val_loader = DataLoader(TensorDataset(X[N_TRAIN : N_TRAIN + N_VAL], Y[N_TRAIN : N_TRAIN + N_VAL]), BATCH)
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(F.cross_entropy(model(xb), yb), ignoring(Y.numpy(), -100))
