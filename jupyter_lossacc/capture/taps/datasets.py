"""Which data a loader reads: the dataset at the bottom, and the part of it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from jupyter_lossacc.capture.taps.foreign import below, shared_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["DataKey", "DataReference", "Datasets", "bottom"]

_PROBES = 64


@dataclass(frozen=True, slots=True)
class DataKey:
    """A dataset and a part of it.

    Parameters
    ----------
    root : int
        Number of the dataset below all `Subset` wrappers and other selections.
    part : tuple
        What tells parts of one dataset apart: contents of the subsets and of the sampler's indices.
    maps : tuple of sequences
        Indices of the subsets, outermost first.
    size : int, optional
        Samples in the part.
    objects : tuple of int
        ids of the loader, dataset and subsets, to recognise what the user named.
    reference : DataReference, optional
        Finds the dataset again after the training.
    share : Share, optional
        What this process reads of data that several processes share.
    """

    root: int
    part: tuple[Any, ...]
    maps: tuple[Sequence[int], ...] = ()
    size: int | None = None
    objects: tuple[int, ...] = ()
    reference: DataReference | None = None
    share: Share | None = None

    def underlying(self, indices: Any) -> NDArray[np.int64] | None:
        """Return indices of the root dataset; None when the loader's indices are not integers."""
        for mapping in self.maps:
            indices = [mapping[i] for i in indices]
        array = np.asarray(indices)
        return array.astype(np.int64) if array.ndim == 1 and array.dtype.kind in "iu" else None


class Share(NamedTuple):
    """Samples that a ``DistributedSampler`` gives this process, before it repeats some to fill up."""

    n_samples: int
    batch_size: int


def _share(loader: Any) -> Share | None:
    """Return the share of a loader that tells it; None for other loaders.

    The sampler repeats samples at the end of its order, until all processes have equally many.
    """
    batches = getattr(loader, "batch_sampler", None)
    sampler, size = getattr(batches, "sampler", None), getattr(batches, "batch_size", None)
    in_order = getattr(loader, "in_order", True)
    if not isinstance(sampler, DistributedSampler) or sampler.drop_last or not (in_order and size):
        return None
    n_samples = len(range(sampler.rank, len(sampler.dataset), sampler.num_replicas))  # type: ignore[arg-type]
    return Share(n_samples, size)


def bottom(data: Any) -> Any:
    """Return the dataset below a loader (or its iterator) and all `Subset` wrappers: ids count there."""
    for name in ("dataset", "_dataset"):
        if not isinstance(data, Dataset) and getattr(data, name, None) is not None:
            data = getattr(data, name)
    while (part := below(data)) is not None:
        data = part[0]
    return data


class DataReference:
    """Finds a dataset as long as the user keeps it, or the loader that reads it; keeps neither alive."""

    def __init__(self, loader: Any, dataset: Any) -> None:
        self._loader = weakref.ref(loader)
        try:
            self._dataset: Callable[[], Any] = weakref.ref(dataset)
        except TypeError:  # a list, say: found through its loader only
            self._dataset = lambda: None

    def __call__(self) -> Any:
        """Return the dataset, or None when it is gone."""
        dataset = self._dataset()
        loader = self._loader() if dataset is None else None
        return dataset if loader is None else bottom(loader)


class _Strong:
    """Stands in for a weak reference to what allows none."""

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def __call__(self) -> object:
        return self.thing


class Datasets:
    """Numbers datasets without keeping them alive."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int]] = {}
        self._named: dict[str, int] = {}
        self._n = 0

    def number(self, dataset: Any) -> int:
        """Return the same number for the same object, and never for another one."""
        name = shared_name(dataset)
        if name is not None:
            return self._named.setdefault(name, self._next())
        known = self._known.get(id(dataset))
        if known is not None and known[0]() is dataset:
            return known[1]
        try:
            reference: Any = weakref.ref(dataset)
        except TypeError:  # a list, say: kept, because its id could be used again
            reference = _Strong(dataset)
        number = self._next()
        self._known[id(dataset)] = (reference, number)
        return number

    def _next(self) -> int:
        self._n += 1
        return self._n

    def key(self, loader: Any) -> DataKey:
        """Describe what `loader` (or the iterator of an unknown one) reads."""
        dataset = getattr(loader, "dataset", None)
        if dataset is None:
            dataset = getattr(loader, "_dataset", None)
        objects, maps, part = [id(loader), id(dataset)], [], []
        while (smaller := below(dataset)) is not None:
            dataset, indices = smaller
            maps.append(indices)
            part.append(_signature(indices))
            objects.append(id(dataset))
        sampler = getattr(loader, "sampler", None)
        chosen = getattr(sampler, "indices", None)
        if chosen is not None:
            part.append(("sampler", _signature(chosen)))
        sized: Any = sampler if chosen is not None else maps[0] if maps else dataset
        size = len(sized) if hasattr(sized, "__len__") else None
        reference = DataReference(loader, dataset)
        return DataKey(
            self.number(dataset), tuple(part), tuple(maps), size, tuple(objects), reference, _share(loader)
        )


def _signature(indices: Any) -> tuple[Any, ...]:
    """Return a few values that tell index lists apart, also when the list is made again every epoch."""
    n = len(indices)
    places: Any = np.linspace(0, n - 1, min(n, _PROBES)).astype(int) if n else []
    return (n, *(int(indices[int(i)]) for i in places))
