"""Gradient noise: the batch is too small for the step, so training wanders instead of settling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import Cause, default_split, evidence, not_tested
from jupyter_lossacc.causes.optimisation import (
    LARGE_BATCH,
    SMALL_BATCH,
    aim,
    course,
    descent_of,
    excuse,
    instability,
    symptoms,
    unproved,
)
from jupyter_lossacc.records import Episode, Experiment, Finding, Recording, Verdict
from jupyter_lossacc.stats.descent import LONG
from jupyter_lossacc.stats.noise import epoch_noise

if TYPE_CHECKING:
    from jupyter_lossacc.stats.descent import Descent

__all__ = ["CAUSE", "examine"]

ID = "gradient_noise"
SWINGS = 0.1  # of the mean: wobble of the evaluated loss between epochs
NOISY = 0.5  # standard deviation over mean of the gradient norm


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether the training loss is unstable while the batches are very small."""
    if episode is not None:
        return None
    d = descent_of(recording)
    if isinstance(d, str):
        return not_tested(ID, d)
    swing = _swing(recording)
    verdict, doubt = _verdict(d, swing, excuse(recording))
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=course(d) + doubt,
        because=f"batches of {d.batch_size:.0f} are too small for this learning rate",
        evidence=(
            evidence(
                "batch size", d.batch_size, "samples", f"<= {SMALL_BATCH:g}", d.batch_size <= SMALL_BATCH
            ),
            evidence(
                "variation of the gradient norm", d.gradient_cv, "1", f"> {NOISY}", d.gradient_cv > NOISY
            ),
            *(
                [
                    evidence(
                        "usual swing of the evaluated loss", swing, "ratio", f"> {SWINGS:g}", swing > SWINGS
                    )
                ]
                if np.isfinite(swing)
                else []
            ),
            *(row for row in symptoms(d) if row.name != "variation of the gradient norm"),
        ),
        action=(
            "Enlarge the batch, or lower the learning rate in proportion, or accumulate gradients over "
            "several batches. Averaging the weights of the last epochs takes out what is left of the noise."
            if verdict != "rejected"
            else ""
        ),
        experiment=_experiment(d) if verdict != "rejected" else None,
        strength=min(1.0, d.end) if np.isfinite(d.end) else 1.0,
    )


def _swing(recording: Recording) -> float:
    """How much the evaluated loss wobbles from epoch to epoch, against its mean; NaN if that is not known.

    The mean over hundreds of small batches hides what they do to the weights; an evaluation after each epoch
    sees the same samples under weights that were thrown about.
    """
    split = default_split(recording)
    loss = np.array([s.nll for s in recording.series(split)] if split else [])
    late = loss[len(loss) // 5 :]
    if len(late) < 6 or not np.isfinite(late).all():
        return float("nan")
    return epoch_noise(late) / float(late.mean())


def _verdict(d: Descent, swing: float, doubt: str) -> tuple[Verdict, str]:
    thrown = swing > SWINGS and d.end > 0.25 and d.longest_update > LONG and not d.guesses
    if not (instability(d) or d.suspicious or thrown) or d.batch_size >= LARGE_BATCH:
        return "rejected", ""
    if doubt:
        return "undecided", doubt
    if d.batch_size > SMALL_BATCH:
        return "undecided", f" With batches of {d.batch_size:.0f} the learning rate alone may do the same."
    if not (instability(d) or thrown):
        return "undecided", unproved(d)
    if not d.gradient_cv > NOISY:
        return "undecided", " The gradient varies little from batch to batch."
    return "supported", ""


def _experiment(d: Descent) -> Experiment:
    batch = int(max(32, 8 * d.batch_size))
    return Experiment(
        code=(
            "# same learning rate, larger batches\n"
            f"train_loader = torch.utils.data.DataLoader(train_set, batch_size={batch}, shuffle=True)\n"
        ),
        prediction=(
            f"With batches of {batch} the training loss no longer swings and ends {aim(d)}. Dividing the "
            f"learning rate by {batch / max(d.batch_size, 1):.0f} instead should do the same; if neither "
            "helps, it is not noise."
        ),
    )


CAUSE = Cause(ID, examine, "run")
