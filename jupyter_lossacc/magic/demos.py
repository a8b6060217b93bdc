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
{each_epoch}    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    model.{mode}()
    with torch.no_grad():
        for x, y in val_loader:
            {watched}(model(x), y)
{and_then}"""


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
    optimizer, criterion : str
    batch_size : int
        Of the training.
    shuffle : bool
    before : str
        Lines between the model and the loop.
    train, val : str
        The datasets that the loaders read.
    each_epoch, and_then : str
        Lines at the head and at the end of an epoch.
    mode : {"eval", "train"}
        Mode of the model in validation.
    watched : str
        The criterion of the validation.
    """

    what: str
    data: str
    classes: int = 5
    epochs: int = 40
    network: str = _NETWORK
    optimizer: str = "torch.optim.Adam(model.parameters(), lr=1e-3)"
    criterion: str = "nn.CrossEntropyLoss()"
    batch_size: int = 32
    shuffle: bool = True
    before: str = ""
    each_epoch: str = ""
    and_then: str = ""
    train: str = "TensorDataset(*train)"
    val: str = "TensorDataset(*val)"
    mode: str = "eval"
    watched: str = "criterion"

    @property
    def source(self) -> str:
        """The whole cell."""
        loop = _LOOP.format(
            epochs=self.epochs,
            each_epoch=self.each_epoch,
            and_then=self.and_then,
            mode=self.mode,
            watched=self.watched,
        )
        return (
            f"# {self.what}\n{_DATA}{self.data}"
            f"train_loader = DataLoader({self.train}, batch_size={self.batch_size}, shuffle={self.shuffle})\n"
            f"val_loader = DataLoader({self.val}, batch_size=500)\n"
            f"{self.network.format(classes=self.classes)}{self.before}"
            f"criterion = {self.criterion}\noptimizer = {self.optimizer}\n"
            f"{loop}"
        )


_EVEN = (
    "train = draw([{train}] * 5, spread={spread}, seed=2)\nval = draw([300] * 5, spread={spread}, seed=3)\n"
)
_FLIP = """\
wrong = torch.rand(len({split}[1]), generator=torch.Generator().manual_seed(4)) < {rate}
{split} = ({split}[0], torch.where(wrong, ({split}[1] + 1 + torch.randint(4, wrong.shape)) % 5, {split}[1]))
"""

