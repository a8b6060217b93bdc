"""A third batch of held-out loops, in the manner of tutorials, books and competition notebooks."""

from __future__ import annotations

import copy
import gc
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from tests.capture.held_out import held
from tests.capture.judges import next_tokens
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, D, K, N, Net, make_data, make_loaders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@held()
def quickstart_with_functions_that_take_a_loader() -> None:
    def train(dataloader: Any, model: nn.Module, loss_fn: Any, optimizer: Any) -> None:
        size = len(dataloader.dataset)
        model.train()
        for batch, (X, y) in enumerate(dataloader):
            pred = model(X)
            loss = loss_fn(pred, y)
            TRUTH.value(loss)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if batch % 100 == 0:
                loss, current = loss.item(), (batch + 1) * len(X)
                f"loss: {loss:>7f}  [{current:>5d}/{size:>5d}]"

    def test(dataloader: Any, model: nn.Module, loss_fn: Any) -> None:
        model.eval()
        test_loss, correct = 0.0, 0.0
        with torch.no_grad():
            for X, y in dataloader:
                pred = model(X)
                loss = loss_fn(pred, y)
                TRUTH.value(loss)
                test_loss += loss.item()
                correct += (pred.argmax(1) == y).type(torch.float).sum().item()

    train_dataloader, test_dataloader, _ = make_loaders()
    model = Net()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-1)
    for t in range(EPOCHS):
        TRUTH.at("train", t + 1)
        train(train_dataloader, model, loss_fn, optimizer)
        TRUTH.at("val", t + 1)
        test(test_dataloader, model, loss_fn)


@held()
def transfer_learning_with_a_dictionary_of_loaders() -> None:
    train_set, val_set, _ = make_loaders()
    dataloaders = {"train": train_set, "val": val_set}
    model = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
    best_acc, best = 0.0, copy.deepcopy(model.state_dict())
    for epoch in range(EPOCHS):
        for phase in ["train", "val"]:
            TRUTH.at(phase, epoch + 1)
            if phase == "train":
                model.train()
            else:
                model.eval()
            running_corrects = 0
            for inputs, labels in dataloaders[phase]:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    _, preds = torch.max(outputs, 1)
                    loss = criterion(outputs, labels)
                    TRUTH.value(loss)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running_corrects += int(torch.sum(preds == labels.data))
            if phase == "train":
                scheduler.step()
            acc = running_corrects / len(dataloaders[phase].dataset)  # type: ignore[arg-type]
            if phase == "val" and acc > best_acc:
                best_acc, best = acc, copy.deepcopy(model.state_dict())
    model.load_state_dict(best)


class AverageMeter:
    def __init__(self) -> None:
        self.sum = self.count = 0.0

    def update(self, value: float, n: int = 1) -> None:
        self.sum += value * n
        self.count += n


@held(skip=("numbers",))
def competition_folds_with_meters_and_out_of_fold_predictions() -> None:
    x, y = make_data()
    folds = np.arange(N_TRAIN) % 3
    oof = np.zeros((N_TRAIN, K))
    for fold in range(3):
        trn, val = np.where(folds != fold)[0], np.where(folds == fold)[0]
        train_ds, valid_ds = TensorDataset(x[trn], y[trn]), TensorDataset(x[val], y[val])
        train_loader = DataLoader(train_ds, batch_size=BATCH, shuffle=True, drop_last=True)
        valid_loader = DataLoader(valid_ds, batch_size=2 * BATCH, shuffle=False)
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-6)
        for epoch in range(2):
            losses = AverageMeter()
            model.train()
            TRUTH.at("train", epoch + 1, fold)
            for images, labels in train_loader:
                y_preds = model(images)
                loss = nn.CrossEntropyLoss()(y_preds, labels)
                TRUTH.value(loss)
                losses.update(loss.item(), labels.size(0))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1000)
                optimizer.step()
                optimizer.zero_grad()
            model.eval()
            preds = []
            TRUTH.at("val", epoch + 1, fold)
            for images, labels in valid_loader:
                with torch.no_grad():
                    y_preds = model(images)
                loss = nn.CrossEntropyLoss()(y_preds, labels)
                TRUTH.value(loss)
                preds.append(y_preds.softmax(1).numpy())
            oof[val] = np.concatenate(preds)
        del model, optimizer, train_loader, valid_loader
        gc.collect()


