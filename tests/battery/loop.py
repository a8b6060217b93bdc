"""An ordinary training loop, recorded as a user's would be, and the weights of every epoch beside it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import jupyter_lossacc as la
from jupyter_lossacc.diagnosis.checkpoint import advise
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.episodes import settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Recording

__all__ = ["Ran", "Setup", "Split", "ask", "fit"]

Split = tuple[Tensor, Tensor]


@dataclass(kw_only=True)
class Setup:
    """One training: everything its loop needs.

    ``test`` is never shown to the loop; ``watch`` is the validation's own criterion, ``others`` are further
    evaluated splits by name, ``says`` tells what one output per sample means ("classes" or "one logit").
    """

    model: nn.Module
    train: Split
    val: Split
    test: Split
    epochs: int
    optimizer: torch.optim.Optimizer
    batch: int = 32
    criterion: Callable[[Tensor, Tensor], Tensor] = field(default_factory=nn.CrossEntropyLoss)
    watch: Callable[[Tensor, Tensor], Tensor] | None = None
    shuffle: bool = True
    on_epoch: Callable[[int], None] | None = None
    others: dict[str, Split] = field(default_factory=dict)
    data: tuple[Dataset[Any], Dataset[Any]] | None = None  # of training and validation, where not the splits
    train_evaluated: bool = False
    evaluates_in: str = "eval"
    trains_in: tuple[str, str] = ("train", "train")  # first epoch, later ones
    says: str = "classes"
    after: Callable[[Recording], Recording] | None = None
    truth: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Ran:
    """What came of a training: the recording, the weights by epoch, and what the package says once asked."""

    setup: Setup
    recording: Recording
    weights: list[dict[str, Tensor]]
    episodes: tuple[Episode, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    advice: CheckpointAdvice | None = None


def _loader(
    data: Split | Dataset[Any], batch: int, *, shuffle: bool = False, seed: int = 0
) -> DataLoader[Any]:
    dataset = TensorDataset(*data) if isinstance(data, tuple) else data
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, batch_size=batch, shuffle=shuffle, generator=generator)


def fit(setup: Setup, seed: int) -> Ran:
    """Train under `la.record`; the package has recorded, and is not asked yet."""
    s, model = setup, setup.model
    data = s.data or (s.train, s.val)
    train_loader = _loader(data[0], s.batch, shuffle=s.shuffle, seed=seed)
    evaluated = {"val": _loader(data[1], 500)}
    evaluated |= {name: _loader(split, 500) for name, split in s.others.items()}
    if s.train_evaluated:
        evaluated["train_eval"] = _loader(data[0], 500)
    watch = s.watch or s.criterion
    weights = []
    # All samples, so that what is found does not depend on how busy the machine is.
    with la.record("battery", store="none", view="none", split=evaluated, keep="all"):
        for epoch in range(1, s.epochs + 1):
            if s.on_epoch is not None:
                s.on_epoch(epoch)
            model.train(s.trains_in[epoch > 1] == "train")
            for x, y in train_loader:
                s.optimizer.zero_grad()
                s.criterion(model(x), y).backward()
                s.optimizer.step()
            model.train(s.evaluates_in == "train")
            with torch.no_grad():
                for loader in evaluated.values():
                    for x, y in loader:
                        watch(model(x), y)
            weights.append(copy.deepcopy(model.state_dict()))
    recording = la.last_run().recording
    return Ran(setup=s, recording=s.after(recording) if s.after is not None else recording, weights=weights)


def ask(ran: Ran) -> Ran:
    """Ask the package about a training."""
    episodes = settled(ran.recording)  # what the screen shows; beyond 60 epochs it differs from one look
    return replace(
        ran,
        episodes=episodes,
        diagnoses=diagnose(ran.recording, episodes),
        advice=advise(ran.recording, running=False),
    )
