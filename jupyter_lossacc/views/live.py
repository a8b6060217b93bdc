"""What a live view is given at each update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        undecided = (line for diagnosis in self.diagnoses for line in diagnosis.limits)
        return tuple(dict.fromkeys((*self.recording.limits, *undecided)))
