"""The samples themselves, read again from the user's own dataset after the training.

Reading a sample runs the user's code, transforms included. Random numbers that it draws are given
back: those of Python, NumPy and torch, and those of generators that the dataset owns.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from jupyter_lossacc.capture.taps.datasets import bottom
from jupyter_lossacc.errors import DiagnosisError

__all__ = ["originals", "random_numbers_kept"]

_DEPTH = 6
_OBJECTS = 5000
Restore = Callable[[], object]


def originals(data: Any, sample_ids: Sequence[int]) -> list[Any]:
    """Read samples of a dataset (or of the one that a loader reads) by their ids.

    Parameters
    ----------
    data : dataset or DataLoader
    sample_ids : sequence of int
        Indices in the dataset, as in the records.

    Returns
    -------
    list
        What the dataset gives for each id; an exception where it gives none.

    Raises
    ------
    DiagnosisError
        When the data can only be read in order.
    TypeError
        When the ids are no whole numbers.
    """
    try:
        numbers = [index(i) for i in sample_ids]
    except TypeError:
        raise TypeError(
            f"Expected a list of sample ids, such as run.look([3, 7]), got {sample_ids!r}."
        ) from None
    dataset = bottom(data)
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise DiagnosisError(
            f"Expected a dataset that gives a sample for an index, got {type(dataset).__name__}: "
            "data that are read as a stream cannot be shown by number."
        )
    with random_numbers_kept(dataset):
        return [_read(dataset, number) for number in numbers]


def _read(dataset: Any, number: int) -> Any:
    try:
        return dataset[number]
    except Exception as error:
        return error


@contextmanager
def random_numbers_kept(owner: Any) -> Iterator[None]:
    """Give back every random number that is drawn inside, also by generators that `owner` holds."""
    restore = [*_shared_generators(), *_own_generators(owner)]
    try:
        yield
    finally:
        for put_back in restore:
            put_back()


def _shared_generators() -> Iterator[Restore]:
    python, host = random.getstate(), torch.get_rng_state()
    numpy = np.random.get_state()  # noqa: NPY002 - the one that transforms draw from
    yield lambda: random.setstate(python)
    yield lambda: np.random.set_state(numpy)  # noqa: NPY002
    yield lambda: torch.set_rng_state(host)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        devices = torch.cuda.get_rng_state_all()
        yield lambda: torch.cuda.set_rng_state_all(devices)
    if torch.backends.mps.is_available():
        metal = torch.mps.get_rng_state()
        yield lambda: torch.mps.set_rng_state(metal)


def _own_generators(owner: Any) -> Iterator[Restore]:
    """Find generators in the attributes of the dataset and of its transforms, a few levels deep."""
    waiting, seen = [(owner, 0)], set[int]()
    while waiting and len(seen) < _OBJECTS:
        thing, depth = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        restore = _restore(thing)
        if restore is not None:
            yield restore
        elif depth < _DEPTH:
            waiting += [(part, depth + 1) for part in _parts(thing)]


def _restore(thing: Any) -> Restore | None:
    if isinstance(thing, np.random.Generator):
        bits, kept = thing.bit_generator, thing.bit_generator.state
        return lambda: setattr(bits, "state", kept)
    if isinstance(thing, np.random.RandomState):
        old = thing.get_state()
        return lambda: thing.set_state(old)
    if isinstance(thing, random.Random):
        before = thing.getstate()
        return lambda: thing.setstate(before)
    if isinstance(thing, torch.Generator):
        state = thing.get_state()
        return lambda: thing.set_state(state)
    return None


def _parts(thing: Any) -> list[Any]:
    """Attributes and entries; long sequences are data, not transforms."""
    if isinstance(thing, (str, bytes, np.ndarray, torch.Tensor, type)):
        return []
    if isinstance(thing, (list, tuple)):
        return list(thing) if len(thing) <= 100 else []
    if isinstance(thing, Mapping):
        return list(thing.values()) if isinstance(thing, dict) and len(thing) <= 100 else []
    return list(getattr(thing, "__dict__", {}).values())