_TEN = "train = draw([40] * 10, spread=1.5, seed=2)\nval = draw([20] * 10, spread=1.5, seed=3)\n"

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
    "underconfidence": Demo(
        "Label smoothing grows from epoch to epoch: the model is right more often and dares less.",
        _EVEN.format(train=200, spread=1.5),
        epochs=30,
        each_epoch="    criterion.label_smoothing = min(0.7, max(0.0, 0.04 * (epoch - 6)))\n",
    ),
    "confident_errors": Demo(
        "Two labels in a hundred are wrong in validation: few samples carry the rise of the loss.",
        _EVEN.format(train=200, spread=1.0) + _FLIP.format(split="val", rate=0.02),
        optimizer="torch.optim.Adam(model.parameters(), lr=2e-3)",
        epochs=35,
    ),
    "outlier_inputs": Demo(
        "One validation sample in fifty comes on a scale thirty times as large.",
        _EVEN.format(train=200, spread=1.0) + "val[0][::50] = 30 * val[0][::50].flip(1)\n",
        epochs=40,
    ),
    "majority_collapse": Demo(
        "One sample in twenty belongs to the second class, and the inputs say nothing about which.",
        "train = draw([950, 50], spread=1.5, seed=2)\nval = draw([950, 50], spread=1.5, seed=3)\n"
        "train[0].normal_()\nval[0].normal_()\n",
        classes=2,
        network="model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, {classes}))\n",
        epochs=12,
    ),
    "class_divergence": Demo(
        "Three classes repeat twelve samples each, three have hundreds: some go on learning, some overfit.",
        "train = draw([240] * 6, spread=2.6, seed=2)\nval = draw([400] * 6, spread=2.6, seed=3)\n"
        "rows = [torch.nonzero(train[1] == k).squeeze(1) for k in range(6)]\n"
        "rows = torch.cat([r[:12].repeat(20) if k < 3 else r for k, r in enumerate(rows)])\n"
        "train = (train[0][rows], train[1][rows])\n",
        classes=6,
        optimizer="torch.optim.Adam(model.parameters(), lr=2e-4)",
        epochs=20,
    ),
    "growing_confidence": Demo(
        "Nothing is wrong here: accuracy is at its end, and the model grows surer for a while.",
        _EVEN.format(train=600, spread=0.8),
        network="model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, {classes}))\n",
        optimizer="torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)",
        batch_size=128,
        epochs=30,
    ),
    "capacity_or_noise": Demo(
        "Classes that overlap for the most part: both losses settle high, and no training lowers them.",
        _EVEN.format(train=600, spread=4.0),
        network="model = nn.Linear(20, {classes})\n",
        optimizer="torch.optim.Adam(model.parameters(), lr=2e-2)",
        batch_size=256,
    ),
    "tail_relief": Demo(
        "An over-confident network goes on with noisy labels: its worst errors soften, some right ones go.",
        _EVEN.format(train=120, spread=1.0) + _FLIP.format(split="val", rate=0.15),
        optimizer="torch.optim.Adam(model.parameters(), lr=3e-3)",
        before="flipped = torch.rand(len(train[1])) < 0.15\n",
        each_epoch="    if epoch == 25:  # from here on with noisy labels, in small steps\n"
        "        train[1][flipped] = (train[1][flipped] + 1) % 5\n"
        '        optimizer.param_groups[0]["lr"] = 3e-4\n',
        epochs=45,
    ),
    "misaligned_loss": Demo(
        "Trained with cross-entropy, watched by the squared error of the logits: safe answers are punished.",
        _EVEN.format(train=100, spread=1.5),
        before="\n\ndef squared_error(z, y):\n"
        "    return nn.functional.mse_loss(z, nn.functional.one_hot(y, 5).float())\n\n\n",
        watched="squared_error",
        epochs=12,
    ),
    "averaging_artifact": Demo(
        "One sentence in five has ten words, the others one: the loss averages words, accuracy sentences.",
        "def sentences(n, seed):\n"
        '    "The long ones are hard to tell; -100 stands where there is no word."\n'
        "    x, y = draw([2 * n] * 5, spread=0.8, seed=seed)\n"
        "    x, y = x.reshape(n, 10, 20), y.reshape(n, 10)\n"
        "    long = torch.arange(n) % 5 == 0\n"
        "    x[long] += 2.0 * torch.randn(x[long].shape, generator=torch.Generator().manual_seed(seed))\n"
        "    word = long[:, None] | (torch.arange(10) == 0)\n"
        "    return x, torch.where(word, y, -100)\n\n\n"
        "def mean_over_words(z, y):\n"
        "    return nn.functional.cross_entropy(z.transpose(1, 2), y)\n\n\n"
        "train, val = sentences(100, seed=2), sentences(1000, seed=3)\n",
        criterion="mean_over_words",
        epochs=30,
    ),
    "class_weights_changed": Demo(
        "The weight of the rare class grows from epoch to epoch, and the measured loss with it.",
        "train = draw([540, 60], spread=2.5, seed=2)\nval = draw([900, 100], spread=2.5, seed=3)\n",
        classes=2,
        criterion="nn.CrossEntropyLoss(weight=torch.ones(2))",
        each_epoch="    criterion.weight[1] = 1 + 0.5 * max(0, epoch - 3)\n",
        epochs=20,
    ),
    "split_mismatch": Demo(
        "Validation inputs are noisier than those of training and test.",
        _EVEN.format(train=100, spread=1.5) + "val[0].add_(2.5 * torch.randn_like(val[0]))\n",
        before="test = draw([100] * 5, spread=1.5, seed=5)\n"
        "test_loader = DataLoader(TensorDataset(*test), batch_size=500)\n",
        and_then="        for x, y in test_loader:\n            criterion(model(x), y)\n",
        epochs=8,
    ),
    "split_overlap": Demo(
        "A third of the validation samples stand in the training set as well.",
        "train = draw([120] * 5, spread=1.5, seed=2)\ndata = TensorDataset(*train)\n",
        train="torch.utils.data.Subset(data, range(400))",
        val="torch.utils.data.Subset(data, range(300, 600))",
        and_then="        for x, y in DataLoader(train_loader.dataset, batch_size=500):\n"
        "            criterion(model(x), y)\n",
        epochs=6,
    ),
    "mode_mismatch": Demo(
        "Validation runs with dropout still dropping: `model.eval()` was forgotten.",
        _EVEN.format(train=200, spread=1.5),
        network=_NETWORK.replace("nn.ReLU()", "nn.ReLU(), nn.Dropout(0.5)"),
        mode="train",
        epochs=8,
    ),
    "dead_activations": Demo(
        "Biases start far below zero: no hidden unit ever answers, so none can learn.",
        _EVEN.format(train=200, spread=1.5),
        before="for layer in (model[0], model[2]):\n    nn.init.constant_(layer.bias, -20.0)\n",
        epochs=10,
    ),
    "learning_rate_too_high": Demo(
        "Stochastic gradient descent with a learning rate of 0.5: every step overshoots.",
        _TEN,
        classes=10,
        optimizer="torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)",
        epochs=12,
    ),
    "learning_rate_too_low": Demo(
        "A learning rate of 0.0001 for stochastic gradient descent: it walks in the right direction, slowly.",
        _TEN,
        classes=10,
        optimizer="torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)",
        epochs=12,
    ),
    "gradient_noise": Demo(
        "Batches of two samples: each step is mostly chance.",
        _TEN,
        classes=10,
        batch_size=2,
        optimizer="torch.optim.SGD(model.parameters(), lr=0.015, momentum=0.9)",
        epochs=12,
    ),
    "fluctuation": Demo(
        "Nothing is wrong here: enough samples, a small network, stopped in time.",
        _EVEN.format(train=600, spread=1.5),
        network="model = nn.Linear(20, {classes})\n",
        epochs=20,
    ),
}
