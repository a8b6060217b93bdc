"""Which loss a sentence means, where the one that is drawn is another: class weights, smoothing, a criterion.

Causes explain the loss recomputed from the predictions, in which every sample counts the same. Where the
reported loss moved otherwise between the same two epochs, both are named with their numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import default_split, signed, window

if TYPE_CHECKING:
    from jupyter_lossacc.records import Episode, Finding, Recording

__all__ = ["naming_the_loss"]

# They speak of the reported loss itself, or of no loss at all.
_OF_THE_REPORTED = frozenset(
    {"class_weights_changed", "averaging_artifact", "misaligned_loss", "double_softmax", "mode_mismatch"}
    | {"learning_rate_too_high", "learning_rate_too_low", "gradient_noise", "dead_activations"}
    | {"unshuffled_training", "split_overlap", "label_shift"}
)
_SAME = 0.02  # of the larger change: so much may averages of batches differ


def naming_the_loss(recording: Recording, episode: Episode | None, findings: list[Finding]) -> list[Finding]:
    """Add to findings which loss they mean, where a reader could take it for the one that is drawn."""
    split = episode.split if episode is not None else default_split(recording)
    last = recording.series(split)[-1:] if split else ()
    if not last or abs(last[0].reported_loss - last[0].nll) <= _SAME * abs(last[0].nll):
        return findings
    w = window(recording, episode)
    if w is None:
        return findings
    own, drawn = w.loss_change, w.end.reported_loss - w.start.reported_loss
    if not np.isfinite(own + drawn) or abs(own - drawn) <= _SAME * max(abs(own), abs(drawn), 0.05):
        return findings
    mine, theirs = ("unweighted", "weighted") if w.end.loss.weighted else ("recomputed", "reported")
    between = f"from epoch {w.start.epoch} to {w.end.epoch}"
    note = f"Meant is the {mine} loss"
    numbers = f"{signed(own)} nats {between}; the {theirs} loss, which is drawn, changes by {signed(drawn)}"
    brief = f"({mine} loss, {signed(own)} nats {between}; the {theirs} loss drawn: {signed(drawn)})"

    def named(f: Finding) -> Finding:
        told = f"{note}." if f.verdict == "rejected" else f"{note}, {numbers}."
        without = f.counterfactual
        if without is not None and "loss" in without.name:
            without = replace(without, name=f"{mine} {without.name}")
        return replace(
            f,
            statement=f"{f.statement} {told}",
            because=f"{f.because} {brief}" if f.because else "",
            counterfactual=without,
            overlay=None,  # on the scale of the drawn loss it would promise too much
        )

    return [named(f) if _unnamed(f) else f for f in findings]


def _unnamed(f: Finding) -> bool:
    said = f"{f.statement} {f.because}"
    return f.cause not in _OF_THE_REPORTED and "loss" in said and "weighted" not in said
