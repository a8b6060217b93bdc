"""Copies of a model's weights, taken where they lie when an evaluation begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jupyter_lossacc.capture.taps.journal import Journal

__all__ = ["WeightKeeper"]


class WeightKeeper:
    """Copies the weights at the first loss of every evaluation (a loss computed without gradients).

    Taken at that moment and not when the pass is reported: by then the training may have gone on, or
    the function that holds the model may have returned.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: dict[int, dict[str, Tensor]] = {}

    def take(self) -> None:
        """Copy the weights on their own device, without waiting for it, once per optimiser step."""
        journal = self._journal
        model = journal.model() if journal.model is not None else None
        if model is None or journal.n_steps in self._kept:
            return
        with torch.no_grad():
            self._kept[journal.n_steps] = {
                name: value.detach().clone()
                for name, value in model.state_dict().items()
                if isinstance(value, Tensor)
            }

    def at(self, step: int) -> dict[str, Tensor] | None:
        """Return the weights after `step` optimiser steps and forget older ones; None if not taken."""
        for old in [s for s in self._kept if s < step]:
            del self._kept[old]
        return self._kept.get(step)
