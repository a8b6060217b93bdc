"""Whether a user's ``collate_fn`` keeps the order of the samples.

The indices that a loader draws say which samples a batch contains only as long as the function that
puts the batch together neither sorts them nor leaves some out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.sharedctypes import RawValue
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate, default_convert

__all__ = ["OrderCheck", "rows_are_samples"]

_LEAVES = 8
_ENOUGH = 3  # batches in order, after which nobody looks any more


class OrderCheck:
    """Stands in for a ``collate_fn``, here or in workers, and compares whole numbers before and after it.

    Parameters
    ----------
    collate : callable
    broken : ctypes char
        In memory that workers share: set once a batch came out in another order.
    """

    def __init__(self, collate: Callable[[Any], Any], broken: Any) -> None:
        self.collate, self.broken = collate, broken
        self.n_in_order = 0

    @classmethod
    def put_in(cls, iterator: Any) -> Any:
        """Watch the user's own function of an iterator; return the flag, None where torch's is used."""
        collate = getattr(iterator, "_collate_fn", None)
        if collate is None or collate in (default_collate, default_convert) or not iterator._auto_collation:
            return None
        check = cls(collate, RawValue("b", 0))
        iterator._collate_fn = check
        return check.broken

    def __call__(self, samples: Any) -> Any:
        """Put the batch together as the user's function does."""
        fields = None
        if self.n_in_order < _ENOUGH and not self.broken.value:
            with suppress(Exception):
                fields = _columns(samples)
        batch = self.collate(samples)
        if fields:
            with suppress(Exception):
                self._compare(fields, batch)
        return batch

    def _compare(self, fields: list[list[int]], batch: Any) -> None:
        for leaf in _numbers(batch):
            if leaf in fields:
                self.n_in_order += len(set(leaf)) > 1
            elif any(sorted(leaf) == sorted(field) for field in fields):
                self.broken.value = 1


def _columns(samples: Any) -> list[list[int]]:
    """Whole numbers in the same place of every sample."""
    rows = [_whole(sample) for sample in samples]
    shared = set.intersection(*(set(row) for row in rows)) if rows else set()
    return [[row[key] for row in rows] for key in shared]


def _whole(sample: Any) -> dict[Any, int]:
    parts: Any = sample.items() if isinstance(sample, Mapping) else None
    if parts is None:
        parts = enumerate(sample) if isinstance(sample, (tuple, list)) else ()
    found: dict[Any, int] = {}
    for key, value in list(parts)[:_LEAVES]:
        one = isinstance(value, Tensor) and value.dim() == 0 and not value.is_floating_point()
        if one or (isinstance(value, int) and not isinstance(value, bool)):
            found[key] = int(value)
    return found


def _numbers(batch: Any) -> list[list[int]]:
    values = list(batch.values()) if isinstance(batch, Mapping) else batch
    if not isinstance(values, (tuple, list)):
        return []
    return [
        value.tolist()
        for value in values[:_LEAVES]
        if isinstance(value, Tensor) and value.dim() == 1 and not value.is_floating_point()
        and value.device.type == "cpu"
    ]  # fmt: skip


def rows_are_samples(leaves: tuple[Tensor, ...], n_rows: int) -> bool:
    """Whether one item of a dataset is a whole batch: labels along the axis of the first tensor."""
    return n_rows > 1 and any(
        leaf.dim() == 1 and len(leaf) == n_rows and not leaf.is_floating_point() for leaf in leaves
    )
