"""Keeps the weights of the epochs that the advice may name (``--keep-weights best``)."""

from __future__ import annotations

from math import isfinite
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
    named = {series[-1].epoch}
    for value in (
        lambda s: -s.calibrated_nll,
        lambda s: -s.nll,
        lambda s: -s.reported_loss,
        lambda s: s.accuracy,
    ):
        finite = [s for s in series if isfinite(value(s))]
        if finite:
            named.add(max(finite, key=value).epoch)
    return named


def keep_best(
    writer: RunWriter, series: Sequence[EpochSummary], epoch: int, state: Mapping[str, Any]
) -> None:
    """Store the weights of `epoch` if they may be advised, and delete those that no longer may."""
    named = named_epochs(series)
    if epoch in named:
        writer.save_weights(epoch, state)
    writer.keep_weights(sorted(named))
