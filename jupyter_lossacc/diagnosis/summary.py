"""One finished pass → one row of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.records import Accumulators, ClassTable, EpochSummary, Floats, Pass, Predictions
from jupyter_lossacc.stats.calibration import cross_fitted_nll, expected_calibration_error, fit_temperature
from jupyter_lossacc.stats.classes import class_counts, f1_from_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["calibration_of", "class_ratios", "class_table", "summarize"]

# Per-class arrays are kept with the metrics up to this many classes; beyond it they are recomputed
# from the per-sample records when asked for.
MAX_STORED_CLASSES = 1000


def class_table(predictions: Predictions, n_classes: int) -> ClassTable:
    """Per-class results of one pass; undefined entries are NaN, never 0."""
    targets = predictions.targets
    support, counts, hits = class_counts(targets, predictions.predicted, n_classes)
    losses: Floats = np.bincount(
        targets, weights=predictions.nll.astype(np.float64), minlength=n_classes
    ).astype(np.float64)
    return class_ratios(support, counts, hits, losses)


def class_ratios(
    support: NDArray[np.int64], predicted: NDArray[np.int64], hits: NDArray[np.int64], losses: Floats
) -> ClassTable:
    """Per-class results from counts and summed losses, each of shape (n_classes,)."""

    def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
        return np.divide(numerator, denominator, out=np.full(len(support), np.nan), where=denominator > 0)

    return ClassTable(
        support=support,
        predicted=predicted,
        recall=ratio(hits, support),
        precision=ratio(hits, predicted),
        f1=f1_from_counts(support, predicted, hits),
        nll=ratio(losses, support),
    )


def calibration_of(sums: Accumulators | None) -> tuple[float, float, float]:
    """Temperature, calibrated loss (nats) and calibration error from the sums of a pass; NaN without."""
    if sums is None or not sums.count.sum() > 0:
        return float("nan"), float("nan"), float("nan")
    total = sums.count.sum()
    fit = fit_temperature(sums.nll.sum(0) / total, sums.slope.sum(0) / total, sums.betas)
    calibrated = cross_fitted_nll(sums.count, sums.nll, sums.slope, sums.betas)
    return fit.temperature, calibrated, expected_calibration_error(sums.bins)


def summarize(passed: Pass) -> EpochSummary:
    """Reduce a pass to its numbers.

    Balanced accuracy averages recall over the classes present; macro F1 averages over the classes
    present or predicted (scikit-learn's conventions).
    """
    p, sums = passed.predictions, passed.accumulators
    n = len(p)
    nll = float(p.nll.mean(dtype=np.float64)) if n else float("nan")
    balanced = macro = float("nan")
    temperature, calibrated, ece = calibration_of(sums)
    classes = None
    if n and passed.loss.task in ("multiclass", "binary"):
        classes = class_table(p, passed.n_classes)
        balanced = float(np.nanmean(classes.recall))
        macro = float(np.nanmean(classes.f1))
    return EpochSummary(
        split=passed.split,
        epoch=passed.epoch,
        step=passed.step,
        complete=passed.complete,
        training=passed.training,
        n_samples=n,
        reported_loss=passed.reported_loss,
        nll=nll,
        accuracy=float(p.correct.mean(dtype=np.float64)) if n else float("nan"),
        balanced_accuracy=balanced,
        macro_f1=macro,
        temperature=temperature,
        calibrated_nll=calibrated,
        ece=ece,
        seconds=passed.seconds,
        name=passed.name,
        ids_known=p.ids_known,
        n_classes=passed.n_classes,
        loss=passed.loss,
        order_runs=passed.order_runs,
        mode_layers=passed.mode_layers,
        n_total=passed.n_total,
        units=passed.units,
        classes=classes if classes is not None and passed.n_classes <= MAX_STORED_CLASSES else None,
        accumulators=sums,
    )
