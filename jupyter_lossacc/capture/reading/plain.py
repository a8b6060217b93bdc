"""Training steps of the plainest kind, read many at a time while their samples are not recorded.

One batch, one loss on all of it, one backward from that loss, one step: where the governor leaves the
samples out, nothing else is to be found in such a step, and reading each by itself would cost more
than the step. The interpreter says what the last step looked like (`Pattern`); the reader takes the
steps that look the same (`PlainSteps`) and reads everything else one by one, as ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jupyter_lossacc.capture.taps.journal import BACKWARD, BATCH, LOSS, STEP, Entry

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from jupyter_lossacc.capture.reading.criteria import Call
    from jupyter_lossacc.capture.reading.events import LossEvent, StepEvent
    from jupyter_lossacc.capture.taps.loaders import Batch, LoaderPass

__all__ = ["Pattern", "PlainSteps", "pattern_of", "take_plain"]

_CALLS = ("cross_entropy", "nll_loss")  # their targets tell the weight of a batch


@dataclass(slots=True)
class Pattern:
    """What a training step looked like.

    Parameters
    ----------
    call : Call
    optimizer : int
    group : tuple
        The data that it read.
    source : LoaderPass, optional
        What its batch came from.
    target : weakref to Tensor, optional
        Without a loader: the targets of the whole set, which every step trains on.
    """

    call: Call
    optimizer: int
    group: tuple[Any, ...]
    source: LoaderPass | None
    target: weakref.ref[Tensor] | None

    @property
    def n_entries(self) -> int:
        """Count the entries of a step: batch, loss, backward, step."""
        return 3 if self.source is None else 4


@dataclass(eq=False, slots=True)
class PlainSteps:
    """Steps that follow each other and look alike.

    Parameters
    ----------
    order : int
        Place among all events of the last step.
    pattern : Pattern
    batches : list of Batch
        One per step; empty where every step trains on the whole set.
    n_rows : list of int
        Samples per step.
    steps : list of StepEvent
    values : list of float
        What the criterion returned.
    targets : ndarray of int, optional
        Of all batches, in order; None where every step trains on the whole set.
    """

    order: int
    pattern: Pattern
    batches: list[Batch] = field(default_factory=list)
    n_rows: list[int] = field(default_factory=list)
    steps: list[StepEvent] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    targets: NDArray[np.int64] | None = None

    @property
    def optimizer(self) -> int:
        """Number of the optimiser that stepped."""
        return self.pattern.optimizer

    def fill(self, host: list[Tensor]) -> None:
        """Take values and targets from the host."""
        self.values = host[0].tolist()
        if len(host) > 1:
            self.targets = host[1].numpy()


def pattern_of(event: LossEvent, optimizer: int, group: tuple[Any, ...]) -> Pattern | None:
    """Describe a training step on the data `group`; None where `PlainSteps` does not tell all of it."""
    call, root = event.call, event.root
    alone = root is not None and root.numbers == (event.number,) and root.value is None
    known = math.isnan(event.criterion) and call.weight is None
    if not alone or not known or call.name not in _CALLS or call.reduction != "mean":
        return None
    match, origin = event.match, event.origin
    if match is not None:
        batch = match.batch
        certain = match.source in ("identity", "memory") and match.first == 0
        whole = certain and event.n_rows == batch.size and batch.indices is not None
        shared = batch.source.data.share is not None
        return Pattern(call, optimizer, group, batch.source, None) if whole and not shared else None
    if origin is None or not origin.whole or not origin.kept() or event.n_rows != origin.n_rows:
        return None
    return Pattern(call, optimizer, group, None, origin.target)


def take_plain(
    pattern: Pattern,
    entries: list[Entry],
    at: int,
    read: tuple[Callable[[str, tuple[Any, ...]], Call], Callable[[Entry], StepEvent]],
    takes: Callable[[], bool],
) -> tuple[PlainSteps, list[Tensor], bool]:
    """Take the steps from entry `at` on that look like `pattern`, until one is to be recorded.

    Parameters
    ----------
    pattern : Pattern
    entries : list of Entry
    at : int
    read : tuple of callable
        How a loss call and a step are read.
    takes : callable
        Whether a batch is to be recorded sample by sample.

    Returns
    -------
    found : PlainSteps
        Without steps where not even the first one is to be left out.
    wanted : list of Tensor
        Which host copies to give to `PlainSteps.fill`.
    recorded : bool
        Whether the batch that follows was picked to be recorded.
    """
    call_of, step_of = read
    found, length = PlainSteps(0, pattern), pattern.n_entries
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    while at + length <= len(entries):
        step = entries[at : at + length]
        target = _target(pattern, step, call_of)
        if target is None:
            break
        if takes():
            return found, _wanted(outputs, targets), True
        at += length
        if pattern.source is not None:
            found.batches.append(step[0][1])
            targets.append(target)
        found.n_rows.append(target.numel())
        outputs.append(step[-3][5])
        found.steps.append(step_of(step[-1]))
    return found, _wanted(outputs, targets), False


def _wanted(outputs: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
    values = [torch.stack(outputs).double()] if outputs else []
    return values + ([torch.cat(targets)] if targets else [])


def _target(
    pattern: Pattern, step: list[Entry], call_of: Callable[[str, tuple[Any, ...]], Call]
) -> Tensor | None:
    """Return the targets of one step; None where it does not look like the pattern."""
    loss, backward, last = step[-3:]
    if loss[0] != LOSS or backward[0] != BACKWARD or last[0] != STEP or last[1] != pattern.optimizer:
        return None
    _, name, number, _, rest, _, _, version, _ = loss
    target: Tensor = rest[0]
    plain = (
        number >= 0
        and backward[1:] == ((number,), None, False)
        and target.dim() == 1
        and target.numel() > 0
        and target._version == version
        and call_of(name, rest) is pattern.call
    )
    return target if plain and _all_of_it(pattern, step[0], target) else None


def _all_of_it(pattern: Pattern, first: Entry, target: Tensor) -> bool:
    """Whether these are the targets of the whole batch, or of the whole set."""
    if pattern.source is None:
        return pattern.target is not None and pattern.target() is target
    if first[0] != BATCH:
        return False
    batch: Batch = first[1]
    if batch.source is not pattern.source or batch.indices is None or batch.size != target.numel():
        return False
    return any(leaf is target or _same(leaf, target) for leaf in batch.leaves)


def _same(leaf: Tensor, target: Tensor) -> bool:
    """Whether `target` is another view of all that `leaf` holds."""
    return (
        leaf.data_ptr() == target.data_ptr() != 0
        and leaf.numel() == target.numel()
        and leaf.is_contiguous()
        and target.is_contiguous()
    )
