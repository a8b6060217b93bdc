"""The batches of one pass → a `Pass`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from jupyter_lossacc.capture.reading.criteria import COLUMNS
from jupyter_lossacc.capture.reading.reduction import Sums
from jupyter_lossacc.records import LossInfo, Pass, Predictions, UnitShare
from jupyter_lossacc.stats.calibration import fold_of
from jupyter_lossacc.stats.order import runs_of_targets

if TYPE_CHECKING:
    from jupyter_lossacc.capture.reading.events import LossEvent
    from jupyter_lossacc.capture.reading.plain import PlainSteps

__all__ = ["OpenPass"]

Ids = NDArray[np.int64]
PREDICTED, CORRECT, NLL, CONFIDENCE, MARGIN, TARGET, REPORTED, WEIGHT, COUNTED = range(9)
_SEEN_AGAIN = 0.5  # of a batch
_MIN_SUMS_VALUES = 1 << 17  # predictions that are worth the forty operations of adding them
_MAX_SUMS_POSITIONS = 200_000  # label positions per flush beyond which calibration sums cost too much


class OpenPass:
    """A pass that is going on.

    Parameters
    ----------
    key : tuple
        What tells it apart from other passes that go on at the same time.
    phase : {"train", "eval"}
    epoch : int
    name : str
        The user's name for the data.
    group : tuple
        The data it reads; passes over the same data share it.
    """

    def __init__(
        self, key: tuple[Any, ...], phase: str, epoch: int, name: str, group: tuple[Any, ...]
    ) -> None:
        self.key, self.phase, self.epoch, self.name, self.group = key, phase, epoch, name, group
        self.step = 0
        self.n_batches: int | None = None
        self.last_number = -1
        self.drawn = False  # without a loader: batches are drawn at random, and overlap
        self.whole_sets = True  # without a loader: every batch so far was a set that the user holds
        self.storage: int | None = None  # memory that targets without a loader come from
        self.secondary = False  # runs beside another training pass (two loaders zipped)
        self.training: bool | None = None
        self.mode_layers: int | None = None  # layers of the model that depend on its mode
        self.units: tuple[UnitShare, ...] = ()
        self.n_classes = 0
        self.n_trained = 0  # classes that training predicted at that time
        self.damaged = False
        self.ids_known = True
        self.sliced = False  # batches are slices of a tensor, and nothing but their place says of which set
        self.recomputed = False  # its loss, in part at least, was computed by nobody but us
        self._order: list[NDArray[np.float32]] = []  # targets of a training pass, in the order seen
        self._clear()

    def _clear(self) -> None:
        """Be as if no batch had been added."""
        self.n_samples = 0
        self.n_events = 0
        self.n_recorded = 0  # batches whose samples are recorded
        self.info: LossInfo | None = None
        self._n_counted = 0
        self._columns: list[NDArray[np.float32]] = []
        self._ids: list[Ids] = []
        self._value = self._weight = 0.0
        self._waiting: list[tuple[LossEvent, Ids]] = []
        self._sums: Sums | None = None
        self._sums_whole = True

    def add(self, event: LossEvent, columns: NDArray[np.float32], ids: Ids | None, value: float) -> None:
        """Add one batch.

        Parameters
        ----------
        event : LossEvent
        columns : ndarray of float32, shape (len(COLUMNS), n_samples)
        ids : ndarray of int64, shape (n_samples,), optional
            None where the samples are not known.
        value : float
            The criterion's value to report for the batch.
        """
        n = columns.shape[1]
        if self.info is None:
            self.training = event.training
        recorded = not event.thin
        first = recorded and not self.n_recorded
        if self.info is None or first or (recorded and not event.on_simplex and self.info.on_simplex):
            self.info, self.n_classes = _loss_info(event), event.n_classes
        self.ids_known &= ids is not None
        self.recomputed |= event.recomputed
        weight = _batch_weight(event, columns, value)
        if weight > 0:
            summed = event.call.reduction == "sum" and math.isnan(event.criterion)
            self._value += value if summed else weight * value
            self._weight += weight
        counted = columns[COUNTED] > 0
        self._n_counted += int(np.count_nonzero(counted))
        if self.phase == "train" and event.task in ("multiclass", "binary"):
            self._order.append(columns[TARGET][counted])
        known = ids if ids is not None else np.arange(self.n_samples, self.n_samples + n, dtype=np.int64)
        self.n_samples += n
        self.n_events += 1
        if event.thin:
            return
        self.n_recorded += 1
        self._columns.append(columns)
        self._ids.append(known)
        # In training mode dropout makes predictions noisy: no calibration from them. A model without
        # such layers predicts the same in both modes, and loops often leave out eval() for it.
        noisy = event.training is True and self.mode_layers != 0
        if self.phase == "eval" and not noisy and not event.dropped:
            self._waiting.append((event, known))
        elif event.dropped:
            self._sums_whole = False

    def restate(self, event: LossEvent, columns: NDArray[np.float32], value: float) -> bool:
        """Take a criterion's word for an evaluation without one: outputs were gathered and judged at once.

        Only where the targets are those of the whole pass, in the same order; else False.
        """
        if (
            self.phase != "eval"
            or not self.without_criterion
            or event.dropped
            or event.task not in ("multiclass", "binary")
        ):
            return False
        targets = self.targets_in_order()
        if len(targets) < 2 or not np.array_equal(targets, columns[TARGET]):
            return False
        ids = self.all_ids() if self.ids_known else None
        self._clear()
        self.add(event, columns, ids, value)
        return True

    def add_plain(self, event: PlainSteps) -> None:
        """Add batches whose samples are not recorded."""
        if event.targets is None:
            return
        counted = event.targets != event.pattern.call.ignore_index
        ends = np.cumsum(event.n_rows, dtype=np.intp)
        weights = np.add.reduceat(counted.astype(np.float64), ends - np.array(event.n_rows, np.intp))
        some = weights > 0
        self._value += float(np.array(event.values)[some] @ weights[some])
        self._weight += float(weights.sum())
        self._n_counted += int(np.count_nonzero(counted))
        self._order.append(event.targets[counted].astype(np.float32))
        self.n_samples += int(ends[-1])
        self.n_events += len(event.n_rows)

    def settle(self, *, final: bool = False) -> None:
        """Add the predictions gathered so far to the calibration sums, and let them go; few wait for more."""
        parts = [(e, ids) for e, ids in self._waiting if e.logits is not None and e.targets is not None]
        n_values = sum(e.logits.numel() for e, _ in parts if e.logits is not None)
        if not final and n_values < _MIN_SUMS_VALUES and len(parts) == len(self._waiting):
            return
        waiting, self._waiting = self._waiting, []
        if len(parts) < len(waiting):
            self._sums_whole = False
        if not parts or not self._sums_whole:
            return
        if sum(e.targets.numel() for e, _ in parts if e.targets is not None) > _MAX_SUMS_POSITIONS:
            self._sums_whole = False
            return
        logits = torch.cat([e.logits for e, _ in parts if e.logits is not None])
        targets = torch.cat([e.targets for e, _ in parts if e.targets is not None]).long()
        kept = np.concatenate([e.columns[COUNTED] > 0 for e, _ in parts])
        ids = np.concatenate([i for _, i in parts])
        labels = len(targets) // max(len(ids), 1)
        folds = torch.from_numpy(fold_of(np.repeat(ids, labels))).to(logits.device, non_blocking=True)
        if self._sums is None:
            self._sums = Sums.empty(logits.shape[1], logits.device)
        if not kept.all():
            chosen = torch.from_numpy(np.flatnonzero(np.repeat(kept, labels))).to(
                logits.device, non_blocking=True
            )
            logits, targets, folds = logits[chosen], targets[chosen], folds[chosen]
        self._sums.add(logits, targets, folds)
        for event, _ in waiting:
            event.logits = event.targets = None

    def targets_in_order(self) -> NDArray[np.int32]:
        """Targets in the order in which they were seen."""
        if not self._columns:
            return np.empty(0, np.int32)
        return np.concatenate([c[TARGET] for c in self._columns]).astype(np.int32)

    @property
    def without_criterion(self) -> bool:
        """Whether no criterion was seen so far: the predictions come from what the model returned."""
        return self.info is not None and self.info.name == "unknown" and math.isnan(self.reported_loss())

    def comes_again(self, ids: Ids) -> bool:
        """Whether a batch was seen: the set is gone through again. Episodes drawn at random only overlap."""
        share = float(np.isin(ids, self.all_ids()).mean())
        self.drawn |= 0 < share <= _SEEN_AGAIN
        return share > _SEEN_AGAIN and not self.drawn

    def all_ids(self) -> Ids:
        """Sample ids in the order in which they were seen."""
        return np.concatenate(self._ids) if self._ids else np.empty(0, np.int64)

    def reported_loss(self) -> float:
        """Return the criterion averaged as its reduction means it."""
        return self._value / self._weight if self._weight > 0 else math.nan

    @property
    def device_sums(self) -> Sums | None:
        """Calibration sums that lie on an accelerator and reach the host later."""
        sums = self._sums if self._sums_whole else None
        return None if sums is None or sums.count.device.type == "cpu" else sums

    def finish(self, split: str, *, complete: bool, seconds: float) -> Pass:
        """Return the finished pass."""
        self.settle(final=True)
        columns = np.concatenate([np.empty((len(COLUMNS), 0), np.float32), *self._columns], axis=1)
        ids_known = self.ids_known
        ids = self.all_ids() if ids_known else np.arange(columns.shape[1], dtype=np.int64)
        counted = columns[COUNTED] > 0
        columns, ids = columns[:, counted], ids[counted]
        info = self.info or LossInfo()
        runs = None
        if self._order and info.task in ("multiclass", "binary"):
            ratio, z = runs_of_targets(np.concatenate(self._order).astype(np.int64))
            runs = None if math.isnan(ratio) else (ratio, z)
        training = self.training if self.training is not None else self.phase == "train"
        sums = self._sums if self._sums_whole else None
        return Pass(
            split=split,
            epoch=self.epoch,
            step=self.step,
            complete=complete and not self.damaged,
            training=training,
            name=self.name,
            reported_loss=self.reported_loss(),
            loss=info,
            predictions=_predictions(columns, ids, ids_known=ids_known),
            accumulators=None if sums is None or self.device_sums is not None else sums.to_accumulators(),
            n_classes=self.n_classes,
            seconds=seconds,
            order_runs=runs,
            mode_layers=self.mode_layers,
            units=self.units,
            n_total=self._n_counted if self.n_recorded < self.n_events else None,
        )


def _batch_weight(event: LossEvent, columns: NDArray[np.float32], value: float) -> float:
    """Weight of a batch in the mean of its pass."""
    if math.isnan(value) and event.dropped:
        return 0.0
    if event.call.reduction == "mean" and event.call.weighted_mean and math.isnan(event.criterion):
        return float(columns[WEIGHT].sum(dtype=np.float64))
    if event.call.reduction == "sum" and event.task == "dense":
        return float(columns[COUNTED].sum(dtype=np.float64))  # a sample's loss is the mean over its positions
    return float(columns.shape[1])


def _loss_info(event: LossEvent) -> LossInfo:
    call = event.call
    inputs = call.inputs
    if event.on_simplex and call.name not in ("cross_entropy", "nll_loss", "kl_div"):
        inputs = "probabilities"
    return LossInfo(
        name=call.name,
        inputs=inputs,
        on_simplex=event.on_simplex,
        reduction=call.reduction,
        class_weights=event.class_weights,
        label_smoothing=call.label_smoothing,
        ignore_index=None if call.ignore_index == -100 else call.ignore_index,  # -100 is torch's default
        task=event.task,
    )


def _predictions(columns: NDArray[np.float32], ids: Ids, *, ids_known: bool) -> Predictions:
    order = _by_id(ids)
    columns = columns[:, order]

    def floats(row: int) -> NDArray[np.float32]:
        return np.ascontiguousarray(columns[row], dtype=np.float32)

    return Predictions(
        sample_ids=ids[order],
        targets=columns[TARGET].astype(np.int32),
        predicted=columns[PREDICTED].astype(np.int32),
        correct=floats(CORRECT),
        nll=floats(NLL),
        reported_loss=floats(REPORTED),
        confidence=floats(CONFIDENCE),
        margin=floats(MARGIN),
        ids_known=ids_known,
    )


def _by_id(ids: Ids) -> NDArray[np.intp]:
    """Return the order that sorts ids; at once where they are those of a whole set, shuffled."""
    n = len(ids)
    if n and ids.min() >= 0 and ids.max() < n:
        order = np.full(n, -1, dtype=np.intp)
        order[ids] = np.arange(n)
        if order.min() >= 0:
            return order
    return np.argsort(ids, kind="stable")
