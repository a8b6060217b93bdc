"""The training does not notice: same bits, no failure of ours, nothing left behind."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import random
import signal
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch._dynamo  # torch loads it at the first optimiser, and changes itself meanwhile
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jupyter_lossacc.capture.capture import Capture
from jupyter_lossacc.capture.taps.journal import OUTPUT, Journal
from jupyter_lossacc.errors import CaptureError, LossAccWarning, StopTraining
from tests.capture import loops, truth
from tests.capture.torch_state import changed, left_over, torch_state
from tests.capture.truth import TRUTH, Net, Sink, make_data, make_loaders

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_DETERMINISTIC = ("workers_out_of_order",)


def fingerprint(name: str, record: bool) -> tuple[Any, ...]:
    """All outputs of a loop, every model's final weights, and the state of the random streams."""
    TRUTH.reset()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what users draw from
    random.seed(0)
    models: list[Net] = []
    original = Net.__init__

    def remember(self: Net, *args: Any) -> None:
        original(self, *args)
        models.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth.Net, "__init__", remember)
        if record:
            with Capture(Sink()):
                loops.LOOPS[name]()
        else:
            loops.LOOPS[name]()
    outputs = [(r.ids, r.logits, r.value) for r in TRUTH.records]
    weights = [[p.detach().clone() for p in m.parameters()] for m in models]
    return outputs, weights, torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002 - what users draw from


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) or (a != a and b != b)  # an empty mean is NaN both times


@pytest.mark.parametrize("name", [n for n in loops.LOOPS if n not in NOT_DETERMINISTIC])
def test_training_is_bit_identical(name: str) -> None:
    bare, recorded = fingerprint(name, record=False), fingerprint(name, record=True)
    for what, a, b in zip(("outputs", "weights", "torch", "numpy", "python"), bare, recorded, strict=True):
        assert same(a, b), what


@pytest.fixture(autouse=True)
def patches_are_gone() -> Iterator[None]:
    """Whatever a test here does to a recording: nothing of ours stays in torch, and no thread."""
    yield
    assert left_over() == []
    assert not [t.name for t in threading.enumerate() if t.name.startswith("lossacc")]


def test_patches_are_gone_after_success_error_and_interrupt() -> None:
    before = torch_state()
    with Capture(Sink()):
        assert len(changed(before)) > 20
        TRUTH.reset()
        loops.LOOPS["plain_tutorial"]()
    assert changed(before) == []
    for error in (ValueError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)), Capture(Sink()):
            raise error
        assert changed(before) == []


def test_models_keep_no_hooks() -> None:
    model = Net()
    TRUTH.reset()
    with Capture(Sink()):
        loops.fit(nn.CrossEntropyLoss(), model)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning")
def test_a_trained_model_can_be_scripted_while_it_is_watched() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(16, 4), torch.randint(0, 3, (16,))
    with Capture(Sink()):
        for _ in range(3):
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        hooks = list(model._forward_hooks.values())
        assert hooks, "a recording looks at what the model gives"
        scripted = torch.jit.script(model)
        assert list(model._forward_hooks.values()) == hooks
        assert torch.equal(scripted(x), model(x))


def test_nesting_is_refused_and_harmless() -> None:
    sink = Sink()
    TRUTH.reset()
    with Capture(sink):
        with pytest.raises(CaptureError, match="no recording to be active"), Capture(Sink()):
            pass
        loops.LOOPS["plain_tutorial"]()
    assert len(sink.passes) == 2 * truth.EPOCHS


@pytest.mark.parametrize("seed", range(6))
def test_a_real_interrupt_leaves_nothing_behind(seed: int) -> None:
    delay = 0.02 + 0.03 * np.random.default_rng(seed).random()
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    sink = Sink()
    TRUTH.reset()
    model = Net()
    with pytest.raises(KeyboardInterrupt), Capture(sink):  # noqa: PT012 - a whole cell
        timer.start()
        while True:
            loops.fit(nn.CrossEntropyLoss(), model)
    assert all(passed.complete for _, passed in sink.passes[:-2])


def test_interrupted_pass_is_kept_as_not_complete() -> None:
    train_loader, val_loader, _ = make_loaders()
    model = Net()
    optimizer = loops.sgd(model)
    sink = Sink()
    TRUTH.reset()
    with pytest.raises(KeyboardInterrupt), Capture(sink):  # noqa: PT012 - a whole cell
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 1)
        loops.evaluate(model, val_loader, F.cross_entropy, 1)
        for i, (xb, yb) in enumerate(train_loader):
            if i == 3:
                raise KeyboardInterrupt
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
    assert [(p.split, p.epoch, p.complete) for _, p in sink.passes] == [
        ("train", 1, True),
        ("val", 1, True),
        ("train", 2, False),
    ]
    assert len(sink.passes[-1][1].predictions) == 3 * truth.BATCH


class Broken(list[Any]):
    """A list of entries that fails for one kind of entry."""

    def __init__(self, kind: int) -> None:
        super().__init__()
        self.kind = kind

    def append(self, entry: Any) -> None:
        if entry[0] == self.kind:
            raise RuntimeError("injected")
        super().append(entry)


