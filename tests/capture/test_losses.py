"""Every criterion: values per sample and per pass against torch, from unreduced calls of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jupyter_lossacc.capture.capture import Capture
from tests.capture import loops
from tests.capture.truth import N_TRAIN, N_VAL, TRUTH, K, Net, Sink, check, make_data, make_loaders

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.records import Pass

W = loops.WEIGHTS
N_ALL = N_TRAIN + N_VAL


def evaluate_once(
    criterion: Callable[[Tensor, Tensor], Tensor], y: Tensor, outputs: int = K
) -> tuple[Pass, Tensor]:
    """Train one epoch, evaluate once, and return the evaluation and the logits it saw."""
    torch.manual_seed(0)
    TRUTH.reset()
    x, _ = make_data()
    train_loader = DataLoader(TensorDataset(x[:N_TRAIN], y[:N_TRAIN]), 16, shuffle=True)
    val_loader = DataLoader(TensorDataset(x[N_TRAIN:N_ALL], y[N_TRAIN:N_ALL]), 20)
    model = Net(outputs)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    sink = Sink()
    with Capture(sink):
        loops.train_one(model, train_loader, criterion, optimizer, 1)
        loops.evaluate(model, val_loader, criterion, 1)
    assert sink.limits == []
    assert [(p.split, p.epoch) for _, p in sink.passes] == [("train", 1), ("val", 1)]
    passed = sink.passes[1][1]
    np.testing.assert_array_equal(passed.predictions.sample_ids, np.arange(N_VAL))
    with torch.no_grad():
        TRUTH.quiet = True
        return passed, model(x[N_TRAIN:N_ALL])


CROSS_ENTROPIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "weights": {"weight": W},
    "smoothing": {"label_smoothing": 0.2},
    "weights and smoothing": {"weight": W, "label_smoothing": 0.1},
    "sum": {"reduction": "sum"},
    "weights and sum": {"weight": W, "reduction": "sum"},
}


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_cross_entropy(name: str) -> None:
    options = CROSS_ENTROPIES[name]
    _, y = make_data()
    passed, z = evaluate_once(nn.CrossEntropyLoss(**options), y)
    y = y[N_TRAIN:N_ALL]
    each = F.cross_entropy(z, y, **{**options, "reduction": "none"})
    whole = float(F.cross_entropy(z, y, **options))
    expected = whole / N_VAL if options.get("reduction") == "sum" else whole
    assert passed.reported_loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(passed.predictions.reported_loss, each, atol=1e-5)
    np.testing.assert_allclose(passed.predictions.nll, F.cross_entropy(z, y, reduction="none"), atol=1e-5)
    others = z.scatter(1, y[:, None], -torch.inf).amax(1)
    np.testing.assert_allclose(passed.predictions.margin, z.gather(1, y[:, None])[:, 0] - others, atol=1e-5)
    np.testing.assert_array_equal(passed.predictions.correct, (z.argmax(1) == y).float())
    info = passed.loss
    assert (info.name, info.inputs, info.task) == ("cross_entropy", "logits", "multiclass")
    assert info.reduction == options.get("reduction", "mean")
    assert info.label_smoothing == options.get("label_smoothing", 0.0)
    if "weight" in options:
        np.testing.assert_allclose(info.class_weights, W)
    else:
        assert info.class_weights is None


def test_ignored_samples_are_left_out() -> None:
    _, y = make_data()
    y = y.clone()
    y[::5] = -100
    criterion = nn.CrossEntropyLoss()
    TRUTH.reset()
    x, _ = make_data()
    sink = Sink()
    model = Net()
    with Capture(sink), torch.no_grad():
        for xb, yb in DataLoader(TensorDataset(x, y), 16):
            criterion(model(xb), yb)
    passed = sink.passes[0][1]
    assert len(passed.predictions) == int((y != -100).sum())
    TRUTH.quiet = True
    assert passed.reported_loss == pytest.approx(criterion(model(x), y).item(), rel=1e-5)
    assert set(passed.predictions.sample_ids) == set(np.flatnonzero(y != -100))


def test_softmax_twice_is_noticed() -> None:
    _, y = make_data()
    passed, z = evaluate_once(lambda z, t: F.cross_entropy(F.softmax(z, 1), t), y)
    assert passed.loss.on_simplex
    each = F.cross_entropy(F.softmax(z, 1), y[N_TRAIN:N_ALL], reduction="none")
    np.testing.assert_allclose(passed.predictions.nll, each, atol=1e-5)


def test_squared_error_on_probabilities_reads_them_as_probabilities() -> None:
    _, y = make_data()
    passed, z = evaluate_once(lambda z, t: F.mse_loss(F.softmax(z, 1), F.one_hot(t, K).float()), y)
    assert passed.loss.inputs == "probabilities"
    np.testing.assert_allclose(
        passed.predictions.nll, F.cross_entropy(z, y[N_TRAIN:N_ALL], reduction="none"), atol=1e-4
    )
    squares = (F.softmax(z, 1) - F.one_hot(y[N_TRAIN:N_ALL], K)) ** 2
    np.testing.assert_allclose(passed.predictions.reported_loss, squares.mean(1), atol=1e-5)


def test_hinge() -> None:
    _, y = make_data()
    passed, z = evaluate_once(nn.MultiMarginLoss(), y)
    each = F.multi_margin_loss(z, y[N_TRAIN:N_ALL], reduction="none")
    np.testing.assert_allclose(passed.predictions.reported_loss, each, atol=1e-5)
    assert passed.reported_loss == pytest.approx(float(each.mean()), rel=1e-5)


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("column", [False, True])
def test_binary(sigmoid: bool, column: bool) -> None:
    _, y = make_data()
    y = (y > 0).float()
    y = y[:, None] if column else y

    def criterion(z: Tensor, t: Tensor) -> Tensor:
        z = z if column else z[:, 0]
        return (
            F.binary_cross_entropy(torch.sigmoid(z), t)
            if sigmoid
            else F.binary_cross_entropy_with_logits(z, t)
        )

    passed, z = evaluate_once(criterion, y, outputs=1)
    t, z = y[N_TRAIN:N_ALL].reshape(-1), z[:, 0]
    each = F.binary_cross_entropy_with_logits(z, t, reduction="none")
    p = passed.predictions
    np.testing.assert_allclose(p.nll, each, atol=1e-5)
    np.testing.assert_allclose(p.reported_loss, each, atol=1e-5)
    np.testing.assert_allclose(p.margin, (2 * t - 1) * z, atol=1e-4)
    np.testing.assert_array_equal(p.targets, t.numpy().astype(int))
    np.testing.assert_array_equal(p.predicted, (z > 0).numpy().astype(int))
    assert passed.n_classes == 2
    assert passed.loss.task == "binary"
    assert passed.accumulators is not None
    assert passed.accumulators.count.sum() == N_VAL


def test_positive_weights_count_in_the_reported_loss_only() -> None:
    _, y = make_data()
    y = (y > 0).float()
    weight = torch.tensor(3.0)
    passed, z = evaluate_once(
        lambda z, t: F.binary_cross_entropy_with_logits(z[:, 0], t, pos_weight=weight), y, outputs=1
    )
    t, z = y[N_TRAIN:N_ALL], z[:, 0]
    each = F.binary_cross_entropy_with_logits(z, t, pos_weight=weight, reduction="none")
    np.testing.assert_allclose(passed.predictions.reported_loss, each, atol=1e-5)
    np.testing.assert_allclose(
        passed.predictions.nll, F.binary_cross_entropy_with_logits(z, t, reduction="none"), atol=1e-5
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_multilabel(reduction: str) -> None:
    x, _ = make_data()
    y = (x[:, 1 : 1 + K] > 0).float()
    passed, z = evaluate_once(nn.BCEWithLogitsLoss(reduction=reduction), y)
    t = y[N_TRAIN:N_ALL]
    each = F.binary_cross_entropy_with_logits(z, t, reduction="none")
    p = passed.predictions
    assert passed.loss.task == "multilabel"
    np.testing.assert_allclose(p.nll, each.mean(1), atol=1e-5)
    np.testing.assert_allclose(p.correct, ((z > 0) == (t > 0.5)).float().mean(1), atol=1e-6)
    assert np.isnan(p.margin).all()
    whole = each.sum(1) if reduction == "sum" else each.mean(1)
    np.testing.assert_allclose(p.reported_loss, whole, atol=1e-5)
    assert passed.reported_loss == pytest.approx(float(whole.mean()), rel=1e-5)


def test_probabilities_as_targets() -> None:
    x, _ = make_data()
    y = F.softmax(3 * x[:, 1 : 1 + K], 1)
    passed, z = evaluate_once(nn.CrossEntropyLoss(), y)
    t = y[N_TRAIN:N_ALL]
    each = F.cross_entropy(z, t, reduction="none")
    np.testing.assert_allclose(passed.predictions.nll, each, atol=1e-5)
    np.testing.assert_array_equal(passed.predictions.targets, t.argmax(1))
    assert passed.reported_loss == pytest.approx(float(each.mean()), rel=1e-5)


def test_divergence_of_distributions() -> None:
    x, _ = make_data()
    y = F.softmax(3 * x[:, 1 : 1 + K], 1)
    passed, z = evaluate_once(lambda z, t: F.kl_div(F.log_softmax(z, 1), t, reduction="batchmean"), y)
    t = y[N_TRAIN:N_ALL]
    each = F.kl_div(F.log_softmax(z, 1), t, reduction="none").sum(1)
    np.testing.assert_allclose(passed.predictions.reported_loss, each, atol=1e-5)
    assert passed.reported_loss == pytest.approx(float(each.mean()), rel=1e-5)


class Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(2, K, 1)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.net(x)
        return z


def test_dense_predictions_with_ignored_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, 4, 4, generator=generator)
    y = torch.randint(0, K, (40, 4, 4), generator=generator)
    y[torch.rand(40, 4, 4, generator=generator) < 0.2] = 255
    model, criterion, sink = Pixels().eval(), nn.CrossEntropyLoss(ignore_index=255), Sink()
    with Capture(sink), torch.no_grad():
        for xb, yb in DataLoader(TensorDataset(x, y), 8):
            criterion(model(xb), yb)
    passed = sink.passes[0][1]
    with torch.no_grad():
        z = model(x)
        each = F.cross_entropy(z, y, ignore_index=255, reduction="none")
        kept = y != 255
        nll = (each * kept).sum((1, 2)) / kept.sum((1, 2))
        correct = ((z.argmax(1) == y) & kept).sum((1, 2)) / kept.sum((1, 2))
        assert passed.reported_loss == pytest.approx(float(criterion(z, y)), rel=1e-5)
    np.testing.assert_allclose(passed.predictions.nll, nll, atol=1e-5)
    np.testing.assert_allclose(passed.predictions.correct, correct, atol=1e-6)
    assert (passed.loss.task, passed.loss.ignore_index, passed.n_classes) == ("dense", 255, K)


def test_tokens_are_folded_to_their_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 11, (36, 7), generator=generator)
    model, sink = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11)), Sink()
    with Capture(sink), torch.no_grad():
        for (xb,) in DataLoader(TensorDataset(x), 8):
            F.cross_entropy(model(xb)[:, :-1].reshape(-1, 11), xb[:, 1:].reshape(-1))
    passed = sink.passes[0][1]
    with torch.no_grad():
        each = F.cross_entropy(model(x)[:, :-1].transpose(1, 2), x[:, 1:], reduction="none")
    np.testing.assert_array_equal(passed.predictions.sample_ids, np.arange(36))
    np.testing.assert_allclose(passed.predictions.nll, each.mean(1), atol=1e-5)
    assert passed.reported_loss == pytest.approx(float(each.mean()), rel=1e-5)


def test_evaluation_that_only_counts_hits() -> None:
    train_loader, val_loader, _ = make_loaders()
    TRUTH.reset()
    sink, model = Sink(), Net()
    optimizer = loops.sgd(model)
    with Capture(sink):
        for epoch in (1, 2):
            loops.train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
            TRUTH.at("val", epoch)
            model.eval()
            with torch.no_grad():
                sum(int((model(xb).argmax(1) == yb).sum()) for xb, yb in val_loader)
    check(sink)


def test_regression_is_recognised() -> None:
    x, _ = make_data()
    sink, model = Sink(), Net(1)
    optimizer = loops.sgd(model)
    TRUTH.reset()
    with Capture(sink) as capture:
        for xb, yb in DataLoader(TensorDataset(x, x[:, 1:2] * 2), 16):
            loss = F.mse_loss(model(xb), yb)
            loss.backward()
            optimizer.step()
    assert sink.passes == []
    assert capture.counters.regressions == capture.counters.losses == 11
    assert len(sink.column("loss")) == 11
    assert np.isfinite(sink.column("loss")).all()


def test_weights_that_change_are_recorded_as_they_were() -> None:
    train_loader, val_loader, _ = make_loaders()
    weight = torch.ones(K)
    criterion = nn.CrossEntropyLoss(weight=weight)
    sink, model = Sink(), Net()
    optimizer = loops.sgd(model)
    TRUTH.reset()
    with Capture(sink):
        for epoch in (1, 2, 3):
            criterion.weight = torch.tensor([1.0, float(epoch), 1.0])
            loops.train_one(model, train_loader, criterion, optimizer, epoch)
            loops.evaluate(model, val_loader, criterion, epoch)
    assert [p.loss.class_weights[1] for _, p in sink.passes if p.split == "val"] == [1, 2, 3]  # type: ignore[index]
