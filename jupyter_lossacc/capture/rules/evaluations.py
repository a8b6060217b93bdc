"""Passes of a run by their key, and what a second evaluation of the same data at the same step is called."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.records import Pass

__all__ = ["Evaluations"]

_MOST = 3  # evaluations of the same data at the same step that are told apart
_RECENT = 64  # passes that another one may have the key of
_SAME = 1e-5  # mean losses that differ less, relatively, are of the same predictions


class Evaluations:
    """What is known of the passes that ended last.

    Attributes
    ----------
    known : dict
        By key of a pass: its samples and their mean loss.
    """

    def __init__(self) -> None:
        self.known: dict[tuple[str, int, int], tuple[int, float]] = {}

    def tell_apart(
        self, passed: Pass, taken: dict[str, tuple[Any, ...]], limit: Callable[[str], None]
    ) -> Pass | None:
        """Return the pass under a key of its own; None where it says nothing new.

        Other weights (averaged ones, the best ones) or other inputs make a second evaluation at the same
        step a split of its own: ``val_2``.

        Parameters
        ----------
        passed : Pass
        taken : dict
            Names of splits, and which data have them.
        limit : callable
            Says a limit once.
        """
        split, outcome = passed.split, _outcome(passed)
        for number in range(2, _MOST + 2):
            if passed.key not in self.known:
                self.known[passed.key] = outcome
                if len(self.known) > _RECENT:
                    del self.known[next(iter(self.known))]
                if passed.split != split:
                    limit(
                        f"The {split!r} data were evaluated again before another training step, with other "
                        "predictions (averaged weights or other inputs, say); that is called "
                        f"{passed.split!r}."
                    )
                return passed
            n, nll = self.known[passed.key]
            if n == outcome[0] and abs(nll - outcome[1]) <= _SAME * abs(nll):
                return None  # the same predictions again
            name = f"{split}_{number}"
            mine = taken.setdefault(name, ("again", split)) == ("again", split)
            if not mine or n != outcome[0] or number > _MOST or math.isnan(outcome[1]):
                break
            passed = replace(passed, split=name)
        limit(
            f"The {split!r} data were evaluated again before another training step; the first "
            "evaluation at each step is kept."
        )
        return None


def _outcome(passed: Pass) -> tuple[int, float]:
    """Return how many samples a pass had, and their mean loss."""
    nll = passed.predictions.nll
    return len(nll), float(nll.mean(dtype=np.float64)) if len(nll) else math.nan
