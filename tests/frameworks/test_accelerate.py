"""Accelerate: prepared loaders, models, optimisers and schedulers in an ordinary loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

import jupyter_lossacc as la
from tests.frameworks.truth import EPOCHS, STEPS, TRUTH, Done, Net, loaders, parts, watched

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Accelerate remembers its first settings for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def train(accelerator: Accelerator, clip: float | None = None, **of_loaders: Any) -> Done:
    train_loader, val_loader, _ = loaders(**of_loaders)
    net, criterion = Net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, EPOCHS * STEPS)
    model, optimizer, train_loader, val_loader, scheduler = accelerator.prepare(
        net, optimizer, train_loader, val_loader, scheduler
    )
    done, steps = Done(net, {"val": []}), 0
    for epoch in range(1, EPOCHS + 1):
        TRUTH.at("train", epoch)
        model.train()
        for x, y in train_loader:
            with accelerator.accumulate(model):
                loss = criterion(model(x), y)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    steps += 1
                    if clip is not None:
                        accelerator.clip_grad_norm_(model.parameters(), clip)
                    done.rates.append(optimizer.param_groups[0]["lr"])
                    grads = [p.grad for p in net.parameters()]
                    done.norms.append(float(torch.nn.utils.get_total_norm(grads)))
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        TRUTH.at("val", epoch, steps)
        model.eval()
        total, right, n = 0.0, 0, 0
        for x, y in val_loader:
            with torch.no_grad():
                z = model(x)
                total += criterion(z, y).item() * len(y)
            predicted, labels = accelerator.gather_for_metrics((z.argmax(-1), y))
            right += int((predicted == labels).sum())
            n += len(labels)
        done.reported["val"].append((total / n, right / n))
    return done


def prepared() -> Done:
    return train(Accelerator(cpu=True))


def accumulated_and_clipped() -> Done:
    return train(Accelerator(cpu=True, gradient_accumulation_steps=3), clip=0.5)


def with_workers() -> Done:
    return train(Accelerator(cpu=True), num_workers=1, persistent_workers=True)


@pytest.mark.parametrize("training", [prepared, accumulated_and_clipped, with_workers])
def test_recorded_exactly(training: Any) -> None:
    watched(training)


def test_bfloat16_is_recorded_as_it_was_computed() -> None:
    """Under autocast the predictions that count are those the criterion received."""
    torch.manual_seed(0)
    TRUTH.batches = []
    with la.record(store="none", view="none", keep="all") as recorder:
        done = train(Accelerator(cpu=True, mixed_precision="bf16"))
    mine = recorder.run.metrics.query("split == 'val'")
    loss, accuracy = zip(*done.reported["val"], strict=True)
    assert mine.accuracy.tolist() == pytest.approx(accuracy, abs=1e-6)
    assert mine.reported_loss.tolist() == pytest.approx(loss, rel=2e-6)
    assert recorder.run.limits == ()


def test_one_line_above_the_loop(shell: Any) -> None:
    data = parts()
    shell.user_ns.update(Net=Net, train=data["train"], val=data["val"])
    setup = """
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
accelerator = Accelerator(cpu=True)
model, criterion, reported = Net(), torch.nn.CrossEntropyLoss(), []
optimizer = torch.optim.SGD(model.parameters(), 0.1)
model, optimizer, train_loader, val_loader = accelerator.prepare(
    model, optimizer, DataLoader(train, 32, shuffle=True), DataLoader(val, 100)
)
"""
    cell = """%%lossacc accelerate --store none --view none
for epoch in range(3):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        accelerator.backward(criterion(model(x), y))
        optimizer.step()
    model.eval()
    for x, y in val_loader:
        with torch.no_grad():
            reported.append(criterion(model(x), y).item())
"""
    shell.run_cell(setup).raise_error()
    shell.run_cell(cell).raise_error()
    mine = la.last_run().metrics.query("split == 'val'")
    assert mine.reported_loss.tolist() == pytest.approx(shell.user_ns["reported"], rel=2e-6)
