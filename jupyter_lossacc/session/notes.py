"""Sentences that a finished cell owes its reader: what was not seen, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jupyter_lossacc.records import Recording

if TYPE_CHECKING:
    from jupyter_lossacc.capture.capture import Capture

__all__ = ["closing_notes"]


def closing_notes(capture: Capture, recordings: Sequence[Recording], status: str) -> tuple[str, ...]:
    """Return what was expected and did not come; empty when all is as it should be."""
    return ()
