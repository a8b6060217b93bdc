"""Losses that no tap saw, put together from the module's output, the batch, and backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jupyter_lossacc.capture.reading.criteria import YES_OR_NO, Call
from jupyter_lossacc.capture.reading.events import LossEvent, RootEvent
from jupyter_lossacc.capture.reading.sample_ids import BatchBook, Match, StorageWeakRef
from jupyter_lossacc.capture.reading.several import are_labels
from jupyter_lossacc.capture.taps.journal import BATCH, LOSS, OUTPUT, PASS_END, PLAIN, STEP, Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.taps.loaders import Batch

__all__ = ["Made", "UnseenLosses"]

_UNKNOWN = Call("unknown", "unknown", key=("unknown",))
_LABELS = Call("unknown", "labels", key=("unknown", "labels"))  # several of a sample may be true
Made = tuple[LossEvent, Tensor, Tensor, Tensor]


class UnseenLosses:
    """Follows outputs until a known loss takes them, backward reaches them, or the next batch comes."""

    def __init__(self, book: BatchBook) -> None:
        self.book = book
        self.covered: Callable[[], None] = lambda: None
        self._output: Entry | None = None
        self._value: Tensor | None = None  # what the user's own criterion made of that output
        self._labels = False  # the criterion used last takes each label for itself
        self._several = False  # it answered more than once since the last batch or loss
        self.n_several = 0  # batches of which it is not known what was made of the answers
        self._last: Tensor | None = None  # the last known loss's input, until the flush has been read
        self._address = 0  # its memory
        self._alive: Any = None  # tells whether that still is its own
        self.copied = False  # the last output was that of a copy of the trained module
        self._seen = self.answered = False  # the trained module gave an output: ever, since the last step

    @property
    def last_loss(self) -> int:
        """Memory of the last known loss's input; 0 once another tensor may lie there."""
        if self._last is not None:
            return self._last.untyped_storage().data_ptr()
        return 0 if self._alive is None or self._alive.expired() else self._address

    def rest(self) -> None:
        """Let go of the last loss's input, at the end of a flush."""
        if self._last is not None:
            storage = self._last.untyped_storage()
            self._address, self._alive, self._last = storage.data_ptr(), StorageWeakRef(storage), None

    @property
    def elsewhere(self) -> bool:
        """Whether predictions come from another module than the trained one: averaged weights, say."""
        return self._seen and not self.answered

    def output(self, entry: Entry) -> None:
        """Take an output, unless a loss was computed on it inside the module already."""
        self._seen = self.answered = True
        _, tensor, *_, self.copied = entry
        taken = self.last_loss and tensor.untyped_storage().data_ptr() == self.last_loss
        self._output, self._value = (None if taken else entry), None

    def criterion(self, value: Tensor) -> bool:
        """Take the value of the user's own criterion; False when it belongs to losses that are known."""
        self._value = value
        return self._output is not None

    def before(self, entry: Entry, order: int) -> Made | None:
        """Look at an entry before it is read; may give an evaluation without a loss."""
        kind = entry[0]
        if kind == LOSS:
            if self._output is not None and entry[2] >= 0:
                self.covered()
            self._output, self._several = None, False
            self._labels = entry[1] in YES_OR_NO or entry[1].startswith("multilabel")
            self._labels |= entry[1] == "unknown" and are_labels(entry[4][0], entry[3])
            self._last = entry[3]
        elif kind == STEP:
            self.answered = False
        elif kind == PLAIN:  # a batch, its loss, backward, a step
            evaluated = None if entry[1].batch is None else self.take_evaluation(order)
            if self._output is not None:
                self.covered()
            self._output, self._last, self._address, self.answered = None, None, 0, False
            return evaluated
        elif kind == OUTPUT and entry[3] and self._output is not None and self._output[3] is False:
            self._output = None  # the same batch is trained on: that was a teacher, or a look before
        elif kind == OUTPUT:
            before = self._output
            self._several |= before is not None and before[3] is False and before[1].shape == entry[1].shape
        elif kind in (BATCH, PASS_END):
            return self.take_evaluation(order)
        return None

    def take_evaluation(self, order: int) -> Made | None:
        """Return an output without a graph that no loss followed: the loop evaluates something else."""
        entry, several, self._several = self._output, self._several, False
        if entry is None or entry[3]:
            return None
        self._output = None
        if several and self._target(entry[1])[0] is not None:
            self.n_several += 1  # an average of the answers may be meant, or any one of them
            return None
        return self._make(entry, order, "eval")

    def trained(self, root: RootEvent) -> Made | None:
        """Backward reached no known loss: it was made from the last output."""
        entry, self._output = self._output, None
        if root.numbers or entry is None or entry[3] is False or root.value is None:
            return None
        made = self._make(entry, root.order, "train")
        if made is not None:
            made[0].root = root
            root.events.append(made[0])
        return made

    def _make(self, entry: Entry, order: int, phase: str) -> Made | None:
        _, tensor, version, _, training, _ = entry
        if version >= 0 and tensor._version != version:
            return None
        batch, target = self._target(tensor)
        if target is None and (flat := _without_ones(tensor)) is not tensor:
            tensor = flat  # (n_samples, 1, n_classes), which the user squeezes
            batch, target = self._target(tensor)
        if batch is None or target is None:
            return None
        batch.used += 1
        labels = self._labels and target.shape == tensor.shape and tensor.dim() == 2 and tensor.shape[1] > 1
        event = LossEvent(
            order, _LABELS if labels else _UNKNOWN, -1, training, tensor.data_ptr(), Match(batch, 0, "output")
        )
        event.phase, event.n_rows = phase, len(tensor)
        value, self._value = self._value, None
        return event, tensor, target, tensor.new_full((), float("nan")) if value is None else value

    def _target(self, output: Tensor) -> tuple[Batch | None, Tensor | None]:
        """Return the oldest batch without a loss whose size fits, and the leaf that looks like labels."""
        n = len(output)
        for batch in self.book.unanswered():
            if batch.size != n or batch.source.unlabelled:
                continue
            if self._labels and (given := [leaf for leaf in batch.leaves if leaf.shape == output.shape]):
                return batch, given[-1]  # as in training, whatever else a sample is numbered with
            whole = [leaf for leaf in reversed(batch.leaves) if leaf.dim() and not leaf.is_floating_point()]
            for leaf in whole:
                if leaf.numel() == n and _classes(leaf, output):
                    return batch, leaf.reshape(n)
            for leaf in whole:
                dense = output.dim() > 2 and leaf.shape == (n, *output.shape[2:])
                if dense and _classes(leaf, output):
                    return batch, leaf
            for leaf in reversed(batch.leaves):
                if leaf.shape == output.shape:
                    return batch, leaf
        return None, None


def _without_ones(output: Tensor) -> Tensor:
    """Return (n_samples, n_classes) of an output with other dimensions of one place, else the output."""
    n = len(output)
    if output.dim() > 2 and n and max(output.shape[1:]) * n == output.numel():
        return output.reshape(n, -1)
    return output


def _classes(leaf: Tensor, output: Tensor) -> bool:
    """Whether integers of a batch can be the classes of its samples, and not their numbers, say."""
    if leaf.device.type != "cpu" or not leaf.numel():
        return True  # reading it would make the training wait
    n_classes = output.shape[1] if output.dim() > 1 and output.shape[1] > 1 else 2
    low, high = torch.aminmax(leaf)
    return int(low) >= 0 and int(high) < n_classes
