"""Label noise: labels are wrong at a rate that can be estimated, and the model knows better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.causes.cause import (
    RISING_LOSS,
    Cause,
    default_split,
    evidence,
    not_tested,
    percent,
    spoken,
    window,
)
from jupyter_lossacc.causes.repair import floor_of
from jupyter_lossacc.records import (
    Counterfactual,
    Episode,
    EpochSummary,
    Evidence,
    Experiment,
    Finding,
    Predictions,
    Recording,
    Verdict,
)
from jupyter_lossacc.stats.calibration import NoiseFloor
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.miscalibration import floor_interval
from jupyter_lossacc.stats.rescaling import sure_errors
from jupyter_lossacc.stats.transitions import share_of_change

__all__ = ["CAUSE"]

ID = "label_noise"
RATE = 0.03  # floors of clean runs stay below 0.005
GAIN = 30.0
EXCESS = 2.0
SURPRISE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noise:
    """What the noise floor says at one epoch, and what the sure predictions say about it."""

    at: EpochSummary
    floor: NoiseFloor
    low: float
    high: float
    n_sure: int
    observed: int
    expected: float
    z: float
    learned: bool

    @property
    def excess(self) -> float:
        return self.observed / max(self.expected, 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """False predictions at the epoch of lowest loss and at the one of highest accuracy."""

    lowest: int
    highest: int
    both: int  # wrong at both epochs
    agreeing: int  # of those, with the same other class both times
    one: int  # wrong at only one of them
    suspects: NDArray[np.int64]


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether labels are wrong at a rate that no temperature can explain."""
    if episode is not None and episode.kind not in RISING_LOSS | {"accuracy_stuck_loss_high"}:
        return None
    split = episode.split if episode is not None else default_split(recording)
    if split is None or split == "train":
        return None
    series = recording.series(split)
    if episode is not None:
        series = tuple(s for s in series if s.epoch <= episode.end_epoch)
    usable = [s for s in series if s.accumulators is not None and s.loss.task in ("multiclass", "binary")]
    if not usable:
        return not_tested(
            ID, "Label noise could not be tested: no pass with the sums of the noise-floor fit."
        )
    # The epoch whose calibrated loss is lowest knows best; a later, spoilt one would blame the labels.
    at = min(usable, key=_repaired)
    noise = _measure(recording, at)
    compared = _compare(recording, usable)
    verdict = _verdict(noise)
    doubtful = _doubtful(noise, compared)
    return Finding(
        cause=ID,
        verdict=verdict,
        share=_share(recording, episode, doubtful),
        statement=_statement(noise, compared, split, verdict),
        because=(
            f"about {percent(noise.floor.flip_rate)} of the {spoken(split)} labels look wrong "
            f"[{100 * noise.low:.0f}, {100 * noise.high:.0f}] and a surer model pays more for each"
        ),
        evidence=_evidence(noise),
        counterfactual=_without(recording, noise, doubtful) if verdict == "supported" else None,
        action=(
            "Look at the listed samples in order and relabel or drop the wrong ones, first in the "
            f"{spoken(split)} "
            "set (it chooses your epoch), then in training. Until then trust accuracy and the calibrated "
            "loss more "
            "than the loss, and use a robust loss (label smoothing) in training."
        ),
        experiment=_experiment(compared, split),
        sample_ids=compared.suspects if compared is not None else np.empty(0, np.int64),
        strength=float(np.nan_to_num(noise.floor.flip_rate)),
    )


def _repaired(s: EpochSummary) -> float:
    return s.calibrated_nll if np.isfinite(s.calibrated_nll) else np.inf


def _measure(recording: Recording, at: EpochSummary) -> _Noise:
    sums = at.accumulators
    assert sums is not None  # noqa: S101 - chosen so by the caller
    floor = floor_of(sums)
    low, high = floor_interval(sums.noise_nll, sums.betas, sums.etas, sums.n_classes)
    n_sure = observed = 0
    expected = z = float("nan")
    try:
        p = recording.load(at.key)
    except KeyError:
        p = None
    if p is not None and np.isfinite(floor.temperature) and np.isfinite(p.margin).all():
        n_sure, observed, expected, z = sure_errors(p.nll, p.margin, sums.n_classes, floor.temperature)
    majority = float(at.classes.support.max() / at.classes.support.sum()) if at.classes is not None else 0.0
    return _Noise(
        at=at,
        floor=floor,
        low=low,
        high=high,
        n_sure=n_sure,
        observed=observed,
        expected=expected,
        z=z,
        learned=at.accuracy > majority + 0.02,
    )


def _compare(recording: Recording, usable: list[EpochSummary]) -> _Comparison | None:
    """Run the experiment of question 282160: who is wrong at both epochs, and as what."""
    lowest = min(usable, key=lambda s: s.nll if np.isfinite(s.nll) else np.inf)
    highest = max(usable, key=lambda s: s.accuracy)
    if lowest.epoch == highest.epoch:
        highest = usable[-1]
    try:
        a, b = recording.paired(lowest.split, lowest.epoch, highest.epoch)
    except KeyError:
        return None
    wrong_a, wrong_b = a.correct < 0.5, b.correct < 0.5
    both = wrong_a & wrong_b
    same = both & (a.predicted == b.predicted)
    return _Comparison(
        lowest=lowest.epoch,
        highest=highest.epoch,
        both=int(both.sum()),
        agreeing=int(same.sum()),
        one=int((wrong_a ^ wrong_b).sum()),
        suspects=_ranked(a, b, same),
    )


