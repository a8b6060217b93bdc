"""Names of losses, where the one that is drawn and the one that is explained differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_lossacc.records import Finding, Recording

__all__ = ["calibrated_word", "is_weighted", "loss_meant"]


def is_weighted(recording: Recording) -> bool:
    """Whether the reported loss counts some classes more than others, so that it is not the mean NLL."""
    newest = next((s for s in reversed(recording.summaries) if s.complete and s.split != "train"), None)
    return newest is not None and newest.loss.weighted


def calibrated_word(recording: Recording) -> str:
    """Name the curve of the loss with calibration repaired, in which every sample counts the same."""
    return "unweighted and calibrated" if is_weighted(recording) else "calibrated"


def loss_meant(finding: Finding) -> str:
    """Name the loss as the sentences of a finding do; "loss" where there is one only."""
    said = f"{finding.because} {finding.statement}"
    return next((loss for loss in ("unweighted loss", "weighted loss") if loss in said), "loss")
