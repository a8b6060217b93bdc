"""The parts that several processes recorded of one training → one recording.

Every process of a distributed training records what it saw itself: its share of each pass. The
parts meet here, after the fact, on (split, epoch, step), so that recording never makes one process
wait for another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.diagnosis.summary import calibration_of, class_ratios, summarize
from jupyter_lossacc.records import (
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    Accumulators,
    ClassTable,
    EpochSummary,
    Floats,
    Pass,
    PassKey,
    Predictions,
    Recording,
)
from jupyter_lossacc.stats.calibration import expected_calibration_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["RankMerger", "merge_ranks"]

# A run of several processes is as well as the worst of them.
STATUSES = ("failed", "interrupted", "cut off", "finished")


def merge_ranks(parts: Sequence[Recording], ranks: int) -> Recording:
    """Merge the parts of `ranks` processes; see `RankMerger`."""
    return RankMerger().merge(parts, ranks)


class RankMerger:
    """Merges the parts of one run, again and again while they grow.

    A pass is complete when every process that records its split has handed it in. A sample that
    several processes evaluated (padding, or no sampler at all) counts once. In training a sample
    counts once too, unless one process alone drew it several times: then it is drawn with
    replacement, and every visit counts.
    """

    def __init__(self) -> None:
        self._merged: dict[PassKey, _Merged] = {}

    def merge(self, parts: Sequence[Recording], ranks: int) -> Recording:
        """Return the run as of now.

        Parameters
        ----------
        parts : sequence of Recording
            By rank, those that are there.
        ranks : int
            How many processes take part.
        """
        by_key = [{s.key: s for s in part.summaries} for part in parts]
        merged: dict[PassKey, _Merged] = {}
        for key in _in_order(parts):
            known = self._merged.get(key)
            if known is None:
                known = _merge_pass(key, parts, by_key)
                if known.summary.complete:
                    self._merged[key] = known
            merged[key] = known

        @lru_cache(maxsize=4)
        def load(key: PassKey) -> Predictions:
            found = _predictions([(s[key], p) for s, p in zip(by_key, parts, strict=True) if key in s])
            if found is None:
                raise KeyError(f"the per-sample records of pass {key} were not kept (see --keep)")
            return found.predictions

        return Recording(
            info=parts[0].info,
            summaries=tuple(m.summary for m in merged.values()),
            steps=_merge_steps([part.steps for part in parts]),
            limits=_limits(parts, ranks, merged),
            load=load,
            status=_status([part.status for part in parts]),
            shown=parts[0].shown,
        )


@dataclass(frozen=True)
class _Merged:
    summary: EpochSummary
    limit: str = ""


@dataclass(frozen=True)
class _Joined:
    """Per-sample records of all ranks; `shared` says whether ranks saw the same samples."""

    predictions: Predictions
    shared: str  # "none", "all" (each rank saw every sample), "some", or "unknown"
    n_dropped: int


def _in_order(parts: Sequence[Recording]) -> list[PassKey]:
    """Keys of all passes, as rank 0 met them; those of others stand where their step belongs."""
    keys = [s.key for s in parts[0].summaries]
    for part in parts[1:]:
        for summary in part.summaries:
            if summary.key not in keys:
                later = (i for i, key in enumerate(keys) if key[2] > summary.step)
                keys.insert(next(later, len(keys)), summary.key)
    return keys


def _merge_pass(
    key: PassKey, parts: Sequence[Recording], by_key: Sequence[Mapping[PassKey, EpochSummary]]
) -> _Merged:
    shares = [(s[key], part) for s, part in zip(by_key, parts, strict=True) if key in s]
    complete = all(s.complete for s, _ in shares) and not any(
        _is_awaited(key, part) for s, part in zip(by_key, parts, strict=True) if key not in s
    )
    summaries = [s for s, _ in shares]
    if len(shares) == 1:
        return _Merged(replace(summaries[0], complete=complete))
    joined = _predictions(shares)
    if joined is None:
        same = len({(s.n_samples, s.nll, s.accuracy) for s in summaries}) == 1
        merged = summaries[0] if same and not summaries[0].training else _without_samples(summaries)
        return _Merged(replace(merged, complete=complete))
    return _Merged(replace(_with_samples(summaries, joined), complete=complete), _limit(summaries[0], joined))


def _is_awaited(key: PassKey, part: Recording) -> bool:
    """Whether a rank that lacks a pass takes part in it; it may have joined the run after it."""
    split, _, step = key
    if any(s.split == split and s.step < step for s in part.summaries):
        return True
    passed_by = any(s.step > step for s in part.summaries)
    return part.status == "running" and not passed_by


def _predictions(shares: Sequence[tuple[EpochSummary, Recording]]) -> _Joined | None:
    """Join the per-sample records; None where a rank kept none."""
    try:
        own = [part.load(summary.key) for summary, part in shares]
    except KeyError:
        return None
    known = all(p.ids_known for p in own)
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in own]) for name in SAMPLE_COLUMNS
    }
    ids = columns["sample_ids"]
    shared = "none"
    if not known:
        columns["sample_ids"] = np.arange(len(ids), dtype=np.int64)
        shared = "unknown"
        rows = np.arange(len(ids))
    else:
        rows = np.argsort(ids, kind="stable")  # of equal ids the lowest rank comes first
        first = np.concatenate([[True], np.diff(ids[rows]) > 0]) if len(rows) else np.empty(0, bool)
        again = any(len(np.unique(p.sample_ids)) < len(p) for p in own)
        if not first.all() and not (shares[0][0].training and again):
            alike = not again and all(np.array_equal(own[0].sample_ids, p.sample_ids) for p in own[1:])
            shared = "all" if alike else "some"
            rows = rows[first]
    kept: dict[str, Any] = {name: np.ascontiguousarray(column[rows]) for name, column in columns.items()}
    return _Joined(Predictions(**kept, ids_known=known), shared, len(ids) - len(rows))


def _with_samples(summaries: Sequence[EpochSummary], joined: _Joined) -> EpochSummary:
    first = summaries[0]
    if joined.shared == "all":
        sums, reported = first.accumulators, first.reported_loss
    else:
        sums = None if joined.shared == "some" else _added([s.accumulators for s in summaries])
        reported = _reported(summaries, joined)
    merged = summarize(
        Pass(
            split=first.split,
            epoch=first.epoch,
            step=first.step,
            complete=first.complete,
            training=first.training,
            name=first.name,
            reported_loss=reported,
            loss=first.loss,
            predictions=joined.predictions,
            accumulators=sums,
            n_classes=max(s.n_classes for s in summaries),
            seconds=max(s.seconds for s in summaries),
            order_runs=first.order_runs,
            mode_layers=first.mode_layers,
            units=first.units,
        )
    )
    if joined.shared == "some" and first.accumulators is not None:
        merged = replace(merged, ece=_ece(joined.predictions))
    return merged


def _without_samples(summaries: Sequence[EpochSummary]) -> EpochSummary:
    """Combine passes of which only the numbers were kept, as training passes usually are."""
    first = summaries[0]
    n = np.array([s.n_samples for s in summaries], dtype=np.float64)
    sums = _added([s.accumulators for s in summaries])
    temperature, calibrated, ece = calibration_of(sums)
    tables = [s.classes for s in summaries if s.classes is not None]
    classes = _added_classes(tables) if len(tables) == len(summaries) else None

    def mean(name: str) -> float:
        values = [getattr(s, name) for s in summaries if s.n_samples]
        return float(np.average(values, weights=n[n > 0])) if n.sum() else np.nan

    return replace(
        first,
        n_samples=int(n.sum()),
        n_total=None if all(s.n_total is None for s in summaries) else sum(map(_size, summaries)),
        reported_loss=_reported(summaries, None),
        nll=mean("nll"),
        accuracy=mean("accuracy"),
        balanced_accuracy=float("nan") if classes is None else float(np.nanmean(classes.recall)),
        macro_f1=float("nan") if classes is None else float(np.nanmean(classes.f1)),
        temperature=temperature,
        calibrated_nll=calibrated,
        ece=ece,
        seconds=max(s.seconds for s in summaries),
        ids_known=all(s.ids_known for s in summaries),
        n_classes=max(s.n_classes for s in summaries),
        classes=classes,
        accumulators=sums,
    )


def _reported(summaries: Sequence[EpochSummary], joined: _Joined | None) -> float:
    """Mean of the ranks' values by what their reduction divides by; by sample where they overlap."""
    weights = [_weight(s) for s in summaries]
    if joined is not None and joined.shared == "some" and summaries[0].loss.class_weights is None:
        values = joined.predictions.reported_loss
        if len(values) and bool(np.isfinite(values).all()):
            return float(values.mean(dtype=np.float64))
    total = sum(weights)
    return (
        sum(w * s.reported_loss for w, s in zip(weights, summaries, strict=True)) / total if total else np.nan
    )


