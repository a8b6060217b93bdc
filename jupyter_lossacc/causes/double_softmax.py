"""Double softmax: probabilities were passed where the criterion expects logits."""

from __future__ import annotations

from math import e, log

import numpy as np

from jupyter_lossacc.causes.cause import Cause, evidence, not_tested, rounded, spoken
from jupyter_lossacc.records import (
    Counterfactual,
    Episode,
    EpochSummary,
    Experiment,
    Finding,
    Predictions,
    Recording,
)

__all__ = ["CAUSE", "examine", "floor"]

ID = "double_softmax"
MIN_SAMPLES = 50


def floor(n_classes: int) -> float:
    """Lowest loss that cross-entropy of probabilities can reach, nats.

    The best input is 1 for the target and 0 elsewhere; a softmax of that gives the target
    e / (e + K - 1).

    Examples
    --------
    >>> [round(floor(k), 4) for k in (2, 10, 100)]
    [0.3133, 1.4612, 3.6222]
    """
    return log(1 + (n_classes - 1) / e)


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether the criterion's input already lies on the simplex."""
    if episode is not None and episode.kind != "accuracy_stuck_loss_high":
        return None
    passes = [s for s in recording.summaries if s.complete and s.n_samples]
    if not passes:
        return not_tested(ID, "No pass was recorded.")
    last = _latest(passes)
    name = last.loss.name
    if name not in ("cross_entropy", "binary_cross_entropy_with_logits"):
        return Finding(
            cause=ID,
            verdict="rejected",
            statement=f"The criterion ({name}) does not apply a softmax or sigmoid of its own."
            if name != "unknown"
            else "The criterion is not one that is known to apply a softmax of its own.",
        )
    twice = last.loss.on_simplex if name == "cross_entropy" else _sigmoid_twice(recording, last)
    if twice is None:
        return not_tested(ID, "The outputs of the model were not kept, so their range is not known.")
    return _supported(last) if twice else _rejected(last)


def _latest(passes: list[EpochSummary]) -> EpochSummary:
    judged = [s for s in passes if s.loss.name not in ("unknown", "none")] or passes
    evaluated = [s for s in judged if not s.training]
    return (evaluated or judged)[-1]


def _sigmoid_twice(recording: Recording, summary: EpochSummary) -> bool | None:
    """Tell whether every single logit lies in [0, 1], which a real logit does not for long."""
    try:
        p: Predictions = recording.load(summary.key)
    except KeyError:
        return None
    logit = np.where(p.targets == 1, p.margin, -p.margin)
    return bool(len(p) >= MIN_SAMPLES and (logit >= 0).all() and (logit <= 1).all())


def _rejected(last: EpochSummary) -> Finding:
    return Finding(
        cause=ID,
        verdict="rejected",
        statement=f"What {last.loss.name} receives are not probabilities: the softmax is applied once.",
        evidence=(evidence("criterion's input on the simplex", 0.0, "truth", "", False),),
    )


def _supported(last: EpochSummary) -> Finding:
    k = max(last.n_classes, 2)
    binary = last.loss.name != "cross_entropy"
    # One probability p in [0, 1] read as a logit: the best case is p = 1, sigmoid(1).
    lowest = log(1 + 1 / e) if binary else floor(k)
    layer, call = ("sigmoid", "nn.BCEWithLogitsLoss") if binary else ("softmax", "nn.CrossEntropyLoss")
    return Finding(
        cause=ID,
        verdict="supported",
        statement=(
            f"Every {spoken(last.split)} output passed to {last.loss.name} already is a probability, and the "
            f"criterion applies another {layer}: with {k} classes the loss cannot fall below "
            f"{rounded(lowest)} "
            f"nats however right the model is; at epoch {last.epoch} it is {rounded(last.reported_loss)}."
        ),
        because=f"the {layer} is applied twice, and the loss cannot fall below {rounded(lowest)} nats",
        evidence=(
            evidence("criterion's input on the simplex", 1.0, "truth", "", True),
            evidence("reported loss above the floor", last.reported_loss - lowest, "nats", ">= 0", True),
        ),
        counterfactual=Counterfactual(
            name="lowest loss that this criterion can show, with every sample right and sure",
            value=lowest,
            actual=last.reported_loss,
        ),
        action=(
            f"Remove the {layer} at the end of the model and pass its raw outputs to {call}. Apply the "
            f"{layer} "
            "only where you need probabilities. Losses before and after the change cannot be compared."
        ),
        experiment=Experiment(
            code=(
                f"# drop the final {layer}, keep everything else\n"
                "model = nn.Sequential(*[m for m in model if not isinstance(m, (nn.Softmax, nn.Sigmoid))])\n"
                f"criterion = {call}()\n"
            ),
            prediction=(
                f"The loss falls below {rounded(lowest)} during training, and gradients are larger: the "
                "model learns faster and usually ends more accurate."
            ),
        ),
        strength=1.0,
    )


CAUSE = Cause(ID, examine, "both")
