"""Recording keeps to its share of the time, and what it leaves out changes nothing else."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from jupyter_lossacc.capture.capture import Capture
from jupyter_lossacc.capture.reading import reader
from jupyter_lossacc.capture.reading.governor import MAX_EVERY, MAX_EVERY_PASS, SENTENCE, SHARE, Governor
from jupyter_lossacc.capture.rules.limits import SINGLE as ONE_BATCH
from jupyter_lossacc.diagnosis.summary import summarize
from tests.capture import loops
from tests.capture.truth import TRUTH, Net, Sink, make_data, make_loaders

if TYPE_CHECKING:
    from jupyter_lossacc.records import Pass

STYLES = (
    "plain_tutorial",
    "class_weights_that_change_every_epoch",
    "ignored_samples_and_batches",
    "sums_divided_by_hand",
    "reduction_none_weighted_by_hand",
    "binary_cross_entropy_with_logits",
    "several_labels_with_positive_weights",
    "gradient_accumulation",
    "full_batch",
    "permuted_indices",
    "pixels",
    "next_tokens_shifted_by_hand",
    "focal_loss_as_a_function",
    "lbfgs_closure",
    "one_batch_for_ever",
    "accumulated_by_adding_gradients",
    "steps_that_begin_like_all_others",
    "targets_written_over_after_the_step",
    "batches_fetched_ahead_and_copied",
    "copies_in_another_type",
    "last_batch_of_one_sample",
    "validation_with_gradients",
    "validation_batch_in_every_step",
    "batches_as_dictionaries",
    "subsets_of_subsets_of_concatenated_datasets",
    "k_folds",
    "two_models_trained_in_turn",
    "blocks_trained_in_alternating_epochs",
)
SINGLE = ("full_batch", "one_batch_for_ever")  # every step is a pass


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def train(governor: Governor, clock: Clock, own: float, step: float, steps: int = 20_000) -> list[int]:
    """Let `steps` flushes pass in which recording takes `own` seconds, a share of them per-sample."""
    seen = []
    for _ in range(steps):
        cost = own * (0.1 + 0.9 / governor.every)
        clock.now += step + cost
        governor.took(cost, 0)
        seen.append(governor.every)
    return seen


def test_recording_that_costs_little_is_left_alone() -> None:
    clock = Clock()
    governor = Governor(clock=clock, entry_cost=0.0, grace=1.0)
    governor.begin()
    assert set(train(governor, clock, own=0.02 * SHARE, step=0.02)) == {1}


def test_recording_that_costs_much_is_thinned_until_it_keeps_to_its_share() -> None:
    clock = Clock()
    governor = Governor(clock=clock, entry_cost=0.0, grace=1.0)
    governor.begin()
    seen = train(governor, clock, own=0.001, step=0.01)
    assert seen[0] == 1
    assert 4 <= governor.every <= MAX_EVERY
    before, began = governor.spent, clock.now
    train(governor, clock, own=0.001, step=0.01)
    assert (governor.spent - before) / (clock.now - began) < SHARE


def test_the_first_second_is_free_and_steps_that_grow_are_recorded_in_full_again() -> None:
    clock = Clock()
    governor = Governor(clock=clock, entry_cost=0.0, grace=1.0)
    governor.begin()
    seen = train(governor, clock, own=0.1, step=0.1, steps=20)
    assert seen[:9] == [1] * 9
    assert seen[-1] > 1
    train(governor, clock, own=0.1, step=0.01, steps=300)
    assert governor.every == MAX_EVERY
    assert train(governor, clock, own=0.1, step=100.0)[-1] == 1


def test_entries_count_as_time_and_a_wish_for_all_samples_is_kept() -> None:
    for enabled in (True, False):
        clock = Clock()
        governor = Governor(enabled=enabled, clock=clock, entry_cost=0.01, grace=1.0)
        governor.begin()
        for _ in range(300):
            clock.now += 1.0
            governor.took(0.0, 100)
        assert (governor.every > 1) is enabled
    assert Governor(enabled=False).takes()


@pytest.mark.parametrize("every", [2, 5, 64])
def test_one_of_every_so_many_batches_is_taken_at_random(every: int) -> None:
    state = random.getstate()
    governor = Governor()
    governor.every = every
    taken = np.array([governor.takes() for _ in range(200 * every)]).reshape(200, every)
    assert (taken.sum(axis=1) == 1).all()
    places = taken.argmax(axis=1)
    assert abs(places.mean() - (every - 1) / 2) < 0.2 * every
    assert len(set(places[:20])) > 1
    assert random.getstate() == state


class Thinned(Governor):
    """Leaves out batches from the beginning, whatever the clock says."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def took(self, seconds: float, n_entries: int) -> None:
        """Decide nothing."""

    def passes_are(self, *, steps: bool) -> None:
        """Stay as it is."""


