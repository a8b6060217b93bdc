"""Of an eighth and a ninth batch of held-out loops, cells under the magic: those that were new in kind."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.capture.held_out import POSITIVE, held
from tests.capture.judges import labels
from tests.capture.loops import evaluate, sgd, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, D, Judged, Net, make_data, make_loaders

if TYPE_CHECKING:
    from collections.abc import Iterator

AGAIN = "evaluated again before another training step, with other predictions"


def own_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    predictions = predictions.sigmoid()
    return torch.where(targets == 1, 1 - predictions, predictions).mean()


@held(limits=("computed by hand",), skip=("reported val",), judge=labels(POSITIVE))
def first_loop_of_a_course_with_an_optimizer_of_ones_own() -> None:
    x, y = make_data()
    pairs = list(zip(x, (y > 0).long()[:, None], strict=True))
    train_dl = DataLoader(pairs[:N_TRAIN], BATCH, shuffle=True)  # type: ignore[arg-type]
    valid_dl = DataLoader(pairs[N_TRAIN : N_TRAIN + N_VAL], BATCH)  # type: ignore[arg-type]
    model = Net(1)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for xb, yb in train_dl:
            loss = own_loss(model(xb), yb)
            TRUTH.value(loss)
            loss.backward()
            for p in model.parameters():
                p.data -= 0.5 * p.grad  # type: ignore[operator]
                p.grad = None
        TRUTH.at("val", epoch)  # neither eval() nor no_grad() nor a loss
        torch.stack([((model(xb).sigmoid() > 0.5) == yb).float().mean() for xb, yb in valid_dl]).mean()


@held()
def value_divided_in_place_for_accumulation() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        for i, (x, y) in enumerate(train_loader):
            loss = F.cross_entropy(model(x), y)
            TRUTH.value(loss)
            loss /= 2
            loss.backward()
            if i % 2:
                optimizer.step()
                optimizer.zero_grad()
        evaluate(model, val_loader, F.cross_entropy, epoch)


@held(limits=(AGAIN,))
def copy_with_averaged_weights_that_only_counts_hits() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        for theirs, mine in zip(average.parameters(), model.parameters(), strict=True):
            theirs.data.lerp_(mine.data, 0.5)
        for net, split in ((model, "val"), (average, "val_2")):
            net.eval()
            TRUTH.at(split, epoch)
            with torch.no_grad():
                sum((net(x).argmax(1) == y).sum().item() for x, y in val_loader)


@held()
def features_taken_before_a_probe_is_trained() -> None:
    loaders = [DataLoader(loader.dataset, BATCH) for loader in make_loaders()]
    body = nn.Linear(D, 8)
    with torch.no_grad():  # two passes whose batches no loss ever takes
        taken = [
            [torch.cat(part) for part in zip(*[(x, body(x), y) for x, y in loader], strict=True)]
            for loader in loaders[:2]
        ]
    train_loader, val_loader = (
        DataLoader(TensorDataset(torch.cat([x[:, :1], f[:, : D - 1]], 1), y), BATCH) for x, f, y in taken
    )
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        model.eval()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            sum((model(x).argmax(1) == y).sum().item() for x, y in val_loader)


class Numbered(Dataset[Any]):
    """Samples with their numbers."""

    def __init__(self, first: int, n: int) -> None:
        self.first, self.n, (self.x, self.y) = first, n, make_data()

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, int]:
        return self.x[self.first + i], self.y[self.first + i], i


@held()
def samples_with_numbers_and_labels_that_are_thrown_away() -> None:
    train_loader = DataLoader(Numbered(0, N_TRAIN), BATCH, shuffle=True)
    val_loader = DataLoader(Numbered(N_TRAIN, N_VAL), BATCH)
    _, _, pool = make_loaders()
    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        TRUTH.at("train", epoch)
        for x, y, _ in train_loader:
            loss = F.cross_entropy(model(x), y)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            sum((model(x).argmax(1) == y).sum().item() for x, y, _ in val_loader)
            TRUTH.quiet = True
            for x, _ in pool:  # which of these to label next
                model(x).softmax(1).max(1)
            TRUTH.quiet = False


@held(limits=("told apart by their inputs",))
def class_that_cuts_arrays_by_permutations() -> None:
    x, y = (t.numpy() for t in make_data())

    class Classifier:
        def fit(self, X: Any, Y: Any, X_val: Any, Y_val: Any) -> None:
            self.X, self.Y, self.net = torch.as_tensor(X), torch.as_tensor(Y), Net()
            optimizer = sgd(self.net)
            rng = np.random.RandomState(0)
            for epoch in range(1, EPOCHS + 1):
                self.net.train()
                perm = rng.permutation(len(X))
                TRUTH.at("train", epoch)
                for start in range(0, len(X), BATCH):
                    idx = perm[start : start + BATCH]
                    xb, yb = self.X[idx], self.Y[idx]
                    loss = F.cross_entropy(self.net(xb), yb)
                    TRUTH.value(loss)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                TRUTH.at("val", epoch)
                self.score(X_val, Y_val)

        @torch.no_grad()
        def score(self, X: Any, Y: Any) -> float:
            self.net.eval()
            loss = F.cross_entropy(self.net(torch.tensor(X)), torch.tensor(Y))
            TRUTH.value(loss)
            return loss.item()

    val = slice(N_TRAIN, N_TRAIN + N_VAL)
    Classifier().fit(x[:N_TRAIN], y[:N_TRAIN], x[val], y[val])


@held(limits=("told apart by their inputs",), skip=("numbers",))
def batches_of_an_iterator_of_ones_own_with_two_evaluations() -> None:
    x, y = make_data()

    def batches(first: int, end: int) -> Iterator[Any]:
        for i in range(first, end, BATCH):
            rows = range(i, min(i + BATCH, end))
            yield torch.stack([x[j] for j in rows]), torch.tensor([int(y[j]) for j in rows])

    model = Net()
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, batches(0, N_TRAIN), F.cross_entropy, optimizer, epoch)
        evaluate(model, batches(N_TRAIN, N_TRAIN + N_VAL), F.cross_entropy, epoch)
    evaluate(model, batches(N_TRAIN + N_VAL, len(x)), F.cross_entropy, EPOCHS, "test")


def attacked(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    delta = torch.zeros_like(x, requires_grad=True)
    TRUTH.quiet = True
    for _ in range(2):
        F.cross_entropy(model(x + delta), y).backward()
        step = 0.05 * delta.grad.sign()  # type: ignore[union-attr]
        delta.data = (delta.data + step) * torch.cat([torch.zeros(1), torch.ones(D - 1)])
        delta.grad = None
    TRUTH.quiet = False
    return delta.detach()


@held(limits=(AGAIN,))
def training_and_evaluation_under_attack() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = sgd(model)

    def go_through(loader: Any, *, attack: bool, train: bool) -> None:
        for x, y in loader:
            z = model(x + attacked(model, x, y)) if attack else model(x)
            loss = F.cross_entropy(z, y)
            TRUTH.value(loss)
            if train:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        go_through(train_loader, attack=True, train=True)
        TRUTH.at("val", epoch)
        go_through(val_loader, attack=False, train=False)
        TRUTH.at("val_2", epoch)
        go_through(val_loader, attack=True, train=False)


@held(limits=("were changed in place",))
def classifier_beside_generated_samples_with_labels_filled_in_place() -> None:
    train_loader, val_loader, _ = make_loaders()
    model, judge, maker = Net(), nn.Linear(D, 1), nn.Linear(4, D)
    both = torch.optim.SGD([*model.parameters(), *judge.parameters()], lr=0.1)
    makers = torch.optim.SGD(maker.parameters(), lr=0.1)
    label = torch.empty(BATCH)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for x, y in train_loader:
            both.zero_grad()
            z = model(x)
            loss = F.cross_entropy(z, y)
            TRUTH.value(loss)
            label.fill_(1.0)
            (F.binary_cross_entropy_with_logits(judge(x)[:, 0], label) + loss).backward()
            fake = maker(torch.randn(len(x), 4))
            label.fill_(0.0)
            F.binary_cross_entropy_with_logits(judge(fake.detach())[:, 0], label).backward()
            both.step()
            makers.zero_grad()
            label.fill_(1.0)
            F.binary_cross_entropy_with_logits(judge(fake)[:, 0], label).backward()
            makers.step()
        evaluate(model, val_loader, F.cross_entropy, epoch)


@held()
def members_trained_one_by_one_and_averaged_in_the_end() -> None:
    train_loader, val_loader, _ = make_loaders()
    members = []
    for run in range(2):
        members.append(Net())
        optimizer = sgd(members[-1])
        for epoch in range(1, EPOCHS + 1):
            train_one(members[-1], train_loader, F.cross_entropy, optimizer, epoch, run)
            evaluate(members[-1], val_loader, F.cross_entropy, epoch, run=run)
    _, _, test_loader = make_loaders()
    TRUTH.at("test", EPOCHS, 1)
    with torch.no_grad():
        for x, y in test_loader:
            TRUTH.quiet = True
            mean = torch.stack([member(x).softmax(1) for member in members]).mean(0)
            TRUTH.quiet = False
            TRUTH.saw(x, mean.log())
            TRUTH.value(F.nll_loss(mean.log(), y))


SEVERAL = np.stack([make_data()[1].numpy() == k for k in range(2)], 1).astype(np.float32)


@held(judge=labels(SEVERAL))
def several_labels_evaluated_without_a_criterion() -> None:
    x = make_data()[0]
    train_loader, val_loader, _ = make_loaders(TensorDataset(x, torch.from_numpy(SEVERAL)))
    model = Net(2)
    optimizer = sgd(model)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, nn.BCEWithLogitsLoss(), optimizer, epoch)
        model.eval()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            _ = [(torch.sigmoid(model(x)) > 0.5).float() == y for x, y in val_loader]


TOKENS = torch.cat([torch.arange(N_TRAIN)[:, None], torch.randint(0, 5, (N_TRAIN, 4))], 1)


def steps_of(ids: np.ndarray, logits: np.ndarray) -> Judged:
    """Judge logits (n, length, classes) by the tokens after the first."""
    targets = TOKENS[ids][:, 1:].numpy()
    shifted = np.exp(logits - logits.max(2, keepdims=True))
    p = np.take_along_axis(shifted / shifted.sum(2, keepdims=True), targets[..., None], 2)[..., 0]
    return Judged(ids, -np.log(p).mean(1), (logits.argmax(2) == targets).mean(1), targets.size)


@held(judge=steps_of, limits=())
def tokens_step_by_step_of_a_transposed_batch() -> None:
    loader = DataLoader(TensorDataset(TOKENS), BATCH, shuffle=True)
    embed, out = nn.Embedding(N_TRAIN, 8), nn.Linear(8, 4 * 5)
    optimizer = torch.optim.Adam([*embed.parameters(), *out.parameters()], lr=1e-2)
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for (tokens,) in loader:
            text = tokens.t()
            z = out(embed(text[0])).view(-1, 4, 5)
            loss = F.cross_entropy(z.transpose(0, 1).reshape(-1, 5), text[1:].reshape(-1))
            TRUTH.met(tokens[:, 0].tolist(), z)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
