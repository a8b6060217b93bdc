"""The nouns that every floor above shares: plain, frozen records of a training run.

Capture makes `Pass` objects; `summarize` turns each into an `EpochSummary`; a `Recording` holds
what one run left behind; everything after it (episodes, findings, views) is a function of a
`Recording`. Losses are in nats, accuracy and probabilities in [0, 1]; epochs count training passes
from 1; a pass is keyed by (split, epoch, step).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.stats.estimate import Estimate

__all__ = [
    "FOLDS",
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
    "LossInfo",
    "Pass",
    "PassKey",
    "Predictions",
    "Recording",
    "RunInfo",
    "Verdict",
]

Floats = NDArray[np.float64]
EpisodeKind = Literal[
    "both_rise",
    "both_fall",
    "loss_rises_accuracy_flat",
    "loss_falls_accuracy_flat",
    "accuracy_stuck_loss_high",
    "loss_rises_accuracy_falls",
]
Verdict = Literal["supported", "rejected", "undecided", "not_tested"]
PassKey = tuple[str, int, int]  # (split, epoch, step)
FOLDS = 5  # cross-fitting folds: fold_of(sample_id) in stats.calibration

# One row per optimiser step. NaN where a value was not taken at that step.
STEP_COLUMNS = (
    "epoch",
    "step",
    "loss",
    "n_samples",
    "learning_rate",
    "grad_norm",
    "update_ratio",  # norm of the last update / norm of the weights
    "dead_unit_share",  # share of hidden units whose incoming gradient row is exactly zero
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInfo:
    """What the user's criterion is, as far as its call shows it.

    Parameters
    ----------
    name : str
        ``"cross_entropy"``, ``"nll_loss"``, ``"binary_cross_entropy"``,
        ``"binary_cross_entropy_with_logits"``, ``"mse_loss"``, ... or ``"unknown"``.
    inputs : {"logits", "log_probabilities", "probabilities", "unknown"}
        How the criterion's input is read (contract: as its definition says).
    on_simplex : bool
        Every row of the criterion's input was non-negative and summed to one. With
        ``name="cross_entropy"`` that is softmax applied twice.
    reduction : str
        ``"mean"``, ``"sum"``, ``"none"`` or ``"unknown"``.
    class_weights : ndarray of shape (n_classes,), optional
    label_smoothing : float
    ignore_index : int, optional
    task : {"multiclass", "binary", "multilabel", "dense", "regression", "unknown"}
    """

    name: str = "unknown"
    inputs: str = "logits"
    on_simplex: bool = False
    reduction: str = "mean"
    class_weights: Floats | None = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None
    task: str = "multiclass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulators:
    """Sums gathered batch by batch over one evaluation pass, enough to recalibrate it.

    With logits z, target y and inverse temperature b, a sample's loss is
    ``nll(b) = logsumexp(b z) - b z_y``; its derivative is ``sum_k p_k z_k - z_y``.

    Parameters
    ----------
    betas : ndarray of shape (n_betas,)
        Inverse temperatures, ascending, log-spaced over [1/20, 20].
    count : ndarray of shape (FOLDS,)
        Samples per fold.
    nll, slope : ndarray of shape (FOLDS, n_betas)
        Sum of the loss and of its derivative by b, nats.
    etas : ndarray of shape (n_etas,)
        Floor levels of the noise-floor calibrator ``(1 - eta) softmax(b z) + eta / n_classes``.
    noise_nll : ndarray of shape (n_betas, n_etas)
        Sum of that calibrator's loss over all samples, nats.
    score_sum, score_square : float
        Sum and sum of squares of the derivative at b = 1 (score test for miscalibration).
    bins : ndarray of shape (15, 3)
        Reliability bins of equal width over top-label confidence: count, sum of confidence,
        sum of correct.
    n_classes : int
    """

    betas: Floats
    count: Floats
    nll: Floats
    slope: Floats
    etas: Floats
    noise_nll: Floats
    score_sum: float
    score_square: float
    bins: Floats
    n_classes: int


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Per-sample records of one pass, sorted by sample id.

    Parameters
    ----------
    sample_ids : ndarray of int64, shape (n_samples,)
        Index in the dataset; positions in the pass when ``ids_known`` is False.
    targets, predicted : ndarray of int32, shape (n_samples,)
    correct : ndarray of float32, shape (n_samples,)
        0 or 1; a mean over labels or positions for multi-label and dense tasks.
    nll, reported_loss : ndarray of float32, shape (n_samples,)
        Nats. `nll` is recomputed from the predictions, unweighted; `reported_loss` is the
        criterion's own value for the sample (NaN where unknown).
    confidence : ndarray of float32, shape (n_samples,)
        Largest predicted probability.
    margin : ndarray of float32, shape (n_samples,)
        Target logit minus the largest other logit; NaN where it has no meaning.
    ids_known : bool
        Only then may samples be compared between passes.
    """

    sample_ids: NDArray[np.int64]
    targets: NDArray[np.int32]
    predicted: NDArray[np.int32]
    correct: NDArray[np.float32]
    nll: NDArray[np.float32]
    reported_loss: NDArray[np.float32]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    ids_known: bool = True

    def __post_init__(self) -> None:
        """Check that all columns describe the same samples and freeze them."""
        n = len(self.sample_ids)
        for name in ("targets", "predicted", "correct", "nll", "reported_loss", "confidence", "margin"):
            column = getattr(self, name)
            if column.shape != (n,):
                raise ValueError(f"Expected {name} of shape ({n},), got {column.shape}.")
            column.flags.writeable = False
        self.sample_ids.flags.writeable = False

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.sample_ids)

    @cached_property
    def target_probability(self) -> NDArray[np.float32]:
        """Probability given to the target, exp(-nll)."""
        return np.exp(-self.nll)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTable:
    """Per-class results of one pass; arrays of shape (n_classes,), NaN where undefined."""

    support: NDArray[np.int64]
    predicted: NDArray[np.int64]
    recall: Floats
    precision: Floats
    f1: Floats
    nll: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One finished traversal of one split, as capture saw it.

    Parameters
    ----------
    split, epoch, step
        The key (contract.md). `epoch` is 0 for an evaluation before any training.
    complete : bool
        False for an interrupted pass; such a pass never enters a test.
    training : bool
        ``model.training`` during the pass.
    name : str
        The user's own name for the loader or dataset ("" when not seen), for display.
    reported_loss : float
        The user's criterion averaged as its reduction means it.
    seconds : float
        Wall time since the recording began.
    order_runs : tuple of (ratio, z), optional
        Wald-Wolfowitz runs of the targets in the order seen, against random order.
    """

    split: str
    epoch: int
    step: int
    complete: bool
    training: bool
    name: str
    reported_loss: float
    loss: LossInfo
    predictions: Predictions
    accumulators: Accumulators | None
    n_classes: int
    seconds: float
    order_runs: tuple[float, float] | None = None

    @property
    def key(self) -> PassKey:
        """The pass's key: (split, epoch, step)."""
        return (self.split, self.epoch, self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSummary:
    """The numbers of one pass: a row of ``run.metrics``, with the sums behind it."""

    split: str
    epoch: int
    step: int
    complete: bool
    training: bool
    n_samples: int
    reported_loss: float
    nll: float
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    temperature: float
    calibrated_nll: float
    ece: float
    seconds: float = 0.0
    name: str = ""
    ids_known: bool = True
    n_classes: int = 0
    loss: LossInfo = field(default_factory=LossInfo)
    order_runs: tuple[float, float] | None = None
    classes: ClassTable | None = None
    accumulators: Accumulators | None = None

    @property
    def key(self) -> PassKey:
        """The pass's key: (split, epoch, step)."""
        return (self.split, self.epoch, self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Who, when and with what: the head of a recording."""

    run_id: str
    name: str
    started: str  # UTC, ISO 8601
    class_names: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    format_version: int = 1
    cell: str = ""  # the user's cell source; "" outside notebooks


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Everything one run left behind: the input of every question asked about it.

    Parameters
    ----------
    info : RunInfo
    summaries : tuple of EpochSummary
        Finished passes in order of time.
    steps : mapping of str to ndarray of shape (n_steps,)
        Columns of `STEP_COLUMNS`.
    limits : tuple of str
        What could not be recorded, in sentences.
    load : callable
        Gives the `Predictions` of a pass key; raises ``KeyError`` when they were not kept.
    status : {"running", "finished", "interrupted", "failed", "cut off"}
    """

    info: RunInfo
    summaries: tuple[EpochSummary, ...]
    steps: Mapping[str, Floats]
    limits: tuple[str, ...]
    load: Callable[[PassKey], Predictions]
    status: str = "finished"

    def splits(self) -> tuple[str, ...]:
        """Names of the splits seen, in order of appearance."""
        return tuple(dict.fromkeys(s.split for s in self.summaries))

    def series(self, split: str) -> tuple[EpochSummary, ...]:
        """Complete passes of one split, one per epoch (the last of each), epoch ascending."""
        last = {s.epoch: s for s in self.summaries if s.split == split and s.complete}
        return tuple(last[epoch] for epoch in sorted(last))

    def summary(self, split: str, epoch: int) -> EpochSummary:
        """Return the pass of `split` at `epoch` (negative: from the end).

        Raises
        ------
        KeyError
            When there is no complete pass of that split and epoch.
        """
        series = self.series(split)
        if epoch < 0 and -epoch <= len(series):
            return series[epoch]
        for summary in series:
            if summary.epoch == epoch:
                return summary
        have = f"{series[0].epoch}..{series[-1].epoch}" if series else "none"
        raise KeyError(f"no complete pass of split {split!r} at epoch {epoch}; epochs recorded: {have}")

    def predictions(self, split: str, epoch: int) -> Predictions:
        """Per-sample records of the pass of `split` at `epoch`; raises ``KeyError`` if not kept."""
        return self.load(self.summary(split, epoch).key)

    def paired(self, split: str, start: int, end: int) -> tuple[Predictions, Predictions]:
        """Return the predictions of two epochs on the samples that both contain, same order.

        Raises
        ------
        KeyError
            When a pass is missing or sample ids are not known.
        """
        first, last = self.predictions(split, start), self.predictions(split, end)
        if not (first.ids_known and last.ids_known):
            raise KeyError(f"sample ids of split {split!r} are not known; epochs cannot be compared by sample")
        if np.array_equal(first.sample_ids, last.sample_ids):
            return first, last
        _, left, right = np.intersect1d(first.sample_ids, last.sample_ids, return_indices=True)
        return _take(first, left), _take(last, right)


def _take(predictions: Predictions, rows: NDArray[np.intp]) -> Predictions:
    columns: dict[str, Any] = {
        name: getattr(predictions, name)[rows]
        for name in (
            "sample_ids",
            "targets",
            "predicted",
            "correct",
            "nll",
            "reported_loss",
            "confidence",
            "margin",
        )
    }
    return Predictions(**columns, ids_known=predictions.ids_known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A stretch of epochs in which loss and accuracy move as `kind` says.

    Parameters
    ----------
    start_epoch, end_epoch : int
        First and last epoch, inclusive.
    loss_change, accuracy_change : Estimate
        Change from start to end along the trend, in nats and as a share of samples.
    holds_on_new_data : {"yes", "undecided"}
        Whether the movement stays significant when the sampling error of the set is added.
    start_interval, end_interval : tuple of (int, int), optional
        Epochs between which the start and the end lie.
    retracted : bool
        Shown earlier in the run and no longer supported; drawn in grey.
    n_needed : int, optional
        Samples needed for ``holds_on_new_data="yes"`` at 80 % power, when undecided.
    """

    split: str
    start_epoch: int
    end_epoch: int
    kind: EpisodeKind
    loss_change: Estimate
    accuracy_change: Estimate
    holds_on_new_data: Literal["yes", "undecided"]
    start_interval: tuple[int, int] | None = None
    end_interval: tuple[int, int] | None = None
    retracted: bool = False
    n_needed: int | None = None

    @property
    def harmful(self) -> bool:
        """False only for a falling loss at constant accuracy: the model is growing surer."""
        return self.kind != "loss_falls_accuracy_flat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One number that speaks for or against a cause."""

    name: str
    value: float
    unit: str
    threshold: str  # e.g. "> 1.15"; "" when it only informs
    supports: bool  # for (True) or against (False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """What a number would have been without the cause, and what it is."""

    name: str  # e.g. "validation loss at epoch 59, calibration repaired"
    value: float
    actual: float
    unit: str = "nats"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Code to paste and what it should show if the cause is right."""

    code: str
    prediction: str
    result: str = ""  # filled when it could be run from the records at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict on one cause.

    Parameters
    ----------
    cause : str
        Cause id, also the name of its explanation page.
    share : Estimate, optional
        Share of the loss change that this cause explains.
    statement : str
        One sentence with this run's numbers.
    sample_ids : ndarray of int64
        Samples to look at, most telling first.
    overlay : mapping of epoch to value, optional
        Counterfactual loss per epoch, drawn into the chart when the cause is focused.
    """

    cause: str
    verdict: Verdict
    statement: str
    share: Estimate | None = None
    evidence: tuple[Evidence, ...] = ()
    counterfactual: Counterfactual | None = None
    action: str = ""
    experiment: Experiment | None = None
    sample_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    overlay: Mapping[int, float] | None = None
    strength: float = 0.0  # ranks findings of equal verdict, larger first
    because: str = ""  # clause with numbers that completes "Validation loss rises because ..."

    @property
    def link(self) -> str:
        """Where the explanation page opens."""
        return f"#lossacc-page-{self.cause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Ranked findings about one episode, or about the whole run (``episode=None``).

    ``headline`` is the one sentence to read if only one is read.
    """

    episode: Episode | None
    findings: tuple[Finding, ...]
    headline: str = ""
    limits: tuple[str, ...] = ()

    @property
    def supported(self) -> tuple[Finding, ...]:
        """The findings whose cause holds."""
        return tuple(f for f in self.findings if f.verdict == "supported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another epoch one might keep, with the paired evidence against the advised one."""

    name: str  # "lowest loss", "highest accuracy", "last", "earliest equivalent"
    epoch: int
    accuracy: float
    nll: float
    calibrated_nll: float
    accuracy_difference: Estimate  # advised minus this
    calibrated_nll_difference: Estimate  # advised minus this, nats
    mcnemar_p: float
    cost: str  # one sentence: what keeping this one instead costs


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointAdvice:
    """Which epoch to keep, at which temperature, and whether to go on."""

    epoch: int | None
    temperature: float
    reason: str
    alternatives: tuple[Alternative, ...] = ()
    stop: Literal["now", "keep going", "undecided"] = "undecided"
    stop_reason: str = ""
    optimism: str = ""  # the selection optimism, stated