def _weight(summary: EpochSummary) -> float:
    weights, table = summary.loss.class_weights, summary.classes
    whole = summary.n_total is None
    if summary.loss.reduction == "mean" and weights is not None and table is not None and whole:
        return float(table.support @ weights)  # torch's weighted mean divides by the weights
    return float(_size(summary))


def _size(summary: EpochSummary) -> int:
    """Count the samples of a pass, recorded or not."""
    return summary.n_samples if summary.n_total is None else summary.n_total


def _added(parts: Sequence[Accumulators | None]) -> Accumulators | None:
    own = [part for part in parts if part is not None]
    if len(own) < len(parts) or len({part.n_classes for part in own}) > 1:
        return None
    names = ("count", "nll", "slope", "noise_nll", "score_sum", "score_square", "bins")
    added: dict[str, Any] = {name: sum(getattr(part, name) for part in own) for name in names}
    return replace(own[0], **added)


def _added_classes(tables: Sequence[ClassTable]) -> ClassTable:
    size = max(len(table.support) for table in tables)

    def total(values: Sequence[Any]) -> Any:
        return sum(np.pad(v, (0, size - len(v))) for v in values)

    return class_ratios(
        support=total([t.support for t in tables]),
        predicted=total([t.predicted for t in tables]),
        hits=total([np.rint(np.nan_to_num(t.recall) * t.support).astype(np.int64) for t in tables]),
        losses=total([np.nan_to_num(t.nll) * t.support for t in tables]),
    )