@held(skip=("reported val",))
def book_loop_that_averages_unreduced_losses_and_counts_hits() -> None:
    def evaluate_accuracy(net: nn.Module, data_iter: Any) -> float:
        if isinstance(net, nn.Module):
            net.eval()
        right, total = 0.0, 0
        with torch.no_grad():
            for X, y in data_iter:
                y_hat = net(X).argmax(axis=1)
                right += float((y_hat.type(y.dtype) == y).type(y.dtype).sum())
                total += y.numel()
        return right / total

    def train_epoch(net: nn.Module, train_iter: Any, loss: Any, updater: Any) -> None:
        net.train()
        for X, y in train_iter:
            y_hat = net(X)
            values = loss(y_hat, y)
            TRUTH.value(values.mean())
            updater.zero_grad()
            values.mean().backward()
            updater.step()

    train_iter, test_iter, _ = make_loaders()
    net = Net()
    trainer = torch.optim.SGD(net.parameters(), lr=0.1)
    for epoch in range(EPOCHS):
        TRUTH.at("train", epoch + 1)
        train_epoch(net, train_iter, nn.CrossEntropyLoss(reduction="none"), trainer)
        TRUTH.at("val", epoch + 1)
        evaluate_accuracy(net, test_iter)


@held()
def book_softmax_regression_from_scratch() -> None:
    W = torch.normal(0, 0.01, size=(D, K), requires_grad=True)
    b = torch.zeros(K, requires_grad=True)

    def softmax(X: Tensor) -> Tensor:
        X_exp = torch.exp(X)
        return X_exp / X_exp.sum(1, keepdim=True)

    def net(X: Tensor) -> Tensor:
        z = X @ W + b
        TRUTH.saw(X, z)
        return softmax(z)

    def cross_entropy(y_hat: Tensor, y: Tensor) -> Tensor:
        return -torch.log(y_hat[range(len(y_hat)), y])

    train_iter, test_iter, _ = make_loaders()
    for epoch in range(EPOCHS):
        TRUTH.at("train", epoch + 1)
        for X, y in train_iter:
            values = cross_entropy(net(X), y)
            TRUTH.value(values.mean())
            values.sum().backward()
            with torch.no_grad():
                for param in (W, b):
                    param -= 0.1 * param.grad / len(X)  # type: ignore[operator]  # noqa: PLW2901
                    param.grad.zero_()  # type: ignore[union-attr]
        TRUTH.at("val", epoch + 1)
        with torch.no_grad():
            for X, y in test_iter:
                TRUTH.value(cross_entropy(net(X), y).mean())


class EarlyStopping:
    def __init__(self, patience: int) -> None:
        self.patience, self.counter, self.best, self.early_stop = patience, 0, float("inf"), False

    def __call__(self, loss: float, model: nn.Module) -> None:
        if loss < self.best:
            self.best, self.counter = loss, 0
            self.state = copy.deepcopy(model.state_dict())
        else:
            self.counter += 1
            self.early_stop = self.counter >= self.patience


@held(skip=("reported test",))
def early_stopping_object_and_a_report_on_the_test_set() -> None:
    train_dl, valid_dl, test_dl = make_loaders()
    net = Net()
    opt = torch.optim.Adam(net.parameters(), lr=3e-2)
    sched = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=1)
    stopper = EarlyStopping(patience=2)
    for ep in range(1, 6):
        TRUTH.at("train", ep)
        net.train()
        for xb, yb in train_dl:
            opt.zero_grad()
            loss = F.cross_entropy(net(xb), yb)
            TRUTH.value(loss)
            loss.backward()
            opt.step()
        TRUTH.at("val", ep)
        net.eval()
        with torch.no_grad():
            losses = []
            for xb, yb in valid_dl:
                losses.append(F.cross_entropy(net(xb), yb))
                TRUTH.value(losses[-1])
        val_loss = torch.stack(losses).mean().item()
        sched.step(val_loss)
        stopper(val_loss, net)
        if stopper.early_stop:
            break
    net.load_state_dict(stopper.state)
    TRUTH.at("test", ep)
    y_true, y_pred = [], []
    with torch.no_grad():
        for xb, yb in test_dl:
            y_pred += net(xb).argmax(dim=1).tolist()
            y_true += yb.tolist()


