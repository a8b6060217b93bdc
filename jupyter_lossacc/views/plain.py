"""Views that need no notebook: words on standard output, or nothing at all."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jupyter_lossacc.views.text import summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jupyter_lossacc.records import Floats, Recording
    from jupyter_lossacc.views.live import Findings

__all__ = ["NoView", "TextView"]


class NoView:
    """Shows nothing; what was recorded is there to be asked for."""

    live = False

    def open(self, name: str) -> None:
        """Do nothing."""

    def steps(self, columns: Mapping[str, Floats]) -> None:
        """Do nothing."""

    def progress(self, split: str, epoch: int, step: int, batch: int, n_batches: int | None) -> None:
        """Do nothing."""

    def passed(self, recording: Callable[[], Recording]) -> None:
        """Do nothing."""

    def update(self, findings: Findings) -> None:
        """Do nothing."""

    def close(self, findings: Findings | None, notes: tuple[str, ...]) -> None:
        """Do nothing."""


class TextView(NoView):
    """Writes the diagnosis in words when the run has ended."""

    def close(self, findings: Findings | None, notes: tuple[str, ...]) -> None:
        """Write the summary (the notes are among its limits), or why there is none."""
        if findings is None:
            text = "\n".join(f"lossacc: {note}" for note in notes or ("nothing was recorded.",))
        else:
            text = summary(findings.recording, findings.episodes, findings.diagnoses, findings.advice)
        sys.stdout.write(text + "\n")
