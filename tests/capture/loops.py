"""Ordinary training loops in many styles; ``TRUTH`` is the only line in them that is not a user's."""

from __future__ import annotations

import copy
import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import cross_entropy as imported_alias
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    random_split,
)
from tqdm.auto import tqdm

from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, K, N, Net, make_data, make_loaders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOPS: dict[str, Callable[[], Any]] = {}
WEIGHTS = torch.tensor([1.0, 2.0, 0.5])


def loop(function: Callable[[], Any]) -> Callable[[], Any]:
    LOOPS[function.__name__] = function
    return function


def sgd(model: nn.Module, rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), rate)


def train_one(
    model: nn.Module, loader: Any, criterion: Any, optimizer: Any, epoch: int, run: int = 0
) -> None:
    TRUTH.at("train", epoch, run)
    model.train()
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def evaluate(
    model: nn.Module, loader: Any, criterion: Any, epoch: int, split: str = "val", run: int = 0
) -> float:
    TRUTH.at(split, epoch, run)
    model.eval()
    total = 0.0
    for xb, yb in loader:
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        total += loss.item() * len(xb)
    return total


def fit(criterion: Any, model: nn.Module | None = None, dataset: Any = None, **options: Any) -> None:
    train_loader, val_loader, _ = make_loaders(dataset, **options)
    model = model or Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop
def plain_tutorial() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(EPOCHS):
        TRUTH.at("train", epoch + 1)
        model.train()
        for xb, yb in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch + 1)
        model.eval()
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(criterion(model(xb), yb))


@loop
def functions_and_test_at_the_end() -> None:
    train_loader, val_loader, test_loader = make_loaders()
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)
    evaluate(model, test_loader, criterion, EPOCHS, "test")


@loop
def alias_imported_by_name() -> None:
    fit(imported_alias)


@loop
def partial_with_smoothing_and_weights() -> None:
    fit(partial(F.cross_entropy, weight=WEIGHTS, label_smoothing=0.1))


@loop
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


@loop
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


@loop
def log_softmax_and_nll() -> None:
    fit(lambda z, y: F.nll_loss(F.log_softmax(z, 1), y))


@loop
def squared_error_on_one_hot() -> None:
    mse = nn.MSELoss()
    fit(lambda z, y: mse(z, F.one_hot(y, K).float()))


@loop
def multi_margin() -> None:
    fit(nn.MultiMarginLoss())


@loop
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


@loop
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


@loop
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


@loop
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


@loop
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


@loop
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


@loop
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


@loop
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


@loop
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


@loop
def validation_every_second_epoch() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, 7):
        train_one(model, train_loader, criterion, optimizer, epoch)
        if epoch % 2 == 0:
            evaluate(model, val_loader, criterion, epoch)


@loop
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


@loop
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


@loop
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


@loop
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


@loop
def val_and_test_every_epoch() -> None:
    train_loader, val_loader, test_loader = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)
        evaluate(model, test_loader, criterion, epoch, "test")


@loop
def lone_test_loader_every_epoch() -> None:
    train_loader, _, test_loader = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, test_loader, criterion, epoch, "val")


@loop
def k_folds() -> None:
    data = TensorDataset(*make_data())
    criterion = nn.CrossEntropyLoss()
    order = np.random.default_rng(0).permutation(N_TRAIN)
    for run in range(3):
        held = order[run * 32 : (run + 1) * 32]
        rest = np.setdiff1d(order, held)
        train_loader = DataLoader(data, BATCH, sampler=SubsetRandomSampler(rest.tolist()))
        val_loader = DataLoader(Subset(data, held.tolist()), BATCH)
        model = Net()
        optimizer = sgd(model)
        for epoch in range(1, 3):
            train_one(model, train_loader, criterion, optimizer, epoch, run)
            evaluate(model, val_loader, criterion, epoch, "val", run)


