"""What is counted and said: steps, places, names, limits, bad input, devices, batches by hand."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from jupyter_lossacc.capture.capture import Capture
from jupyter_lossacc.capture.reading.transfer import Landing
from tests.capture import loops
from tests.capture.truth import N_TRAIN, N_VAL, TRUTH, D, K, Net, Sink, make_data, make_loaders


@pytest.fixture(autouse=True)
def _fresh() -> None:
    TRUTH.reset()
    torch.manual_seed(0)


def test_steps_carry_loss_rate_and_gradients() -> None:
    train_loader, _, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    sink, losses, norms, ratios, rates = Sink(), [], [], [], []
    with Capture(sink):
        for _ in range(2):
            for xb, yb in train_loader:
                loss = F.cross_entropy(model(xb), yb) * 2
                optimizer.zero_grad()
                loss.backward()
                losses.append(loss.item())
                rates.append(optimizer.param_groups[0]["lr"])
                norms.append(torch.stack([p.grad.norm() for p in model.parameters()]).norm().item())  # type: ignore[union-attr]
                before = [p.detach().clone() for p in model.parameters()]
                optimizer.step()
                moved = [p.detach() - b for p, b in zip(model.parameters(), before, strict=True)]
                size = torch.stack([b.norm() for b in before]).norm()
                ratios.append((torch.stack([m.norm() for m in moved]).norm() / size).item())
            schedule.step()
    np.testing.assert_allclose(sink.column("loss"), losses, rtol=1e-6)
    np.testing.assert_allclose(sink.column("learning_rate"), rates)
    np.testing.assert_array_equal(sink.column("step"), np.arange(1, 13))
    np.testing.assert_array_equal(sink.column("epoch"), [1] * 6 + [2] * 6)
    np.testing.assert_array_equal(sink.column("n_samples"), 16)
    taken = ~np.isnan(sink.column("grad_norm"))
    assert taken[0]
    np.testing.assert_allclose(sink.column("grad_norm")[taken], np.array(norms)[taken], rtol=1e-5)
    taken = ~np.isnan(sink.column("update_ratio"))
    assert taken[0]
    np.testing.assert_allclose(sink.column("update_ratio")[taken], np.array(ratios)[taken], rtol=1e-4)


def test_dead_units_are_counted_from_their_gradients() -> None:
    model = Net()
    with torch.no_grad():
        model.hidden.bias[:4] = -100.0
    optimizer, sink = loops.sgd(model), Sink()
    train_loader, _, _ = make_loaders()
    with Capture(sink):
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 1)
    assert sink.column("dead_unit_share")[0] == pytest.approx(4 / 16)


def test_accumulated_steps_sum_what_was_backpropagated() -> None:
    sink = Sink()
    with Capture(sink):
        loops.LOOPS["gradient_accumulation"]()
    values = [r.value for r in TRUTH.records if r.split == "train"]
    expected = np.array(values).reshape(-1, 3).mean(1)  # three losses, each divided by three
    np.testing.assert_allclose(sink.column("loss"), expected, rtol=1e-5)
    np.testing.assert_array_equal(sink.column("n_samples"), 48)


def test_passes_arrive_while_the_loop_runs() -> None:
    train_loader, val_loader, _ = make_loaders()
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    with Capture(sink):
        for epoch in (1, 2, 3):
            loops.train_one(model, train_loader, F.cross_entropy, optimizer, epoch)
            time.sleep(0.06)
            loops.evaluate(model, val_loader, F.cross_entropy, epoch)
            time.sleep(0.06)
            # The training pass ended when the evaluation began.
            assert [(p.split, p.epoch) for _, p in sink.passes][-1] == ("train", epoch)
    assert sink.places[-1][:4] == (0, "val", 3, 18)
    assert sink.places[-1][4:] == (3, 3)


def test_modes_and_names_are_recorded() -> None:
    train_loader, val_loader, _ = make_loaders()
    model, sink = Net(), Sink()
    model.hidden.add_module("noise", nn.Dropout(0.0))  # a layer that depends on the mode
    optimizer = loops.sgd(model)
    with Capture(sink):
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 1)
        with torch.no_grad():  # without model.eval()
            for xb, yb in val_loader:
                F.cross_entropy(model(xb), yb)
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 2)
        loops.evaluate(model, val_loader, F.cross_entropy, 2)
    assert [(p.split, p.training, p.name) for _, p in sink.passes] == [
        ("train", True, "train_loader"),
        ("val", True, "val_loader"),
        ("train", True, "train_loader"),
        ("val", False, "val_loader"),
    ]
    assert sink.passes[1][1].accumulators is None
    assert sink.passes[3][1].accumulators is not None


def test_user_names_a_split() -> None:
    train_loader, val_loader, test_loader = make_loaders()
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    with Capture(sink, splits={"holdout": val_loader, "val": test_loader.dataset}):
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 1)
        loops.evaluate(model, val_loader, F.cross_entropy, 1)
        loops.evaluate(model, test_loader, F.cross_entropy, 1)
    assert [p.split for _, p in sink.passes] == ["train", "holdout", "val"]


def test_a_resumed_run_counts_on() -> None:
    train_loader, val_loader, _ = make_loaders()
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    with Capture(sink, resume_from=(4, 24)):
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 5)
        loops.evaluate(model, val_loader, F.cross_entropy, 5)
    assert [p.key for _, p in sink.passes] == [("train", 5, 30), ("val", 5, 30)]


def test_second_look_at_the_same_step_is_told_apart_where_it_saw_something_else() -> None:
    train_loader, val_loader, _ = make_loaders()
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    with Capture(sink):
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 1)
        loops.evaluate(model, val_loader, F.cross_entropy, 1)
        loops.evaluate(model, val_loader, F.cross_entropy, 1)
        loops.evaluate(Net(), val_loader, F.cross_entropy, 1)
    assert [p.key for _, p in sink.passes] == [("train", 1, 6), ("val", 1, 6), ("val_2", 1, 6)]
    assert len(sink.limits) == 1
    assert "evaluated again before another training step" in sink.limits[0]


def test_counts_for_a_cell_without_training() -> None:
    sink = Sink()
    with Capture(sink) as capture:
        torch.randn(3) + 1
    assert (capture.counters.losses, capture.counters.backwards) == (0, 0)
    assert sink.runs == []


def test_empty_loader_is_named() -> None:
    x, y = make_data()
    val_loader = DataLoader(TensorDataset(x[:3], y[:3]), 16, drop_last=True)
    train_loader, _, _ = make_loaders()
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    with Capture(sink) as capture:
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 1)
        loops.evaluate(model, val_loader, F.cross_entropy, 1)
    assert capture.counters.empty_loaders == ["val_loader"]


def test_first_nan_is_placed() -> None:
    train_loader, val_loader, _ = make_loaders()
    model, sink = Net(), Sink()
    optimizer = torch.optim.SGD(model.parameters(), float("inf"))
    with Capture(sink) as capture:
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 1)
        loops.evaluate(model, val_loader, F.cross_entropy, 1)
    assert capture.counters.not_finite == 5 + 3
    assert capture.counters.first_not_finite is not None
    assert capture.counters.first_not_finite[0] == "train"
    assert [p.split for _, p in sink.passes] == ["train", "val"]


def test_training_in_another_thread_is_said() -> None:
    sink = Sink()
    with Capture(sink):
        thread = threading.Thread(target=loops.LOOPS["plain_tutorial"])
        thread.start()
        thread.join()
    assert sink.passes == []
    assert "another thread" in sink.limits[0]


def test_an_iterator_that_dies_in_another_thread_is_no_training_there() -> None:
    sink = Sink()
    train_loader, _, _ = make_loaders()
    with Capture(sink):
        loops.LOOPS["plain_tutorial"]()
        held = [iter(train_loader)]
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
    assert sink.limits == []


class Anywhere(IterableDataset[Any]):
    def __iter__(self) -> Any:
        x, y = make_data()
        yield from zip(x, y, strict=True)


def test_unknown_samples_are_said_and_not_made_up() -> None:
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    with Capture(sink):
        loops.train_one(model, DataLoader(Anywhere(), 16, num_workers=1), F.cross_entropy, optimizer, 1)
    passed = sink.passes[0][1]
    assert not passed.predictions.ids_known
    assert len(sink.limits) == 1
    assert "a dataset with numbered samples" in sink.limits[0]


class Reshuffled(IterableDataset[Any]):
    def __iter__(self) -> Any:
        x, y = make_data()
        for i in torch.randperm(len(x)).tolist():
            yield x[i], y[i]


def test_places_in_a_shuffled_stream_are_no_ids() -> None:
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    loader = DataLoader(Reshuffled(), 16)
    with Capture(sink):
        for epoch in (1, 2, 3):
            loops.train_one(model, loader, F.cross_entropy, optimizer, epoch)
    assert [p.predictions.ids_known for _, p in sink.passes] == [True, False, False]
    assert "a dataset with numbered samples" in sink.limits[0]


def test_changed_targets_are_not_recorded_as_they_were_not() -> None:
    model, sink = Net(), Sink()
    train_loader, _, _ = make_loaders()
    with Capture(sink), torch.no_grad():
        for i, (xb, yb) in enumerate(train_loader):
            F.cross_entropy(model(xb), yb)
            if i == 2:
                yb.zero_()
    assert len(sink.passes[0][1].predictions) == N_TRAIN - 16
    assert "changed in place" in sink.limits[0]


def test_batches_handed_over_by_hand() -> None:
    sink = Sink()
    generator = torch.Generator().manual_seed(0)
    z, y = torch.randn(40, K, generator=generator), torch.randint(0, K, (40,), generator=generator)
    with Capture(sink) as capture:
        for epoch in (1, 2):
            for part in (slice(0, 25), slice(25, 40)):
                ids = np.arange(40)[part]
                capture.log_batch(
                    split="val", epoch=epoch, logits=z[part], targets=y[part], sample_ids=ids, step=epoch
                )
        with pytest.raises(ValueError, match="Expected logits of shape"):
            capture.log_batch(split="val", epoch=2, logits=z[0], targets=y)
        with pytest.raises(ValueError, match=f"targets from 0 to {K - 1}.*got {K}"):
            capture.log_batch(split="val", epoch=2, logits=z[:1], targets=[K])
        for wrong in ({"split": 5, "epoch": 2}, {"split": "val", "epoch": "two"}):
            with pytest.raises(TypeError, match="name of a split and a whole number"):
                capture.log_batch(**wrong, logits=z, targets=y)  # type: ignore[arg-type]
    assert [p.key for _, p in sink.passes] == [("val", 1, 1), ("val", 2, 2)]
    passed = sink.passes[0][1]
    np.testing.assert_allclose(passed.predictions.nll, F.cross_entropy(z, y, reduction="none"), atol=1e-6)
    assert passed.accumulators is not None
    assert passed.predictions.ids_known


def test_two_loaders_trained_on_together_stay_apart() -> None:
    x, y = make_data()
    first = DataLoader(TensorDataset(x[:48], y[:48]), 8, shuffle=True)
    second = DataLoader(TensorDataset(x[48:96], y[48:96]), 8, shuffle=True)
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    with Capture(sink):
        for _ in range(2):
            for (xa, ya), (xb, yb) in zip(first, second, strict=True):
                optimizer.zero_grad()
                (F.cross_entropy(model(xa), ya) + 0.5 * F.cross_entropy(model(xb), yb)).backward()
                optimizer.step()
    assert {(p.split, p.epoch) for _, p in sink.passes} == {
        (s, e) for s in ("train", "second") for e in (1, 2)
    }
    assert all(len(p.predictions) == 48 for _, p in sink.passes)


class Reads(TorchDispatchMode):
    """Counts operations that make the host wait for a device."""

    WAITING = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "equal",
        "is_nonzero",
        "_unique2",
        "bincount",
    )

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.__name__.split(".")[0] in self.WAITING:
            self.n += 1
        return function(*args, **(kwargs or {}))


def small_loop(device: str, n: int = 40) -> None:
    model = nn.Sequential(nn.Linear(D, 16), nn.ReLU(), nn.Linear(16, K)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = make_data()
    for _ in range(n):
        for xb, yb in DataLoader(TensorDataset(x[:64], y[:64]), 32):
            loss = F.cross_entropy(model(xb.to(device)), yb.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            F.cross_entropy(model(x[:N_VAL].to(device)), y[:N_VAL].to(device))


def test_no_value_is_read_from_a_device() -> None:
    """On the meta device every read of a value raises, and a failure of ours becomes a limit."""

    class Nothing(Landing):
        def take(self, *, wait: bool = False) -> list[Tensor]:
            self._host = [torch.zeros(t.shape, dtype=t.dtype) for t in self._tensors]
            self._blocked = False
            return super().take()

    sink = Sink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jupyter_lossacc.capture.reading.transfer.Landing", Nothing)
        patch.setattr("jupyter_lossacc.capture.rules.passes.Landing", Nothing)
        with Capture(sink) as capture:
            small_loop("meta")
            assert capture.counters.losses == 0  # nothing lands before the end
            assert len(capture._reader._flying) > 0
            small_loop("meta", 2)
    assert [s for s in sink.limits if "failed" in s] == []
    assert capture.counters.losses > 0


def test_no_waiting_operation_is_added() -> None:
    with Reads() as bare:
        small_loop("cpu")
    with Reads() as recorded, Capture(Sink()):
        small_loop("cpu")
    assert recorded.n == bare.n


def test_memory_stays_flat() -> None:
    """What waits is bounded, however long the loop runs."""
    x, y = make_data()
    model, sink = nn.Linear(D, K), Sink()
    optimizer = loops.sgd(model)
    sizes = []
    with Capture(sink) as capture:
        for _ in range(300):
            for xb, yb in DataLoader(TensorDataset(x[:32], y[:32]), 16):
                F.cross_entropy(model(xb), yb).backward()
                optimizer.step()
            sink.passes.clear()
            interpreter = capture._interpreter
            sizes.append(
                len(interpreter._waiting) + len(interpreter.run.open) + len(capture.journal.pending)
                + len(capture._reader.book.recent()) + len(capture._reader.book._kept)
            )  # fmt: skip
    assert max(sizes[150:]) <= max(sizes[:150]) + 1


@pytest.mark.parametrize("n_workers", [0, 1])
def test_iterators_older_than_the_recording(n_workers: int) -> None:
    """What they drew before is unknown: it is said, and no ids are made up."""
    x, y = make_data()
    loader = DataLoader(TensorDataset(x[:N_TRAIN], y[:N_TRAIN]), 16, shuffle=True, num_workers=n_workers)
    model, sink = Net(), Sink()
    optimizer = loops.sgd(model)
    older = iter(loader)
    next(older)
    with Capture(sink):
        loops.train_one(model, older, F.cross_entropy, optimizer, 1)
        loops.train_one(model, loader, F.cross_entropy, optimizer, 2)
    first, second = (p for _, p in sink.passes)
    assert len(first.predictions) == N_TRAIN - 16
    assert not first.predictions.ids_known
    assert "It is not known which samples" in sink.limits[0]
    assert second.predictions.ids_known
    np.testing.assert_array_equal(second.predictions.sample_ids, np.arange(N_TRAIN))


def test_an_index_that_is_written_over_gives_no_wrong_ids() -> None:
    """One buffer holds the indices of every batch: when they are read, it holds those of another one."""
    x, y = make_data()
    model, sink, where = Net(), Sink(), torch.empty(16, dtype=torch.long)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    TRUTH.reset()
    TRUTH.quiet = True
    with Capture(sink):
        for _ in range(3):
            order = torch.randperm(64)
            for first in range(0, 64, 16):
                where.copy_(order[first : first + 16])
                optimizer.zero_grad()
                F.cross_entropy(model(x[where]), y[where]).backward()
                optimizer.step()
        labels = torch.randint(0, 3, (16,))
        inputs = x[labels]
        labels[:4] = -100  # as masked tokens are
        with torch.no_grad():
            F.cross_entropy(model(inputs), labels)
    trained = [p.predictions for _, p in sink.passes if p.split == "train"]
    assert [len(p) for p in trained] == [64, 64, 64]
    for p in trained:
        assert len(np.unique(p.sample_ids)) == 64
        assert (p.targets == trained[0].targets).all()  # a sample has one label
    assert not any("failed" in line for line in sink.limits)


def test_more_classes_later_do_not_make_earlier_predictions_features() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 3))
    sink = Sink()
    with Capture(sink):
        for n_classes in (3, 5):
            model[1] = torch.nn.Linear(8, n_classes)
            optimizer = loops.sgd(model)
            for x, y in train_loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            with torch.no_grad():
                sum((model(x).argmax(1) == y).sum().item() for x, y in val_loader)
    assert [p.key[:2] for _, p in sink.passes if p.split == "val"] == [("val", 1), ("val", 2)]
