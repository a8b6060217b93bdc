"""Label noise: labels are wrong at a rate that can be estimated, and the model knows better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import (
    RISING_LOSS,
    Cause,
    default_split,
    evidence,
    not_tested,
    percent,
    rounded,
    spoken,
    window,
)
from jupyter_lossacc.causes.contradictions import (
    SURE,
    Comparison,
    Noise,
    SureMistakes,
    compare_epochs,
    measure_noise,
)
from jupyter_lossacc.records import (
    Counterfactual,
    Episode,
    EpochSummary,
    Evidence,
    Experiment,
    Finding,
    Recording,
    Verdict,
)
from jupyter_lossacc.stats.transitions import share_of_change

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_lossacc.stats.estimate import Estimate

__all__ = ["CAUSE"]

ID = "label_noise"
RATE = 0.03  # floors of clean runs stay below 0.005
GAIN = 30.0
EXCESS = 2.0
SURPRISE = 5.0
PILED = 0.3  # random flips give 0.1-0.2, a few strange inputs 0.4-0.7


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether labels are wrong at a rate that no temperature can explain."""
    if episode is not None and episode.kind not in RISING_LOSS | {"accuracy_stuck_loss_high"}:
        return None
    split = episode.split if episode is not None else default_split(recording)
    if split is None or split == "train":
        return None
    usable = _usable(recording, split, episode)
    if not usable:
        return not_tested(ID, "Label noise could not be tested: no pass has the sums that it needs.")
    # The epoch whose calibrated loss is lowest knows best; a later, spoilt one would blame the labels.
    at = min(usable, key=_repaired)
    if at.accumulators is None:
        return None
    noise = measure_noise(recording, at, at.accumulators)
    compared = compare_epochs(recording, usable)
    verdict = _verdict(noise)
    doubtful = _doubtful(noise, compared)
    return Finding(
        cause=ID,
        verdict=verdict,
        share=_share(recording, episode, doubtful),
        statement=_statement(noise, compared, split, verdict),
        because=(
            f"about {percent(noise.floor.flip_rate)} [{100 * noise.low:.0f}, {100 * noise.high:.0f}] of the "
            f"{spoken(split)} labels look wrong, and a surer model pays more for each"
        ),
        evidence=_evidence(noise),
        counterfactual=_without(recording, noise, doubtful) if verdict == "supported" else None,
        action=(
            "Look at the listed samples in order and relabel or drop the wrong ones, first in the "
            f"{spoken(split)} set (it chooses your epoch), then in training. Until then trust accuracy and "
            "the calibrated loss more than the loss, and use a robust loss (label smoothing) in training."
        ),
        experiment=_experiment(compared, split),
        sample_ids=compared.suspects if compared is not None else np.empty(0, np.int64),
        strength=float(np.nan_to_num(noise.floor.flip_rate)),
    )


def _usable(recording: Recording, split: str, episode: Episode | None) -> list[EpochSummary]:
    """List the passes up to the episode's end whose noise floor can be fitted."""
    until = episode.end_epoch if episode is not None else np.inf
    return [
        s
        for s in recording.series(split)
        if s.epoch <= until
        and s.accumulators is not None
        and s.n_classes >= 2
        and s.loss.task in ("multiclass", "binary")
    ]


def _repaired(s: EpochSummary) -> float:
    return s.calibrated_nll if np.isfinite(s.calibrated_nll) else np.inf


def _verdict(n: Noise) -> Verdict:
    if np.isnan(n.floor.eta) or not n.learned:
        return "undecided"
    if n.high < RATE or n.floor.llr < 3.84:
        return "rejected"
    rate = n.floor.flip_rate >= RATE and n.low > RATE / 2 and n.floor.llr > GAIN
    return "supported" if rate and n.sure is not None and _contradicts(n.sure) else "undecided"


def _contradicts(sure: SureMistakes) -> bool:
    return _too_many(sure) and sure.piled < PILED


def _too_many(sure: SureMistakes) -> bool:
    return sure.excess > EXCESS and sure.z > SURPRISE


def _doubtful(n: Noise, c: Comparison | None) -> NDArray[np.int64]:
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


def _statement(n: Noise, c: Comparison | None, split: str, verdict: Verdict) -> str:
    where = f"at epoch {n.at.epoch}"
    rate = f"{percent(n.floor.flip_rate, 1)} [{rounded(100 * n.low, 1)}, {rounded(100 * n.high, 1)}]"
    if verdict == "rejected":
        return (
            f"No sign of randomly wrong {spoken(split)} labels {where}: the best-fitting rate is {rate}. "
            "Labels that are wrong only on borderline samples would not show here."
        )
    if not n.learned:
        return (
            f"Whether {spoken(split)} labels are wrong cannot be told {where}: the model is not yet better "
            "than always naming the largest class."
        )
    if n.sure is None:
        return f"{rate} of wrong {spoken(split)} labels would fit {where}; no sample was kept to look at."
    sure = (
        f"of {n.sure.n_sure:,} predictions that stay at least {percent(SURE)} sure, {n.sure.observed} "
        f"contradict the label where {rounded(n.sure.expected, 1)} were to be expected"
    )
    if verdict == "undecided":
        piled = (
            ", and they pile up on few predicted classes, as with inputs that training never showed"
            if n.sure.piled >= PILED and _too_many(n.sure)
            else ""
        )
        return (
            f"{rate} of wrong {spoken(split)} labels would fit {where}, but other reasons too: {sure}{piled}."
        )
    told = "" if c is None else _told(c)
    return f"About {rate} of the {spoken(split)} labels look wrong {where}: {sure}.{told}"


def _told(c: Comparison) -> str:
    return (
        f" {c.agreeing} samples are wrong, and for the same other class, at epoch {c.lowest} as well as at "
        f"epoch {c.highest}: they are listed, the most doubtful label first."
    )


def _evidence(n: Noise) -> tuple[Evidence, ...]:
    rate, llr = n.floor.flip_rate, n.floor.llr
    rows = [
        evidence("wrong labels, noise-floor fit", rate, "share", f">= {RATE}", rate >= RATE),
        evidence("log-likelihood gained by the floor, twice", llr, "nats", f"> {GAIN:.0f}", llr > GAIN),
        evidence("model better than the largest class", float(n.learned), "truth", "", n.learned),
    ]
    if n.sure is not None:
        s = n.sure
        rows += [
            evidence(
                "sure mistakes, observed / expected", s.excess, "ratio", f"> {EXCESS:.0f}", s.excess > EXCESS
            ),
            evidence("the same, Poisson-binomial", s.z, "z", f"> {SURPRISE:.0f}", s.z > SURPRISE),
            evidence("their pile-up on few classes", s.piled, "share", f"< {PILED}", s.piled < PILED),
        ]
    return tuple(rows)


def _without(recording: Recording, n: Noise, doubtful: NDArray[np.int64]) -> Counterfactual | None:
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
            "labels (as many as the estimated rate)"
        ),
        value=float(p.nll[kept].mean(dtype=np.float64)),
        actual=n.at.nll,
    )


def _experiment(c: Comparison | None, split: str) -> Experiment:
    result = (
        ""
        if c is None
        else (
            f"Done from the records: {c.both} samples are wrong at both epoch {c.lowest} (lowest loss) and "
            f"epoch {c.highest} ({c.second}), {c.agreeing} of them as the same other class; {c.one} "
            "are wrong at only one of the two."
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
            "If labels are wrong, about half or more of the first samples listed carry a label you would "
            "not have given; among samples wrong at only one of the two epochs next to none do."
        ),
        result=result,
    )


CAUSE = Cause(id=ID, examine=examine, scope="both")