@loop
def two_models_made_first() -> None:
    train_loader, val_loader, _ = make_loaders()
    models = [Net(), Net()]
    optimizers = [sgd(model) for model in models]
    criterion = nn.CrossEntropyLoss()
    for run in range(2):
        for epoch in range(1, 3):
            train_one(models[run], train_loader, criterion, optimizers[run], epoch, run)
            evaluate(models[run], val_loader, criterion, epoch, "val", run)


@loop
def while_loop_with_early_stopping() -> None:
    train_loader, val_loader, test_loader = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    best, bad, epoch = float("inf"), 0, 0
    while bad < 2 and epoch < 5:
        epoch += 1
        train_one(model, train_loader, criterion, optimizer, epoch)
        value = evaluate(model, val_loader, criterion, epoch)
        best, bad = (value, 0) if value < best else (best, bad + 1)
    evaluate(model, test_loader, criterion, epoch, "test")


@loop
def tqdm_and_persistent_workers() -> None:
    train_loader, val_loader, _ = make_loaders(num_workers=2, persistent_workers=True)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in tqdm(range(1, EPOCHS + 1), disable=True):
        train_one(model, tqdm(train_loader, disable=True), criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop
def workers_out_of_order() -> None:
    fit(nn.CrossEntropyLoss(), num_workers=2, in_order=False)


@loop
def enumerate_and_next() -> None:
    train_loader, val_loader, _ = make_loaders(drop_last=True)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    batches = iter(train_loader)
    for i in range(18):
        TRUTH.at("train", i // 6 + 1)
        try:
            xb, yb = next(batches)
        except StopIteration:
            batches = iter(train_loader)
            xb, yb = next(batches)
        model.train()
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 6 == 5:
            evaluate(model, val_loader, criterion, i // 6 + 1)


@loop
def endless_generator() -> None:
    train_loader, val_loader, _ = make_loaders(drop_last=True)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()

    def forever() -> Iterator[Any]:
        while True:
            yield from train_loader

    batches = forever()
    for i in range(18):
        TRUTH.at("train", i // 6 + 1)
        xb, yb = next(batches)
        model.train()
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 6 == 5:
            evaluate(model, val_loader, criterion, i // 6 + 1)


@loop
def batches_kept_in_a_cycle() -> None:
    train_loader, _, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for i, (xb, yb) in enumerate(itertools.islice(itertools.cycle(train_loader), 18)):
        TRUTH.at("train", i // 6 + 1)
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@loop
def batches_kept_in_lists() -> None:
    train_loader, val_loader, _ = make_loaders(batch=4)
    train_batches, val_batches = list(train_loader), list(val_loader)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_batches, criterion, optimizer, epoch)
        evaluate(model, val_batches, criterion, epoch)


@loop
def copies_in_another_type() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net().double()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            loss = criterion(model(xb.to(torch.float64)), yb.clone())
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.inference_mode():
            for xb, yb in val_loader:
                TRUTH.value(criterion(model(xb.to(torch.float64)), yb.clone()))


class UnevenBatches(Sampler[list[int]]):
    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(N_TRAIN).tolist()
        return iter([order[i : i + 12 + i % 5] for i in range(0, N_TRAIN, 16)])

    def __len__(self) -> int:
        return N_TRAIN // 16


@loop
def concatenated_datasets_and_batch_sampler() -> None:
    x, y = make_data()
    data = ConcatDataset([TensorDataset(x[:50], y[:50]), TensorDataset(x[50:N_TRAIN], y[50:N_TRAIN])])
    val_loader = DataLoader(TensorDataset(x[N_TRAIN : N_TRAIN + N_VAL], y[N_TRAIN : N_TRAIN + N_VAL]), BATCH)
    train_loader = DataLoader(data, batch_sampler=UnevenBatches())
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


@loop
def random_split_datasets() -> None:
    data = TensorDataset(*make_data())
    train, val, rest = random_split(data, [N_TRAIN, N_VAL, N - N_TRAIN - N_VAL])
    del rest
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):  # loaders made anew each epoch
        train_one(model, DataLoader(train, BATCH, shuffle=True), criterion, optimizer, epoch)
        evaluate(model, DataLoader(val, BATCH), criterion, epoch)


@loop
def same_dataset_behind_two_loaders() -> None:
    data = TensorDataset(*make_data())
    order = np.random.default_rng(1).permutation(N).tolist()
    train_loader = DataLoader(data, BATCH, sampler=SubsetRandomSampler(order[:N_TRAIN]))
    val_loader = DataLoader(data, BATCH, sampler=SubsetRandomSampler(order[N_TRAIN:]))
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


class Stream(IterableDataset[Any]):
    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.x, self.y = make_data()

    def __iter__(self) -> Iterator[Any]:
        yield from ((self.x[i], self.y[i]) for i in range(self.first, self.last))


@loop
def iterable_datasets() -> None:
    train_loader = DataLoader(Stream(0, N_TRAIN), BATCH)
    val_loader = DataLoader(Stream(N_TRAIN, N_TRAIN + N_VAL), BATCH)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


class TwoHeads(Net):
    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Linear(16, K)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        hidden = torch.relu(self.hidden(x))
        z = self.out(hidden)
        TRUTH.saw(x, z)
        return z, self.side(hidden)


@loop
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


@loop
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


@loop
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


@loop
def epochs_left_early() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, 5):
        TRUTH.at("train", epoch)
        for i, (xb, yb) in enumerate(train_loader):
            if i == 3:
                break
            loss = criterion(model(xb), yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate(model, val_loader, criterion, epoch)


@loop
def frozen_then_unfrozen() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.out.parameters(), 0.1)
    for epoch in (1, 2):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)
    optimizer = sgd(model, 0.01)
    for epoch in (3, 4):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(model, val_loader, criterion, epoch)


class Trainer:
    def __init__(self, model: nn.Module, train: Any, val: Any) -> None:
        self.model, self.loaders = model, {"train": train, "val": val}
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        self.criterion = nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.05)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.1, total_steps=18)

    def step(self, batch: Any) -> Tensor:
        x, y = batch
        loss: Tensor = self.criterion(self.model(x), y)
        TRUTH.value(loss)
        return loss

    def fit(self, epochs: int) -> None:
        for epoch in range(1, epochs + 1):
            for phase, loader in self.loaders.items():
                TRUTH.at(phase, epoch)
                self.model.train(phase == "train")
                with torch.set_grad_enabled(phase == "train"):
                    for batch in loader:
                        loss = self.step(batch)
                        if phase == "train":
                            self.optimizer.zero_grad(set_to_none=True)
                            loss.backward()
                            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                            self.optimizer.step()
                            self.schedule.step()