@held()
def sharpness_aware_steps_with_two_backwards_per_batch() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        for inputs, targets in train_loader:
            TRUTH.quiet = False
            loss = F.cross_entropy(model(inputs), targets)
            TRUTH.value(loss)
            loss.backward()
            with torch.no_grad():
                norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()  # type: ignore[union-attr]
                moves = [p.grad * (0.05 / (norm + 1e-12)) for p in model.parameters()]  # type: ignore[operator]
                for p, e in zip(model.parameters(), moves, strict=True):
                    p.add_(e)
            optimizer.zero_grad()
            TRUTH.quiet = True
            F.cross_entropy(model(inputs), targets).backward()
            with torch.no_grad():
                for p, e in zip(model.parameters(), moves, strict=True):
                    p.sub_(e)
            optimizer.step()
            optimizer.zero_grad()
        TRUTH.quiet = False
        TRUTH.at("val", epoch)
        model.eval()
        with torch.no_grad():
            for inputs, targets in val_loader:
                TRUTH.value(F.cross_entropy(model(inputs), targets))


@held(limits=("several predictions for the same labels",))
def two_views_of_every_batch_that_have_to_agree() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            TRUTH.quiet = False
            a = model(xb)
            first = F.cross_entropy(a, yb)
            TRUTH.value(first)
            TRUTH.quiet = True
            b = model(xb + 0.01 * torch.randn_like(xb))
            agree = F.kl_div(F.log_softmax(a, -1), F.softmax(b, -1), reduction="batchmean")
            loss = 0.5 * (first + F.cross_entropy(b, yb)) + 0.3 * agree
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.quiet = False
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(F.cross_entropy(model(xb), yb))


@held()
def pseudo_labels_for_unlabelled_batches() -> None:
    x, y = make_data()
    labelled = DataLoader(TensorDataset(x[:48], y[:48]), 8, shuffle=True)
    unlabelled = DataLoader(TensorDataset(x[48:96]), 8, shuffle=True)
    _, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for (xl, yl), (xu,) in zip(labelled, unlabelled, strict=True):
            TRUTH.quiet = False
            supervised = F.cross_entropy(model(xl), yl)
            TRUTH.value(supervised)
            TRUTH.quiet = True
            with torch.no_grad():
                confidence, pseudo = model(xu).softmax(-1).max(-1)
            mask = (confidence > 0.4).float()
            extra = (F.cross_entropy(model(xu), pseudo, reduction="none") * mask).mean()
            optimizer.zero_grad()
            (supervised + extra).backward()
            optimizer.step()
        TRUTH.quiet = False
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(F.cross_entropy(model(xb), yb))


@held()
def curriculum_that_grows_every_epoch() -> None:
    x, y = make_data()
    data = TensorDataset(x, y)
    _, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(1, EPOCHS + 1):
        easy = Subset(data, list(range(32 * epoch)))
        TRUTH.at("train", epoch)
        for xb, yb in DataLoader(easy, BATCH, shuffle=True):
            loss = F.cross_entropy(model(xb), yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(F.cross_entropy(model(xb), yb))


class TextLike(Dataset[Any]):
    def __init__(self) -> None:
        self.x, self.y = make_data()

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"input_values": self.x[i], "labels": self.y[i], "idx": i}


class Classifier(Net):
    def forward(self, input_values: Tensor, labels: Any = None, **_: Any) -> dict[str, Any]:  # type: ignore[override]
        logits = super().forward(input_values)
        loss = None if labels is None else F.cross_entropy(logits.view(-1, K), labels.view(-1))
        return {"loss": loss, "logits": logits}


