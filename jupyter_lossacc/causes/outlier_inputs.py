"""Outlier inputs: a few inputs far outside the rest hold much of the loss."""

from __future__ import annotations

from dataclasses import dataclass
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
)
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

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAUSE"]

ID = "outlier_inputs"
FAR = 10.0  # times the median absolute margin
FEW = 0.05  # of the samples
SHARE = 0.3  # of the loss
LEAST = 3  # samples


@dataclass(frozen=True, slots=True)
class _Far:
    """Samples whose logits are on another scale than the rest."""

    rows: NDArray[np.intp]
    n: int
    share: float
    rest: float
    typical: float  # median absolute margin
    right: int  # far samples that are right: far out is not the same as wrong

    @property
    def amount(self) -> float:
        return len(self.rows) / self.n


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether a few samples with logits on a scale of their own hold the loss."""
    if episode is not None and episode.kind not in RISING_LOSS | {"accuracy_stuck_loss_high"}:
        return None
    split = episode.split if episode is not None else default_split(recording)
    if split is None or split == "train":
        return None
    series = recording.series(split)
    until = episode.end_epoch if episode is not None else np.inf
    at = next((s for s in reversed(series) if s.epoch <= until), None)
    predictions = _load(recording, at)
    if at is None or predictions is None:
        return not_tested(ID, "Outlying inputs could not be looked for: no per-sample margins of this epoch.")
    far = _far(predictions)
    verdict = _verdict(far)
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=_statement(far, at, verdict),
        because=f"{len(far.rows)} inputs far outside the rest hold {percent(far.share)} of the loss",
        evidence=_evidence(far),
        counterfactual=Counterfactual(
            name=f"{spoken(split)} loss at epoch {at.epoch} without these {len(far.rows)} samples",
            value=far.rest,
            actual=at.nll,
        )
        if len(far.rows)
        else None,
        action=(
            "Open the listed samples: wrong scale or unit, missing preprocessing, corrupt files. Give "
            "validation the very preprocessing of training; clip or drop what cannot be repaired."
        ),
        experiment=_experiment(split, far, at),
        sample_ids=predictions.sample_ids[far.rows],
        strength=far.share,
    )


def _load(recording: Recording, at: EpochSummary | None) -> Predictions | None:
    if at is None:
        return None
    try:
        p = recording.load(at.key)
    except KeyError:
        return None
    return p if len(p) and np.isfinite(p.margin).all() else None


def _far(p: Predictions) -> _Far:
    size = np.abs(p.margin.astype(np.float64))
    typical = float(np.median(size))
    rows = np.flatnonzero(size > FAR * typical) if typical > 0 else np.empty(0, np.intp)
    member = np.zeros(len(p), bool)
    member[rows] = True
    total = float(p.nll.sum(dtype=np.float64))
    held = float(p.nll[member].sum(dtype=np.float64))
    return _Far(
        rows=rows[np.argsort(-p.nll[rows], kind="stable")],
        n=len(p),
        share=held / total if total > 0 else 0.0,
        rest=float(p.nll[~member].mean(dtype=np.float64)) if not member.all() else float("nan"),
        typical=typical,
        right=int((p.correct[rows] >= 0.5).sum()),
    )


def _verdict(far: _Far) -> Verdict:
    return "supported" if len(far.rows) >= LEAST and far.amount < FEW and far.share > SHARE else "rejected"


def _statement(far: _Far, at: EpochSummary, verdict: Verdict) -> str:
    who = f"{len(far.rows)} of {far.n:,} {spoken(at.split)} samples"
    if verdict == "rejected":
        return (
            f"No few inputs stand apart at epoch {at.epoch}: {who} have a margin beyond {FAR:.0f} times the "
            f"typical {rounded(far.typical, 2)}, and they hold {percent(far.share)} of the loss."
        )
    return (
        f"{who} ({percent(far.amount, 1)}) get logits more than {FAR:.0f} times as large as is typical and "
        f"hold {percent(far.share)} of the loss at epoch {at.epoch}; without them it is {rounded(far.rest)} "
        f"instead of {rounded(at.nll)} nats."
    )


def _evidence(far: _Far) -> tuple[Evidence, ...]:
    return (
        evidence(
            "samples with margins beyond 10 medians",
            far.amount,
            "share",
            f"< {FEW}, at least {LEAST}",
            LEAST <= len(far.rows) < FEW * far.n,
        ),
        evidence("share of the loss they hold", far.share, "share", f"> {SHARE}", far.share > SHARE),
        evidence("how many of them are right", far.right, "samples", "", far.right > 0),
    )


def _experiment(split: str, far: _Far, at: EpochSummary) -> Experiment:
    return Experiment(
        code=(
            "import jupyter_lossacc as la\n"
            "finding = next(f for d in la.last_run().diagnose() for f in d.findings if f.cause == "
            "'outlier_inputs')\n"
            f"inputs = torch.stack([{split}_set[i][0] for i in range(len({split}_set))]).flatten(1)\n"
            "print(inputs.abs().amax(dim=1).median(), inputs[finding.sample_ids].abs().amax(dim=1))"
        ),
        prediction="The listed inputs have values far beyond the median of the others.",
        result=(
            f"Left out from the records: without these {len(far.rows)} samples the loss at epoch "
            f"{at.epoch} is {rounded(far.rest)} instead of {rounded(at.nll)} nats."
        )
        if len(far.rows)
        else "",
    )


CAUSE = Cause(id=ID, examine=examine, scope="both")
