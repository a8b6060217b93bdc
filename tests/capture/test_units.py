"""Dead and saturated units: counted from the activations of one batch of an evaluation."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.utils.data import DataLoader, TensorDataset

import jupyter_lossacc as la
from jupyter_lossacc.capture.capture import Capture
from jupyter_lossacc.capture.taps import units
from jupyter_lossacc.capture.taps.journal import UNITS
from jupyter_lossacc.store.tables import summaries_from_table, summaries_table
from tests.capture.test_seen import Reads
from tests.capture.truth import D, K, Sink, make_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_lossacc.records import UnitShare

N_VAL, BATCH, H = 64, 32, 12


@pytest.fixture(autouse=True)
def _always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every evaluation may be looked at, however short it is; nothing was compiled before."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    monkeypatch.setattr(units, "_SHARE", 1e9)


def train(model: nn.Module, n_epochs: int = 2, scale: float = 1.0, *, first: bool = True) -> list[Any]:
    """Evaluate before and after every epoch; return all outputs and the final weights."""
    x, y = make_data()
    x = x * scale
    order = torch.Generator().manual_seed(0)
    train_loader = DataLoader(TensorDataset(x[N_VAL:], y[N_VAL:]), BATCH, shuffle=True, generator=order)
    val_loader = DataLoader(TensorDataset(x[:N_VAL], y[:N_VAL]), BATCH)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    seen: list[Any] = []

    def evaluate() -> None:
        model.eval()
        with torch.no_grad():
            for xb, yb in val_loader:
                seen.append(model(xb))
                F.cross_entropy(seen[-1], yb)

    if first:
        evaluate()
    for _ in range(n_epochs):
        model.train()
        for xb, yb in train_loader:
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
        evaluate()
    return [*seen, *(p.detach().clone() for p in model.parameters())]


def relu_net(n_dead: int = 0) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(D, H), nn.ReLU(), nn.Linear(H, H), nn.ReLU(), nn.Linear(H, K))
    with torch.no_grad():
        model[2].bias[:n_dead] = -1e4
    return model


def tanh_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, H), nn.Tanh(), nn.Linear(H, K))


def looks(model: nn.Module, **options: Any) -> dict[tuple[str, int], tuple[UnitShare, ...]]:
    sink = Sink()
    with Capture(sink):
        train(model, **options)
    assert sink.limits == []
    return {(p.split, p.epoch): p.units for _, p in sink.passes}


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_dead_layer_is_named_from_epoch_zero_on() -> None:
    found = looks(relu_net(n_dead=H))
    assert sorted(found) == [("train", 1), ("train", 2), ("val", 0), ("val", 1), ("val", 2)]
    assert found["train", 1] == ()
    for epoch in range(3):
        first, second = found["val", epoch]
        assert (first.layer, first.kind, first.n_units, first.n_samples) == ("1", "ReLU", H, BATCH)
        assert (second.layer, second.dead, second.saturated) == ("3", H, None)
        assert first.dead is not None
        assert first.dead < H / 2


def test_counts_are_those_of_the_activations_themselves() -> None:
    model = relu_net(n_dead=5)
    x, _ = make_data()
    truth = [int((model[: i + 1](x[:BATCH]) == 0).all(0).sum()) for i in (1, 3)]
    assert [u.dead for u in looks(model)["val", 0]] == truth
    assert truth[1] >= 5


@pytest.mark.parametrize(("scale", "many"), [(1.0, False), (1000.0, True)])
def test_saturated_tanh(scale: float, many: bool) -> None:
    model = tanh_net()
    x, _ = make_data()
    values = torch.tanh(model[0](x[:BATCH] * scale)).abs()
    expected = int(((values >= 0.99).float().mean(0) >= 0.95).sum())
    [look] = looks(model, scale=scale, n_epochs=1)["val", 0]
    assert (look.kind, look.dead, look.saturated) == ("Tanh", None, expected)
    assert (expected > H / 2) is many


@pytest.mark.parametrize(
    ("module", "shift", "dead", "saturated"),
    [
        (nn.ReLU(inplace=True), -20.0, 3, None),
        (nn.GELU(), -20.0, 3, None),
        (nn.GELU(), 0.0, 0, None),
        (nn.ReLU6(), 20.0, 0, 3),
        (nn.ReLU6(), -20.0, 3, 0),
        (nn.Sigmoid(), -20.0, None, 3),
        (nn.Sigmoid(), 0.0, None, 0),
        (nn.Hardsigmoid(), 20.0, None, 3),
        (nn.Hardtanh(-2, 2), 20.0, None, 3),
        (nn.Hardtanh(-2, 2), 0.0, None, 0),
    ],
)
def test_kinds(module: nn.Module, shift: float, dead: int | None, saturated: int | None) -> None:
    model = nn.Sequential(nn.Linear(D, 3), module, nn.Linear(3, K))
    with torch.no_grad():
        model[0].weight.mul_(0.1)
        model[0].bias.fill_(shift)
    [look] = looks(model, n_epochs=1)["val", 0]
    assert (look.dead, look.saturated) == (dead, saturated)


class Image(nn.Module):
    """Convolution channels, then features; one activation used twice; a function in between."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()
        self.mix, self.head, self.last = nn.Linear(6, 5), nn.Linear(4 * D * 5, K), last

    def forward(self, x: Tensor) -> Tensor:
        z = self.act(self.conv(x[:, None, None, :].expand(-1, 1, D, D)))
        z = self.act(F.relu(self.mix(z)))
        return self.last(self.head(z.flatten(1)))  # type: ignore[no-any-return]


