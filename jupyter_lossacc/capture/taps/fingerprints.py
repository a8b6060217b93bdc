"""Samples recognised by their inputs, where neither a loader nor a tensor of the user's tells them apart.

``torch.from_numpy(x[order[i:j]])`` leaves no trace of the rows. What the model is given then has a
fingerprint per row, which comes again in the next epoch unless the inputs are augmented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

__all__ = ["InputIds", "are_rows", "row_fingerprints"]

_PLACES = 1024  # values of a row that are looked at
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_MAX_KNOWN = 2_000_000
_tables: dict[Hashable, tuple[Tensor, Tensor | None]] = {}


def row_fingerprints(x: Tensor) -> Tensor | None:
    """Return an int64 per row, the same on every device and in every batch; None where there are no rows.

    Parameters
    ----------
    x : Tensor of shape (n_rows, ...)
        At most 1024 values of a row, at fixed places, go into its fingerprint.
    """
    if x.dim() < 2 or x.layout is not torch.strided or not x.numel() or x.is_complex():
        return None
    rows = x.detach().reshape(len(x), -1)
    weights, places = _table(rows.shape[1], rows.device)
    if places is not None:
        rows = rows.index_select(1, places)
    kind = torch.uint8 if rows.dtype is torch.bool else _BITS[rows.element_size()]
    bits = (rows.to(kind) if rows.dtype is torch.bool else rows.contiguous().view(kind)).to(torch.int64)
    mixed = bits * weights
    return (mixed ^ (mixed >> 29)).sum(dim=1)


def are_rows(n: int, prints: Tensor, length: int) -> bool:
    """Whether a loss of `n` rows is one of the samples that the model was given, or of their tokens."""
    return n % len(prints) == 0 and n // len(prints) in (1, length, length - 1)


def _table(width: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Odd numbers to multiply with, and the places that are looked at (None: all)."""
    key = (width, device)
    if key not in _tables:
        if len(_tables) > 16:
            _tables.clear()
        n = min(width, _PLACES)
        rng = np.random.Generator(np.random.PCG64(width))
        numbers = torch.from_numpy(rng.integers(-(2**62), 2**62, n) * 2 + 1)
        places = None if width <= _PLACES else torch.from_numpy(np.linspace(0, width - 1, n).astype(np.int64))
        _tables[key] = (
            numbers.to(device, non_blocking=True),
            None if places is None else places.to(device, non_blocking=True),
        )
    return _tables[key]


class InputIds:
    """Numbers for fingerprints, in the order in which they were first seen.

    Attributes
    ----------
    stable : bool, optional
        Whether inputs come again; None while that is not known.
    """

    def __init__(self) -> None:
        self.stable: bool | None = None
        self._known: dict[int, int] = {}
        self._evaluated = self._trained_after = False

    def ids(self, fingerprints: NDArray[np.int64], phase: str) -> NDArray[np.int64] | None:
        """Return ids of the rows of one batch; None when inputs never come again, or rows are alike."""
        if self.stable is False:
            return None
        keys = fingerprints.tolist()
        if len(set(keys)) < 0.9 * len(keys) or len(self._known) > _MAX_KNOWN:
            return None
        again = sum(key in self._known for key in keys)
        if again > len(keys) / 2:
            self.stable = True
        elif phase == "eval" and self.stable is None and self._trained_after:
            # A second evaluation after more training, and nothing was ever seen twice.
            self.stable = False
            self._known.clear()
            return None
        if phase == "eval":
            self._evaluated = True
        elif self._evaluated:
            self._trained_after = True
        known = self._known
        return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
