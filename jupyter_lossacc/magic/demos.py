"""Small trainings that have a cause by construction: what ``%lossacc demo CAUSE`` runs.

Each is an ordinary training cell, shown before it runs; only the lines that make the cause differ.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEMOS", "Demo"]

_DATA = """\
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)


def draw(counts, spread, seed):
    "Samples around one centre per class; a larger spread is harder."
    centres = torch.randn(len(counts), 20, generator=torch.Generator().manual_seed(1))
    noise = torch.Generator().manual_seed(seed)
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    y = y[torch.randperm(len(y), generator=noise)]
    return centres[y] + spread * torch.randn(len(y), 20, generator=noise), y


"""
_NETWORK = """\
model = nn.Sequential(
    nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, {classes})
)
"""
_LOOP = """\

for epoch in range({epochs}):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for x, y in val_loader:
            criterion(model(x), y)
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """A training with one cause.

    Parameters
    ----------
    what : str
        What makes the cause, in one sentence.
    data : str
        Lines that make ``train`` and ``val``, pairs of inputs and labels.
    classes, epochs : int
    network : str
        Lines that make ``model``.
    optimizer : str
    shuffle : bool
    """

    what: str
    data: str
    classes: int = 5
    epochs: int = 40
    network: str = _NETWORK
    optimizer: str = "torch.optim.Adam(model.parameters(), lr=1e-3)"
    shuffle: bool = True

    @property
    def source(self) -> str:
        """The whole cell."""
        return (
            f"# {self.what}\n{_DATA}{self.data}"
            f"train_loader = DataLoader(TensorDataset(*train), batch_size=32, shuffle={self.shuffle})\n"
            "val_loader = DataLoader(TensorDataset(*val), batch_size=500)\n"
            f"{self.network.format(classes=self.classes)}"
            f"criterion = nn.CrossEntropyLoss()\noptimizer = {self.optimizer}\n"
            f"{_LOOP.format(epochs=self.epochs)}"
        )


_EVEN = (
    "train = draw([{train}] * 5, spread={spread}, seed=2)\nval = draw([300] * 5, spread={spread}, seed=3)\n"
)
_FLIP = """\
wrong = torch.rand(len({split}[1]), generator=torch.Generator().manual_seed(4)) < {rate}
{split} = ({split}[0], torch.where(wrong, ({split}[1] + 1 + torch.randint(4, wrong.shape)) % 5, {split}[1]))
"""

DEMOS: dict[str, Demo] = {
    "overconfidence": Demo(
        "A large network and few samples: it goes on growing surer after it has stopped learning.",
        _EVEN.format(train=100, spread=1.8),
        network=_NETWORK.replace("nn.ReLU()", "nn.ReLU(), nn.Dropout(0.1)"),
        epochs=60,
    ),
    "overfitting": Demo(
        "A third of the training labels are wrong: memorising them costs what was learned before.",
        _EVEN.format(train=120, spread=1.3) + _FLIP.format(split="train", rate=0.35),
        epochs=40,
    ),
    "label_noise": Demo(
        "15 % of the validation labels are wrong: the model is sure, right, and punished for it.",
        _EVEN.format(train=200, spread=1.0) + _FLIP.format(split="val", rate=0.15),
        epochs=40,
    ),
    "class_imbalance": Demo(
        "One sample in ten belongs to the second class: it carries the loss, the first the accuracy.",
        "train = draw([540, 60], spread=2.2, seed=2)\nval = draw([1350, 150], spread=2.2, seed=3)\n",
        classes=2,
        epochs=30,
    ),
    "double_softmax": Demo(
        "A softmax at the end of the model, and CrossEntropyLoss, which applies its own.",
        _EVEN.format(train=100, spread=1.5),
        network=_NETWORK + "model.append(nn.Softmax(dim=1))\n",
        epochs=20,
    ),
    "unshuffled_training": Demo(
        "Training samples sorted by class, never shuffled: each class overwrites the one before.",
        _EVEN.format(train=120, spread=1.5)
        + "order = torch.argsort(train[1], stable=True)\ntrain = (train[0][order], train[1][order])\n",
        epochs=15,
        shuffle=False,
    ),
    "label_shift": Demo(
        "Training holds the classes evenly, validation does not.",
        "train = draw([150] * 3, spread=1.5, seed=2)\nval = draw([400, 130, 70], spread=1.5, seed=3)\n",
        classes=3,
        epochs=10,
    ),
    "fluctuation": Demo(
        "Nothing is wrong here: enough samples, a small network, stopped in time.",
        _EVEN.format(train=600, spread=1.5),
        network="model = nn.Linear(20, {classes})\n",
        epochs=20,
    ),
}