def one_batch_for_ever() -> None:
    x, y = make_data()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for epoch in range(1, 200):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if epoch % 70 == 0:
            with torch.no_grad():
                F.cross_entropy(model(x[:20]), y[:20])


def accumulated_by_adding_gradients() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(4):
        for i, (x, y) in enumerate(train_loader):
            F.cross_entropy(model(x), y).backward()
            if i % 2:
                optimizer.step()
                optimizer.zero_grad()
        with torch.no_grad():
            for x, y in val_loader:
                F.cross_entropy(model(x), y)


def steps_that_begin_like_all_others() -> None:
    """One step of every epoch goes on differently, each time in another way."""
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    kinds = ("passed over", "scaled", "no backward", "looked at", "looked at again", "added to")
    for how in ("", "", "", *kinds):
        for i, (x, y) in enumerate(train_loader):
            odd = how if i == 3 else ""
            loss = F.cross_entropy(model(x), y)
            if odd == "passed over":
                continue
            if odd != "no backward":
                if odd != "added to":
                    optimizer.zero_grad()
                (loss / 2 if odd == "scaled" else loss).backward()
            if odd == "looked at":
                with torch.no_grad():
                    F.cross_entropy(model(x), y)
            if odd == "added to":
                F.cross_entropy(model(x), y).backward()
            optimizer.step()
            if odd == "looked at again":
                F.cross_entropy(model(x), y)
        with torch.no_grad():
            for x, y in val_loader:
                F.cross_entropy(model(x), y)


def batches_fetched_ahead_and_copied() -> None:
    """The loader has given the next batch before the loss of this one is computed, on copies."""
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(6):
        batches = iter(train_loader)
        ahead = next(batches, None)
        while ahead is not None:
            x, y = (part.clone() for part in ahead)
            ahead = next(batches, None)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            for x, y in val_loader:
                F.cross_entropy(model(x), y)


def values_scaled_after_the_step() -> None:
    """``loss *= n`` writes into what the criterion has returned, once the step is over."""
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(6):
        for x, y in train_loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss *= len(x)
        with torch.no_grad():
            for x, y in val_loader:
                F.cross_entropy(model(x), y)


def labels_in_one_buffer() -> None:
    """The labels of every batch are copied into the same tensor."""
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    buffer = torch.zeros(16, dtype=torch.long)
    for _ in range(6):
        for x, y in train_loader:
            buffer.copy_(y)
            optimizer.zero_grad()
            F.cross_entropy(model(x), buffer).backward()
            optimizer.step()
        with torch.no_grad():
            for x, y in val_loader:
                F.cross_entropy(model(x), y)


def labels_filled_in_steps() -> None:
    """One tensor of labels, made by writing into it, and batches that are slices of it."""
    x, _ = make_data()
    y = torch.zeros(len(x), dtype=torch.long)
    y[::3] = 1
    y[1::3] = 2
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(6):
        for i in range(0, 96, 16):
            optimizer.zero_grad()
            F.cross_entropy(model(x[i : i + 16]), y[i : i + 16]).backward()
            optimizer.step()
        with torch.no_grad():
            F.cross_entropy(model(x[96:]), y[96:])


def targets_written_over_after_the_step() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(4):
        for i, (x, y) in enumerate(train_loader):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            if i % 3 == 1:
                y.zero_()
        with torch.no_grad():
            for x, y in val_loader:
                F.cross_entropy(model(x), y)


OWN = {
    f.__name__: f
    for f in (
        one_batch_for_ever,
        accumulated_by_adding_gradients,
        steps_that_begin_like_all_others,
        targets_written_over_after_the_step,
        batches_fetched_ahead_and_copied,
        values_scaled_after_the_step,
        labels_in_one_buffer,
        labels_filled_in_steps,
    )
}


def record(name: str, every: int) -> Sink:
    TRUTH.reset()
    TRUTH.quiet = name in OWN
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what users draw from
    random.seed(0)
    sink = Sink()
    with Capture(sink, governor=Thinned(every)):
        (OWN.get(name) or loops.LOOPS[name])()
    return sink


def rows(passed: Pass) -> list[tuple[float, ...]]:
    p = passed.predictions
    columns = (p.targets, p.predicted, p.correct, p.nll, p.reported_loss, p.confidence)
    return [(int(i), *map(float, row)) for i, *row in zip(p.sample_ids, *columns, strict=True)]


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True))


DEVIATING = (
    "steps_that_begin_like_all_others",
    "targets_written_over_after_the_step",
    "batches_fetched_ahead_and_copied",
    "copies_in_another_type",
    "values_scaled_after_the_step",
    "labels_in_one_buffer",
    "labels_filled_in_steps",
)


