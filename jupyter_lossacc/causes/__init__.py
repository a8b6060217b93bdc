"""The causes, one module and one page each, in reading order."""

from __future__ import annotations

from jupyter_lossacc.causes import (
    averaging_artifact,
    capacity_or_noise,
    class_divergence,
    class_imbalance,
    class_weights_changed,
    confident_errors,
    dead_activations,
    double_softmax,
    fluctuation,
    gradient_noise,
    growing_confidence,
    label_noise,
    label_shift,
    learning_rate_too_high,
    learning_rate_too_low,
    majority_collapse,
    misaligned_loss,
    mode_mismatch,
    outlier_inputs,
    overconfidence,
    overfitting,
    split_mismatch,
    split_overlap,
    tail_relief,
    underconfidence,
    unshuffled_training,
)
from jupyter_lossacc.causes.cause import Cause

__all__ = ["CAUSES", "Cause"]

CAUSES: tuple[Cause, ...] = (
    overconfidence.CAUSE,
    underconfidence.CAUSE,
    overfitting.CAUSE,
    confident_errors.CAUSE,
    label_noise.CAUSE,
    outlier_inputs.CAUSE,
    class_imbalance.CAUSE,
    class_divergence.CAUSE,
    majority_collapse.CAUSE,
    growing_confidence.CAUSE,
    tail_relief.CAUSE,
    capacity_or_noise.CAUSE,
    misaligned_loss.CAUSE,
    double_softmax.CAUSE,
    class_weights_changed.CAUSE,
    averaging_artifact.CAUSE,
    label_shift.CAUSE,
    split_mismatch.CAUSE,
    split_overlap.CAUSE,
    unshuffled_training.CAUSE,
    mode_mismatch.CAUSE,
    dead_activations.CAUSE,
    learning_rate_too_high.CAUSE,
    learning_rate_too_low.CAUSE,
    gradient_noise.CAUSE,
    fluctuation.CAUSE,
)
