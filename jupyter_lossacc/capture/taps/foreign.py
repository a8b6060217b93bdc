"""What other libraries bring of their own below an ordinary loop: loaders, datasets, optimisers.

Most frameworks read through torch's DataLoader and step torch's optimisers, and need nothing here.
No framework is imported to look for it: what the user has not imported cannot be in the loop.
"""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any

from torch.utils.data import Subset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_lossacc.capture.taps.optimizers import OptimizerTaps
    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["ForeignOptimizers", "below", "order_of", "real_loader", "shared_name"]


def _made_by(value: object, module: str, name: str) -> bool:
    """Whether `value` is an instance of a class of a module, where the user has imported that."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def real_loader(loader: Any) -> Any:
    """Return the loader that iterates: fastai hands torch a stand-in that holds it."""
    return loader.d if _made_by(loader, "fastai.data.load", "_FakeLoader") else loader


def order_of(loader: Any) -> tuple[Sequence[Any], int] | None:
    """Return dataset indices in the order of one pass, and the batch size, where the loader has drawn them.

    fastai draws all indices of a pass before the first batch, also when workers read them.
    """
    if not _made_by(loader, "fastai.data.load", "DataLoader"):
        return None
    indices = getattr(loader, "_DataLoader__idxs", None)
    return (indices, loader.bs) if isinstance(indices, list) and loader.bs else None


def below(dataset: Any) -> tuple[Any, Sequence[int]] | None:
    """Return the dataset that a part is made of, and the part's indices in it; None for a whole dataset."""
    if isinstance(dataset, Subset):
        return dataset.dataset, dataset.indices
    if _made_by(dataset, "datasets", "Dataset") and dataset._indices is not None:
        whole = copy.copy(dataset)  # shuffle(), select() and train_test_split() keep the table they read
        whole._indices = None
        return whole, dataset._indices.column(0).to_numpy()
    return None


def shared_name(dataset: Any) -> str | None:
    """Return a name that all wrappers of the same data share; None for a dataset that stands for itself.

    Every method of a dataset of ``datasets`` gives a new object over the same memory, and the Trainer of
    transformers drops unused columns anew before every evaluation.
    """
    if not _made_by(dataset, "datasets", "Dataset"):
        return None
    column = dataset.data.column(0) if dataset.data.num_columns else None
    if column is None or not column.num_chunks:
        return None
    memory = column.chunk(0).buffers()[-1]
    return None if memory is None else f"datasets {dataset.data.num_rows} {memory.address}"


class ForeignOptimizers:
    """Taps optimisers that are not torch's, as soon as the user has imported them."""

    def __init__(self, patches: Patches, taps: OptimizerTaps) -> None:
        self._patches, self._taps = patches, taps
        self._found = False
        self.look()

    def look(self) -> None:
        """Look for fastai's, at the beginning of a pass."""
        if not self._found and "fastai.optimizer" in sys.modules:
            kind = getattr(sys.modules["fastai.optimizer"], "Optimizer", None)
            if kind is not None:  # None while the module is being imported
                self._found = True
                self._taps.watch(self._patches, kind)
