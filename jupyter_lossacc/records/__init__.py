"""The nouns that every floor above shares: plain, frozen records of a training run.

Capture makes `Pass` objects; `summarize` turns each into an `EpochSummary`; a `Recording` holds
what one run left behind; everything after it (episodes, findings, views) is a function of a
`Recording`. Losses are in nats, accuracy and probabilities in [0, 1]; epochs count training passes
from 1; a pass is keyed by (split, epoch, step).
"""

from jupyter_lossacc.records.conclusions import (
    Alternative,
    CheckpointAdvice,
    Counterfactual,
    Diagnosis,
    Episode,
    EpisodeKind,
    Evidence,
    Experiment,
    Finding,
    Verdict,
)
from jupyter_lossacc.records.passes import (
    FOLDS,
    SAMPLE_COLUMNS,
    Accumulators,
    ClassTable,
    EpochSummary,
    Floats,
    LossInfo,
    Pass,
    PassKey,
    Predictions,
    UnitShare,
)
from jupyter_lossacc.records.recording import STEP_COLUMNS, Recording, RunInfo

__all__ = [
    "FOLDS",
    "SAMPLE_COLUMNS",
    "STEP_COLUMNS",
    "Accumulators",
    "Alternative",
    "CheckpointAdvice",
    "ClassTable",
    "Counterfactual",
    "Diagnosis",
    "Episode",
    "EpisodeKind",
    "EpochSummary",
    "Evidence",
    "Experiment",
    "Finding",
    "Floats",
    "LossInfo",
    "Pass",
    "PassKey",
    "Predictions",
    "Recording",
    "RunInfo",
    "UnitShare",
    "Verdict",
]
