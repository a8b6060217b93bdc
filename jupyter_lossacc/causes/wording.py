"""What the causes about classes share: samples followed by class, and classes in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jupyter_lossacc.causes.cause import Window, epochs_of, not_tested, window
from jupyter_lossacc.stats.classes import class_counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from jupyter_lossacc.records import Episode, EpochSummary, Finding, Predictions, Recording

__all__ = [
    "CLASS_TASKS",
    "Followed",
    "follow_classes",
    "name_classes",
    "support_of",
    "trained_support",
]

CLASS_TASKS = ("multiclass", "binary")


class Followed(NamedTuple):
    """A window whose samples have one class each and are the same at both ends."""

    window: Window
    before: Predictions
    after: Predictions


def follow_classes(cause: str, recording: Recording, episode: Episode | None) -> Followed | Finding:
    """Return the two ends of the window sample by sample, or the finding that says why they are not known."""
    w = window(recording, episode)
    if w is None:
        return not_tested(cause, "Fewer than two complete passes lie in this stretch.")
    if w.end.loss.task not in CLASS_TASKS:
        return not_tested(cause, f"A sample of a {w.end.loss.task} task has no single class.")
    if w.before is None or w.after is None:
        return not_tested(cause, f"The samples cannot be followed {epochs_of(w)}: {w.unmatched}.")
    return Followed(w, w.before, w.after)


def name_classes(recording: Recording, classes: Iterable[int], most: int = 3) -> str:
    """Name classes as a sentence does: ``class 1``, ``classes cat and dog``, ``7 classes (0, 3, 5, ...)``."""
    names = recording.info.class_names
    words = [names[k] if 0 <= k < len(names) else str(k) for k in classes]
    if len(words) == 1:
        return f"class {words[0]}"
    if len(words) <= most:
        return f"classes {', '.join(words[:-1])} and {words[-1]}"
    return f"{len(words)} classes ({', '.join(words[:most])}, ...)"


def support_of(recording: Recording, summary: EpochSummary) -> NDArray[np.int64] | None:
    """Count the samples per class of one pass; None where a sample has no single class."""
    if summary.loss.task not in CLASS_TASKS:
        return None
    if summary.classes is not None:
        return summary.classes.support
    try:
        predictions = recording.load(summary.key)
    except KeyError:
        return None
    support, _, _ = class_counts(predictions.targets, predictions.predicted, summary.n_classes)
    return support


def trained_support(recording: Recording) -> NDArray[np.int64] | None:
    """Count the samples per class that the last complete training pass visited (as resampled, if so).

    Passes of which only a random part was recorded do not count the classes.
    """
    trained = [s for s in recording.summaries if s.complete and s.split == "train" and s.n_samples]
    passes = [s for s in trained if s.n_total is None]
    return support_of(recording, passes[-1]) if passes else None
