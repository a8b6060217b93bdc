"""What a live view is given at each update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_lossacc.views.words import limits_of

if TYPE_CHECKING:
    from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Recording

__all__ = ["Findings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A snapshot of the records and everything concluded from it."""

    recording: Recording
    episodes: tuple[Episode, ...]
    diagnoses: tuple[Diagnosis, ...]
    advice: CheckpointAdvice

    @property
    def limits(self) -> tuple[str, ...]:
        """What could not be recorded or decided, in sentences."""
        return limits_of(self.recording, self.diagnoses)
