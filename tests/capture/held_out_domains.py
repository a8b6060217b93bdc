"""Of a twelfth batch, cells of twelve domains: those that were wrong or not seen, and are no style."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from tests.capture.held_out import held
from tests.capture.loops import evaluate, sgd, train_one
from tests.capture.truth import BATCH, EPOCHS, N_TRAIN, N_VAL, TRUTH, D, K, Net, make_data, make_loaders


@held(limits=("another one is evaluated",) * 2)
def clients_whose_weights_are_averaged_every_round() -> None:
    data = TensorDataset(*make_data())
    clients = [DataLoader(Subset(data, range(k, N_TRAIN, 3)), BATCH, shuffle=True) for k in range(3)]
    test_loader = DataLoader(Subset(data, range(N_TRAIN, N_TRAIN + N_VAL)), BATCH)
    global_model = Net()
    for round_ in range(2):
        models = [copy.deepcopy(global_model) for _ in clients]
        optimizers = [sgd(model) for model in models]
        for k, (model, optimizer, loader) in enumerate(zip(models, optimizers, clients, strict=True)):
            for epoch in (1, 2):
                train_one(model, loader, F.cross_entropy, optimizer, epoch, 3 * round_ + k)
        states = [model.state_dict() for model in models]
        average = {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
        global_model.load_state_dict(average)
        evaluate(global_model, test_loader, F.cross_entropy, 2, "test", 3 * round_ + 2)


class Exits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (D, 16, 16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(w, 16), nn.ReLU()) for w in widths)
        self.heads = nn.ModuleList(nn.Linear(16, K) for _ in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        given, outs = x, []
        for block, head in zip(self.blocks, self.heads, strict=True):
            x = block(x)
            outs.append(head(x))
        TRUTH.saw(given, outs[0])
        return outs


@held(limits=("several predictions for the same labels",))
def exits_at_several_depths() -> None:
    train_loader, val_loader, _ = make_loaders()
    net = Exits()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for epoch in range(1, EPOCHS + 1):
        net.train()
        TRUTH.at("train", epoch)
        for inputs, targets in train_loader:
            loss = torch.zeros(())
            for weight, out in zip((0.3, 0.3, 1.0), net(inputs), strict=True):
                loss = loss + weight * criterion(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        TRUTH.at("val", epoch)
        correct = [0, 0, 0]
        with torch.no_grad():
            for inputs, targets in val_loader:
                for k, out in enumerate(net(inputs)):
                    correct[k] += int(out.max(1)[1].eq(targets).sum())


class Recording(nn.Module):
    """Log-probabilities of shape (n, 1, n_classes), as of a signal that was pooled to one step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.net(x)[:, None], dim=2)


@held()
def answers_with_a_step_that_is_squeezed_away() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Recording()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        TRUTH.at("train", epoch)
        for data, target in train_loader:
            loss = F.nll_loss(model(data).squeeze(), target)
            TRUTH.value(loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        TRUTH.at("val", epoch)
        correct = 0
        for data, target in val_loader:
            correct += model(data).argmax(dim=-1).squeeze().eq(target).sum().item()
