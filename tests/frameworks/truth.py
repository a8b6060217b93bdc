"""What a training really did, noted by its model, and checked against what was recorded.

The first pixel of a scanned digit is always blank: it carries the sample's index in its dataset. So
ids need no help from the recorder, and losses are computed with SciPy from the model's own output.
What the framework itself reports is compared too.
"""

from __future__ import annotations

import random
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import dataloader as torch_loader

import jupyter_lossacc as la

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.run import Run

N_TRAIN, N_VAL, N_TEST, BATCH, EPOCHS, K = 200, 100, 60, 32, 3, 10
STEPS = -(-N_TRAIN // BATCH)  # optimiser steps in an epoch
_SCALE = 2048  # an index divided by it is a float that holds it exactly

Place = tuple[str, int, "int | None"]  # split, epoch, optimiser steps so far (None: training goes on)


@dataclass
class Truth:
    """Batches in the order in which the model saw them."""

    batches: list[tuple[Place, list[int], Tensor]] = field(default_factory=list)
    place: Place = ("train", 1, None)

    def at(self, split: str, epoch: int, step: int | None = None) -> None:
        """Say where the next batches belong."""
        self.place = (split, epoch, step)

    def saw(self, ids: Tensor, logits: Tensor) -> None:
        """Note one batch."""
        self.batches.append((self.place, ids.tolist(), logits.detach().float().clone()))

    def passes(self) -> dict[Place, tuple[list[int], Tensor]]:
        """Join the batches of each pass."""
        found: dict[Place, tuple[list[int], Tensor]] = {}
        for place, ids, logits in self.batches:
            before = found.get(place, ([], torch.empty(0, logits.shape[1])))
            found[place] = (before[0] + ids, torch.cat([before[1], logits]))
        return found


TRUTH = Truth()


@dataclass
class Done:
    """What a training left: the model, and what the framework says about it.

    `reported` holds (loss, accuracy) per pass of a split, NaN where the framework reports none;
    `rates` the learning rate of every step; `norms` the gradient norm of every step.
    """

    model: nn.Module
    reported: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    targets: dict[str, Tensor] = field(default_factory=dict)  # labels by id, where not those of `parts`


def parts() -> dict[str, TensorDataset]:
    """Training, validation and test digits, each with its own index in the first pixel."""
    digits = load_digits()
    images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    found, at = {}, 0
    for split, n in (("train", N_TRAIN), ("val", N_VAL), ("test", N_TEST)):
        x, y = images[at : at + n].clone(), labels[at : at + n].clone()
        x[:, 0] = torch.arange(n) / _SCALE
        found[split] = TensorDataset(x, y)
        at += n
    return found


def loaders(**options: Any) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
    """Loaders of the three parts, the first shuffled."""
    data = parts()
    return (
        DataLoader(data["train"], BATCH, shuffle=True, **options),
        DataLoader(data["val"], BATCH, **options),
        DataLoader(data["test"], BATCH, **options),
    )


class Net(nn.Module):
    """A small network that tells the truth what it was asked and what it answered."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop, self.out = nn.Linear(64, 24), nn.Dropout(0.1), nn.Linear(24, K)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(self.drop(torch.relu(self.hidden(x))))
        TRUTH.saw((x[:, 0].detach() * _SCALE).round().long(), z)
        return z


def watched(training: Callable[[], Done]) -> Run:
    """Train twice, bare and recorded: the same bits. Return the run, compared with the truth."""
    bare, _ = _fingerprint(training)
    before = _patchable()
    with la.record(training.__name__, store="none", view="none", keep="all") as recorder:
        recorded, done = _fingerprint(training)
    assert _patchable() == before, "something of ours is left behind"
    for what in bare:
        assert _same(bare[what], recorded[what]), f"{what} differs when recorded"
    assert len(recorder.runs) == 1
    check(recorder.run, done)
    return recorder.run


def check(run: Run, done: Done) -> None:
    """Compare every pass with the truth, and with what the framework reports."""
    expected = TRUTH.passes()
    rows = list(run.metrics.itertuples())
    places = [(r.split, r.epoch, None if r.split == "train" else r.step) for r in rows]
    assert sorted(places, key=str) == sorted(expected, key=str)
    labels = {split: data.tensors[1] for split, data in parts().items()} | done.targets
    for place, row in zip(places, rows, strict=True):
        _check_pass(run, row, labels[row.split], *expected[place])
    for split, reported in done.reported.items():
        mine = run.metrics[run.metrics.split == split]
        loss, accuracy = np.array(reported).T
        np.testing.assert_allclose(mine.reported_loss[~np.isnan(loss)], loss[~np.isnan(loss)], rtol=2e-6)
        known = ~np.isnan(accuracy)
        np.testing.assert_allclose(mine.accuracy[known], accuracy[known], atol=1e-6)
    if done.rates:
        assert run.steps.learning_rate.tolist() == pytest.approx(done.rates, rel=1e-12)
    if done.norms:
        taken = run.steps.grad_norm.notna()
        assert taken.sum() >= 3, "the first steps are always measured"
        np.testing.assert_allclose(run.steps.grad_norm[taken], np.array(done.norms)[taken], rtol=1e-5)
    assert run.limits == ()


def _check_pass(run: Run, row: Any, labels: Tensor, ids: list[int], logits: Tensor) -> None:
    where = f"{row.split}, epoch {row.epoch}, step {row.step}"
    targets = labels.numpy()[ids]
    nll = -log_softmax(logits.double().numpy(), axis=1)[np.arange(len(ids)), targets]
    predicted = logits.argmax(1).numpy()
    assert row.n_samples == len(ids), where
    assert row.training == (row.split == "train"), where
    assert row.reported_loss == pytest.approx(nll.mean(), abs=2e-6), where
    assert row.accuracy == pytest.approx((predicted == targets).mean(), abs=1e-6), where
    beside = run.metrics[(run.metrics.split == row.split) & (run.metrics.epoch == row.epoch)]
    if not row.complete or row.step < beside.step.max():
        return  # samples() gives whole passes only, and the last of several in one epoch
    chosen = run.samples(row.split, row.epoch)
    order = np.argsort(ids, kind="stable")
    np.testing.assert_array_equal(chosen.index, np.array(ids)[order], err_msg=where)
    np.testing.assert_allclose(chosen["nll"], nll[order], atol=2e-5, err_msg=where)
    np.testing.assert_array_equal(chosen["predicted"], predicted[order], err_msg=where)
    np.testing.assert_array_equal(chosen["target"], targets[order], err_msg=where)


def _fingerprint(training: Callable[[], Done]) -> tuple[dict[str, Any], Done]:
    """Outputs, final weights, and the state of the random streams."""
    TRUTH.batches = []
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what frameworks draw from
    random.seed(0)
    done = training()
    found = {
        "outputs": TRUTH.batches,
        "weights": list(done.model.state_dict().values()),
        "torch's random stream": torch.get_rng_state(),
        "numpy's random stream": np.random.get_state()[1],  # noqa: NPY002
        "python's random stream": random.getstate(),
    }
    return found, done


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _patchable() -> dict[tuple[str, str], int]:
    """Identity of everything that a recording could have replaced, the code of functions included."""
    owners = [torch, torch._C._nn, F, torch.autograd, Tensor, nn.Module, torch.optim.Optimizer]
    owners += [torch_loader._BaseDataLoaderIter, torch_loader._MultiProcessingDataLoaderIter]
    found = {}
    for owner in owners:
        for name, value in vars(owner).items():
            code = value.__code__ if isinstance(value, types.FunctionType) else None
            found[owner.__name__, name] = id(value if code is None else code)
    hooks = torch_optimizer
    found["optimiser", "hooks"] = len(hooks._global_optimizer_pre_hooks) + len(
        hooks._global_optimizer_post_hooks
    )
    return found
