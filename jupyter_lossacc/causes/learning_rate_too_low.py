"""Learning rate too low: the loss comes down, but the steps are too short to get anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import Cause, evidence, not_tested, percent, rounded
from jupyter_lossacc.causes.optimisation import descent_of
from jupyter_lossacc.records import Episode, Evidence, Experiment, Finding, Recording, Verdict

if TYPE_CHECKING:
    from jupyter_lossacc.stats.descent import Descent

__all__ = ["CAUSE", "examine"]

ID = "learning_rate_too_low"
SHORT = 4e-4  # update against weights; ordinary trainings lie between 1e-3 and 1e-2
ORDINARY = 1e-3  # a run whose steps were this long for an epoch has tried them, whatever a schedule did later
STANDING = 1e-4  # here nothing moves at all
HIGH = 0.9  # of where the loss began


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether the loss still falls steadily, from nearly where it began, by very short steps."""
    if episode is not None:
        return None
    d = descent_of(recording)
    if isinstance(d, str):
        return not_tested(ID, d)
    if not np.isfinite(d.update_ratio):
        return not_tested(ID, "The length of the updates was not recorded.")
    dead = _dead(recording)
    verdict = _verdict(d, dead)
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=_statement(d),
        because=f"each step changes the weights by only {100 * d.update_ratio:.2g} % of their length",
        evidence=_evidence(d, dead),
        action=(
            "Raise the learning rate by a factor of 10 until the training loss falls clearly in the first "
            "epochs (and stop before it starts to swing), or use an adaptive optimiser."
            if verdict != "rejected"
            else ""
        ),
        experiment=_experiment(d) if verdict != "rejected" else None,
        strength=min(1.0, d.end),
    )


def _statement(d: Descent) -> str:
    if d.broken_step >= 0:
        return f"The loss is not finite from step {d.broken_step} on, which short steps do not do."
    tried = ""
    if d.longest_update >= ORDINARY > d.update_ratio and d.end > HIGH:
        tried = f"; earlier a step changed them by {100 * d.longest_update:.2g} %, which brought no more"
    return (
        f"After {len(d.loss)} epochs the training loss is {rounded(d.loss[-1])}, {percent(d.end)} of where "
        f"it began; a step changes the weights by {100 * d.update_ratio:.2g} % of their length (learning "
        f"rate {d.learning_rate:.2g}){tried}."
    )


def _evidence(d: Descent, dead: float) -> tuple[Evidence, ...]:
    longest, short = d.longest_update, d.update_ratio < SHORT
    rows = [
        evidence("update against weights", d.update_ratio, "ratio", f"< {SHORT:g}", short),
        evidence(
            "the same in the epoch of the longest steps",
            longest,
            "ratio",
            f"< {ORDINARY:g}",
            longest < ORDINARY,
        ),
        evidence("training loss at the end against its start", d.end, "ratio", f"> {HIGH}", d.end > HIGH),
        evidence("trend of the second half", d.fall_z, "z", "< -3", d.fall_z < -3),
    ]
    if np.isfinite(dead):
        rows.append(evidence("dead hidden units", dead, "share", "< 0.5", dead < 0.5))
    return tuple(rows)


def _dead(recording: Recording) -> float:
    share = np.asarray(recording.steps.get("dead_unit_share", ()), np.float64)
    share = share[np.isfinite(share)]
    return float(np.median(share[-20:])) if len(share) else float("nan")


def _verdict(d: Descent, dead: float) -> Verdict:
    if d.end < HIGH or d.update_ratio > SHORT or d.broken_step >= 0 or d.longest_update >= ORDINARY:
        return "rejected"
    if dead > 0.5:
        return "rejected"  # no gradient passes: the steps are short for another reason
    if d.fall_z < -3:
        return "supported"
    # Nothing moves. Short steps explain that only if a gradient is known to pass.
    return "supported" if d.update_ratio < STANDING and dead < 0.5 else "undecided"


def _experiment(d: Descent) -> Experiment:
    return Experiment(
        code=(
            "# same seed, same model, ten times the learning rate\n"
            "for group in optimizer.param_groups:\n"
            '    group["lr"] *= 10\n'
        ),
        prediction=(
            f"In the same number of epochs the training loss ends clearly below {rounded(d.loss[-1])}. If it "
            "does not move either, look at the gradients (dead units, detached tensors) and at the data."
        ),
    )


CAUSE = Cause(ID, examine, "run")
