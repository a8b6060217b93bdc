"""A small real training, told independently of what is recorded."""

from dataclasses import dataclass, field

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Training:
    """An ordinary loop on scanned digits; `truth` holds (loss, accuracy) per validation pass."""

    epochs: int = 4
    seed: int = 0
    model: nn.Module = field(init=False)
    truth: list[tuple[float, float]] = field(default_factory=list)

    def run(self) -> None:
        digits = load_digits()
        images = torch.tensor(digits.data / 16, dtype=torch.float32)
        labels = torch.tensor(digits.target)
        train = DataLoader(TensorDataset(images[:300], labels[:300]), 50, shuffle=True)
        val = DataLoader(TensorDataset(images[300:700], labels[300:700]), 128)
        torch.manual_seed(self.seed)
        self.model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))
        optimizer = torch.optim.Adam(self.model.parameters(), 1e-2)
        criterion = nn.CrossEntropyLoss()
        for _ in range(self.epochs):
            self.model.train()
            for x, y in train:
                optimizer.zero_grad()
                criterion(self.model(x), y).backward()
                optimizer.step()
                self.after_step()
            self.model.eval()
            loss = right = 0.0
            with torch.no_grad():
                for x, y in val:
                    out = self.model(x)
                    loss += criterion(out, y).item() * len(y)
                    right += (out.argmax(1) == y).sum().item()
            self.truth.append((loss / 400, right / 400))

    def after_step(self) -> None:
        """Do what a test wants to happen in the loop."""
