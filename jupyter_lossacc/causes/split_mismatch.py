"""Split mismatch: validation behaves unlike another held-out split at the same epoch."""

from __future__ import annotations

import numpy as np
from scipy.stats import ks_2samp

from jupyter_lossacc.causes.cause import (
    Cause,
    default_split,
    evidence,
    not_tested,
    percent,
    rounded,
    signed,
    spoken,
)
from jupyter_lossacc.records import (
    Counterfactual,
    Episode,
    EpochSummary,
    Experiment,
    Finding,
    Predictions,
    Recording,
    Verdict,
)

__all__ = ["CAUSE", "examine"]

ID = "split_mismatch"
LEVEL = 1e-6  # of the Kolmogorov-Smirnov test of the two loss distributions
FAR = 6.0  # standard errors between the two mean losses
LARGE = 0.1  # of the larger mean loss: smaller differences do not matter
CLOSE = 3.0
TRAINED = ("train", "train_eval")


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether two held-out splits could be samples of the same distribution."""
    if episode is not None:
        return None
    split = default_split(recording)
    if split is None:
        return not_tested(ID, "No split was evaluated.")
    pair = _same_epoch(recording, split)
    if pair is None:
        return not_tested(
            ID,
            f"Only {spoken(split)} was evaluated; a second held-out split in the same epoch would be needed.",
        )
    try:
        both = recording.load(pair[0].key), recording.load(pair[1].key)
    except KeyError:
        return not_tested(ID, "The per-sample records of both splits are needed and were not kept.")
    return _compare(pair, both)


def _same_epoch(recording: Recording, split: str) -> tuple[EpochSummary, EpochSummary] | None:
    """Find the last epoch in which both splits were evaluated with the same weights."""
    mine = {s.step: s for s in recording.series(split)}
    best: tuple[EpochSummary, EpochSummary] | None = None
    for other in recording.splits():
        if other == split or other in TRAINED:
            continue
        for s in recording.series(other):
            if s.step in mine and (best is None or s.step >= best[1].step):
                best = (mine[s.step], s)
    return best


def _compare(pair: tuple[EpochSummary, EpochSummary], both: tuple[Predictions, Predictions]) -> Finding:
    a, b = (p.nll.astype(np.float64) for p in both)
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    names = spoken(pair[0].split), spoken(pair[1].split)
    if min(len(a), len(b)) < 50:
        return Finding(
            cause=ID, verdict="undecided", statement="One of the splits has fewer than 50 samples."
        )
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    z = float((a.mean() - b.mean()) / error) if error > 0 else 0.0
    p = float(ks_2samp(a, b).pvalue)
    gap = float(abs(a.mean() - b.mean()) / max(a.mean(), b.mean(), 1e-12))
    verdict: Verdict = "undecided"
    if p < LEVEL and abs(z) > FAR and gap > LARGE:
        verdict = "supported"
    elif abs(z) < CLOSE or gap < LARGE / 2:
        verdict = "rejected"
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=(
            f"At epoch {pair[0].epoch} the mean loss is {rounded(a.mean())} on {len(a):,} {names[0]} samples "
            f"and {rounded(b.mean())} on {len(b):,} {names[1]} samples ({signed(z, 1)} standard errors), "
            f"accuracy {percent(pair[0].accuracy, 1)} and {percent(pair[1].accuracy, 1)}."
        ),
        because=f"{names[0]} is not like {names[1]}: at epoch {pair[0].epoch} their losses are "
        f"{rounded(a.mean())} and {rounded(b.mean())}",
        evidence=(
            evidence("p of equal loss distributions (Kolmogorov-Smirnov)", p, "1", f"< {LEVEL:g}", p < LEVEL),
            evidence("difference of the mean losses", z, "z", f"beyond {FAR:g}", abs(z) > FAR),
            evidence("difference against the larger loss", gap, "share", f"> {LARGE}", gap > LARGE),
        ),
        counterfactual=Counterfactual(
            name=f"{names[0]} loss at epoch {pair[0].epoch}, were it drawn like {names[1]}",
            value=float(b.mean()),
            actual=float(a.mean()),
        ),
        action=(
            "Find out what differs: where the samples come from, their preprocessing, their labels. Pool "
            "both splits, "
            "shuffle and split again (stratified, whole groups together) unless the difference is intended."
        ),
        experiment=_experiment(min(a.mean(), b.mean()), max(a.mean(), b.mean()))
        if verdict != "rejected"
        else None,
        sample_ids=both[0].sample_ids[np.argsort(-both[0].nll, kind="stable")[:50]],
        strength=min(1.0, gap),
    )


def _experiment(low: float, high: float) -> Experiment:
    return Experiment(
        code=(
            "pooled = torch.utils.data.ConcatDataset([val_set, test_set])\n"
            "order = torch.randperm(len(pooled), generator=torch.Generator().manual_seed(0)).tolist()\n"
            "val_set = torch.utils.data.Subset(pooled, order[: len(val_set)])\n"
            "test_set = torch.utils.data.Subset(pooled, order[len(val_set) :])\n"
        ),
        prediction="After pooling and splitting again the two losses agree within their sampling "
        f"error, at a value between {rounded(low)} and {rounded(high)}.",
    )


CAUSE = Cause(ID, examine, "run")
