"""Keeps the weights of the epochs that the advice may name (``--keep-weights best``)."""

from __future__ import annotations

from math import isfinite
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_lossacc.records import EpochSummary
    from jupyter_lossacc.store import RunWriter

__all__ = ["keep_best", "named_epochs"]


def named_epochs(series: Sequence[EpochSummary]) -> set[int]:
    """Epochs that advice on this split may name: lowest losses, highest accuracy, last.

    Parameters
    ----------
    series : sequence of EpochSummary
        Evaluations of one split, epoch ascending.
    """
    if not series:
        return set()
    losses = ("calibrated_nll", "nll", "reported_loss")
    named = {series[-1].epoch}
    for measure, sign in (*((name, -1) for name in losses), ("accuracy", 1)):
        finite = [(sign * getattr(s, measure), s.epoch) for s in series if isfinite(getattr(s, measure))]
        if finite:
            named.add(max(finite, key=itemgetter(0))[1])
    return named


def keep_best(
    writer: RunWriter, series: Sequence[EpochSummary], epoch: int, state: Mapping[str, Any]
) -> None:
    """Store the weights of `epoch` if they may be advised, and delete those that no longer may."""
    named = named_epochs(series)
    if epoch in named:
        writer.save_weights(epoch, state)
    writer.keep_weights(sorted(named))
