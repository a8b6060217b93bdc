"""What one traversal of one split leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite, isnan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FOLDS",
    "SAMPLE_COLUMNS",
    "Accumulators",
    "ClassTable",
    "EpochSummary",
    "Floats",
    "LossInfo",
    "Pass",
    "PassKey",
    "Predictions",
    "UnitShare",
]

Floats = NDArray[np.float64]
PassKey = tuple[str, int, int]  # (split, epoch, step)
FOLDS = 5  # cross-fitting folds: fold_of(sample_id) in stats.calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInfo:
    """What the user's criterion is, as far as its call shows it.

    Parameters
    ----------
    name : str
        ``"cross_entropy"``, ``"nll_loss"``, ``"binary_cross_entropy"``,
        ``"binary_cross_entropy_with_logits"``, ``"mse_loss"``, ..., ``"unknown"``, or ``"none"`` where no
        value of a criterion was seen.
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

    @property
    def weighted(self) -> bool:
        """Whether classes count differently, so that the reported loss is not the mean over samples."""
        weights = self.class_weights
        return (
            weights is not None
            and len(weights) > 1
            and bool(np.ptp(weights) > 1e-6 * np.max(np.abs(weights)))
        )


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


# One value per sample in each of these columns of `Predictions`.
SAMPLE_COLUMNS = (
    "sample_ids",
    "targets",
    "predicted",
    "correct",
    "nll",
    "reported_loss",
    "confidence",
    "margin",
)


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
class UnitShare:
    """Units of one activation module in one batch of an evaluation.

    Parameters
    ----------
    layer : str
        Name of the module, as ``model.named_modules()`` gives it.
    kind : str
        Its class: ``"ReLU"``, ``"Tanh"``, ...
    n_units, n_samples : int
        Units, and the samples of the batch that were looked at.
    dead : int, optional
        Units that are exactly zero for all of them; None for functions that are not constant anywhere.
    saturated : int, optional
        Units that are within 0.01 of a limit of the function for at least 95 % of their values;
        None for functions without such limits.
    """

    layer: str
    kind: str
    n_units: int
    n_samples: int
    dead: int | None = None
    saturated: int | None = None


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
        Wald-Wolfowitz runs of the targets in the order seen, against random order
        (`stats.order.runs_of_targets`).
    mode_layers : int, optional
        Modules of the model that behave differently in training and evaluation mode (dropout with
        p > 0, batch normalisation); None when the model was not seen.
    n_total : int, optional
        Samples that the pass went through, where only a random part of them was recorded (training
        passes of very short steps); None where `predictions` has them all.
    units : tuple of UnitShare
        Dead and saturated units in one batch of an evaluation; empty where nothing was seen.
    data : callable, optional
        Gives the dataset that was read, or None when the user no longer has it; keeps nothing alive.
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
    mode_layers: int | None = None
    n_total: int | None = None
    units: tuple[UnitShare, ...] = ()
    data: Callable[[], object] | None = None

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
    mode_layers: int | None = None
    n_total: int | None = None
    units: tuple[UnitShare, ...] = ()
    classes: ClassTable | None = None
    accumulators: Accumulators | None = None

    @property
    def key(self) -> PassKey:
        """The pass's key: (split, epoch, step)."""
        return (self.split, self.epoch, self.step)

    def with_loss(self) -> EpochSummary:
        """Let the likelihood of the predictions stand in where no value of a criterion was seen.

        ``loss.name`` is then ``"none"``. Where the predictions are no numbers either, the loss is none.
        """
        if self.loss.name != "unknown" or not isnan(self.reported_loss) or not isfinite(self.nll):
            return self
        return replace(self, reported_loss=self.nll, loss=replace(self.loss, name="none"))