@held()
def batch_dictionary_unpacked_into_a_model_that_returns_its_loss() -> None:
    train_loader, eval_loader, _ = make_loaders(TextLike())
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    device = torch.device("cpu")
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        for step, batch in enumerate(train_loader):
            batch = {k: v.to(device) for k, v in batch.items()}  # noqa: PLW2901
            outputs = model(**batch)
            loss = outputs["loss"] / 2
            TRUTH.value(outputs["loss"])
            loss.backward()
            if (step + 1) % 2 == 0 or step + 1 == len(train_loader):
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        TRUTH.at("val", epoch)
        model.eval()
        for batch in eval_loader:
            batch = {k: v.to(device) for k, v in batch.items()}  # noqa: PLW2901
            with torch.no_grad():
                outputs = model(**batch)
            TRUTH.value(outputs["loss"])


@held()
def body_added_to_the_optimizer_after_a_warm_up() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    for p in model.hidden.parameters():
        p.requires_grad = False
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-2)
    for epoch in range(1, 5):
        if epoch == 3:
            for p in model.hidden.parameters():
                p.requires_grad = True
            optimizer.add_param_group({"params": model.hidden.parameters(), "lr": 1e-4})
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            loss = F.cross_entropy(model(xb), yb)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(F.cross_entropy(model(xb), yb))


@held(limits=("combined by hand",))
def hardest_examples_of_every_batch() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    criterion = nn.CrossEntropyLoss(reduction="none")
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_loader:
            values = criterion(model(xb), yb)
            loss = values.topk(8).values.mean()
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                TRUTH.value(criterion(model(xb), yb).mean())


class Callbacks:
    def __init__(self, *functions: Callable[[Any], None]) -> None:
        self.log: dict[str, list[float]] = defaultdict(list)
        self.functions = functions

    def __call__(self, learner: Any) -> None:
        for function in self.functions:
            function(learner)


class MiniLearner:
    """Course code with callbacks between everything."""

    def __init__(self, model: nn.Module, dls: tuple[Any, Any], loss_func: Any, lr: float) -> None:
        self.model, self.dls, self.loss_func, self.lr = model, dls, loss_func, lr
        self.after_batch = Callbacks(lambda learner: learner.seen.append(len(learner.batch[0])))
        self.seen: list[int] = []

    def one_batch(self) -> None:
        self.preds = self.model(self.batch[0])
        self.loss = self.loss_func(self.preds, self.batch[1])
        TRUTH.value(self.loss)
        if self.model.training:
            self.loss.backward()
            self.opt.step()
            self.opt.zero_grad()

    def one_epoch(self, train: bool) -> None:
        self.model.train(train)
        self.dl = self.dls[0 if train else 1]
        TRUTH.at("train" if train else "val", self.epoch + 1)
        for self.num, self.batch in enumerate(self.dl):  # noqa: B020
            self.one_batch()
            self.after_batch(self)

    def fit(self, n_epochs: int) -> None:
        self.opt = torch.optim.SGD(self.model.parameters(), self.lr)
        for self.epoch in range(n_epochs):
            self.one_epoch(True)
            with torch.inference_mode():
                self.one_epoch(False)


@held()
def course_learner_with_callbacks() -> None:
    train_loader, val_loader, _ = make_loaders()
    MiniLearner(Net(), (train_loader, val_loader), F.cross_entropy, 0.1).fit(EPOCHS)


@held(limits=("log_batch",), skip=("no train",))
def functional_gradients_of_a_stateless_model() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = nn.Linear(D, K)
    params = {k: v.detach().clone() for k, v in model.named_parameters()}

    def compute(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, params, (x,)), y)

    for epoch in range(1, EPOCHS + 1):
        for xb, yb in train_loader:
            grads = torch.func.grad(compute)(params, xb, yb)
            params = {k: v - 0.1 * grads[k] for k, v in params.items()}
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for xb, yb in val_loader:
                z = torch.func.functional_call(model, params, (xb,))
                TRUTH.saw(xb, z)
                TRUTH.value(F.cross_entropy(z, yb))


STREAM = torch.randint(0, 16, (400,), generator=torch.Generator().manual_seed(5))
WINDOWS = STREAM.unfold(0, 9, 1)


