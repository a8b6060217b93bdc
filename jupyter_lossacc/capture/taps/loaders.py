"""Taps on DataLoader iterators: passes, batches, and the dataset indices of every batch.

Indices are noted where the loader draws them, so they are exact under shuffling, custom samplers,
workers, prefetching and out-of-order delivery.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.utils.data.dataloader as torch_loader
from torch import Tensor
from torch.utils.data import IterableDataset

from jupyter_lossacc.capture.taps.collating import OrderCheck, rows_are_samples
from jupyter_lossacc.capture.taps.foreign import order_of, real_loader
from jupyter_lossacc.capture.taps.journal import BATCH, PASS_END, Journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from jupyter_lossacc.capture.taps.datasets import DataKey, Datasets
    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["Batch", "LoaderPass", "install_loaders"]

_MARK = "_lossacc_pass"
_BROKEN = "_lossacc_order_broken"
_MANY = 16  # entries of a batch that are looked at
_LEAVES = 8  # of them that are kept
_SMALL = 1 << 16  # bytes: floating tensors up to this size may be targets
Names = Callable[[Any, "FrameType | None"], tuple[str, ...]]


@dataclass(eq=False, slots=True)
class LoaderPass:
    """One traversal of one DataLoader.

    Parameters
    ----------
    loader : weakref to the DataLoader
    iterator : weakref to its iterator; when it dies nobody can ask for another batch
    names : tuple of str
        What the user's frames call the loader, innermost first.
    n_batches : int, optional
        ``len(loader)``.
    data : DataKey
        The dataset that is read, and which part of it.
    indices_known : bool
        False when batches were drawn before the recording began, or inside workers.
    """

    loader: weakref.ref[Any]
    iterator: weakref.ref[Any] | None
    names: tuple[str, ...]
    n_batches: int | None
    data: DataKey
    indices_known: bool = True
    streamed: bool = False  # an IterableDataset read in this process: ids are positions
    order: tuple[Sequence[Any], int] | None = (
        None  # all indices of the pass and the batch size, if drawn at once
    )
    drawn: deque[Any] = field(default_factory=deque)
    sent: dict[int, Any] = field(default_factory=dict)
    n_given: int = 0
    position: int = 0
    unlabelled: bool = False  # the user throws the labels away
    exhausted: bool = False  # the iterator has said so
    ended: bool = False  # exhausted, or nobody holds the iterator any more; set in the order of events

    @property
    def cut_short(self) -> bool:
        """Whether fewer batches were taken than the loader has."""
        return not self.exhausted and self.n_given < (self.n_batches or 0)


@dataclass(eq=False, slots=True)
class Batch:
    """One batch that a loader gave.

    `indices` are the dataset indices as the sampler gave them (None where unknown), `leaves` those
    tensors of the batch that could be its targets.
    """

    source: LoaderPass
    number: int
    indices: Any
    leaves: tuple[Tensor, ...]
    size: int
    used: int = 0
    rows_used: int = 0
    slim: bool = False  # only leaves that look like labels are kept
    seen: set[tuple[str, int]] = field(default_factory=set)  # (phase, first row) already recorded


class _Popped(dict[int, Any]):
    """A worker iterator's task table that remembers which task was taken last."""

    last: int | None = None

    def pop(self, key: int, *default: Any) -> Any:
        self.last = key
        return super().pop(key, *default)


def install_loaders(
    patches: Patches, journal: Journal, names: Names, datasets: Datasets, begins: Callable[[], None]
) -> None:
    """Tap the iterators of ``torch.utils.data.DataLoader``; `begins` is called before every pass."""
    base = torch_loader._BaseDataLoaderIter
    taps = _Taps(journal, names, datasets, begins)
    patches.attribute(base, "__init__", taps.make_init)
    patches.attribute(base, "_next_index", taps.make_next_index)
    patches.attribute(base, "__next__", taps.make_next)
    patches.attribute(torch_loader._MultiProcessingDataLoaderIter, "_reset", taps.make_reset)


