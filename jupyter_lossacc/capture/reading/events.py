"""What happened, after reading the journal: the input of the interpreter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from jupyter_lossacc.capture.reading.criteria import Call
    from jupyter_lossacc.capture.reading.sample_ids import Match, Origin
    from jupyter_lossacc.capture.taps.loaders import Batch

__all__ = ["LossEvent", "OptimizerEvent", "RootEvent", "StepEvent"]


@dataclass(eq=False, slots=True)
class LossEvent:
    """One call of a criterion.

    Parameters
    ----------
    order : int
        Place among all events.
    number : int
        Autograd sequence number of the output; -1 without a graph.
    training : bool, optional
        ``model.training`` at the call; None when no model was known.
    phase : {"train", "eval"}, optional
        "train" if backward reached it; None while that is not known.
    logits_at : int
        Address of the input: terms on the same predictions share it.
    match, candidates, origin
        What is known about the samples so far.
    columns : ndarray of float32, shape (len(COLUMNS), n_rows)
        See `criteria.COLUMNS`.
    target : ndarray
        The target as given.
    value : float
        What the criterion returned (its mean where it returned a vector).
    criterion : float
        What the user's own criterion returned, where there is one; NaN otherwise.
    logits, targets : Tensor, optional
        For calibration sums; only of calls that may belong to an evaluation.
    """

    order: int
    call: Call
    number: int
    training: bool | None
    logits_at: int
    match: Match | None = None
    candidates: tuple[Batch, ...] = ()
    origin: Origin | None = None
    prints: NDArray[np.int64] | None = None  # fingerprints of what the model was given
    place: tuple[int, str] = (-1, "")  # where in the user's code it is evaluated, and the name of its split
    held: bool | None = None  # whether the user holds the tensor the targets come from
    phase: str | None = None
    root: RootEvent | None = None
    task: str = "unknown"
    n_classes: int = 0
    n_rows: int = 0
    columns: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    on_simplex: bool = False
    one_hot: bool = False
    target: NDArray[Any] | None = None
    value: float = float("nan")
    criterion: float = float("nan")
    class_weights: NDArray[np.float64] | None = None
    logits: Tensor | None = None
    targets: Tensor | None = None
    dropped: bool = False  # written over before it could be read
    elsewhere: bool = False  # another module answered than the trained one: a copy, say
    recomputed: bool = False  # no criterion was called: that of the training was computed
    certain: float = 1.0  # 0 where what looked like predictions turned out to be none
    rewritten: bool = False  # the user wrote into what the criterion returned
    attack: bool = False  # of an input that is being changed to mislead the model
    thin: bool = False  # a training batch whose samples are not recorded, to save time


@dataclass(eq=False, slots=True)
class RootEvent:
    """One call of backward, and the losses under it."""

    order: int
    numbers: tuple[int, ...]
    value: float | None  # None: the value of the one loss itself
    inside_step: bool
    batch: Batch | None = None  # the newest that a loader gave before
    events: list[LossEvent] = field(default_factory=list)
    counted: bool = False
    chosen: bool = False  # its loss is that of chosen samples of a batch


@dataclass(eq=False, slots=True)
class StepEvent:
    """One step of an optimiser; NaN where a value was not taken."""

    order: int
    optimizer: int
    learning_rate: float
    grad_norm: float = float("nan")
    update_ratio: float = float("nan")
    dead_share: float = float("nan")
    other_rates: tuple[float, ...] = ()  # of the groups after the first
    clipped_at: float = float("inf")  # the norm was computed before the gradients were clipped to this


@dataclass(eq=False, slots=True)
class OptimizerEvent:
    """An optimiser seen for the first time, with numbers of its parameters.

    `owner` is the number of the module that they belong to; None when none was found.
    """

    order: int
    optimizer: int
    parameters: frozenset[int]
    owner: int | None = None
