"""Sentences that a finished cell owes its reader: what was not seen, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_lossacc.capture.capture import Capture
    from jupyter_lossacc.records import Recording

__all__ = ["closing_notes"]


def closing_notes(capture: Capture, recordings: Sequence[Recording], status: str) -> tuple[str, ...]:
    """Return what was expected and did not come; empty when all is as it should be."""
    return ()
