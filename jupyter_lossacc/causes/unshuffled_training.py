"""Unshuffled training: the targets arrive in runs, so every batch pulls towards its own class."""

from __future__ import annotations

import numpy as np

from jupyter_lossacc.causes.cause import Cause, evidence, not_tested, percent
from jupyter_lossacc.records import Episode, EpochSummary, Experiment, Finding, Recording, Verdict

__all__ = ["CAUSE", "examine"]

ID = "unshuffled_training"
FEW_RUNS = 0.5  # of the runs expected in random order
FAR = -10.0  # standard deviations from random order
NEAR = 0.9


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask how many runs of equal targets the training stream has, against a random order."""
    if episode is not None:
        return None
    passes = [s for s in recording.summaries if s.split == "train" and s.complete]
    runs = np.array([s.order_runs for s in passes if s.order_runs is not None], np.float64).reshape(-1, 2)
    runs = runs[np.isfinite(runs).all(axis=1)]
    if not len(runs):
        return not_tested(ID, "The order of the training targets was not recorded.")
    ratio, z = np.median(runs, axis=0)
    per_epoch = _steps_per_epoch(recording, passes)
    if per_epoch <= 1:
        return Finding(
            cause=ID,
            verdict="rejected",
            statement="Each epoch is one batch of all samples, so their order has no influence.",
        )
    verdict: Verdict = "rejected"
    if ratio < FEW_RUNS and z < FAR:
        verdict = "supported"
    elif ratio < NEAR and z < -4:
        verdict = "undecided"
    return _finding(verdict, float(ratio), float(z), per_epoch, len(runs))


def _steps_per_epoch(recording: Recording, passes: list[EpochSummary]) -> float:
    """Optimiser steps per epoch; infinite when steps were not recorded."""
    epochs = recording.steps.get("epoch")
    if epochs is None or not len(epochs):
        return float("inf")
    return float(np.median([np.count_nonzero(epochs == s.epoch) for s in passes]))


def _finding(verdict: Verdict, ratio: float, z: float, per_epoch: float, n_passes: int) -> Finding:
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=(
            f"From one training sample to the next the class changes {percent(ratio)} as often as in a "
            f"random order (median of {n_passes} epochs, {z:+.0f} standard deviations)"
            + (
                f": neighbouring samples share a class, so each of the {per_epoch:.0f} steps of an epoch "
                "pulls towards the class it happens to hold."
                if verdict == "supported"
                else "."
            )
        ),
        because=f"the training samples arrive sorted: their class changes {percent(ratio)} as often as in a "
        "random order",
        evidence=(
            evidence(
                "runs of equal targets against random order", ratio, "1", f"< {FEW_RUNS}", ratio < FEW_RUNS
            ),
            evidence("distance from random order", z, "z", f"< {FAR:g}", z < FAR),
        ),
        action=(
            "Pass shuffle=True to the training loader (or shuffle within each epoch if the data are "
            "streamed). The validation loader may stay in order: nothing is learned there."
            if verdict != "rejected"
            else ""
        ),
        experiment=Experiment(
            code=(
                "train_loader = torch.utils.data.DataLoader(train_set, batch_size=train_loader.batch_size, "
                "shuffle=True)\n"
            ),
            prediction="The training loss no longer jumps within an epoch, and validation accuracy rises "
            "clearly. If nothing changes, the order was not the reason.",
        )
        if verdict != "rejected"
        else None,
        strength=1 - ratio,
    )


CAUSE = Cause(ID, examine, "run")