@pytest.mark.parametrize(
    ("name", "every"), [*((name, 3) for name in STYLES), *((name, 1000) for name in DEVIATING)]
)
def test_thinning_leaves_out_training_samples_and_nothing_else(name: str, every: int) -> None:
    full, thin = record(name, 1), record(name, every)
    assert SENTENCE in thin.limits
    assert (ONE_BATCH in thin.limits) == (name in SINGLE)
    assert SENTENCE not in full.limits
    assert full.chunks
    for column in ("epoch", "step", "loss", "n_samples", "learning_rate"):
        assert same(full.column(column), thin.column(column))
    found = {(run, p.key): p for run, p in thin.passes}
    assert len(found) == len(thin.passes)
    n_left_out = 0
    for run, whole in full.passes:
        part = found.pop((run, whole.key), None)
        if part is None:
            assert whole.split == "train"
            n_left_out += 1
            continue
        assert part.reported_loss == pytest.approx(whole.reported_loss, rel=1e-6, nan_ok=True)
        assert (part.order_runs, part.complete, part.name) == (whole.order_runs, whole.complete, whole.name)
        if whole.split != "train":
            assert part.n_total is None
            assert same(rows(part), rows(whole))
            assert (part.accumulators is None) == (whole.accumulators is None)
            continue
        if name not in SINGLE:
            assert part.n_total == len(whole.predictions) > len(part.predictions)
        assert str(part.loss) == str(whole.loss) or not len(part.predictions)
        remaining = [str(r) for r in rows(whole)]
        for row in rows(part):
            remaining.remove(str(row))
    assert not found
    assert (n_left_out > 0) == (name in SINGLE)


@pytest.mark.parametrize(
    "name",
    [
        "plain_tutorial",
        "one_batch_for_ever",
        "k_folds",
        "ignored_samples_and_batches",
        "copies_in_another_type",
    ],
)
def test_plain_steps_are_read_many_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    take = reader.take_plain

    def counted(*args: Any) -> Any:
        found = take(*args)
        taken.append(len(found[0].rates))
        return found

    monkeypatch.setattr(reader, "take_plain", counted)
    record(name, 1)
    assert not taken
    record(name, 1000)
    assert max(taken) > 2


def test_steps_that_are_passes_are_thinned_further_until_a_loader_comes() -> None:
    clock = Clock()
    governor = Governor(clock=clock, entry_cost=0.0, grace=1.0)
    governor.begin()
    governor.passes_are(steps=True)
    for _ in range(100):
        clock.now += 1.0
        governor.took(0.5, 0)
    assert governor.every == MAX_EVERY_PASS
    governor.passes_are(steps=False)
    assert governor.every == MAX_EVERY


@pytest.mark.parametrize("every", [1, 1000])
@pytest.mark.parametrize(
    "name", ["values_scaled_after_the_step", "labels_in_one_buffer", "labels_filled_in_steps"]
)
def test_what_is_written_into_is_neither_lost_nor_unknown(name: str, every: int) -> None:
    sink = record(name, every)
    assert set(sink.limits) <= {SENTENCE}
    loss = np.asarray(sink.column("loss"))
    assert np.isfinite(loss).all()
    assert loss.max() < 4  # of one batch, not of 16 samples together
    assert all(p.predictions.ids_known for _, p in sink.passes)
    assert {p.epoch for _, p in sink.passes if p.split == "train"} == set(range(1, 7))


def test_a_pass_none_of_whose_samples_were_recorded_claims_nothing() -> None:
    sink = record("plain_tutorial", 1000)
    empty = [p for _, p in sink.passes if p.split == "train" and not len(p.predictions)]
    assert empty
    for passed in empty:
        summary = summarize(passed)
        assert summary.n_samples == 0
        assert summary.n_total == 96
        assert np.isfinite(summary.reported_loss)
        assert np.isnan([summary.accuracy, summary.nll, summary.balanced_accuracy]).all()


def test_the_governor_acts_in_a_real_training_and_says_so() -> None:
    """Every flush seems to take a second of a training that takes none."""
    clock = Clock()

    class Slow(Governor):
        def took(self, seconds: float, n_entries: int) -> None:
            clock.now += 1.0
            super().took(1.0 + seconds, n_entries)

    x, y = make_data()
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss_function = nn.CrossEntropyLoss()
    sink = Sink()
    TRUTH.reset()
    TRUTH.quiet = True
    with Capture(sink, governor=Slow(clock=clock, entry_cost=0.0, grace=1.0)):
        for _ in range(2000):
            optimizer.zero_grad()
            loss_function(model(x[:32]), y[:32]).backward()
            optimizer.step()
    assert sink.limits.count(SENTENCE) == sink.limits.count(ONE_BATCH) == 1
    assert len(sink.column("loss")) == 2000
    assert 100 < len(sink.passes) < 1000
    epochs = [p.epoch for _, p in sink.passes]
    assert epochs[:32] == list(range(1, 33))
    assert epochs == sorted(set(epochs))
