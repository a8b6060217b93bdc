"""Evaluations that compute an accuracy from tensors alone: ``(pred[mask] == y[mask]).float().mean()``.

So it is done where all samples are in one forward, the nodes of a graph say, and sets are told apart by
masks or index tensors. No criterion is called and no loader asked. What is left to see is that labels are
indexed just as something that says which classes the model answered.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jupyter_lossacc.capture.reading.events import LossEvent
from jupyter_lossacc.capture.reading.sample_ids import index_rows
from jupyter_lossacc.capture.taps.journal import BACKWARD, BATCH, INDEX, LOSS, OUTPUT, PLAIN, STEP, Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.reading.criteria import Call, Calls
    from jupyter_lossacc.capture.reading.sample_ids import Origins
    from jupyter_lossacc.capture.reading.transfer import Chunk

__all__ = ["TensorHits"]

_MOST = 32  # indexed tensors of one output that are looked at
_CLASSIFIES = ("cross_entropy", "nll_loss")
_FIRST_PLACE = 1 << 20  # numbers of sets that an index tells, beyond those of places in the user's code
Made = tuple[LossEvent, Tensor, Tensor, Tensor]


@dataclass(eq=False, slots=True)
class _Cut:
    """One ``source[index]``."""

    result: Tensor
    source: Tensor
    index: Any
    version: int | None

    def like(self, other: _Cut) -> bool:
        """Whether both were indexed by the same, as far as that can be told without reading a device."""
        mine, theirs = self.index, other.index
        if mine is theirs or isinstance(mine, Tensor) or isinstance(theirs, Tensor):
            return mine is theirs
        if isinstance(mine, slice) or isinstance(theirs, slice):
            return bool(mine == theirs)
        return np.array_equal(mine, theirs)

    def rows(self) -> Tensor | None:
        """Return the rows that were taken, without waiting for a device; None where that cannot be told."""
        index, device = self.index, self.source.device
        if isinstance(index, slice):
            return torch.arange(len(self.source), device=device)[index]
        if isinstance(index, Tensor) and index.device.type != "cpu":
            if index.dim() != 1 or index.is_floating_point() or index._version != self.version:
                return None
            if index.dtype is not torch.bool:
                return index.clone()
            return index.byte().argsort(descending=True, stable=True)[: len(self.result)]
        if isinstance(index, Tensor) and self.version is not None and index._version != self.version:
            return None
        found = index_rows(index)
        return None if found is None else torch.from_numpy(found).to(device, non_blocking=True)


class TensorHits:
    """Follows an output of the model, and what is indexed between it and the next one.

    Parameters
    ----------
    calls : Calls
    origins : Origins

    Attributes
    ----------
    follows : bool
        Whether there is an output to follow.
    place : tuple of (int, str), optional
        Of the set whose labels the loss that comes next was given, where a mask tells it.
    names : callable
        What the user calls an index that stands for a set; "" where that is not known.
    wanted : callable
        Called when outputs that are trained on are evaluated in this way.
    """

    def __init__(self, calls: Calls, origins: Origins) -> None:
        self.calls, self.origins = calls, origins
        self.follows = False
        self.place: tuple[int, str] | None = None
        self.names: Callable[[Tensor], str] = lambda _: ""
        self.wanted: Callable[[], None] = lambda: None
        self._output: Entry = ()
        self._classes: Tensor | None = None  # that the output says
        self._cuts: list[_Cut] = []
        self._judged: list[_Cut] = []  # of labels that a criterion was given
        self._labels: tuple[int, weakref.ref[Tensor]] | None = None  # what training takes its labels from
        self._call: Call | None = None
        self._places: dict[Any, tuple[Any, tuple[int, str]]] = {}  # by index: itself, and its place
        self._numbers = count(_FIRST_PLACE)
        self._on_device: list[tuple[LossEvent, Tensor]] = []

    def before(self, entry: Entry, order: int) -> list[Made]:
        """Look at an entry before it is read; give the evaluations that end with it."""
        kind = entry[0]
        if kind == INDEX:
            if len(self._cuts) < _MOST:
                self._cuts.append(_Cut(*entry[1:]))
            return []
        if kind == LOSS:
            self._judge(entry)
            return []
        if kind not in (OUTPUT, BACKWARD, STEP, PLAIN, BATCH):
            return []
        made = self.take(order)
        if kind != BACKWARD:
            self.follows, self._output, self._classes, self._judged = kind == OUTPUT, (), None, []
        if kind == OUTPUT:
            self._output = entry
        return made

    def take(self, order: int) -> list[Made]:
        """Return the evaluations seen since the last output."""
        cuts, self._cuts = self._cuts, []
        made: list[Made] = []
        for cut in cuts if self._output and self._labels else ():
            if any(cut.like(judged) for judged in self._judged):
                continue
            agrees = next((f for o in cuts if o.like(cut) and (f := self._agrees(o)) is not None), None)
            found = None if agrees is None else self._make(cut, agrees, order + len(made))
            if found is not None:
                self._judged.append(cut)
                made.append(found)
        if made and self._output[3] is not False:
            self.wanted()
        return made

    def ask(self, chunk: Chunk) -> None:
        """Ask for the rows that lie on a device."""
        for event, rows in self._on_device:
            chunk.want([rows], lambda host, event=event: _set_ids(event, host[0]))  # type: ignore[misc]
        self._on_device = []

    def _judge(self, entry: Entry) -> None:
        """Learn from a criterion which labels are trained on; those it was given are no accuracy's."""
        _, name, number, _, rest, *_ = entry
        given = next((cut for cut in reversed(self._cuts) if cut.result is rest[0]), None)
        if given is None:
            return
        self._judged.append(given)
        index = given.index
        if number < 0 and isinstance(index, Tensor) and index.dtype is torch.bool:
            self.place = self._place(given)
        if number >= 0 and name in _CLASSIFIES:
            source = given.source if given.source._base is None else given.source._base
            self._labels = source.untyped_storage().data_ptr(), weakref.ref(source)
            call = self.calls.of(name, rest)
            if name == "nll_loss":  # the model may return logits, and log_softmax leaves log-probabilities
                ignore = -100 if call.ignore_index is None else call.ignore_index
                call = self.calls.of("cross_entropy", (rest[0], call.weight, 1, ignore, 0.0))
            self._call = call

    def _is_labels(self, source: Tensor) -> bool:
        return self._labels is not None and source.untyped_storage().data_ptr() == self._labels[0]

    def _all_labels(self, n: int) -> Tensor | None:
        """Return the tensor of all labels, one a sample."""
        held = None if self._labels is None else self._labels[1]()
        return None if held is None or held.numel() != n else held.reshape(n)

    def _agrees(self, cut: _Cut) -> Tensor | None:
        """Whether what was indexed says which classes the model answered; None where it cannot."""
        output, source = self._output[1], cut.source
        n = len(output)
        if output.dim() != 2 or output.shape[1] < 2 or not source.dim() or len(source) != n:
            return None
        if (self._output[2] >= 0 and output._version != self._output[2]) or self._is_labels(source):
            return None
        if self._classes is None:
            self._classes = output.argmax(1)
        if source.is_floating_point():
            return (source.argmax(1) == self._classes).all() if source.shape == output.shape else None
        if source.numel() != n:
            return None
        labels = self._all_labels(n)
        if source.dtype is torch.bool:  # hits: ``(pred == y)[mask]``
            return None if labels is None else (source.reshape(n) == (self._classes == labels)).all()
        return (source.reshape(n) == self._classes).all()

    def _make(self, cut: _Cut, agrees: Tensor, order: int) -> Made | None:
        """Return the evaluation of what was cut out: labels, or hits."""
        _, output, _, _, training, _ = self._output
        hits, rows, call = cut.source.dtype is torch.bool, cut.rows(), self._call
        labels = self._all_labels(len(output))
        if rows is None or call is None or labels is None or not (hits or self._is_labels(cut.source)):
            return None
        event = LossEvent(order, call, -1, training, output.data_ptr())
        event.phase, event.n_rows = "eval", len(rows)
        event.rewritten = event.recomputed = True
        event.place, event.origin = self._place(cut), self.origins.of(labels)
        if rows.device.type == "cpu":
            _set_ids(event, rows)
        else:
            self._on_device.append((event, rows))
        return event, output.index_select(0, rows), labels.index_select(0, rows), agrees

    def _place(self, cut: _Cut) -> tuple[int, str]:
        """Return the number and the name of the set that an index stands for."""
        index = cut.index
        if isinstance(index, Tensor):
            key: Any = id(index)
        else:
            key = str(index) if isinstance(index, slice) else np.asarray(index).tobytes()
        known = self._places.get(key)
        if known is None or (isinstance(index, Tensor) and known[0]() is not index):
            if len(self._places) > _MOST:
                self._places.clear()
            held: Any = weakref.ref(index) if isinstance(index, Tensor) else None
            name = self.names(index) if isinstance(index, Tensor) else ""
            known = self._places[key] = (held, (next(self._numbers), name))
        return known[1]


def _set_ids(event: LossEvent, rows: Tensor) -> None:
    if event.origin is not None:
        event.origin = replace(event.origin, ids=event.origin.ids[rows.numpy()], whole=False)
