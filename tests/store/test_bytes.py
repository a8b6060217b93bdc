"""What a sample and pass takes on disk, in runs of real trainings."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset, TensorDataset

import jupyter_lossacc as la


@pytest.mark.parametrize("n_classes", [2, 10, 1000])
def test_a_sample_and_pass_of_a_real_training_takes_at_most_24_bytes(tmp_path: Path, n_classes: int) -> None:
    n = 2000
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 20, generator=generator)
    y = (x @ torch.randn(20, n_classes, generator=generator)).argmax(1)
    model = nn.Linear(20, n_classes)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    order = torch.randperm(10 * n, generator=generator)[:n].sort().values  # ids with gaps
    whole = TensorDataset(x[torch.arange(10 * n) % n], y[torch.arange(10 * n) % n])
    held_out = DataLoader(Subset(whole, order.tolist()), 250)
    with la.record("bytes", store=tmp_path, view="none", keep="all"):
        for _ in range(3):
            for xb, yb in DataLoader(TensorDataset(x, y), 250, shuffle=True):
                optimizer.zero_grad()
                cross_entropy(model(xb), yb).backward()
                optimizer.step()
            with torch.no_grad():
                for xb, yb in held_out:
                    cross_entropy(model(xb), yb)
    files = list((tmp_path / la.last_run().id / "predictions").rglob("*.parquet"))
    assert len(files) == 6
    assert max(path.stat().st_size for path in files) / n <= 24
    everything = sum(
        path.stat().st_size for path in (tmp_path / la.last_run().id).rglob("*.*") if path.is_file()
    )
    assert everything / (6 * n) <= 24 + (
        8 if n_classes < 1000 else 24
    )  # a table of classes beside the samples
