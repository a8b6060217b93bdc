"""What a live view is given at each update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_lossacc.views.words import limits_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Recording
    from jupyter_lossacc.views.samples import Portraits

__all__ = ["Findings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A snapshot of the records and everything concluded from it.

    ``look(sample_ids, split)`` shows samples from the user's own dataset, where it can be reached.
    """

    recording: Recording
    episodes: tuple[Episode, ...]
    diagnoses: tuple[Diagnosis, ...]
    advice: CheckpointAdvice
    look: Callable[..., Portraits] | None = None

    @property
    def limits(self) -> tuple[str, ...]:
        """What could not be recorded or decided, in sentences."""
        return limits_of(self.recording, self.diagnoses)