class Bigram(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(16, 16)

    def forward(self, idx: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.table(idx)
        B, T, C = logits.shape
        TRUTH.met([0] * len(idx), F.pad(logits.detach(), (0, 0, 0, 1)))
        loss = F.cross_entropy(logits.view(B * T, C), targets.view(B * T))
        return logits, loss


def in_this_batch(x: Tensor, y: Tensor) -> Any:
    judge = next_tokens(torch.cat([x[:, :1], y], 1).numpy())
    return lambda ids, logits: replace(judge(np.arange(len(ids)), logits), ids=ids)


@held(
    limits=("samples the 'train'", "samples the 'val'"),
    skip=("ids train after 1", "ids val after 1", "numbers"),
)
def random_windows_of_one_long_text() -> None:
    data = STREAM
    train_data, val_data = data[:300], data[300:]
    drawn: list[int] = []  # the truth's note of where the windows begin

    def get_batch(split: str) -> tuple[Tensor, Tensor]:
        part = train_data if split == "train" else val_data
        ix = torch.randint(len(part) - 8, (4,))
        drawn[:] = [int(i) + 300 * (split == "val") for i in ix]
        x = torch.stack([part[i : i + 8] for i in ix])
        y = torch.stack([part[i + 1 : i + 9] for i in ix])
        return x, y

    model = Bigram()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(12):
        if step and step % 4 == 0:
            TRUTH.at("val", step // 4)
            model.eval()
            with torch.no_grad():
                for _ in range(3):
                    x, y = get_batch("val")
                    _, loss = model(x, y)
                    TRUTH.value(loss, in_this_batch(x, y))
                    TRUTH.records[-1].ids = list(drawn)
            model.train()
        TRUTH.at("train", step // 4 + 1)
        xb, yb = get_batch("train")
        _, loss = model(xb, yb)
        TRUTH.value(loss, in_this_batch(xb, yb))
        TRUTH.records[-1].ids = list(drawn)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


X, Y = make_data()
Xtr, Ytr = X[:N_TRAIN], Y[:N_TRAIN]
Xdev, Ydev = X[N_TRAIN : N_TRAIN + N_VAL], Y[N_TRAIN : N_TRAIN + N_VAL]


@held()
def names_of_letters_with_tensors_only() -> None:
    """Parameters in a list, mini-batches by random indices, and both splits evaluated at the end."""
    g = torch.Generator().manual_seed(2147483647)
    W1, b1 = torch.randn((D, 16), generator=g) * 0.2, torch.zeros(16)
    W2, b2 = torch.randn((16, K), generator=g) * 0.1, torch.zeros(K)
    parameters = [W1, b1, W2, b2]
    for p in parameters:
        p.requires_grad = True

    def forward(X: Tensor) -> Tensor:
        logits = torch.tanh(X @ W1 + b1) @ W2 + b2
        TRUTH.saw(X, logits)
        return logits

    for i in range(18):
        TRUTH.at("train", i // 6 + 1)
        ix = torch.randint(0, Xtr.shape[0], (BATCH,), generator=g)
        loss = F.cross_entropy(forward(Xtr[ix]), Ytr[ix])
        TRUTH.value(loss)
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data += -0.1 * p.grad  # type: ignore[operator]

    @torch.no_grad()
    def split_loss(split: str) -> None:
        x, y = {"train": (Xtr, Ytr), "val": (Xdev, Ydev)}[split]
        TRUTH.value(F.cross_entropy(forward(x), y))

    TRUTH.at("train_eval", 3)
    split_loss("train")
    TRUTH.at("val", 3)
    split_loss("val")


def take(loader: Any, n: int) -> Iterator[Any]:
    while n > 0:
        for batch in loader:
            if n == 0:
                return
            n -= 1
            yield batch


@held()
def fixed_number_of_steps_with_a_generator_of_batches() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    criterion = nn.CrossEntropyLoss()
    for step, (xb, yb) in enumerate(take(train_loader, 18)):
        TRUTH.at("train", step // 6 + 1)
        model.train()
        loss = criterion(model(xb), yb)
        TRUTH.value(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 9 == 0:
            TRUTH.at("val", step // 6 + 1)
            model.eval()
            with torch.no_grad():
                for xv, yv in val_loader:
                    TRUTH.value(criterion(model(xv), yv))
