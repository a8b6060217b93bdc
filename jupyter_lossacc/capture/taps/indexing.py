"""Tap on ``tensor[index]``: the only trace that ``Y[permutation[i:j]]`` leaves.

It is on until loaders are seen to give the batches, because datasets index tensors too, twice per
sample.
"""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jupyter_lossacc.capture.taps.journal import INDEX, Journal
from jupyter_lossacc.capture.taps.patches import Patches
from jupyter_lossacc.capture.taps.sequences import can_be_mended, mend

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IndexTap"]

_MAX_COLUMNS = 64
_MAX_PARTS = 4096


class IndexTap:
    """Notes advanced indexing of tensors that could be targets: (INDEX, result, source, index, version)."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._patches: Patches | None = None
        self._closed = False

    def install(self) -> None:
        """Start noting."""
        if self._patches is None:
            self._patches = Patches()
            if can_be_mended(Tensor):  # else no index is seen, and samples are told by their inputs
                self._patches.callback(partial(mend, Tensor))  # undone last: once the attribute is gone
                self._patches.attribute(Tensor, "__getitem__", self._make)
                mend(Tensor)
            self._patches.attribute(Tensor, "index_select", self._make_select)
            self._patches.attribute(torch, "index_select", self._make_select)
            for owner, name in ((Tensor, "split"), (Tensor, "chunk"), (torch, "chunk")):
                self._patches.attribute(owner, name, self._make_parts)

    def close(self) -> None:
        """Stop noting for good."""
        self._closed = True
        self.remove()

    def remove(self) -> None:
        """Stop noting."""
        if self._patches is not None:
            self._patches.undo()
            self._patches = None

    def adapt(self, uses_loaders: bool | None) -> None:
        """Stop while loaders give all batches, start again when they do not."""
        if uses_loaders is True:
            self.remove()
        elif uses_loaders is False and not self._closed:
            self.install()

    def _make(self, original: Callable[..., Any]) -> Callable[..., Any]:
        journal = self.journal

        def getitem(tensor: Tensor, index: Any) -> Any:
            __tracebackhide__ = True
            result = original(tensor, index)
            kind = type(index)
            if (kind is slice or kind is Tensor or kind is list or kind is np.ndarray) and journal.here():
                self._note(result, tensor, index)
            return result

        return getitem

    def _make_parts(self, original: Callable[..., Any]) -> Callable[..., Any]:
        journal = self.journal

        def parts(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            result = original(tensor, *args, **kwargs)
            if journal.here() and len(result) <= _MAX_PARTS:
                for part in result:
                    self._note(part, tensor, slice(None))
            return result

        return parts

    def _make_select(self, original: Callable[..., Any]) -> Callable[..., Any]:
        journal = self.journal

        def index_select(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            result = original(tensor, *args, **kwargs)
            if len(args) == 2 and args[0] == 0 and journal.here():
                self._note(result, tensor, args[1])
            return result

        return index_select

    def _note(self, result: Tensor, tensor: Tensor, index: Any) -> None:
        try:
            if _could_be_target(result):
                version = None
                if isinstance(index, Tensor) and not index.is_inference():
                    version = index._version  # whether it is still the same is seen when it is read
                elif not isinstance(index, slice):
                    index = copy(index)
                self.journal.entries.append((INDEX, result, tensor, index, version))
                self.journal.n_light += 1
        except Exception as error:
            self.journal.contain("indexing", error)


def _could_be_target(result: Tensor) -> bool:
    dimensions = result.dim()
    if not dimensions or result.requires_grad:
        return False
    return (
        not result.is_floating_point()
        or dimensions == 1
        or (dimensions == 2 and result.shape[1] <= _MAX_COLUMNS)
    )