def _ece(predictions: Predictions) -> float:
    n_bins = 15
    confidence = predictions.confidence.astype(np.float64)
    index = np.clip(np.ceil(confidence * n_bins) - 1, 0, n_bins - 1).astype(int)
    columns = (np.ones_like(confidence), confidence, predictions.correct.astype(np.float64))
    bins: Floats = np.stack(
        [np.bincount(index, weights=c, minlength=n_bins) for c in columns], axis=1
    ).astype(np.float64)
    return expected_calibration_error(bins)


def _merge_steps(tables: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """One row per optimiser step: the loss weighted by samples, other values of the first that has them."""
    names = list(dict.fromkeys(name for table in tables for name in table)) or list(STEP_COLUMNS)
    steps = np.unique(np.concatenate([table["step"] for table in tables]))
    merged: dict[str, Floats] = {name: np.full(len(steps), np.nan) for name in names}
    total, weight = np.zeros(len(steps)), np.zeros(len(steps))
    for table in tables:
        rows = np.searchsorted(steps, table["step"])
        for name, values in table.items():
            empty = np.isnan(merged[name][rows])
            merged[name][rows[empty]] = values[empty]
        counted = np.isfinite(table["loss"]) & (table["n_samples"] > 0)
        total[rows[counted]] += table["loss"][counted] * table["n_samples"][counted]
        weight[rows[counted]] += table["n_samples"][counted]
    merged["loss"] = np.divide(total, weight, out=merged["loss"], where=weight > 0)
    merged["n_samples"] = np.where(weight > 0, weight, merged["n_samples"])
    merged["step"] = steps
    return merged


def _limit(summary: EpochSummary, joined: _Joined) -> str:
    if joined.shared == "unknown":
        return (
            f"Several processes recorded the {summary.split!r} data, and it is not known which samples each "
            "had: samples that more than one of them had count several times."
        )
    if joined.shared == "some" and summary.accumulators is not None:
        return (
            f"Some samples of the {summary.split!r} data were evaluated by more than one process, as filling "
            "up the last batches does. Each counts once here; only the temperature cannot be told without "
            "the copies, and is left out. Way out: torch's DistributedSampler, whose copies are recognised."
        )
    return ""


def _limits(parts: Sequence[Recording], ranks: int, merged: Mapping[PassKey, _Merged]) -> tuple[str, ...]:
    said: dict[str, None] = dict.fromkeys(parts[0].limits)
    everywhere = set(parts[0].limits).intersection(*(part.limits for part in parts))
    for rank, part in enumerate(parts):
        said |= dict.fromkeys(
            f"Process {rank}: {line}" for line in part.limits if rank and line not in everywhere | said.keys()
        )
    if len(parts) < ranks and _status([part.status for part in parts]) != "running":
        said[
            f"Only {len(parts)} of the {ranks} processes of this training left a part of it: the numbers "
            "cover their samples alone. Record in every process, not only in the first."
        ] = None
    said |= dict.fromkeys(m.limit for m in merged.values() if m.limit)
    return tuple(said)


def _status(statuses: Sequence[str]) -> str:
    if "running" in statuses:
        return "running"
    return next((s for s in STATUSES if s in statuses), statuses[0])
