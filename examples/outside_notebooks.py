"""The same recording in a script, on a server or in a job: `python examples/outside_notebooks.py`.

`la.record` watches whatever trains inside its block. The run lies in ./lossacc_runs and can be opened from a
notebook, also while this script is still running or after it was killed.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import jupyter_lossacc as la

PAGE = Path("outside_notebooks.html")


def data() -> tuple[DataLoader, DataLoader]:
    """Return loaders of the breast cancer measurements: 150 to learn from, 419 to check on."""
    cells = load_breast_cancer()
    order = torch.randperm(len(cells.target))  # they lie sorted in part
    x = torch.tensor(cells.data, dtype=torch.float32)[order]
    x = (x - x.mean(0)) / x.std(0)
    y = torch.tensor(cells.target)[order]
    train = DataLoader(TensorDataset(x[:150], y[:150]), batch_size=16, shuffle=True)
    return train, DataLoader(TensorDataset(x[150:], y[150:]), batch_size=256)


def train(model: nn.Module, train_loader: DataLoader, val_loader: DataLoader, epochs: int = 40) -> None:
    """Train as ever; nothing in here knows that it is watched."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        model.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for x, y in val_loader:
                criterion(model(x), y)


def main() -> None:
    """Train once and say what was found."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    with la.record("outside-notebooks", view="none"):
        train(model, *data())

    run = la.last_run()
    print(run)
    for diagnosis in run.diagnose():
        if diagnosis.headline:
            print("-", diagnosis.headline)
    PAGE.write_text(run.to_html(), encoding="utf-8")
    print(f"The panel as a page: {PAGE}. The run again, anywhere: la.load_run({run.id!r})")


if __name__ == "__main__":
    main()
