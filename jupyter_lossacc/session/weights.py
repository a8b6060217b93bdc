"""Keeps the weights of the epochs that the advice may name (``--keep-weights best``)."""

from __future__ import annotations

from math import inf, isfinite
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_lossacc.records import EpochSummary
    from jupyter_lossacc.session.ranks import PartWriter
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
    for measure in losses:
        finite = [s for s in series if isfinite(getattr(s, measure))]
        if finite:
            named.add(min(finite, key=attrgetter(measure)).epoch)
    accurate = [s for s in series if isfinite(s.accuracy)]
    if accurate:
        # Of equally accurate epochs the advice takes the one of lowest (calibrated) loss.
        top = [s for s in accurate if s.accuracy == max(a.accuracy for a in accurate)]
        for measure in ("calibrated_nll", "nll"):
            named.add(
                min(top, key=lambda s: getattr(s, measure) if isfinite(getattr(s, measure)) else inf).epoch
            )
    return named


def keep_best(
    writer: RunWriter | PartWriter, series: Sequence[EpochSummary], epoch: int, state: Mapping[str, Any]
) -> None:
    """Store the weights of `epoch` if they may be advised, and delete those that no longer may."""
    named = named_epochs(series)
    if epoch in named:
        writer.save_weights(epoch, state)
    writer.keep_weights(sorted(named))
