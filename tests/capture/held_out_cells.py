"""Of a fourth batch of held-out loops, cells as people post them: those that were new in kind."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from tests.capture.held_out import held
from tests.capture.held_out_books import STREAM, Bigram, in_this_batch
from tests.capture.loops import evaluate, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, Judged, Net, make_data, make_loaders

if TYPE_CHECKING:
    from collections.abc import Callable


@held()
def criterion_on_the_gathered_outputs() -> None:
    train_loader, _, _ = make_loaders()
    val_set = torch.utils.data.Subset(TensorDataset(*make_data()), range(N_TRAIN, N_TRAIN + N_VAL))
    val_loader = DataLoader(val_set, BATCH, shuffle=True)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, criterion, optimizer, epoch)
        model.eval()
        TRUTH.at("val", epoch)
        outputs, targets = [], []
        with torch.no_grad():
            for x, y in val_loader:
                outputs.append(model(x))
                targets.append(y)
        z, y = torch.cat(outputs), torch.cat(targets)
        loss = criterion(z, y)
        for record in TRUTH.records[-len(outputs) :]:
            record.value = float(loss)


def score(model: nn.Module, X: Any, y: Any, split: str, epoch: int) -> None:
    """Evaluate on arrays: a dataset and a loader of their own every time."""
    model.eval()
    TRUTH.at(split, epoch)
    loader = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(y)), batch_size=BATCH)
    with torch.no_grad():
        for xb, yb in loader:
            TRUTH.value(F.cross_entropy(model(xb), yb))


@held()
def evaluation_data_built_from_arrays_every_time() -> None:
    x, y = (t.numpy() for t in make_data())
    parts = {
        "val": slice(N_TRAIN, N_TRAIN + N_VAL),
        "val_2": slice(N_TRAIN + N_VAL, None),
    }  # no name tells more
    train_loader, _, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        for split in parts:
            score(model, x[parts[split]], y[parts[split]], split, epoch)


@held()
def moving_average_of_the_weights() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        TRUTH.at("train", epoch)
        for x, y in train_loader:
            loss = F.cross_entropy(model(x), y)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
        average.eval()  # and the model stays in training mode
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for x, y in val_loader:
                TRUTH.value(F.cross_entropy(average(x), y))


@held()
def teacher_with_an_optimizer_of_its_own() -> None:
    train_loader, val_loader, _ = make_loaders()
    teacher, student = Net(), Net()
    torch.optim.Adam(teacher.parameters())
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    teacher.eval()
    for epoch in range(1, EPOCHS + 1):
        student.train()
        TRUTH.at("train", epoch)
        for x, y in train_loader:
            TRUTH.quiet = True
            with torch.no_grad():
                taught = teacher(x)
            TRUTH.quiet = False
            z = student(x)
            hard = F.cross_entropy(z, y)
            TRUTH.value(hard)
            soft = F.kl_div(F.log_softmax(z / 2, 1), F.softmax(taught / 2, 1), reduction="batchmean")
            optimizer.zero_grad()
            (0.7 * soft + 0.3 * hard).backward()
            optimizer.step()
        evaluate(student, val_loader, F.cross_entropy, epoch)


@held(
    limits=("samples the 'train_eval'", "samples the 'val'", "samples the 'train'"),
    skip=("ids train after 1", "ids val after 0", "ids train_eval after 0", "numbers"),
)
def loss_estimated_on_both_parts_of_a_text() -> None:
    parts = {"train": STREAM[:300], "val": STREAM[300:]}

    drawn: list[int] = []  # the truth's note of where the windows begin

    def get_batch(split: str) -> tuple[Tensor, Tensor]:
        ix = torch.randint(len(parts[split]) - 8, (4,)).tolist()
        drawn[:] = [i + 300 * (split == "val") for i in ix]
        x = torch.stack([parts[split][i : i + 8] for i in ix])
        y = torch.stack([parts[split][i + 1 : i + 9] for i in ix])
        return x, y

    def ask(model: Callable[..., Any], split: str) -> Tensor:
        x, y = get_batch(split)
        _, loss = model(x, y)
        TRUTH.value(loss, in_this_batch(x, y))
        TRUTH.records[-1].ids = list(drawn)
        return loss  # type: ignore[no-any-return]

    def estimate() -> None:
        for split in parts:  # the loop itself says which set it is
            TRUTH.at({"train": "train_eval"}.get(split, split), step // 4)
            np.mean([ask(model, split).item() for _ in range(3)])

    model = Bigram()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(12):
        if step % 4 == 0:
            model.eval()
            with torch.no_grad():
                estimate()
            model.train()
        TRUTH.at("train", step // 4 + 1)
        loss = ask(model, "train")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


TEXT = torch.randint(0, 16, (320,), generator=torch.Generator().manual_seed(3))
COLUMNS = {
    "train": TEXT[:200].view(10, 20).t().contiguous(),
    "val": TEXT[200:].view(10, 12).t().contiguous(),
}


@held()
def words_in_columns_with_steps_by_hand() -> None:
    """Columns of a text are read a few words at a time; the sample is the word."""
    model = nn.Embedding(16, 16)

    def ask(split: str, i: int) -> Tensor:
        words = COLUMNS[split]
        n = min(7, len(words) - 1 - i)
        targets = words[i + 1 : i + 1 + n].view(-1)
        logits = model(words[i : i + n]).view(-1, 16)
        places = np.arange((i + 1) * 10, (i + 1 + n) * 10) + 1000 * (split == "val")
        TRUTH.met(places.tolist(), logits)
        loss = F.cross_entropy(logits, targets)
        gap = -log_softmax(logits.detach().double().numpy(), axis=1)[np.arange(len(targets)), targets.numpy()]
        hits = (logits.argmax(1) == targets).numpy().astype(float)
        TRUTH.value(loss, lambda ids, _: Judged(ids, gap, hits, len(ids)))
        return loss

    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        for i in range(0, 19, 7):
            model.zero_grad()
            ask("train", i).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(p.grad, alpha=-2.0)  # type: ignore[arg-type]
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for i in range(0, 11, 7):
                ask("val", i)


@held()
def pseudo_labels_of_the_surest() -> None:
    """The labels are few, and stand in many a batch: that does not make them one's labels."""
    train_loader, val_loader, _ = make_loaders()
    unlabelled = DataLoader(TensorDataset(make_data()[0][N_TRAIN + N_VAL :]), 4, shuffle=True)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        TRUTH.at("train", epoch)
        for (x, y), (u,) in zip(train_loader, unlabelled, strict=False):
            loss = F.cross_entropy(model(x), y)
            TRUTH.value(loss)
            TRUTH.quiet = True
            with torch.no_grad():
                sure, labels = model(u).softmax(1).max(1)
            chosen = sure == sure.max()
            loss = loss + 0.1 * F.cross_entropy(model(u[chosen]), labels[chosen])
            TRUTH.quiet = False
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate(model, val_loader, F.cross_entropy, epoch)


