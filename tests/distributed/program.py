"""A training in several processes, as people write it, and what it noted about itself.

Started by ``torch.multiprocessing`` (`train`), by torchrun (as a script), or on its own with
``world=1``. Each process writes what its model said to ``truth-<rank>.pt``: that is what the
recording is compared with.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

D, K, EPOCHS, BATCH, N_VAL, N_TEST = 6, 3, 3, 16, 43, 30
PAUSE = "LOSSACC_TEST_PAUSE"  # seconds after every epoch, so that somebody can look in between


def make_data(n: int, seed: int) -> TensorDataset:
    """Inputs whose first column is the sample's index."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, D, generator=generator)
    x[:, 0] = torch.arange(n) / 1024
    y = (x[:, 1 : 1 + K] + 0.8 * torch.randn(n, K, generator=generator)).argmax(1)
    return TensorDataset(x, y)


class Notes:
    """What happened in one process: (split, epoch, ids, targets, logits, value of the criterion)."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int, Tensor, Tensor, Tensor, float]] = []

    def add(self, split: str, epoch: int, x: Tensor, y: Tensor, z: Tensor, value: Tensor) -> None:
        ids = (x[:, 0] * 1024).round().long()
        self.batches.append((split, epoch, ids, y.clone(), z.detach().clone(), float(value.detach())))


def evaluate(model: nn.Module, loader: Any, split: str, epoch: int, notes: Notes) -> None:
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            z = model(x)
            notes.add(split, epoch, x, y, z, F.cross_entropy(z, y))


def fit(rank: int, world: int, n_train: int) -> tuple[nn.Module, Notes]:
    train_data, val_data, test_data = make_data(n_train, 0), make_data(N_VAL, 1), make_data(N_TEST, 2)
    sampler = DistributedSampler(train_data, world, rank, shuffle=True)
    val_sampler = DistributedSampler(val_data, world, rank, shuffle=False)
    train_loader = DataLoader(train_data, BATCH // world, sampler=sampler)
    val_loader = DataLoader(val_data, 10, sampler=val_sampler)
    test_loader = DataLoader(test_data, 10)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(D, 16), nn.ReLU(), nn.Linear(16, K))
    model = nn.parallel.DistributedDataParallel(net) if world > 1 else net
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    notes = Notes()
    for epoch in range(1, EPOCHS + 1):
        sampler.set_epoch(epoch)
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            z = model(x)
            loss = F.cross_entropy(z, y)
            notes.add("train", epoch, x, y, z, loss)
            loss.backward()
            optimizer.step()
        evaluate(model, val_loader, "val", epoch, notes)
        time.sleep(float(os.environ.get(PAUSE, "0")))
    evaluate(net, test_loader, "test", EPOCHS, notes)  # the whole set in every process
    return net, notes


def train(rank: int, world: int, port: int, n_train: int, folder: str) -> None:
    """Train as process `rank` of `world`."""
    torch.set_num_threads(1)
    if world > 1:
        if port:
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=world)
    net, notes = fit(rank, world, n_train)
    torch.save((net.state_dict(), notes.batches), Path(folder) / f"truth-{rank}.pt")
    if world > 1:
        dist.destroy_process_group()


def fail(rank: int, world: int, port: int, n_train: int, folder: str) -> None:
    """As `train`, but the last process ends with an error of the user's."""
    train(rank, world, port, n_train, folder)
    if rank == world - 1:
        raise ZeroDivisionError("the user's own")


if __name__ == "__main__":  # torchrun
    import jupyter_lossacc as la

    store, folder, n_train = sys.argv[1:]
    with la.record("torchrun", store=store, keep="all"):
        train(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), 0, int(n_train), folder)
