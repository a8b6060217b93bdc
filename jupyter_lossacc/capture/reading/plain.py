"""Training steps of the plainest kind, read many at a time while their samples are not recorded.

One batch, one loss on all of it, one backward from that loss, one step: where the governor leaves the
samples out, nothing else is to be found in such a step, and reading each by itself would cost more
than the step. The interpreter says what the last step looked like (`Pattern`); the reader takes the
steps that look the same (`PlainSteps`) and reads everything else one by one, as ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jupyter_lossacc.capture.taps.journal import PLAIN, Entry

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from jupyter_lossacc.capture.reading.criteria import Call
    from jupyter_lossacc.capture.reading.events import LossEvent, StepEvent
    from jupyter_lossacc.capture.taps.lane import PlainStep
    from jupyter_lossacc.capture.taps.loaders import Batch, LoaderPass

__all__ = ["Pattern", "PlainSteps", "ordinary", "pattern_of", "take_plain"]

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
    copied : bool
        Whether the targets were copied from the batch, to another device or type.
    """

    call: Call
    optimizer: int
    group: tuple[Any, ...]
    source: LoaderPass | None
    target: weakref.ref[Tensor] | None
    copied: bool = False


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
    rates : list of float
        Learning rates; NaN where more is known about the step.
    measured : dict of int to StepEvent
        Steps of which more than one learning rate is known, by place.
    values : list of float
        What the criterion returned.
    targets : ndarray of int, optional
        Of all batches, in order; None where every step trains on the whole set.
    """

    order: int
    pattern: Pattern
    batches: list[Batch] = field(default_factory=list)
    n_rows: list[int] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    measured: dict[int, StepEvent] = field(default_factory=dict)
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
        # A copy, on another device say, tells its batch only if that was the one given last.
        copied = match.source == "values" and event.candidates[-1:] == (batch,)
        certain = (copied or match.source in ("identity", "memory")) and match.first == 0
        whole = certain and event.n_rows == batch.size and batch.indices is not None
        shared = batch.source.data.share is not None
        return Pattern(call, optimizer, group, batch.source, None, copied) if whole and not shared else None
    if origin is None or not origin.whole or not origin.kept() or event.n_rows != origin.n_rows:
        return None
    return Pattern(call, optimizer, group, None, origin.target)


def ordinary(entries: list[Entry]) -> list[Entry]:
    """Return entries in which every plain step is a usual one."""
    if all(entry[0] != PLAIN or entry[1].usual for entry in entries):
        return entries
    found: list[Entry] = []
    for entry in entries:
        found += entry[1].parts() if entry[0] == PLAIN and not entry[1].usual else [entry]
    return found


def take_plain(
    entries: list[Entry], at: int, step_of: Callable[[Entry], StepEvent]
) -> tuple[PlainSteps, list[Tensor]]:
    """Take the plain steps from entry `at` on that look like the first.

    Parameters
    ----------
    entries : list of Entry
    at : int
        A plain step.
    step_of : callable
        How the step of an optimiser is read.

    Returns
    -------
    found : PlainSteps
    wanted : list of Tensor
        Which host copies to give to `PlainSteps.fill`.
    """
    lane = entries[at][1].lane
    found = PlainSteps(0, lane.pattern)
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    for entry in islice(entries, at, None):
        if entry[0] != PLAIN or entry[1].lane is not lane:
            break
        noted: PlainStep = entry[1]
        target: Tensor = noted.rest[0]
        if noted.batch is not None:
            found.batches.append(noted.batch)
            targets.append(target)
        found.n_rows.append(target.numel())
        outputs.append(noted.output)
        step: Any = noted.step
        rate = step[2]
        if not (type(rate) is float and step[3] is None and step[4] is None and step[5] is None):
            found.measured[len(found.rates)] = step_of(step)
            rate = math.nan
        found.rates.append(rate)
    wanted = [torch.stack(outputs).double()]
    return found, ([*wanted, torch.cat(targets)] if targets else wanted)
