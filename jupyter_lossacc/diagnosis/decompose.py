"""Split the loss change between two epochs into parts that add up to it exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.errors import DiagnosisError
from jupyter_lossacc.stats.calibration import cross_fitted_nll, fit_noise_floor, fit_temperature, nll_at
from jupyter_lossacc.stats.transitions import (
    TAIL_PARTS,
    TRANSITIONS,
    outcome_parts,
    tail_groups,
    transition_groups,
    weight_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jupyter_lossacc.records import EpochSummary, Predictions, Recording

__all__ = ["WAYS", "decompose"]

Columns = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]


def decompose(recording: Recording, split: str, start: int, end: int, by: str) -> Columns:
    """Split the change of the mean loss of `split` from epoch `start` to epoch `end`.

    Parameters
    ----------
    recording : Recording
    split : str
    start, end : int
        Epochs; negative numbers count from the last.
    by : {"transitions", "outcome", "class", "calibration", "scale", "weights", "tail"}
        ``transitions``: by what became of each sample (stayed right, became right, ...).
        ``outcome``: more are right / the right became surer / the wrong became worse.
        ``class``: by true class.
        ``calibration``: wrong degree of confidence, noise floor, and what is left (refinement).
        ``scale``: larger logits against differently directed logits.
        ``weights``: class weights that changed against samples that changed, of the reported loss.
        ``tail``: by how few samples carry the change.

    Returns
    -------
    dict of str to ndarray
        Columns of equal length, ``part`` first. ``loss_change`` (nats) adds up to the change of the
        mean NLL over the samples that both epochs have (of the whole passes for ``calibration`` and
        ``scale``; of the reported loss for ``weights``); ``accuracy_change``, where it stands, to
        the change of accuracy.

    Raises
    ------
    DiagnosisError
        When `by` is unknown or the records cannot answer.
    """
    way = WAYS.get(by)
    if way is None:
        raise DiagnosisError(f"cannot decompose by {by!r}; choose one of: {', '.join(WAYS)}.")
    first, last = _summary(recording, split, start), _summary(recording, split, end)
    return way(recording, first, last)


def _summary(recording: Recording, split: str, epoch: int) -> EpochSummary:
    try:
        return recording.summary(split, epoch)
    except KeyError as error:
        have = ", ".join(recording.splits()) or "none"
        raise DiagnosisError(f"{error.args[0]} (splits recorded: {have}).") from None


def _check_kept(recording: Recording, summary: EpochSummary) -> None:
    try:
        recording.load(summary.key)
    except KeyError:
        raise DiagnosisError(
            f"the per-sample records of split {summary.split!r} at epoch {summary.epoch} were not kept; "
            "record with keep='all' (or keep='val' for evaluated splits) to decompose by sample."
        ) from None


def _pair(recording: Recording, first: EpochSummary, last: EpochSummary) -> tuple[Predictions, Predictions]:
    """Return the predictions of both passes on their shared samples; every loss is finite."""
    split = first.split
    for summary in (first, last):
        _check_kept(recording, summary)
    try:
        pair = recording.paired(split, first.epoch, last.epoch)
    except KeyError as error:
        raise DiagnosisError(f"{error.args[0]}.") from None
    if len(pair[0]) == 0:
        raise DiagnosisError(
            f"epochs {first.epoch} and {last.epoch} of split {split!r} have no sample in common; "
            "evaluate the same samples in both epochs to compare them."
        )
    for summary, predictions in zip((first, last), pair, strict=True):
        broken = int((~np.isfinite(predictions.nll)).sum())
        if broken:
            raise DiagnosisError(
                f"{broken} of {len(predictions)} samples of split {split!r} have a loss that is not finite "
                f"at epoch {summary.epoch}; their share of the change is undefined."
            )
    return pair


def _float(values: NDArray[Any]) -> Floats:
    return values.astype(np.float64)


def _grouped(
    group: NDArray[np.intp], names: tuple[str, ...], pair: tuple[Predictions, Predictions]
) -> Columns:
    """Sum the samples' changes per group and divide by the number of all samples."""
    n, k = len(group), len(names)
    change = _float(pair[1].nll) - _float(pair[0].nll)
    gain = _float(pair[1].correct) - _float(pair[0].correct)
    return {
        "part": np.array(names, dtype=object),
        "samples": np.bincount(group, minlength=k),
        "loss_change": np.bincount(group, weights=change, minlength=k) / n,
        "accuracy_change": np.bincount(group, weights=gain, minlength=k) / n,
        "loss_rises": np.bincount(group, weights=np.clip(change, 0, None), minlength=k) / n,
        "loss_falls": np.bincount(group, weights=np.clip(change, None, 0), minlength=k) / n,
    }


def _transitions(recording: Recording, first: EpochSummary, last: EpochSummary) -> Columns:
    pair = _pair(recording, first, last)
    return _grouped(transition_groups(pair[0].correct, pair[1].correct), TRANSITIONS, pair)


def _tail(recording: Recording, first: EpochSummary, last: EpochSummary) -> Columns:
    pair = _pair(recording, first, last)
    return _grouped(tail_groups(_float(pair[1].nll) - _float(pair[0].nll)), TAIL_PARTS, pair)


