"""What capture reports, and to whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from jupyter_lossacc.records import Pass

__all__ = ["Counters", "Sink"]


class Sink(Protocol):
    """Who receives what capture sees; called on the training thread, so each call must be cheap."""

    def run_started(self, run: int, name_hint: str) -> None:
        """Begin run number `run` (0, 1, ...)."""

    def pass_finished(self, run: int, passed: Pass) -> None:
        """Take a pass that has ended."""

    def steps(self, run: int, columns: dict[str, NDArray[np.float64]]) -> None:
        """Take the rows of ``STEP_COLUMNS`` since the last call."""

    def progress(
        self, run: int, split: str, epoch: int, step: int, batch: int, n_batches: int | None
    ) -> None:
        """Say where the training is."""

    def limit(self, sentence: str) -> None:
        """Take a sentence about what cannot be recorded; each distinct one comes once."""


@dataclass(slots=True)
class Counters:
    """What was seen, for the sentences of the session.

    Parameters
    ----------
    losses, backwards, steps : int
        Calls of criteria, of backward, of optimisers.
    evaluations, train_passes : int
        Finished passes by phase.
    regressions : int
        Criterion calls with continuous targets.
    unknown_criteria : int
        Training batches whose criterion is none of torch's.
    unreadable : int
        Criterion calls whose predictions could not be read as classes.
    unseen : int
        Calls of backward whose loss could not be connected to predictions.
    outputs_apart : int
        Yes-or-no losses of another output of a batch than the one that is recorded.
    not_finite : int
        Criterion calls that returned NaN or infinity; `first_not_finite` is (split, epoch, step).
    empty_loaders : list of str
        Names of loaders that gave no batch ("" where no name was seen).
    """

    losses: int = 0
    backwards: int = 0
    steps: int = 0
    evaluations: int = 0
    train_passes: int = 0
    regressions: int = 0
    unknown_criteria: int = 0
    unreadable: int = 0
    unseen: int = 0
    outputs_apart: int = 0
    not_finite: int = 0
    first_not_finite: tuple[str, int, int] | None = None
    empty_loaders: list[str] = field(default_factory=list)
