"""What really happened in a loop, noted by the loop itself and evaluated independently of capture.

The first input column carries the sample's index, so ids need no help from the recorder. Losses
per sample are computed with SciPy from the logits that the model returned.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

if TYPE_CHECKING:
    from jupyter_lossacc.records import Pass

N_TRAIN, N_VAL, N_TEST, D, K, BATCH, EPOCHS = 96, 48, 32, 6, 3, 16, 3
N = N_TRAIN + N_VAL + N_TEST


class Sink:
    """Keeps what capture reports."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, str]] = []
        self.passes: list[tuple[int, Pass]] = []
        self.chunks: list[tuple[int, dict[str, np.ndarray]]] = []
        self.limits: list[str] = []
        self.places: list[tuple[Any, ...]] = []
        self.when: list[int] = []  # losses seen by the truth when each pass arrived

    def run_started(self, run: int, name_hint: str) -> None:
        self.runs.append((run, name_hint))

    def pass_finished(self, run: int, passed: Pass) -> None:
        self.passes.append((run, passed))
        self.when.append(len(TRUTH.records))

    def steps(self, run: int, columns: dict[str, np.ndarray]) -> None:
        self.chunks.append((run, columns))

    def progress(self, *place: Any) -> None:
        self.places.append(place)

    def limit(self, sentence: str) -> None:
        self.limits.append(sentence)

    def by_key(self) -> dict[tuple[int, str, int], list[Pass]]:
        found: dict[tuple[int, str, int], list[Pass]] = OrderedDict()
        for run, passed in self.passes:
            found.setdefault((run, passed.split, passed.epoch), []).append(passed)
        return found

    def column(self, name: str, run: int = 0) -> np.ndarray:
        return np.concatenate([chunk[name] for r, chunk in self.chunks if r == run])


@dataclass
class Record:
    """One batch: where it belongs, which samples, what the model said, what the criterion returned."""

    run: int
    split: str
    epoch: int
    ids: list[int]
    logits: Tensor
    value: float | None = None


@dataclass
class Truth:
    records: list[Record] = field(default_factory=list)
    place: tuple[int, str, int] = (0, "train", 1)
    quiet: bool = False

    def reset(self) -> None:
        self.records.clear()
        self.place, self.quiet = (0, "train", 1), False

    def at(self, split: str, epoch: int, run: int = 0) -> None:
        self.place = (run, split, epoch)

    def saw(self, x: Tensor, logits: Tensor) -> None:
        if not self.quiet:
            column = x.detach().reshape(len(x), -1)[:, 0].double()
            ids = [round(v * 1024) for v in column.tolist()]
            self.records.append(Record(*self.place, ids, logits.detach().clone()))

    def value(self, loss: Tensor) -> None:
        self.records[-1].value = float(loss.detach())

    def grouped(self) -> dict[tuple[int, str, int], list[Record]]:
        groups: dict[tuple[int, str, int], list[Record]] = OrderedDict()
        for record in self.records:
            groups.setdefault((record.run, record.split, record.epoch), []).append(record)
        return groups


TRUTH = Truth()


def make_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator)
    x[:, 0] = torch.arange(N) / 1024
    y = (x[:, 1 : 1 + K] + 0.7 * torch.randn(N, K, generator=generator)).argmax(1)
    return x, y


class Net(nn.Module):
    """A small network that tells the truth what it was asked and what it answered."""

    def __init__(self, outputs: int = K) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(D, 16), nn.Linear(16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(torch.relu(self.hidden(x)))
        TRUTH.saw(x, z)
        return z


def make_loaders(dataset: Any = None, batch: int = BATCH, **options: Any) -> tuple[DataLoader[Any], ...]:
    data = TensorDataset(*make_data()) if dataset is None else dataset
    parts = (range(N_TRAIN), range(N_TRAIN, N_TRAIN + N_VAL), range(N_TRAIN + N_VAL, N))
    train, val, test = (Subset(data, part) for part in parts)
    return (
        DataLoader(train, batch, shuffle=True, **options),
        DataLoader(val, batch, **options),
        DataLoader(test, batch, **options),
    )


def check(
    sink: Sink, *, weights: Tensor | None = None, multiclass: bool = True, skip: tuple[str, ...] = ()
) -> None:
    """Compare everything that capture reported with the truth."""
    expected, got = TRUTH.grouped(), sink.by_key()
    assert list(expected) == sorted(got, key=list(expected).index), "runs, splits and epochs"
    _, y = make_data()
    offsets: dict[tuple[int, str], int] = {}
    for place, records in expected.items():
        passes = got[place]
        assert all(p.complete for p in passes), place
        assert all(p.predictions.ids_known for p in passes), (place, sink.limits)
        _check_samples(place, records, passes, offsets, y if multiclass else None)
        if "reported" not in skip:
            _check_reported(place, records, passes, y, weights)


def _check_samples(
    place: tuple[int, str, int],
    records: list[Record],
    passes: list[Pass],
    offsets: dict[tuple[int, str], int],
    y: Tensor | None,
) -> None:
    ids = np.concatenate([r.ids for r in records])
    got = np.concatenate([p.predictions.sample_ids for p in passes])
    # A dataset of its own (val tensors, say) counts from 0: one offset per split is allowed.
    offset = offsets.setdefault(place[:2], int(ids.min() - got.min()))
    np.testing.assert_array_equal(np.sort(got + offset), np.sort(ids), err_msg=str(place))
    if y is None:
        return
    logits = np.concatenate([r.logits.float().numpy() for r in records])
    targets = y.numpy()[ids]
    nll = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(ids)), targets]
    order, mine = np.lexsort((nll, ids)), np.concatenate([p.predictions.nll for p in passes])
    np.testing.assert_allclose(mine[np.lexsort((mine, got))], nll[order], atol=2e-5, err_msg=str(place))
    correct = (logits.argmax(1) == targets).mean()
    assert np.concatenate([p.predictions.correct for p in passes]).mean() == np.float32(correct), place


def _check_reported(
    place: tuple[int, str, int],
    records: list[Record],
    passes: list[Pass],
    y: Tensor,
    weights: Tensor | None,
) -> None:
    if any(r.value is None for r in records):
        return
    size = [len(r.ids) if weights is None else float(weights[y[r.ids]].sum()) for r in records]
    expected = np.average([r.value for r in records], weights=size)
    shares = [len(p.predictions) for p in passes]
    got = np.average([p.reported_loss for p in passes], weights=shares)
    assert got == np.float32(expected) or abs(got - expected) < 2e-6 * max(1.0, abs(expected)), (
        place,
        got,
        expected,
    )
