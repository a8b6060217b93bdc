"""Everything this package raises or warns with.

::

    Exception
    └── LossAccError                 something the caller can act on
        ├── CaptureError             a recording cannot be made as asked
        ├── StoreError               a stored run cannot be read or written
        │   ├── RunNotFoundError
        │   └── StoreVersionError
        └── DiagnosisError           a question that these records cannot answer
    KeyboardInterrupt
    └── StopTraining                 the Stop button ended the cell at a step boundary
    UserWarning
    └── LossAccWarning               a failure of ours; the training goes on unchanged

Wrong arguments stay ``TypeError`` and ``ValueError``.
"""

from __future__ import annotations

__all__ = [
    "CaptureError",
    "DiagnosisError",
    "LossAccError",
    "LossAccWarning",
    "RunNotFoundError",
    "StopTraining",
    "StoreError",
    "StoreVersionError",
]


class LossAccError(Exception):
    """Base of every error that the caller can act on."""


class CaptureError(LossAccError):
    """A recording cannot be made as asked."""


class StoreError(LossAccError):
    """A stored run cannot be read or written."""


class RunNotFoundError(StoreError):
    """No stored run has this name, id or path."""


class StoreVersionError(StoreError):
    """The run was written by a newer version of the package."""


class DiagnosisError(LossAccError):
    """The records at hand cannot answer this question."""


class LossAccWarning(UserWarning):
    """A failure of ours that was contained; the training is unchanged."""


class StopTraining(KeyboardInterrupt):
    """Raised after an optimiser step when the user pressed Stop.

    A ``BaseException``, so that ``except Exception`` in the user's loop cannot swallow it; a
    ``KeyboardInterrupt``, so that trainers which end gracefully on Ctrl-C do so here too.

    Parameters
    ----------
    step : int
        Optimiser steps taken when the training stopped.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(f"training stopped after optimiser step {step}")

    def _render_traceback_(self) -> list[str]:
        """Show one line in IPython instead of a traceback: nothing went wrong."""
        return [
            (
                f"lossacc: training stopped after step {self.step} by Stop. "
                "Variables keep their values; everything recorded so far is kept."
            )
        ]
