"""Which samples a loss belongs to, and whether it is the record of their visit."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.capture.reading.criteria import fold_columns
from jupyter_lossacc.capture.reading.events import LossEvent
from jupyter_lossacc.capture.reading.sample_ids import BatchBook, Holding, Match
from jupyter_lossacc.capture.taps.fingerprints import InputIds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jupyter_lossacc.capture.reading.sample_ids import Origin
    from jupyter_lossacc.capture.rules.runs import Run
    from jupyter_lossacc.capture.rules.sink import Counters
    from jupyter_lossacc.capture.taps.loaders import Batch

__all__ = ["Attribution"]

Ids = NDArray[np.int64]
_CLASSES = ("multiclass", "binary", "multilabel", "dense")
_ONE_HOT_ONLY = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


class Attribution:
    """Connects losses with batches.

    Attributes
    ----------
    by_input : bool
        Whether samples are recognised by their inputs.
    loaders : bool
        Whether a loader gave batches.
    revisited : bool
        Whether the batch of the last loss was recorded in an earlier pass: the user kept it.
    chosen : bool
        Whether only chosen samples of batches are trained on.
    heads : bool
        Whether several predictions of a batch have a loss each.
    """

    def __init__(self, book: BatchBook, counters: Counters) -> None:
        self.book, self.counters = book, counters
        self.holding = Holding()
        self.inputs = InputIds()
        self.by_input = self.loaders = False
        self._traced = False  # training batches are rows of a tensor that the user holds
        self.revisited = self.chosen = self.heads = False

    def take(self, event: LossEvent) -> None:
        """Look at a loss when it arrives: find its batch by the values of the target."""
        if event.match is None and event.candidates and event.target is not None:
            event.match = self.book.by_value(np.asarray(event.target), event.candidates)
            if event.match is not None:
                event.match.batch.used += 1
        if event.match is not None:
            self.loaders = True
            event.match.batch.rows_used = event.match.first + event.n_rows
        elif event.origin is not None:
            self.holding.note(event.origin, self.counters.steps, self.counters.backwards)

    def classifies(self, event: LossEvent) -> bool:
        """Whether the predictions can be read as classes; counts what cannot."""
        if event.dropped:
            return False
        continuous = event.call.name == "unknown" and event.task == "binary"  # unless its targets are 0 and 1
        if event.task == "regression" or (
            (continuous or event.call.name in _ONE_HOT_ONLY) and not event.one_hot
        ):
            self.counters.regressions += 1
            return False
        if event.task not in _CLASSES:
            self.counters.unreadable += 1
            return False
        return True

    def late_match(self, event: LossEvent) -> Match | None:
        """Match by a sibling under the same backward, or by order."""
        if event.root is not None:
            for other in event.root.events:
                match = other.match
                if other is not event and match is not None and other.n_rows == event.n_rows:
                    return Match(match.batch, match.first, "sibling")
        # Targets made for one batch and kept by the user look like a set of their own, once.
        made = event.origin is not None and event.origin.whole and not self.holding.durable(event.origin)
        if self._held(event) and not made:
            return None
        found = self.book.by_order(event.n_rows, event.candidates)
        if found is not None:
            found.batch.used += 1
        return found

    def _held(self, event: LossEvent) -> bool:
        """Whether the targets are rows of a tensor that the user holds, and not a batch's own tensor.

        A tensor made for one batch is gone once the next loss is computed.
        """
        origin = event.origin
        if origin is None:
            return False
        if event.held is None:
            event.held = self.holding.holds(origin, event.phase or "eval")
        return event.held

    def samples(
        self, event: LossEvent, run: Run, own: Callable[[Origin], bool]
    ) -> tuple[NDArray[np.float32], Ids | None]:
        """Columns per sample, and sample ids where they are known; `own` as in `Pieces.place`."""
        columns = event.columns
        if event.match is None:
            origin = event.origin
            if origin is not None and not self.by_input and self._held(event):
                phase = event.phase or "eval"
                origin = event.origin = run.pieces.place(origin, phase, run.step, own=partial(own, origin))
            columns = self._folded(event, columns)
            traced = event.phase == "train" and self._traced
            ids = self._by_input(event, columns.shape[1]) if self.by_input and not traced else None
            if ids is not None:  # for all of a run, once for a part: sets keep their names
                return columns, ids
            if origin is not None and len(origin.ids) == columns.shape[1] and self._held(event):
                self._traced |= event.phase == "train"
                return columns, origin.ids
            return columns, self._by_input(event, columns.shape[1])
        batch, first = event.match.batch, event.match.first
        n = columns.shape[1]
        if n > batch.size and batch.size and n % batch.size == 0:
            if event.match.source == "steps":
                columns = (
                    columns.reshape(len(columns), -1, batch.size).swapaxes(1, 2).reshape(len(columns), -1)
                )
            columns, n = fold_columns(columns, batch.size), batch.size
            event.logits = event.targets = None
            event.task = "dense"  # tokens: a sample's values are means over its positions
        ids = None if batch.indices is None else batch.source.data.underlying(batch.indices)
        if ids is not None:
            ids = ids[first : first + n]
        return columns, ids if ids is not None and len(ids) == n else None

    @staticmethod
    def _folded(event: LossEvent, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tokens of the sequences that the model was given → sequences."""
        n = 0 if event.prints is None else len(event.prints)
        if not 0 < n < columns.shape[1] or columns.shape[1] % n:
            return columns
        event.logits = event.targets = None
        event.task = "dense"  # a sample's values are means over its positions
        return fold_columns(columns, n)

    def _by_input(self, event: LossEvent, n: int) -> Ids | None:
        """Recognise samples by what the model was given, where no loader gives batches."""
        if event.prints is None or len(event.prints) != n or self.loaders:
            return None
        ids = self.inputs.ids(event.prints, event.phase or "eval")
        if ids is not None:
            self.by_input, event.origin, event.held = True, None, True
        return ids

    def belongs(self, event: LossEvent, run: Run) -> bool:
        """Whether a loss is the record of its batch, and not a second look at it or a side term."""
        if event.match is not None:
            # A term beside one whose batch is known for certain is never the record of that batch.
            if event.match.source == "sibling":
                self.counters.outputs_apart += event.task == "binary" and _of_another_output(event)
                return False
            again = self._again(event.match, event.phase or "eval", run)
            self.heads |= again and _is_head(event)
            return not again
        if event.phase == "train" and run.goes_on():
            return False  # beside batches of a loader: labels of generated samples, say
        if self._held(event):
            return True
        if event.phase == "train":
            return run.last_train_source is None
        return not any(o.phase == "eval" and id(o) in run.sources for o in run.open.values())

    def _again(self, match: Match, phase: str, run: Run) -> bool:
        """Whether the batch was recorded in this phase already (closures, second terms)."""
        batch = match.batch
        key = (phase, match.first)
        if key not in batch.seen:
            batch.seen.add(key)
            self.revisited = False
            return False
        opened = run.open.get((phase, id(batch.source)))
        self.revisited = match.source in ("identity", "memory") and (
            opened is None
            or opened.last_number != batch.number
            or (batch.source.n_given == 1 and opened.step < run.step + (phase == "train"))
        )
        return not self.revisited

    def lost(self, event: LossEvent) -> Batch | None:
        """Return the batch of a loss that could not be read: a later one is not its record."""
        if not event.dropped or event.phase != "train":
            return None
        event.match = event.match or self.late_match(event)
        match = event.match
        if match is None or match.source == "sibling" or ("train", match.first) in match.batch.seen:
            return None
        match.batch.seen.add(("train", match.first))
        return match.batch

    def of_attack(self, event: LossEvent, following: Iterable[Any]) -> bool:
        """Whether a loss is a step of an attack on a batch, on which another loss follows.

        Without any optimiser the only loss on a batch evaluates it, attack or not.
        """
        if not self.counters.steps:
            event.phase = "eval"
        if event.match is None:
            return False
        losses = (e for e in following if isinstance(e, LossEvent) and e.match is not None and not e.attack)
        if all(e.match is None or e.match.batch is not event.match.batch for e in losses):
            return False
        if event.root is not None:
            event.root.counted = True  # not what is trained on
        return True

    def look_for_chosen(self, event: LossEvent, following: Iterable[Any]) -> None:
        """See whether a loss of every sample of a batch only chose those that are trained on next.

        It is then the record of the batch, and the loss of the chosen samples what backward starts from.
        """
        alone = event.phase == "eval" and event.number >= 0 and event.call.reduction == "none"
        if not alone or event.match is None:
            return
        if self.chosen and ("train", event.match.first) in event.match.batch.seen:
            event.phase = "train"  # another model's look at the batch
            return
        for other in (e for e in following if isinstance(e, LossEvent)):
            if other.match is not None and other.match.batch is not event.match.batch:
                return
            root, cut = other.root, other.match is None and other.n_rows <= event.n_rows
            if root is not None and cut and not root.chosen and other.call.name == event.call.name:
                root.chosen, event.phase, event.root = True, "train", root
                root.value = other.value if root.value is None else root.value
                self.chosen = True
                return

    def value(self, event: LossEvent) -> float:
        """Return the value to report for a batch: the criterion's, or that of the sum it is a term of."""
        if not math.isnan(event.criterion):
            return event.criterion
        root = event.root
        if root is None or root.value is None:
            return event.value
        terms = [e for e in root.events if e.logits_at == event.logits_at]
        if len(terms) > 1 and len({id(e.match.batch) for e in terms if e.match is not None}) <= 1:
            return root.value
        if event.call.reduction == "none" or (event.call.name == "unknown" and event.number < 0):
            return root.value
        return event.value


def _of_another_output(event: LossEvent) -> bool:
    """Whether another yes-or-no loss under the same backward has an output of its own: each label, say."""
    others = () if event.root is None else event.root.events
    return any(o.logits_at != event.logits_at and o.task == "binary" for o in others if o is not event)


def _is_head(event: LossEvent) -> bool:
    """Whether a loss of other predictions for the same labels goes into the same backward."""
    mine = event.match
    others = [] if event.root is None or mine is None else event.root.events
    return any(
        other.logits_at != event.logits_at
        and other.call.name == event.call.name
        and other.n_classes == event.n_classes > 0
        and other.match is not None
        and mine is not None
        and (other.match.batch, other.match.first) == (mine.batch, mine.first)
        and other.match.source in ("identity", "memory")
        for other in others
    )
