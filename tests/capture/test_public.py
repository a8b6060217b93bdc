"""What was seen wrongly in trainings that people published, where the truth of a loop does not tell it."""

from __future__ import annotations

import random
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jupyter_lossacc.capture.capture import Capture
from tests.capture.loops import sgd
from tests.capture.truth import N_VAL, D, K, Net, Sink, make_data, make_loaders


class TwoHeads(nn.Module):
    """Classes, and where a sample comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.origin = Net(), nn.Linear(D, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.body(x), self.origin(x)


def test_a_second_loader_with_classes_of_its_own_hides_no_evaluation() -> None:
    """Also, the evaluations of a model that only counts hits."""
    train_loader, val_loader, other = make_loaders()
    sink = Sink()
    with Capture(sink):
        model = TwoHeads()
        optimizer = sgd(model)
        for _ in range(2):
            for (x, y), (z, _y) in zip(train_loader, other, strict=False):
                classes, here = model(x)
                there = model(z)[1]
                where = torch.tensor([0] * len(here) + [1] * len(there))
                loss = F.cross_entropy(classes, y) + F.cross_entropy(torch.cat([here, there]), where)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                sum(int(model(x)[0].argmax(1).eq(y).sum()) for x, y in val_loader)
    assert [p.split for _, p in sink.passes if p.split != "train"].count("val") == 2


def test_single_samples_drawn_with_repeats_have_no_epochs_and_that_is_said() -> None:
    x, y = make_data()
    sink = Sink()
    draw = random.Random(0)
    with Capture(sink):
        model = Net()
        optimizer = sgd(model)
        for _ in range(200):
            i = draw.randrange(40)
            line, label = torch.tensor(x[i].tolist())[None], torch.tensor([int(y[i])])
            optimizer.zero_grad()
            F.cross_entropy(model(line), label).backward()
            optimizer.step()
    assert any("what an epoch is cannot be told" in sentence for sentence in sink.limits)
    assert sum(len(p.predictions) for _, p in sink.passes) == 200
    assert len(sink.passes) == 2


def test_criteria_by_column_are_counted() -> None:
    train_loader, _, _ = make_loaders()
    with Capture(Sink()) as capture:
        model = Net()
        optimizer = sgd(model)
        for x, y in chain(train_loader, train_loader):
            z = model(x)
            loss = sum(F.binary_cross_entropy_with_logits(z[:, k], (y == k).float()) for k in range(K))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()
    assert capture.counters.outputs_apart >= 2 * len(train_loader)


def test_two_models_that_choose_for_each_other_are_tested_without_a_loss() -> None:
    train_loader, val_loader, _ = make_loaders()
    hits: list[float] = []
    sink = Sink()
    with Capture(sink):
        one, other = Net(), Net()
        pair, optimizers = (one, other), (sgd(one), sgd(other))
        for _ in range(3):
            for x, y in train_loader:
                outputs = [model(x) for model in pair]
                sure = [F.cross_entropy(z, y, reduction="none").argsort()[:8] for z in outputs]
                for z, chosen, optimizer in zip(outputs, reversed(sure), optimizers, strict=True):
                    optimizer.zero_grad()
                    F.cross_entropy(z[chosen], y[chosen]).backward()
                    optimizer.step()
            for model in pair:  # with a graph, as its author forgot
                model.eval()
                right = sum(int(model(x).argmax(1).eq(y).sum()) for x, y in val_loader)
                hits.append(right / N_VAL)
    tested = [p for _, p in sink.passes if p.split in ("val", "val_2")]
    assert [p.split for p in tested] == ["val", "val_2"] * 3
    assert [float(p.predictions.correct.mean()) for p in tested] == pytest.approx(hits)
