"""Batches or samples that lie in a list, each a tensor of its own: together they are one set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.reading.sample_ids import Origin

__all__ = ["Pieces"]


class Pieces:
    """Places tensors that are used one after the other in the set to which they belong.

    A set is known by its first tensor; the ids of the others go on where those before end, in the order
    in which they are first met.

    Attributes
    ----------
    in_lists : bool
        Whether training went from one tensor to another without staying with any.
    mixed : bool
        Whether evaluated tensors were joined: sets evaluated one right after the other count as one.
    """

    def __init__(self) -> None:
        self.in_lists = self.mixed = False
        self._places: dict[int, tuple[int, int]] = {}  # by tensor: its set, and its first id there
        self._n_rows: dict[int, int] = {}  # by set
        self._last: dict[str, tuple[int, int, bool]] = {}  # by phase: tensor, step, used at one step only

    def place(self, origin: Origin, phase: str, step: int, *, own: Callable[[], bool]) -> Origin:
        """Return where the samples come from, in terms of their set.

        Parameters
        ----------
        origin : Origin
        phase : {"train", "eval"}
        step : int
            Optimiser steps so far: evaluations are joined within one.
        own : callable
            Whether the user's name for the tensor says that it is a set of its own.
        """
        last, at, once = self._last.get(phase, (origin.key, step, True))
        same = last == origin.key
        self._last[phase] = (origin.key, step, (once and at == step) if same else True)
        if phase == "eval" and not self.in_lists:
            return origin
        place = self._places.get(origin.key)
        if place is None:
            goes_on = not same and (once if phase == "train" else at == step and not own())
            before = self._places.get(last) if goes_on else None
            place = self._new(origin, None if before is None else before[0])
            self.in_lists |= phase == "train" and before is not None
            self.mixed |= phase == "eval" and before is not None
        whole_set, first = place
        if whole_set == origin.key:
            return origin
        return replace(origin, key=whole_set, ids=origin.ids + first, whole=False, target=None)

    def _new(self, origin: Origin, known: int | None) -> tuple[int, int]:
        whole_set = origin.key if known is None else known
        first = self._n_rows.get(whole_set, 0)
        self._n_rows[whole_set] = first + origin.n_rows
        self._places[origin.key] = (whole_set, first)
        return self._places[origin.key]