class _Taps:
    def __init__(
        self, journal: Journal, names: Names, datasets: Datasets, begins: Callable[[], None]
    ) -> None:
        self.journal = journal
        self.names = names
        self.datasets = datasets
        self.begins = begins
        self.n_batches = 0

    def begin(self, iterator: Any, loader: Any, frame: FrameType | None) -> LoaderPass:
        """Open a pass on `iterator`."""
        self.begins()
        loader = real_loader(loader)
        try:
            n_batches: int | None = len(loader)
        except TypeError:
            n_batches = None
        streamed = isinstance(loader.dataset, IterableDataset)
        workers = getattr(loader, "num_workers", 0) > 0
        made = LoaderPass(
            weakref.ref(loader), None, self.names(loader, frame), n_batches,
            self.datasets.key(loader), indices_known=not (streamed and workers), streamed=streamed,
            order=order_of(loader),
        )  # fmt: skip
        made.iterator = weakref.ref(iterator, lambda _: self.end(made))
        setattr(iterator, _MARK, made)
        self.journal.border = True
        if self.journal.pass_begins is not None:
            self.journal.pass_begins(made)
        return made

    def end(self, current: LoaderPass) -> None:
        """Entry: (PASS_END, LoaderPass)."""
        # An iterator in a cycle dies in whatever thread allocates next: that is no training there.
        if self.journal.open and threading.get_ident() == self.journal.owner:
            try:
                self.journal.entries.append((PASS_END, current))
            except Exception as error:
                self.journal.contain("loader", error)

    def make_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        journal = self.journal

        def init(iterator: Any, loader: Any) -> None:
            if journal.here():
                try:
                    self.begin(iterator, loader, sys._getframe(1))
                except Exception as error:
                    journal.contain("loader", error)
            original(iterator, loader)
            try:
                if getattr(iterator, _MARK, None) is not None:  # its workers are not started yet
                    setattr(iterator, _BROKEN, OrderCheck.put_in(iterator))
            except Exception as error:
                journal.contain("loader", error)

        return init

    def make_reset(self, original: Callable[..., Any]) -> Callable[..., Any]:
        journal = self.journal

        def _reset(iterator: Any, loader: Any, first_iter: bool = False) -> Any:
            here = journal.here()
            if here and not first_iter:
                try:
                    before = getattr(iterator, _MARK, None)
                    if before is not None:
                        self.end(before)
                    self.begin(iterator, loader, sys._getframe(1))
                except Exception as error:
                    journal.contain("loader", error)
            result = original(iterator, loader, first_iter)
            if here and not getattr(iterator, "_in_order", True):
                iterator._task_info = _Popped(iterator._task_info)
            return result

        return _reset

    def make_next_index(self, original: Callable[..., Any]) -> Callable[..., Any]:
        journal = self.journal

        def _next_index(iterator: Any) -> Any:
            indices = original(iterator)
            if journal.here():
                try:
                    current = getattr(iterator, _MARK, None)
                    if current is not None:
                        if hasattr(iterator, "_send_idx"):
                            current.sent[iterator._send_idx] = indices
                        else:
                            current.drawn.append(indices)
                except Exception as error:
                    journal.contain("loader", error)
            return indices

        return _next_index

    def make_next(self, original: Callable[..., Any]) -> Callable[..., Any]:
        journal = self.journal

        def take(iterator: Any) -> Any:
            __tracebackhide__ = True
            try:
                data = original(iterator)
            except StopIteration:
                current = getattr(iterator, _MARK, None)
                if current is not None:
                    current.exhausted = True
                    self.end(current)
                raise
            if journal.here():
                try:
                    self.note(iterator, data)
                except Exception as error:
                    journal.contain("loader", error)
            return data

        return take

    def note(self, iterator: Any, data: Any) -> None:
        """Entry: (BATCH, Batch)."""
        current: LoaderPass | None = getattr(iterator, _MARK, None)
        if current is None:  # the iterator is older than the recording: what it drew is unknown
            data_key = self.datasets.key(iterator)
            here = weakref.ref(iterator)
            current = LoaderPass(here, here, (), None, data_key, indices_known=False)
            setattr(iterator, _MARK, current)
        indices = _listed(self.indices_of(iterator, current), iterator)
        leaves, n_rows = _targets_in(data)
        size = n_rows
        if isinstance(indices, int):
            indices = None if rows_are_samples(leaves, n_rows) else [indices]
        if isinstance(indices, list) and indices and indices[0] is not None:
            size = len(indices)
            if leaves and all(leaf.dim() and leaf.size(0) < size for leaf in leaves):
                indices, size = None, n_rows  # the collate function left samples out
            elif current.order is not None and leaves and n_rows != size:
                current.indices_known = False  # the loader left samples out
        elif current.streamed and current.indices_known:
            indices = range(current.position, current.position + size)
            current.position += size
        else:
            indices = None
        batch = Batch(current, current.n_given, indices if current.indices_known else None, leaves, size)
        current.n_given += 1
        self.n_batches += 1
        if self.n_batches == 1 and self.journal.first_batch is not None:
            self.journal.first_batch()
        for leaf in leaves:
            self.journal.n_bytes += leaf.nbytes
        self.journal.entries.append((BATCH, batch))
        if self.journal.learner is not None and self.journal.model is None:
            self.journal.learner.arm()
        self.journal.source = current

    @staticmethod
    def indices_of(iterator: Any, current: LoaderPass) -> Any:
        """Dataset indices of the batch that `iterator` has just given."""
        broken = getattr(iterator, _BROKEN, None)
        if broken is not None and broken.value:
            current.indices_known = False
        if current.order is not None:
            current.drawn.clear()  # the stand-in's own count
            drawn, size = current.order
            return list(drawn[current.n_given * size : (current.n_given + 1) * size])
        if hasattr(iterator, "_rcvd_idx"):
            table = iterator._task_info
            key: Any = table.last if isinstance(table, _Popped) else iterator._rcvd_idx - 1
            return current.sent.pop(key, None)
        return current.drawn.popleft() if current.drawn else None


