"""Which samples a loss was computed on.

With a loader: the batch whose target tensor the loss received, by identity, by memory, or by equal
values. Without: the rows of the tensor that the targets were sliced or indexed from. What cannot be
known stays unknown: wrong ids are worse than none.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.multiprocessing import reductions

if TYPE_CHECKING:
    from collections.abc import Container

    from jupyter_lossacc.capture.taps.loaders import Batch, LoaderPass

__all__ = [
    "BY_INPUT",
    "BatchBook",
    "Holding",
    "Match",
    "Origin",
    "Origins",
    "StorageWeakRef",
    "index_rows",
    "memory_of",
    "part_of",
]

Ids = NDArray[np.int64]
StorageWeakRef: Any = reductions.StorageWeakRef
_OWN_REFERENCES = 3  # of a leaf that nobody else holds: the batch, a local name, the call that counts
_RECENT = 8  # used batches whose targets are kept for comparison
_MAX_ORIGINS = 4096
_LONG = 8  # more micro-batches than a batch is cut into
_TELLING = 16  # labels in a row that no other batch is likely to have
BY_INPUT = -1  # stands for the tensor where samples come from none that is known
_MAX_WAITING = 64  # batches fetched ahead of their loss


@dataclass(slots=True)
class Match:
    """A batch, and the first of its rows that a loss covers. `source` says how it was found."""

    batch: Batch
    first: int
    source: str


class BatchBook:
    """The last batches that loaders gave."""

    def __init__(self) -> None:
        self._recent: deque[Batch] = deque()
        self._ended: list[LoaderPass] = []  # whose batches may still be remembered
        self._kept: dict[int, tuple[weakref.ref[Tensor], Batch]] = {}

    def add(self, batch: Batch) -> None:
        """Remember a batch."""
        self._recent.append(batch)

    def add_trained(self, batches: list[Batch]) -> None:
        """Remember batches each of which was trained on at once, the last ones as closely as any."""
        for batch in batches:
            batch.used, batch.rows_used = batch.used + 1, batch.size
            batch.seen.add(("train", 0))
        for batch in batches[:-_RECENT]:
            self._let_go(batch)
        self._recent.extend(batches[-_RECENT:])

    def end(self, source: LoaderPass) -> None:
        """Note that a pass has ended."""
        self._ended.append(source)

    def unanswered(self) -> list[Batch]:
        """Batches that an output could belong to: not those that a pass before left (of features, say)."""
        newest = self._recent[-1].source if self._recent else None
        return [b for b in self._recent if not b.used and (b.source is newest or b.source not in self._ended)]

    def trim(self) -> None:
        """Let the targets of older batches go, once everything that may need them has been read."""
        if self._ended and self._recent and self._recent[-1].source not in self._ended:
            for old in [b for b in self._recent if not b.used and b.source in self._ended]:
                self._recent.remove(old)
                self._let_go(old)
            self._ended.clear()
        n_used = 0
        for batch in self._recent:
            if batch.used:
                n_used += 1
                if not batch.slim:
                    batch.slim = True
                    labels = tuple([leaf for leaf in batch.leaves if not leaf.is_floating_point()])
                    batch.leaves = labels or batch.leaves
        while len(self._recent) > _RECENT and (n_used > _RECENT or len(self._recent) > _MAX_WAITING):
            oldest = self._recent.popleft()
            n_used -= 1 if oldest.used else 0
            self._let_go(oldest)

    def _let_go(self, batch: Batch) -> None:
        """Keep only weak references: the user may hold the batches (a list, ``itertools.cycle``)."""
        for leaf in batch.leaves:
            if sys.getrefcount(leaf) <= _OWN_REFERENCES:
                continue
            forget = partial(self._forget, id(leaf))
            self._kept[id(leaf)] = (weakref.ref(leaf, forget), batch)
        batch.leaves = ()

    def _forget(self, key: int, _: object) -> None:
        self._kept.pop(key, None)

    def newest(self) -> Batch | None:
        """Batch that was given last."""
        return self._recent[-1] if self._recent else None

    def recent(self) -> tuple[Batch, ...]:
        """Batches that a loss could belong to now."""
        return tuple(self._recent)

    def by_memory(self, target: Tensor) -> Match | None:
        """Batch whose tensor `target` is, or a part of which it is."""
        storage = target.untyped_storage().data_ptr()
        for batch in reversed(self._recent):
            for leaf in batch.leaves:
                if leaf is target:
                    return Match(batch, 0, "identity")
                if storage and leaf.untyped_storage().data_ptr() == storage:
                    step = max(leaf.stride(0), 1) if leaf.dim() else 1
                    return Match(batch, (target.storage_offset() - leaf.storage_offset()) // step, "memory")
        found = self._kept.get(id(target))
        if found is not None and found[0]() is target:
            return Match(found[1], 0, "identity")
        return None

    @staticmethod
    def by_value(target: NDArray[Any], candidates: tuple[Batch, ...]) -> Match | None:
        """Batch with the same target values: waiting batches oldest first, then the newest used."""
        waiting = [b for b in candidates if not b.used]
        partly = [b for b in candidates if 0 < b.rows_used < b.size]
        used = [b for b in reversed(candidates) if b.used and b not in partly]
        for batch in (*partly, *waiting, *used):
            if batch in used and len(target) < min(batch.size, _TELLING):
                continue  # a few labels stand in many a batch
            for leaf in batch.leaves:
                values = leaf.detach().numpy()
                first = _find(target, values, batch.rows_used if batch in partly else 0)
                if first is not None:
                    return Match(batch, first, "values")
                if _by_step(target, values):
                    return Match(batch, 0, "steps")
        return None

    @staticmethod
    def by_order(n_rows: int, candidates: tuple[Batch, ...]) -> Match | None:
        """Oldest batch without a loss whose size fits; not one that a pass before left."""
        for batch in candidates:
            left = batch.source.ended and batch.source is not candidates[-1].source
            if not (batch.used or left) and batch.size and n_rows % batch.size == 0:
                return Match(batch, 0, "order")
        return None


def _find(target: NDArray[Any], leaf: NDArray[Any], expected: int) -> int | None:
    """First row of `leaf` from which its values equal `target`; None when absent or ambiguous."""
    flat = target.reshape(-1)
    if leaf.size == target.size:
        return 0 if np.array_equal(leaf.reshape(-1), flat) else None
    if leaf.ndim == 2:  # tokens: the labels are the inputs shifted by one
        shifted = target.size == leaf.shape[0] * (leaf.shape[1] - 1) and leaf.shape[1] > 1
        return 0 if shifted and np.array_equal(leaf[:, 1:].reshape(-1), flat) else None
    if target.ndim == 2 and leaf.ndim == 1 and len(target) == len(leaf):
        one_hot = bool((target.sum(axis=1) == 1).all()) and np.array_equal(target.argmax(axis=1), leaf)
        return 0 if one_hot else None
    return _find_part(flat, leaf, expected) if leaf.ndim == 1 else None


def _by_step(target: NDArray[Any], leaf: NDArray[Any]) -> bool:
    """Whether `target` has the tokens of a batch step by step, all samples of a step together."""
    if target.ndim != 1 or leaf.ndim != 2 or min(leaf.shape) < 2:
        return False
    steps = leaf.T if target.size == leaf.size else leaf.T[1:]
    return target.size == steps.size and np.array_equal(steps.reshape(-1), target)


def _find_part(part: NDArray[Any], leaf: NDArray[Any], expected: int) -> int | None:
    """Look for a part of a batch, first where it is expected."""
    n = len(part)
    if not 0 < n < len(leaf):
        return None
    if np.array_equal(leaf[expected : expected + n], part):
        return expected
    windows = np.lib.stride_tricks.sliding_window_view(leaf, n)
    places = np.flatnonzero((windows == part).all(axis=1))
    return int(places[0]) if len(places) == 1 else None


@dataclass(slots=True)
class Part:
    """A tensor that the user cut batches out of: a part of a larger one, or all of it."""

    first: int  # its rows in the tensor that everything is traced to
    n_rows: int
    tensor: weakref.ref[Tensor]
    n_cuts: int = 0

    def kept(self) -> bool:
        """Whether it is a set and not one batch: it still exists, or was cut more often than a batch is."""
        return self.tensor() is not None or self.n_cuts >= _LONG


@dataclass(slots=True)
class Origin:
    """Rows of a tensor that the user holds; `alive` tells whether it still exists."""

    key: int
    ids: Ids
    storage: Any
    whole: bool  # the target was the tensor itself, not a slice or an index of it
    n_rows: int
    target: weakref.ref[Tensor] | None = None
    part: Part | None = None  # the set that the rows were cut out of

    def kept(self) -> bool:
        """Whether the user still holds the target itself: a whole set, not a slice of one."""
        return self.target is not None and self.target() is not None

    def alive(self) -> bool:
        """Whether the memory the rows refer to still exists."""
        return not self.storage.expired()


class Holding:
    """Tells tensors that the user holds from tensors made for one batch."""

    def __init__(self) -> None:
        self._last: dict[str, Origin] = {}
        # First and last step at which a tensor was used, and the same counted in calls of backward.
        self._steps: dict[int, tuple[int, int, int, int]] = {}
        self._temporary: set[str] = set()

    def note(self, origin: Origin, step: int, backwards: int) -> None:
        """Note a use of a tensor after `step` optimiser steps and so many calls of backward."""
        if len(self._steps) > _MAX_ORIGINS:
            self._steps.clear()
        first = self._steps.get(origin.key, (step, step, backwards, backwards))
        self._steps[origin.key] = (first[0], step, first[2], backwards)

    def durable(self, origin: Origin) -> bool:
        """Whether a tensor was used at several steps, or for long in a loop without optimisers."""
        first, latest, before, now = self._steps.get(origin.key, (0, 0, 0, 0))
        return first != latest or (not latest and now - before >= _LONG)

    def holds(self, origin: Origin, phase: str) -> bool:
        """Judge the origin of a loss, once the next loss has been computed.

        A tensor that is gone by then was made for the batch; after the first such one, tensors in
        that phase count as held only when they were used at several steps.
        """
        last = self._last.get(phase)
        self._last[phase] = origin
        durable = self.durable(origin)
        if not durable and (
            not origin.alive() or (last is not None and last.key != origin.key and not last.alive())
        ):
            self._temporary.add(phase)
        return durable or (origin.alive() and phase not in self._temporary)


class Origins:
    """Traces targets back to the tensors they were sliced or indexed from."""

    def __init__(self) -> None:
        self._keys: dict[int, tuple[Any, int]] = {}
        self._derived: dict[int, tuple[Any, Origin]] = {}
        self._parts: dict[int, tuple[weakref.ref[Tensor], Part]] = {}
        self._sets: dict[int, Part] = {}
        self._n = 0

    def _key(self, storage: torch.UntypedStorage) -> tuple[int, Any]:
        address = storage._cdata
        known = self._keys.get(address)
        if known is not None and not known[0].expired():
            return known[1], known[0]
        if len(self._keys) > 4096:
            self._keys = {k: v for k, v in self._keys.items() if not v[0].expired()}
        self._n += 1
        reference = StorageWeakRef(storage)
        self._keys[address] = (reference, self._n)
        return self._n, reference

    def of(self, tensor: Tensor) -> Origin:
        """Rows of `tensor`, in terms of the oldest tensor they can be traced to."""
        part = self._part(tensor)
        storage = tensor.untyped_storage()
        base = tensor._base if tensor._base is not None and tensor._base.dim() else tensor
        n = len(tensor) if tensor.dim() else 1
        flat = base.dim() > 1 and tensor.dim() == 1 and tensor.is_contiguous() and base.is_contiguous()
        if flat and base.stride(0) > 1:  # rows flattened by ``view(-1)``: tokens are the samples
            rows = np.arange(n, dtype=np.int64) + int(tensor.storage_offset() - base.storage_offset())
        elif base.dim():
            row = max(base.stride(0), 1)
            first = (tensor.storage_offset() - base.storage_offset()) // row
            step = tensor.stride(0) // row if tensor.dim() and n > 1 else 1
            rows = first + np.arange(n, dtype=np.int64) * step
        else:
            rows = np.arange(n, dtype=np.int64)
        derived = self._derived.get(storage._cdata)
        if derived is not None and not derived[0].expired():
            source = derived[1]
            if rows.max(initial=0) < len(source.ids) and rows.min(initial=0) >= 0:
                return Origin(
                    source.key, source.ids[rows], source.storage, False, source.n_rows, weakref.ref(tensor),
                    part or source.part,
                )  # fmt: skip
        key, reference = self._key(storage)
        n_rows = base.numel() if flat else len(base) if base.dim() else 1
        return Origin(key, rows, reference, base is tensor, n_rows, weakref.ref(tensor), part)

    def _part(self, tensor: Tensor) -> Part | None:
        found = self._parts.get(id(tensor))
        return found[1] if found is not None and found[0]() is tensor else None

    def _cut(self, result: Tensor, source: Tensor) -> None:
        """Note that `result` is a view of rows of `source`."""
        if len(self._parts) > _MAX_ORIGINS:
            self._parts = {k: v for k, v in self._parts.items() if v[0]() is not None}
            if len(self._parts) > _MAX_ORIGINS:
                self._parts.clear()
        self._parts[id(result)] = (weakref.ref(result), self._set(source, self.of(source).ids))

    def _set(self, source: Tensor, ids: Ids) -> Part:
        """Return the description of a tensor that is cut into batches."""
        known = self._sets.get(id(source))
        if known is None or known.tensor() is not source:
            if len(self._sets) > _MAX_ORIGINS:
                self._sets.clear()
            first = int(ids[0]) if len(ids) else 0
            known = self._sets[id(source)] = Part(first, len(ids), weakref.ref(source))
        known.n_cuts += 1
        return known

    def indexed(self, result: Tensor, source: Tensor, index: Any, version: int | None = None) -> None:
        """Note that ``result = source[index]``, unless the index was changed since (its version tells)."""
        if version is not None and index._version != version:
            return
        if isinstance(index, slice):
            if source.dim() and result.dim():
                self._cut(result, source)
            return
        rows = index_rows(index)
        if rows is None or not source.dim() or not result.dim() or len(rows) != len(result):
            return
        origin = self.of(source)
        ids = origin.ids[rows]
        storage = result.untyped_storage()
        if len(self._derived) > 1024:
            self._derived = {k: v for k, v in self._derived.items() if not v[0].expired()}
        part = self._set(source, origin.ids)
        made = Origin(origin.key, ids, origin.storage, False, origin.n_rows, None, part)
        self._derived[storage._cdata] = (StorageWeakRef(storage), made)


def part_of(origin: Origin | None, known: Container[Any]) -> tuple[int, int] | None:
    """Rows of the set that batches are cut out of, where it is a part of a larger tensor."""
    part = None if origin is None else origin.part
    if part is None or origin is None or part.n_rows >= origin.n_rows:
        return None
    place = (part.first, part.n_rows)
    # A tensor that is gone may have been a batch's own, cut into micro-batches.
    kept = part.kept() or ("memory", memory_of(origin, origin.ids), place) in known
    return place if kept else None


def memory_of(origin: Origin | None, ids: Ids | None) -> int:
    """Return the number of the tensor that ids refer to; -1 where there is none."""
    return BY_INPUT if origin is None or ids is None else -1 - origin.key


def index_rows(index: Any) -> Ids | None:
    """Rows that an index tensor, array or list selects; None when it is something else."""
    if isinstance(index, Tensor):
        if index.device.type != "cpu":
            return None  # reading it would make the training wait
        index = index.detach().numpy()
    array = np.asarray(index)
    if array.dtype == bool:
        return np.flatnonzero(array) if array.ndim == 1 else None
    return array.astype(np.int64) if array.ndim == 1 and array.dtype.kind in "iu" else None