X, Y = make_data()
XV, YV = X[N_TRAIN : N_TRAIN + N_VAL].clone(), Y[N_TRAIN : N_TRAIN + N_VAL].clone()
IN_LISTS = {
    split: [(X[i : i + 8].clone(), Y[i : i + 8].clone()) for i in range(first, last, 8)]
    for split, (first, last) in {"train": (0, N_TRAIN), "val": (N_TRAIN, N_TRAIN + N_VAL)}.items()
}


@held(limits=("tensors of their own, in a list",), skip=("numbers",))
def batches_in_lists_of_tensors() -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    order = random.Random(0)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        TRUTH.at("train", epoch)
        for x, y in order.sample(IN_LISTS["train"], len(IN_LISTS["train"])):
            loss = F.cross_entropy(model(x), y)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        TRUTH.at("val", epoch)
        with torch.no_grad():
            for x, y in IN_LISTS["val"]:
                TRUTH.value(F.cross_entropy(model(x), y))


@held()
def accuracy_counted_before_the_loss() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        model.eval()
        TRUTH.quiet = True
        with torch.no_grad():
            np.mean([(model(x).argmax(1) == y).float().mean().item() for x, y in val_loader])
        TRUTH.quiet = False
        evaluate(model, val_loader, F.cross_entropy, epoch)


@held()
def training_data_built_anew_to_be_evaluated() -> None:
    x, y = (t.numpy() for t in make_data())
    parts = {"train_eval": slice(N_TRAIN), "val": slice(N_TRAIN, N_TRAIN + N_VAL)}
    train_loader = DataLoader(
        TensorDataset(*(torch.tensor(a[:N_TRAIN]) for a in (x, y))), BATCH, shuffle=True
    )
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        for split, part in parts.items():
            score(model, x[part], y[part], split, epoch)


@held()
def tensors_of_the_training_set_evaluated_as_one() -> None:
    data = TensorDataset(X[:N_TRAIN].clone(), Y[:N_TRAIN].clone())
    train_loader = DataLoader(data, BATCH, shuffle=True)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(1, EPOCHS + 1):
        train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
        model.eval()
        with torch.no_grad():
            TRUTH.at("train_eval", epoch)
            TRUTH.value(F.cross_entropy(model(data.tensors[0]), data.tensors[1]))
            TRUTH.at("val", epoch)
            TRUTH.value(F.cross_entropy(model(XV), YV))