def _listed(indices: Any, iterator: Any) -> Any:
    """Return the indices of one batch as a list: a batch sampler of the user's own may give any sequence.

    None where reading them would make the training wait.
    """
    if type(indices) is list or not getattr(iterator, "_auto_collation", False):
        return indices
    if isinstance(indices, Tensor):
        return indices.tolist() if indices.device.type == "cpu" and indices.dim() == 1 else None
    return list(indices) if isinstance(indices, (tuple, np.ndarray)) else indices


def _targets_in(data: Any) -> tuple[tuple[Tensor, ...], int]:
    """Tensors of a batch that could be targets, and the number of samples."""
    size = 0
    kept: list[Tensor] = []
    for value in _flatten(data):
        if isinstance(value, Tensor):
            if not size and value.dim():
                size = value.size(0)
            if not value.is_floating_point() or value.nbytes <= _SMALL:
                kept.append(value)
    return tuple(kept[:_LEAVES]), size or 1


def _flatten(data: Any, depth: int = 2) -> list[Any]:
    kind = type(data)
    if (kind is list or kind is tuple) and len(data) <= _MANY and {*map(type, data)} == {Tensor}:
        return data if kind is list else list(data)  # what most loaders give
    if isinstance(data, Tensor) or depth == 0:
        return [data]
    if isinstance(data, Mapping):
        data = list(data.values())
    if not isinstance(data, (tuple, list)):
        values = getattr(data, "data", None)  # e.g. transformers.BatchEncoding
        return _flatten(values, depth - 1) if isinstance(values, Mapping) else []
    found: list[Any] = []
    for value in data[:_MANY]:
        found += _flatten(value, depth - 1)
    return found