def _outcome(recording: Recording, first: EpochSummary, last: EpochSummary) -> Columns:
    a, b = _pair(recording, first, last)
    parts = outcome_parts(a.nll, b.nll, a.correct, b.correct)
    gain = float(_float(b.correct).mean() - _float(a.correct).mean())
    return {
        "part": np.array(parts._fields, dtype=object),
        "loss_change": np.array(parts),
        "accuracy_change": np.array([gain, 0.0, 0.0]),
    }


def _class(recording: Recording, first: EpochSummary, last: EpochSummary) -> Columns:
    if last.loss.task not in ("multiclass", "binary"):
        raise DiagnosisError(f"a {last.loss.task} task gives a sample no single class; choose another `by`.")
    a, b = pair = _pair(recording, first, last)
    moved = int((a.targets != b.targets).sum())
    if moved:
        raise DiagnosisError(
            f"{moved} of {len(a)} samples have another target at epoch {last.epoch} than at epoch "
            f"{first.epoch}; a split by class needs fixed targets."
        )
    classes, group = np.unique(a.targets, return_inverse=True)
    names = recording.info.class_names
    labels = tuple(names[k] if k < len(names) else str(k) for k in classes.tolist())
    columns = _grouped(group.astype(np.intp), labels, pair)
    n, support = len(a), columns["samples"]
    return {
        "part": columns["part"],
        "class": classes.astype(np.int64),
        "samples": support,
        "loss_change": columns["loss_change"],
        "accuracy_change": columns["accuracy_change"],
        "class_loss_change": columns["loss_change"] * n / support,
        "recall_change": columns["accuracy_change"] * n / support,
    }


def _calibration_levels(summary: EpochSummary) -> tuple[float, float, float]:
    """(calibration, noise floor, refinement) of one pass; they add up to its mean NLL."""
    sums = summary.accumulators
    if sums is None or not np.isfinite(summary.calibrated_nll):
        raise DiagnosisError(
            f"split {summary.split!r} at epoch {summary.epoch} has no calibration sums "
            "(they are gathered in evaluation mode, from finite logits)."
        )
    n = float(sums.count.sum())
    repaired = cross_fitted_nll(sums.count, sums.nll, sums.slope, sums.betas)
    floor = fit_noise_floor(sums.noise_nll, n, sums.n_classes, sums.betas, sums.etas)
    # Both terms of the gain are in-sample, so their difference does not mix cross-fitted with fitted.
    noise = floor.llr / (2 * n)
    return summary.nll - repaired, noise, repaired - noise


def _calibration(recording: Recording, first: EpochSummary, last: EpochSummary) -> Columns:
    del recording  # the sums are in the summaries
    start, end = np.array(_calibration_levels(first)), np.array(_calibration_levels(last))
    return {
        "part": np.array(("calibration", "noise_floor", "refinement"), dtype=object),
        "start": start,
        "end": end,
        "loss_change": end - start,
    }


def _scale(recording: Recording, first: EpochSummary, last: EpochSummary) -> Columns:
    """Loss at the end against the loss of the end's logits shrunk to the start's temperature."""
    del recording
    _calibration_levels(first)  # raises when the sums are missing
    _calibration_levels(last)
    fits, curves = [], []
    for summary in (first, last):
        sums = summary.accumulators
        assert sums is not None  # noqa: S101 - checked by _calibration_levels
        total = sums.count.sum()
        value, slope = sums.nll.sum(0) / total, sums.slope.sum(0) / total
        curves.append((value, slope, sums.betas))
        fits.append(fit_temperature(value, slope, sums.betas).temperature)
    # Against the grid's own value at scale 1, so that interpolation error cancels.
    same_scale = last.nll + nll_at(fits[1] / fits[0], *curves[1]) - nll_at(1.0, *curves[1])
    return {
        "part": np.array(("scale", "direction"), dtype=object),
        "loss_change": np.array([last.nll - same_scale, same_scale - first.nll]),
        "temperature_start": np.full(2, fits[0]),
        "temperature_end": np.full(2, fits[1]),
    }


def _sample_shares(summary: EpochSummary, predictions: Predictions) -> Floats:
    """Factor of each sample in the reported mean, as the reduction means it."""
    n, weights = len(predictions), summary.loss.class_weights
    if weights is None:
        return np.full(n, 1.0 / n)
    if summary.loss.task not in ("multiclass", "binary") or predictions.targets.max() >= len(weights):
        raise DiagnosisError(
            f"the criterion's {len(weights)} class weights cannot be matched to the targets of split "
            f"{summary.split!r} at epoch {summary.epoch}."
        )
    factor = _float(np.asarray(weights))[predictions.targets]
    return factor / n if summary.loss.reduction in ("sum", "none") else factor / factor.sum()


def _weights(recording: Recording, first: EpochSummary, last: EpochSummary) -> Columns:
    a, b = _pair(recording, first, last)
    parts = weight_parts(_float(a.nll), _float(b.nll), _sample_shares(first, a), _sample_shares(last, b))
    # Label smoothing, penalties and samples of only one pass: in the reported loss, in neither part.
    other = last.reported_loss - first.reported_loss - sum(parts)
    return {
        "part": np.array(("weights", "samples", "other"), dtype=object),
        "loss_change": np.array([*parts, other]),
    }


WAYS: Mapping[str, Callable[[Recording, EpochSummary, EpochSummary], Columns]] = {
    "transitions": _transitions,
    "outcome": _outcome,
    "class": _class,
    "calibration": _calibration,
    "scale": _scale,
    "weights": _weights,
    "tail": _tail,
}
