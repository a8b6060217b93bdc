"""What is concluded from a recording: episodes, findings, advice. Never stored, always recomputed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from jupyter_lossacc.stats.estimate import Estimate

__all__ = [
    "Alternative",
    "CheckpointAdvice",
    "Counterfactual",
    "Diagnosis",
    "Episode",
    "EpisodeKind",
    "Evidence",
    "Experiment",
    "Finding",
    "Verdict",
]

EpisodeKind = Literal[
    "both_rise",
    "both_fall",
    "loss_rises_accuracy_flat",
    "loss_falls_accuracy_flat",
    "accuracy_stuck_loss_high",
    "loss_rises_accuracy_falls",
]
Verdict = Literal["supported", "rejected", "undecided", "not_tested"]


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

    @property
    def accuracy_open(self) -> bool:
        """Whether accuracy is called flat though it may have moved by more than eight points."""
        widest = max(abs(self.accuracy_change.low), abs(self.accuracy_change.high))
        return self.kind == "loss_rises_accuracy_flat" and widest > 0.08

    def __repr__(self) -> str:
        """Show what moves, where and how far; intervals are in the fields."""
        loss, accuracy = self.loss_change.value, 100 * self.accuracy_change.value
        moved = f"loss {loss:+.3g} {self.loss_change.unit}, accuracy {accuracy:+.3g} points along the trend"
        gone = ", retracted" if self.retracted else ""
        return (
            f"<Episode {self.split}, epochs {self.start_epoch}-{self.end_epoch}, {self.kind}{gone}: {moved}>"
        )


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

    def __repr__(self) -> str:
        """Show what is read first: all fields of all findings are pages in a notebook."""
        return f"<Finding {self.cause}: {self.verdict}. {self.statement}>"


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

    def __repr__(self) -> str:
        """Show the headline, and what was examined by verdict."""
        e = self.episode
        about = "the whole run" if e is None else f"{e.split}, epochs {e.start_epoch}-{e.end_epoch}, {e.kind}"
        by_verdict: dict[str, list[str]] = {}
        for f in self.findings:
            by_verdict.setdefault(f.verdict, []).append(f.cause)
        said = [f"{verdict}: {', '.join(causes)}" for verdict, causes in by_verdict.items()]
        return f"<Diagnosis of {about}: {' | '.join(filter(None, [self.headline, *said]))}>"


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

    def __repr__(self) -> str:
        """Show the reason; the alternatives are in `alternatives`."""
        return f"<CheckpointAdvice epoch={self.epoch}: {self.reason}>"