def _ranked(a: Predictions, b: Predictions, same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank samples with one plausible other class, the most contradicted label first.

    The margin against the label, in units of what is typical of the epoch, averages both epochs
    without letting the surer one decide alone.
    """
    rows = np.flatnonzero(same)
    against = sum(-p.margin / max(float(np.median(np.abs(p.margin))), 1e-12) for p in (a, b))
    order = np.argsort(-np.asarray(against)[rows], kind="stable")
    return a.sample_ids[rows[order]][:500]


def _verdict(n: _Noise) -> Verdict:
    if np.isnan(n.floor.eta) or not n.learned:
        return "undecided"
    if (
        n.floor.flip_rate >= RATE
        and n.low > RATE / 2
        and n.floor.llr > GAIN
        and n.excess > EXCESS
        and n.z > SURPRISE
    ):
        return "supported"
    if n.high < RATE or n.floor.llr < 3.84:
        return "rejected"
    return "undecided"


def _doubtful(n: _Noise, c: _Comparison | None) -> NDArray[np.int64]:
    """Return as many of the most doubtful labels as the estimated rate says."""
    if c is None or np.isnan(n.floor.flip_rate):
        return np.empty(0, np.int64)
    return c.suspects[: round(n.floor.flip_rate * n.at.n_samples)]


def _share(recording: Recording, episode: Episode | None, doubtful: NDArray[np.int64]) -> Estimate | None:
    """Share of the rise that the most doubtful labels carry."""
    w = window(recording, episode) if episode is not None and episode.kind in RISING_LOSS else None
    if w is None or w.before is None or w.after is None or not len(doubtful):
        return None
    change = w.after.nll.astype(np.float64) - w.before.nll
    return share_of_change(np.where(np.isin(w.after.sample_ids, doubtful), change, 0.0), change)


def _statement(n: _Noise, c: _Comparison | None, split: str, verdict: Verdict) -> str:
    where = f"at epoch {n.at.epoch}"
    rate = f"{percent(n.floor.flip_rate, 1)} [{100 * n.low:.1f}, {100 * n.high:.1f}]"
    if verdict == "rejected":
        return (
            f"No sign of randomly wrong {spoken(split)} labels {where}: the best-fitting rate is {rate}. "
            "Labels "
            "that are wrong only on borderline samples would not show here."
        )
    if not n.learned:
        return (
            f"Whether {spoken(split)} labels are wrong cannot be told {where}: the model is not yet better "
            "than "
            "always naming the largest class."
        )
    sure = (
        f"of {n.n_sure:,} predictions that stay at least 95 % sure, {n.observed} contradict the label where "
        f"{n.expected:.1f} were to be expected"
    )
    told = (
        ""
        if c is None or verdict != "supported"
        else (
            f" {c.agreeing} samples are wrong, and for the same other class, at epoch {c.lowest} as well as "
            "at epoch "
            f"{c.highest}: they are listed, the most doubtful label first."
        )
    )
    return f"About {rate} of the {spoken(split)} labels look wrong {where}: {sure}.{told}"


def _evidence(n: _Noise) -> tuple[Evidence, ...]:
    return (
        evidence(
            "wrong labels, noise-floor fit",
            n.floor.flip_rate,
            "share",
            f">= {RATE}",
            n.floor.flip_rate >= RATE,
        ),
        evidence(
            "likelihood gained by the floor", n.floor.llr, "2 nats", f"> {GAIN:.0f}", n.floor.llr > GAIN
        ),
        evidence(
            "sure mistakes, observed / expected", n.excess, "ratio", f"> {EXCESS:.0f}", n.excess > EXCESS
        ),
        evidence("the same, Poisson-binomial", n.z, "z", f"> {SURPRISE:.0f}", n.z > SURPRISE),
        evidence("model better than the largest class", float(n.learned), "1", "", n.learned),
    )


def _without(recording: Recording, n: _Noise, doubtful: NDArray[np.int64]) -> Counterfactual | None:
    if not len(doubtful):
        return None
    try:
        p = recording.load(n.at.key)
    except KeyError:
        return None
    kept = ~np.isin(p.sample_ids, doubtful)
    return Counterfactual(
        name=(
            f"{spoken(n.at.split)} loss at epoch {n.at.epoch} without the {len(doubtful)} most doubtful "
            "labels "
            "(as many as the estimated rate)"
        ),
        value=float(p.nll[kept].mean(dtype=np.float64)),
        actual=n.at.nll,
    )


def _experiment(c: _Comparison | None, split: str) -> Experiment:
    result = (
        ""
        if c is None
        else (
            f"Done from the records: {c.both} samples are wrong at both epoch {c.lowest} (lowest loss) and "
            "epoch "
            f"{c.highest} (highest accuracy), {c.agreeing} of them as the same other class; {c.one} are "
            "wrong at only "
            "one of the two."
        )
    )
    return Experiment(
        code=(
            "import jupyter_lossacc as la\n"
            "run = la.last_run()\n"
            "finding = next(f for d in run.diagnose() for f in d.findings if f.cause == 'label_noise')\n"
            "for i in finding.sample_ids[:20]:\n"
            f"    print(i, {split}_set[i][1])   # show the input beside its label and decide"
        ),
        prediction=(
            "If labels are wrong, about half or more of the first samples listed carry a label you would not "
            "have "
            "given; among samples wrong at only one of the two epochs next to none do."
        ),
        result=result,
    )


CAUSE = Cause(id=ID, examine=examine, scope="both")