def test_channels_are_units_and_the_output_is_no_hidden_layer() -> None:
    [look] = looks(Image(nn.Sigmoid()), n_epochs=1)["val", 0]
    assert (look.layer, look.n_units, look.n_samples) == ("act", 4, BATCH)


def test_units_of_sequences() -> None:
    linear, channels = frozenset({8}), frozenset({4})
    shapes = {(32, 8): 1, (32, 7, 8): 2, (32, 4, 7): 1, (32, 4, 8): None, (32, 4, 8, 8): 1, (3, 9, 9): None}
    for shape, dim in shapes.items():
        assert units._unit_dim(torch.Size(shape), (linear, channels)) == dim, shape


@pytest.mark.parametrize("make", [lambda: relu_net(3), tanh_net, lambda: Image(nn.Identity())])
def test_training_is_bit_identical(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(1)
    with Reads() as reads_bare:
        bare = train(make())
    state = torch.get_rng_state()
    torch.manual_seed(1)
    model, sink = make(), Sink()
    with Reads() as reads, Capture(sink):
        recorded = train(model)
    assert all(torch.equal(a, b) for a, b in zip(bare, recorded, strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert reads.n == reads_bare.n
    assert hooks_of(model) == 0
    assert any(p.units for _, p in sink.passes)


def test_transformer_layers_take_their_fast_path() -> None:
    """Torch's own layers compute in another way as soon as a hook is inside."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation=nn.ReLU(), batch_first=True)
    model = nn.Sequential(nn.Linear(D, 8), nn.Unflatten(1, (1, 8)), layer, nn.Flatten(), nn.Linear(8, K))
    twin = copy.deepcopy(model)
    bare, recorded = train(twin, 1), []
    with Capture(Sink()):
        recorded = train(model, 1)
    assert all(torch.equal(a, b) for a, b in zip(bare, recorded, strict=True))
    assert units._activations(model)[0] == []


def test_one_batch_a_pass_and_hooks_only_while_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, counted, during = relu_net(), [], []
    original = units._counts

    def counts(module: nn.Module, *args: Any) -> Tensor:
        counted.append(module)
        assert not module._forward_hooks  # gone at its first call
        return original(module, *args)

    def watch(module: nn.Module, inputs: Any) -> None:
        during.append(sum(len(m._forward_hooks) for m in module.children()))

    monkeypatch.setattr(units, "_counts", counts)
    model.register_forward_pre_hook(watch)
    with Capture(Sink()):
        train(model, n_epochs=3)
        assert sum(len(m._forward_hooks) for m in model.children()) == 0
        pickle.loads(pickle.dumps(model[:2]))
    assert len(counted) == 2 * 4
    assert hooks_of(model) == 1  # the test's own


def test_a_model_evaluated_before_its_optimizer_is_made() -> None:
    """It is found at its first loss, and looked at with the second batch."""
    x, y = make_data()
    model, sink = relu_net(n_dead=H), Sink()
    with Capture(sink):
        model.eval()
        with torch.no_grad():
            for i in range(0, N_VAL, BATCH):
                F.cross_entropy(model(x[i : i + BATCH]), y[i : i + BATCH])
        train(model, 1, first=False)
    found = [(p.epoch, p.units[1].dead) for _, p in sink.passes if p.units]
    assert found == [(0, H), (1, H)]
    assert hooks_of(model) == 0


def test_a_look_in_training_is_of_no_evaluation() -> None:
    x, y = make_data()
    model, sink = relu_net(), Sink()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with Capture(sink):
        for xb, yb in DataLoader(TensorDataset(x, y), BATCH):
            with torch.no_grad():
                model(xb)  # a look ahead, whose outcome nobody judges
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
    assert [(p.split, p.units) for _, p in sink.passes if p.split == "train"] == [("train", ())]


def test_nothing_is_kept_alive() -> None:
    with Capture(Sink()) as capture:
        model = relu_net()
        train(model, 1)
        capture.journal.flush()
        gone = weakref.ref(model)
        assert capture._outputs.units.last is None
        del model
        gc.collect()
        assert gone() is None


def test_a_failing_forward_leaves_no_hooks() -> None:
    model = relu_net()
    with Capture(Sink()):
        train(model, 1)
        model.eval()
        with torch.no_grad(), pytest.raises(RuntimeError):
            model(torch.zeros(2, D + 1))
    assert hooks_of(model) == 0


def test_short_evaluations_are_looked_at_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "_SHARE", 1e-9)
    found = looks(relu_net(), n_epochs=4)
    assert [bool(found["val", epoch]) for epoch in range(5)] == [True, True, True, False, False]


def test_a_failure_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Tensor:
        raise RuntimeError("injected")

    torch.manual_seed(1)
    bare = train(relu_net())
    monkeypatch.setattr(units, "_counts", fail)
    torch.manual_seed(1)
    sink = Sink()
    with pytest.warns(la.errors.LossAccWarning, match="injected"), Capture(sink):
        recorded = train(relu_net())
    assert all(torch.equal(a, b) for a, b in zip(bare, recorded, strict=True))
    assert len([s for s in sink.limits if "units" in s]) == 1


class Partly(nn.Module):
    """A compiled function inside a module that is not compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.act, self.head = relu_net(), nn.Tanh(), nn.Linear(K, K)
        self._run: Any = torch.compile(self._body, backend="aot_eager")

    def _body(self, x: Tensor) -> Tensor:
        return self.body(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self._run(x)))  # type: ignore[no-any-return]


def whole() -> nn.Module:
    made: nn.Module = torch.compile(relu_net(), backend="aot_eager")  # type: ignore[assignment]
    return made


@pytest.mark.parametrize("make", [whole, Partly])
def test_nothing_is_compiled_again(make: Callable[[], nn.Module]) -> None:
    """In a process that compiles nothing is looked at: whatever runs inside cannot be told from outside."""

    def count(*, record: bool) -> tuple[Any, list[Any]]:
        torch._dynamo.reset()
        counters.clear()
        torch.manual_seed(0)
        model, sink = make(), Sink()
        if record:
            with Capture(sink):
                values = train(model)
            assert not any(p.units for _, p in sink.passes)
        else:
            values = train(model)
        return (counters["stats"]["unique_graphs"], dict(counters["graph_break"])), values

    bare, recorded = count(record=False), count(record=True)
    assert recorded[0] == bare[0]
    assert all(torch.equal(a, b) for a, b in zip(bare[1], recorded[1], strict=True))


@pytest.fixture
def run(tmp_path: Any) -> Iterator[Any]:
    with la.record("units", store=tmp_path, view="none"):
        train(relu_net(n_dead=H))
    return la.load_run(la.last_run().path)


def test_a_stored_run_has_a_table_of_units(run: Any) -> None:
    frame = run.units
    assert frame.columns.tolist() == [
        *("epoch", "step", "split", "layer", "kind", "n_units", "n_samples"),
        *("dead_share", "saturated_share"),
    ]
    second = frame[frame.layer == "3"]
    assert second.epoch.tolist() == [0, 1, 2]
    assert set(second.split) == {"val"}
    np.testing.assert_array_equal(second.dead_share, 1.0)
    assert second.saturated_share.isna().all()


def test_a_run_stored_before_units_were_counted(run: Any) -> None:
    summaries = run.recording.summaries
    table = summaries_table("units", range(len(summaries)), summaries)
    assert [s.units for s in summaries_from_table(table)] == [s.units for s in summaries]
    assert {s.units for s in summaries_from_table(table.drop_columns(["units"]))} == {()}


def test_no_value_is_read_from_a_device() -> None:
    """On the meta device every read of a value raises, and a failure of ours becomes a limit."""
    sink, model = Sink(), relu_net().to("meta")
    with Capture(sink) as capture, torch.no_grad():
        capture._outputs.units.attach(model, capture._patches)
        model(torch.zeros(BATCH, D, device="meta"))
        [look] = [entry[1] for entry in capture.journal.entries if entry[0] == UNITS]
        assert [layer[:4] for layer in look.layers] == [("1", "ReLU", H, BATCH), ("3", "ReLU", H, BATCH)]
        capture.journal.entries.clear()
    assert sink.limits == []


def test_gradients_and_activations_agree() -> None:
    """Of a batch without a healthy unit that happens to be silent, both name the same share."""
    model, sink = relu_net(n_dead=H), Sink()
    with Capture(sink):
        train(model, 1)
    first = next(p.units for _, p in sink.passes if p.units)
    assert first[1].dead == H
    # A dead second layer lets nothing through to the first: gradients count both.
    assert sink.column("dead_unit_share")[0] == 1.0
