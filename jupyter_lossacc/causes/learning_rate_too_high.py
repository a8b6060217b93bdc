"""Learning rate too high: steps overshoot, so the training loss itself swings and does not come down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import Cause, evidence, not_tested, percent
from jupyter_lossacc.causes.optimisation import (
    LARGE_BATCH,
    aim,
    course,
    descent_of,
    excuse,
    symptoms,
    unproved,
)
from jupyter_lossacc.records import Episode, Evidence, Experiment, Finding, Recording, Verdict
from jupyter_lossacc.stats.descent import OF_BATCHES

if TYPE_CHECKING:
    from jupyter_lossacc.stats.descent import Descent

__all__ = ["CAUSE", "examine"]

ID = "learning_rate_too_high"


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether the training loss is unstable while every batch is large enough to be trusted."""
    if episode is not None:
        return None
    d = descent_of(recording)
    if isinstance(d, str):
        return not_tested(ID, d)
    doubt = ""
    unstable = d.overshoots or d.swings_by_itself or d.killed or d.blows_up
    weak = d.suspicious or d.stalls_swinging
    verdict: Verdict = "supported" if unstable else "undecided" if weak else "rejected"
    if verdict != "rejected" and excuse(recording):
        verdict, doubt = "undecided", excuse(recording)
    elif verdict != "rejected" and d.batch_size < LARGE_BATCH and not d.killed:
        verdict, doubt = (
            "undecided",
            f" With batches of {d.batch_size:.0f} the noise of a batch does the same.",
        )
    elif verdict == "undecided":
        doubt = unproved(d)
    elif d.broken_step >= 0 and verdict == "rejected":
        verdict, doubt = (
            "undecided",
            " Neither the loss nor the gradient had grown before, so another reason is as likely.",
        )
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=course(d) + doubt,
        because=_because(d),
        evidence=(*symptoms(d), *_swings(d)),
        action=(
            "Lower the learning rate by a factor of 3 to 10, or warm it up over the first steps and let it "
            "decay; clipping the gradient norm prevents single jumps. See, too, that optimizer.zero_grad() "
            "runs before every backward(): gradients that add up lengthen every step."
            if verdict != "rejected"
            else ""
        ),
        experiment=_experiment(d) if verdict != "rejected" else None,
        strength=min(1.0, d.end) if np.isfinite(d.end) else 1.0,
    )


def _swings(d: Descent) -> tuple[Evidence, ...]:
    if not np.isfinite(d.swing):
        return ()
    beyond = d.swing > OF_BATCHES
    return (
        evidence(
            "swings between epochs against what batches make", d.swing, "ratio", f"> {OF_BATCHES:g}", beyond
        ),
    )


def _because(d: Descent) -> str:
    if d.broken_step >= 0:
        return f"the steps are too long: the training loss is not finite from step {d.broken_step} on"
    if d.killed:
        return f"the steps are too long: they silenced {percent(d.dead[1])} of the hidden units"
    return f"the steps are too long: the training loss still is at {percent(d.end)} of where it began"


def _experiment(d: Descent) -> Experiment:
    return Experiment(
        code=(
            "# same seed, same model, a tenth of the learning rate\n"
            f"optimizer = torch.optim.SGD(model.parameters(), lr={d.highest_rate / 10:.2g}, momentum=0.9)\n"
            "# (keep your own optimiser; only lr changes)\n"
        ),
        prediction=(
            f"The training loss falls in nearly every epoch and ends {aim(d)}. If it still swings, the "
            "batches are too small or out of order; if it hardly moves, the rate was not the reason."
        ),
    )


CAUSE = Cause(ID, examine, "run")