@pytest.mark.parametrize("kind", range(OUTPUT + 1))
def test_failing_tap_costs_one_warning_and_one_limit(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "flush", lambda self: None)
    name = "permuted_indices" if kind == 5 else "plain_tutorial"
    bare = fingerprint(name, record=False)
    sink = Sink()
    TRUTH.reset()
    torch.manual_seed(0)
    capture = Capture(sink)
    capture.journal.entries = Broken(kind)
    with warnings.catch_warnings(record=True) as caught, capture:
        warnings.simplefilter("always")
        loops.LOOPS[name]()
    assert [w.category for w in caught if "recording" in str(w.message)] == [LossAccWarning]
    assert len([s for s in sink.limits if "injected" in s]) == 1
    assert same([(r.ids, r.logits, r.value) for r in TRUTH.records], bare[0])


@pytest.mark.parametrize("part", ["_reader.read", "_interpreter.read", "sink.pass_finished", "sink.steps"])
def test_failing_reading_is_contained(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = fingerprint("plain_tutorial", record=False)
    sink = Sink()
    capture = Capture(sink)
    owner: Any = capture
    *path, last = part.split(".")
    for step in path:
        owner = getattr(owner, step)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(owner, last, fail)
    TRUTH.reset()
    torch.manual_seed(0)
    with pytest.warns(LossAccWarning, match="injected"), capture:
        loops.LOOPS["plain_tutorial"]()
    assert same([(r.ids, r.logits, r.value) for r in TRUTH.records], bare[0])


def test_warnings_as_errors_do_not_end_the_training() -> None:
    sink = Sink()
    capture = Capture(sink)
    capture.journal.entries = Broken(0)
    TRUTH.reset()
    with warnings.catch_warnings(), capture:
        warnings.simplefilter("error")
        loops.LOOPS["plain_tutorial"]()
    assert len([s for s in sink.limits if "injected" in s]) == 1


def test_saving_copying_and_pickling_work_during_and_after() -> None:
    model = Net()
    x, _ = make_data()
    TRUTH.reset()

    def all_ways() -> None:
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin(x), model(x))
        buffer = io.BytesIO()
        torch.save(model, buffer)
        assert b"lossacc" not in buffer.getvalue()
        buffer.seek(0)
        assert torch.equal(torch.load(buffer, weights_only=False)(x), model(x))

    with Capture(Sink()):
        loops.fit(nn.CrossEntropyLoss(), model)
        all_ways()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            scripted = torch.jit.script(Criterion())
        assert scripted(model(x), make_data()[1]) > 0
    all_ways()


class Criterion(nn.Module):
    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z, y)


class Tag:
    """Lives as long as the graph node it is attached to."""


def tag(loss: Tensor) -> Tag:
    made = Tag()
    assert loss.grad_fn is not None
    loss.grad_fn.metadata["tag"] = made
    return made


def test_no_graph_batch_or_model_is_kept_alive() -> None:
    dead: list[weakref.ref[Any]] = []
    sink = Sink()
    TRUTH.reset()
    x, y = make_data()
    with Capture(sink) as capture:
        model = nn.Sequential(nn.Linear(truth.D, 8), nn.ReLU(), nn.Linear(8, truth.K))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        loader = DataLoader(TensorDataset(x, y), 4)
        for _ in range(2):
            for xb, yb in loader:
                z = model(xb)
                loss = F.cross_entropy(z, yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                dead += [weakref.ref(t) for t in (xb, z, loss, tag(loss))]
            dead.append(weakref.ref(yb))
        never = F.cross_entropy(model(x), y)
        dead += [weakref.ref(tag(never)), weakref.ref(model), weakref.ref(loader)]
        del model, optimizer, loader, xb, yb, z, loss, never
        capture.journal.flush()
        gc.collect()
        alive = [r() for r in dead if r() is not None]
        assert [type(a).__name__ for a in alive if not isinstance(a, Tensor)] == []
        # The targets of the last few batches are kept for comparison, and nothing else.
        assert all(isinstance(a, Tensor) and not a.is_floating_point() for a in alive)
        assert len(alive) <= 2


def test_stop_raises_after_the_step() -> None:
    stop = threading.Event()
    sink = Sink()
    model = Net()
    train_loader, val_loader, _ = make_loaders()
    optimizer = loops.sgd(model)
    TRUTH.reset()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(StopTraining) as caught, Capture(sink, stop=stop):  # noqa: PT012 - a whole cell
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 1)
        loops.evaluate(model, val_loader, F.cross_entropy, 1)
        before = [p.detach().clone() for p in model.parameters()]
        stop.set()
        loops.train_one(model, train_loader, F.cross_entropy, optimizer, 2)
    assert caught.value.step == 7
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert [(p.split, p.epoch, p.complete) for _, p in sink.passes][-1] == ("train", 2, False)


def test_stop_waits_for_the_outer_step_of_a_closure() -> None:
    stop = threading.Event()
    calls = []
    model = Net()
    x, y = make_data()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    TRUTH.reset()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        calls.append(1)
        stop.set()
        return loss

    with pytest.raises(StopTraining), Capture(Sink(), stop=stop):
        optimizer.step(closure)
    assert len(calls) > 1
