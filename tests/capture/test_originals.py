"""Samples read again from the user's dataset: the right ones, and as if nobody had looked."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from jupyter_lossacc.capture.originals import originals
from jupyter_lossacc.capture.taps.datasets import Datasets, bottom
from jupyter_lossacc.errors import DiagnosisError


class Augmented(Dataset):
    """Draws from every generator there is, its own included."""

    def __init__(self) -> None:
        self.own = np.random.default_rng(3)
        self.transform = Flip()
        self.options = {"legacy": np.random.RandomState(4), "python": random.Random(5)}

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[float, int]:
        if index >= 10:
            raise IndexError(index)
        drawn = [self.own.random(), self.transform(), self.options["legacy"].rand()]
        drawn += [self.options["python"].random(), random.random(), torch.rand(()).item()]
        drawn.append(np.random.rand())  # noqa: NPY002
        return sum(drawn), index


class Flip:
    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(6)

    def __call__(self) -> float:
        return torch.rand((), generator=self.generator).item()


def test_looking_changes_no_random_number():
    looked, bare = Augmented(), Augmented()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    originals(looked, [1, 2, 3])
    after = looked[0]
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    assert bare[0] == after


def test_a_sample_that_fails_does_not_hide_the_others():
    first, failed = originals(Augmented(), [4, 99])
    assert first[1] == 4
    assert isinstance(failed, IndexError)


def test_ids_count_in_the_dataset_below_subsets_and_loaders():
    data = TensorDataset(torch.arange(20.0), torch.arange(20))
    loader = DataLoader(Subset(Subset(data, range(5, 20)), [3, 4]), batch_size=2)
    assert bottom(loader) is data
    assert [int(y) for _, y in originals(loader, [8, 9])] == [8, 9]


def test_a_stream_is_refused_with_the_reason():
    class Stream(IterableDataset):
        def __iter__(self):
            yield 1

    with pytest.raises(DiagnosisError, match="stream cannot be shown by number"):
        originals(DataLoader(Stream()), [0])


def test_a_reference_keeps_neither_dataset_nor_loader_alive():
    data = TensorDataset(torch.arange(4.0))
    loader = DataLoader(Subset(data, [1, 2]))
    reference = Datasets().key(loader).reference
    del loader
    gc.collect()
    assert reference() is data
    del data
    gc.collect()
    assert reference() is None


def test_a_list_is_found_through_its_loader_only():
    loader = DataLoader([(0.5, 1), (0.7, 0)])
    reference = Datasets().key(loader).reference
    assert reference() is loader.dataset
    del loader
    gc.collect()
    assert reference() is None
