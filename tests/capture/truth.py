"""What really happened in a loop, noted by the loop itself and evaluated independently of capture.

The first input column carries the sample's index, so ids need no help from the recorder. Losses
per sample are computed with SciPy from the logits that the model returned.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from jupyter_lossacc.diagnosis.summary import summarize

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
        summarize(passed)  # what reads a pass next must be able to
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
class Judged:
    """What the predictions of one batch are worth; rows of samples that count."""

    ids: np.ndarray
    nll: np.ndarray
    correct: np.ndarray
    weight: float  # of the batch in the mean of the reported loss


Judge = Callable[[np.ndarray, np.ndarray], Judged]


@dataclass
class Record:
    """One batch: where it belongs, which samples, what the model said, what the criterion returned."""

    run: int
    split: str
    epoch: int
    ids: list[int]
    logits: Tensor
    value: float | None = None
    judge: Judge | None = None  # for targets that are made for this batch


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
            self.met([round(v * 1024) for v in column.tolist()], logits)

    def met(self, ids: list[int], logits: Tensor) -> None:
        if not self.quiet:
            self.records.append(Record(*self.place, ids, logits.detach().clone()))

    def value(self, loss: Tensor, judge: Judge | None = None) -> None:
        self.records[-1].value = float(loss.detach())
        self.records[-1].judge = judge

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


def by_classes(weights: Tensor | None = None) -> Judge:
    """Judge (ids, logits) by the classes of `make_data`."""
    y = make_data()[1].numpy()

    def judge(ids: np.ndarray, logits: np.ndarray) -> Judged:
        targets = y[ids]
        nll = -log_softmax(logits, axis=1)[np.arange(len(ids)), targets]
        weight = len(ids) if weights is None else float(weights.numpy()[targets].sum())
        return Judged(ids, nll, (logits.argmax(1) == targets).astype(float), weight)

    return judge


def check(
    sink: Sink,
    *,
    weights: Tensor | None = None,
    skip: tuple[str, ...] = (),
    judge: Judge | None = None,
) -> None:
    """Compare everything that capture reported with the truth.

    `skip` names what the recording declares unknown, for all splits ("ids", "reported") or one
    ("ids train", "reported val"): then it must say so itself. "numbers": ids tell samples apart but
    are not their places. "ids val after 1": not known after epoch 1.
    "no train": such passes cannot be seen.
    """
    expected, got = TRUTH.grouped(), sink.by_key()
    expected = {k: v for k, v in expected.items() if f"no {k[1]}" not in skip}
    assert list(expected) == sorted(got, key=list(expected).index), "runs, splits and epochs"
    judge = judge or by_classes(weights)
    offsets: dict[tuple[int, str], int] = {}
    numbers: dict[Any, dict[int, int]] | None = {} if "numbers" in skip else None
    for place, records in expected.items():
        passes, split = got[place], place[1]
        assert all(p.complete for p in passes), place
        judged = [
            (r.judge or judge)(np.array(r.ids), r.logits.float().numpy().astype(np.float64)) for r in records
        ]
        unknown = {"ids", f"ids {split}", *(f"ids {split} after {n}" for n in range(place[2]))}
        known = not unknown & set(skip)
        assert all(p.predictions.ids_known == known for p in passes), (place, sink.limits)
        _check_samples(place, judged, passes, offsets, numbers, known=known)
        if {"reported", f"reported {split}"} & set(skip):
            assert all(np.isnan(p.reported_loss) for p in passes), place
        else:
            _check_reported(place, records, judged, passes)


def _check_samples(
    place: tuple[int, str, int],
    judged: list[Judged],
    passes: list[Pass],
    offsets: dict[tuple[int, str], int],
    numbers: dict[Any, dict[int, int]] | None,
    *,
    known: bool,
) -> None:
    ids = np.concatenate([j.ids for j in judged])
    got = np.concatenate([p.predictions.sample_ids for p in passes])
    if known and numbers is not None:
        nll, mine = (
            np.concatenate(v) for v in ([j.nll for j in judged], [p.predictions.nll for p in passes])
        )
        theirs = dict(zip(got[np.argsort(mine)], ids[np.argsort(nll)], strict=True))  # losses are distinct
        mapped = numbers.setdefault(place[:2], {})
        assert all(mapped.setdefault(a, b) == b for a, b in theirs.items()), place
        assert len(set(mapped.values())) == len(mapped), place
        got = np.array([mapped[a] for a in got])
    elif known:
        # A dataset of its own (val tensors, say) counts from 0: one offset per split is allowed.
        offset = offsets.setdefault(place[:2], int(ids.min() - got.min()))
        np.testing.assert_array_equal(np.sort(got + offset), np.sort(ids), err_msg=str(place))
    else:
        assert len(got) == len(ids), place
        ids, got = np.zeros_like(ids), np.zeros_like(got)
    for name, atol in (("nll", 2e-5), ("correct", 1e-6)):
        theirs = np.concatenate([getattr(j, name) for j in judged])
        mine = np.concatenate([getattr(p.predictions, name) for p in passes])
        theirs, mine = theirs[np.lexsort((theirs, ids))], mine[np.lexsort((mine, got))]
        np.testing.assert_allclose(mine, theirs, atol=atol, err_msg=f"{place} {name}")


def _check_reported(
    place: tuple[int, str, int], records: list[Record], judged: list[Judged], passes: list[Pass]
) -> None:
    if any(r.value is None for r in records):
        return
    weights = [j.weight for j in judged]
    counted = [(r.value, w) for r, w in zip(records, weights, strict=True) if w > 0]
    expected = np.average([v for v, _ in counted], weights=[w for _, w in counted])  # type: ignore[arg-type]
    shares = [len(p.predictions) for p in passes]
    got = np.average([p.reported_loss for p in passes], weights=shares)
    assert got == np.float32(expected) or abs(got - expected) < 2e-6 * max(1.0, abs(expected)), (
        place,
        got,
        expected,
    )
