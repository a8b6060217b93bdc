"""One run: its epochs, its open passes, its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.capture.reading.sample_ids import BY_INPUT
from jupyter_lossacc.capture.rules.evaluations import Evaluations
from jupyter_lossacc.capture.rules.pieces import Pieces
from jupyter_lossacc.capture.rules.splits import speaks_of_a_set
from jupyter_lossacc.records import STEP_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_lossacc.capture.reading.events import LossEvent, RootEvent, StepEvent
    from jupyter_lossacc.capture.reading.plain import PlainSteps
    from jupyter_lossacc.capture.rules.assembly import OpenPass
    from jupyter_lossacc.capture.rules.splits import Splits
    from jupyter_lossacc.capture.taps.datasets import DataReference
    from jupyter_lossacc.capture.taps.loaders import LoaderPass

__all__ = ["Run"]


_ALIKE = 0.9  # of the samples of two sets that are one
_BITS = 40.0  # equal targets in equal places: less than one chance in 2 to the 40


@dataclass(slots=True)
class Seen:
    """Samples met in the current epoch of training without a loader."""

    mask: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))  # by sample id
    replaced: bool = False  # drawn with replacement: a batch overlapped before all were seen
    n_drawn: int = 0

    def add(self, ids: NDArray[np.int64]) -> None:
        """Note the samples of a batch."""
        top = int(ids.max(initial=0)) + 1
        if len(self.mask) < top:
            grown = np.zeros(max(top, 2 * len(self.mask)), dtype=bool)
            grown[: len(self.mask)] = self.mask
            self.mask = grown
        self.mask[ids] = True
        self.n_drawn += len(ids)

    def count(self, ids: NDArray[np.int64]) -> int:
        """Count how many of `ids` were met."""
        return int(self.mask[ids[ids < len(self.mask)]].sum())


@dataclass(eq=False, slots=True)
class Run:
    """State of one run.

    Parameters
    ----------
    index : int
    splits : Splits
    epoch, step : int
        Where it continues from; 0 and 0 for a new one.
    """

    index: int
    splits: Splits
    epoch: int = 0
    step: int = 0
    parameters: set[int] = field(default_factory=set)
    optimizers: set[int] = field(default_factory=set)
    open: dict[tuple[Any, ...], OpenPass] = field(default_factory=dict)
    sources: dict[int, LoaderPass] = field(default_factory=dict)  # by id of the open pass
    last_train: OpenPass | None = None
    last_train_source: LoaderPass | None = None
    evaluated_since_train: bool = False
    combined: bool = False  # unreduced values of the criterion are combined by hand in training
    sizes: dict[tuple[Any, ...], int] = field(default_factory=dict)  # samples in the last pass of a group
    evaluations: Evaluations = field(default_factory=Evaluations)
    seen: Seen = field(default_factory=Seen)
    pieces: Pieces = field(default_factory=Pieces)
    # Where sets are evaluated, and by the tensor that ids refer to: the number of its set, by sample.
    places: list[tuple[int, str]] = field(default_factory=list)
    placed: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    # By split: targets of a set that neither a loader nor a tensor tells.
    unplaced: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    samples_drawn: int = 0
    n_classes: int = 0  # that training predicts; 0 while that is not known
    rows_cut_from: int = 0  # rows of the tensor that training batches are cut out of, a part of another
    # By split: the dataset or tensor its ids refer to, the ids of a pass, and their targets.
    labels: dict[str, tuple[int, NDArray[np.int64], NDArray[np.int32]]] = field(default_factory=dict)
    # By split: what the user calls the loader that was evaluated last, and what finds its dataset.
    evaluated: dict[str, tuple[tuple[str, ...], DataReference | None]] = field(default_factory=dict)
    rows: list[tuple[float, ...]] = field(default_factory=list)
    other_rates: list[tuple[float, ...]] = field(default_factory=list)
    step_loss: float = math.nan
    step_samples: int = 0

    def add_root(self, event: LossEvent, n_samples: int) -> None:
        """Add what was backpropagated to the step that is being prepared."""
        root = event.root
        self.step_samples += n_samples
        if root is None or root.counted:
            return
        root.counted = True
        value = event.value if root.value is None else root.value
        if math.isnan(self.step_loss):
            self.step_loss = value
        elif not root.inside_step:  # a closure evaluates one batch several times: its first value counts
            self.step_loss += value

    def add_bare_root(self, root: RootEvent) -> None:
        """Add a backward call whose losses were not seen."""
        if root.value is not None and not root.counted and not math.isnan(root.value):
            root.counted = True
            self.step_loss = root.value if math.isnan(self.step_loss) else self.step_loss + root.value

    def add_step(self, event: StepEvent) -> None:
        """Add what an optimiser did to the step, which ends with it."""
        norm = event.grad_norm * min(1.0, event.clipped_at / (event.grad_norm + 1e-6))
        self._close((event.learning_rate, norm, event.update_ratio, event.dead_share), event.other_rates)

    def _close(self, measured: tuple[float, ...], other_rates: tuple[float, ...]) -> None:
        """Close a row of ``run.steps``."""
        self.step += 1
        row = (float(self.epoch), float(self.step), self.step_loss, float(self.step_samples))
        self.rows.append(row + measured)
        self.other_rates.append(other_rates)
        self.step_loss, self.step_samples = math.nan, 0

    def add_plain(self, event: PlainSteps) -> None:
        """Add steps that look alike; without batches each of them is an epoch."""
        for place, (value, n_rows, rate) in enumerate(
            zip(event.values, event.n_rows, event.rates, strict=True)
        ):
            if not event.batches:
                self.epoch += 1
            self.step_loss = value if math.isnan(self.step_loss) else self.step_loss + value
            self.step_samples += n_rows
            step = event.measured.get(place)
            if step is not None:
                self.add_step(step)
            else:
                self._close((rate, math.nan, math.nan, math.nan), ())

    def place_of(self, root: int, place: tuple[int, str], ids: NDArray[np.int64] | None) -> tuple[int, str]:
        """Return the place that stands for a set: where its samples were evaluated first."""
        if ids is None or not len(ids):
            return place
        known = self.placed.get(root)
        top = int(ids.max()) + 1
        if known is None or len(known) < top:
            grown = np.full(max(top, 0 if known is None else 2 * len(known)), -1, np.int32)
            if known is not None:
                grown[: len(known)] = known
            known = self.placed[root] = grown
        number = int(known[ids[0]])
        if number < 0:
            if place not in self.places:
                self.places.append(place)
            number = self.places.index(place)
        known[ids[known[ids] < 0]] = number
        return self.places[number]

    def goes_on(self) -> bool:
        """Whether a pass of a loader is trained on at the moment, and not at its end."""
        source = self.last_train_source
        opened = self.last_train
        return source is not None and not source.ended and opened is not None and opened in self.open.values()

    def are_features(self, opened: OpenPass) -> bool:
        """Whether a pass without a criterion gave no predictions: features, of another width."""
        n = opened.n_trained or self.n_classes  # before any training: of the one that came then
        other = n > 0 and opened.n_classes != n
        return opened.phase == "eval" and other and opened.without_criterion

    def rebuilt(self, opened: OpenPass, source: LoaderPass | None) -> str | None:
        """Return the split of data that the user makes anew for an evaluation; None where not sure.

        Known are the training data, and others where the old dataset is gone and the new one stands under
        the same name: the same targets lie in the same places. Targets sorted by class are no sign: sets
        of the same size share them.
        """
        if opened.group[1] == BY_INPUT:
            return self._met(opened)
        return self._made_anew(opened, source) if opened.ids_known else None

    def note_evaluated(self, split: str, opened: OpenPass, source: LoaderPass | None) -> None:
        """Remember what tells the data of an evaluation when they are met again."""
        if source is not None:
            self.evaluated[split] = (source.names, source.data.reference)
        elif opened.group[1] == BY_INPUT:
            self.unplaced[split] = opened.targets_in_order()

    def check_ids(self, split: str, opened: OpenPass, *, streamed: bool, recurring: bool) -> None:
        """Trust ids of a new tensor or dataset only if they come with the targets known for them.

        So too places in a stream: it may be shuffled. `recurring`: inputs come again.
        """
        if not opened.ids_known:
            return
        root, ids, targets = int(opened.group[1]), opened.all_ids(), opened.targets_in_order()
        known = self.labels.get(split)
        if known is None:
            self.labels[split] = (root, ids, targets)
        elif root == BY_INPUT and not recurring:
            opened.ids_known = False  # no input has come again so far
        elif known[0] != root or streamed:
            _, before, now = np.intersect1d(known[1], ids, return_indices=True)
            same = len(now) > 0 and np.array_equal(known[2][before], targets[now])
            opened.ids_known = same and bool((targets >= 0).any())  # of several labels none is known here

    def _made_anew(self, opened: OpenPass, source: LoaderPass | None) -> str | None:
        ids, targets = _in_order(opened.all_ids(), opened.targets_in_order())
        if (np.diff(targets) >= 0).all() and (targets >= 0).any():
            return None
        trained = self.labels.get("train")
        named = speaks_of_a_set(self.splits.groups[opened.group].names)
        other = trained is not None and trained[0] != opened.group[1] and not named
        if other and trained is not None and _same_samples(trained[1], trained[2], ids, targets):
            return "train_eval"
        if source is None:
            return None
        for split, (names, reference) in self.evaluated.items():
            gone = reference is not None and reference() is None
            if (
                gone
                and names == source.names
                and (split, opened.epoch, opened.step) not in self.evaluations.known
            ):
                before = _in_order(*self.labels[split][1:])
                if np.array_equal(before[0], ids) and np.array_equal(before[1], targets):
                    return split
        return None

    def _met(self, opened: OpenPass) -> str | None:
        """Return the split of a set that nothing but its targets tells, should it be evaluated elsewhere."""
        targets = opened.targets_in_order()
        if not _told(targets, len(targets)):
            return None
        for split, known in self.unplaced.items():
            if np.array_equal(known, targets):
                return split
        return None

    def take_rows(self) -> dict[str, NDArray[np.float64]]:
        """Columns of the steps since the last call; empty when there were none."""
        if not self.rows:
            return {}
        columns = np.array(self.rows, dtype=np.float64).T
        others, self.rows, self.other_rates = self.other_rates, [], []
        taken = {
            name: np.ascontiguousarray(column) for name, column in zip(STEP_COLUMNS, columns, strict=True)
        }
        for i in range(max(map(len, others))):
            taken[f"learning_rate_{i + 2}"] = np.array([r[i] if i < len(r) else math.nan for r in others])
        return taken

    def begins_epoch_without_loader(self, ids: NDArray[np.int64] | None, n_rows: int) -> bool:
        """Whether a training batch without a loader opens a new epoch.

        With known ids an epoch ends when most of a batch was already seen in it; where samples are
        drawn with replacement, when as many were drawn as there are. Without ids, an evaluation
        between two training batches separates epochs.
        """
        if ids is None:
            return self.evaluated_since_train
        seen = self.seen
        again = seen.count(ids)
        if seen.replaced or 0 < again <= len(ids) / 2 or _repeats(ids):
            seen.replaced = True
            return seen.n_drawn >= n_rows if n_rows else self.evaluated_since_train
        return again > len(ids) / 2


def _same_samples(
    before: NDArray[np.int64], known: NDArray[np.int32], ids: NDArray[np.int64], targets: NDArray[np.int32]
) -> bool:
    """Whether the samples `before` (not all may be recorded) are those of `ids`: by their targets."""
    shared, theirs, mine = np.intersect1d(before, ids, return_indices=True)
    n = len(np.unique(before))
    if len(shared) < _ALIKE * n or before.max(initial=0) < _ALIKE * ids.max(initial=0):
        return False
    if not np.array_equal(known[theirs], targets[mine]):
        return False
    return _told(targets, len(shared))


def _told(targets: NDArray[np.int32], n: int) -> bool:
    """Whether `n` equal targets in equal places cannot be by chance."""
    shares = np.unique(targets, return_counts=True)[1] / max(len(targets), 1)
    return n * -math.log2(float((shares**2).sum())) >= _BITS


def _in_order(
    ids: NDArray[np.int64], targets: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return ids and their targets, by id."""
    order = np.argsort(ids, kind="stable")
    return ids[order], targets[order]


def _repeats(ids: NDArray[np.int64]) -> bool:
    """Whether a sample is in a batch twice; sorted ones, the most common, are told at a glance."""
    return not bool((ids[1:] > ids[:-1]).all()) and len(np.unique(ids)) < len(ids)