@loop
def trainer_class_with_schedule() -> None:
    train_loader, val_loader, _ = make_loaders()
    Trainer(Net(), train_loader, val_loader).fit(EPOCHS)


@loop
def weights_averaged_by_deepcopy() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        evaluate(copy.deepcopy(model), val_loader, criterion, epoch)


class Rows(Dataset[Any]):
    """Dictionaries as samples."""

    def __init__(self) -> None:
        self.x, self.y = make_data()

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"features": self.x[i], "label": self.y[i]}


@loop
def batches_as_dictionaries() -> None:
    train_loader, val_loader, _ = make_loaders(Rows())
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for batch in train_loader:
            loss = criterion(model(batch["features"]), batch["label"])
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for batch in val_loader:
                TRUTH.value(criterion(model(batch["features"]), batch["label"]))


@loop
def one_random_batch_at_a_time() -> None:
    train_loader, val_loader, _ = make_loaders(drop_last=True)
    model = Net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    for i in range(18):
        TRUTH.at("train", i // 6 + 1)
        xb, yb = next(iter(train_loader))
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 6 == 5:
            evaluate(model, val_loader, criterion, i // 6 + 1)


# A weighted mean divides by the weights of its targets.
COMBINED_BY_HAND = ("reduction_none_weighted_by_hand",)
WEIGHTED = ("partial_with_smoothing_and_weights", "trainer_class_with_schedule")
