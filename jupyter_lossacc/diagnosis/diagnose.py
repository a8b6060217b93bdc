"""Ask every cause about every episode and about the run, and rank what they answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes import CAUSES, overfitting
from jupyter_lossacc.causes.cause import RISING_LOSS, Cause, default_split, not_tested, percent, window
from jupyter_lossacc.diagnosis.headline import headline
from jupyter_lossacc.diagnosis.meant import naming_the_loss
from jupyter_lossacc.records import Diagnosis, Episode, Finding, Recording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_lossacc.diagnosis.memory import Memory

__all__ = ["NOT_IN_QUESTION", "diagnose"]

NOT_IN_QUESTION = "Not in question here"  # how the answer of a cause begins that explains another movement

_VERDICTS = {"supported": 0, "undecided": 1, "rejected": 2, "not_tested": 3}

# Reading order among supported causes: facts about the criterion and the data first, then what the
# optimiser does, then statements about the model, which hold only when the former are in order.
_TIERS: tuple[frozenset[str], ...] = (
    frozenset({"double_softmax", "misaligned_loss", "class_weights_changed", "averaging_artifact"}),
    frozenset({"mode_mismatch", "unshuffled_training", "split_overlap", "split_mismatch", "label_shift"}),
    frozenset({"dead_activations"}),
    frozenset({"learning_rate_too_high", "gradient_noise", "learning_rate_too_low"}),
    frozenset({"majority_collapse", "outlier_inputs"}),
    # Where the samples are that carry a change, before how sure the model is of all of them.
    frozenset({"class_imbalance", "label_noise", "class_divergence"}),
    frozenset({"confident_errors"}),
    frozenset({"overfitting", "overconfidence", "underconfidence", "growing_confidence", "tail_relief"}),
    frozenset({"capacity_or_noise"}),
    frozenset({"fluctuation"}),
)
_TIER = {cause: i for i, tier in enumerate(_TIERS) for cause in tier}

_UNLIKE = "split_mismatch"
_OPTIMISER = frozenset(
    {
        "dead_activations",
        "learning_rate_too_high",
        "gradient_noise",
        "unshuffled_training",
        "learning_rate_too_low",
    }
)
# What a supported cause (key) makes impossible to conclude about others: they become undecided.
_EXPLAINED_AWAY: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        _OPTIMISER,
        frozenset({"overconfidence", "overfitting", "label_noise"})
        | {"capacity_or_noise", "class_divergence", "tail_relief"},
    ),
    # Classes that training knows badly are mistaken surely as well, and for some other class each.
    "class_divergence": frozenset({"label_noise"}),
    "outlier_inputs": frozenset({"overconfidence", "overfitting", "label_noise"}),
    "majority_collapse": frozenset({"label_noise", "growing_confidence"}),
    # On inputs unlike those it learned from, a model is surely wrong, as if their labels were, and gives
    # them to some classes more than to others (unless it does so elsewhere, too).
    _UNLIKE: frozenset({"overconfidence", "overfitting", "class_divergence", "label_noise"}),
}
_BENIGN = ("growing_confidence",)  # answered of a stretch that is shown, else of the run
# What they explain, for the stretches that are no such thing: every cause has an answer about every stretch.
_ACCOUNT_OF: Mapping[str, str] = {
    **dict.fromkeys(
        ("overconfidence", "underconfidence", "overfitting", "confident_errors", "class_imbalance"),
        "a loss that rises",
    ),
    "growing_confidence": "a loss that falls at constant accuracy",
    "tail_relief": "loss and accuracy that both fall",
    "fluctuation": "curves that go nowhere",
}
_ELSEWHERE = 0.25  # of the rise, on another held-out split, that shows it to be no matter of the split
# Cuts of the same change that do not overlap: their shares may be added.
_ADDITIVE = ("overconfidence", "underconfidence", "overfitting")
_WIDEST = 1.0  # interval of a share; beyond it no cause is named for a rise that no episode marks


def diagnose(
    recording: Recording, episodes: Sequence[Episode], memory: Memory | None = None
) -> tuple[Diagnosis, ...]:
    """Explain every episode, and the run as a whole.

    Parameters
    ----------
    recording : Recording
    episodes : sequence of Episode
        Retracted ones are left out.
    memory : Memory, optional
        Of what was said at earlier looks at a run that is going on.

    Returns
    -------
    tuple of Diagnosis
        One per episode, in their order, then one with ``episode=None``.
    """
    standing = [e for e in episodes if not e.retracted]
    # What is shown of the training passes answers nothing about the evaluated split.
    quiet = not any(e.harmful and e.split == default_split(recording) for e in standing)
    about_run = {"run", "both"} | ({"no_episode", "episode_or_run"} if quiet else set())
    told = {c for e in standing if not e.harmful and e.split == default_split(recording) for c in _BENIGN}
    run_causes = [c for c in CAUSES if c.scope in about_run and c.id not in told]
    run_findings = _examine_all(run_causes, recording, None, memory)
    facts = tuple(f for f in run_findings[0] if f.verdict == "supported")
    results = []
    for episode in standing:
        causes = [c for c in CAUSES if c.scope in ("episode", "both", "episode_or_run")]
        findings, limits = _examine_all(causes, recording, episode, memory)
        answered = {f.cause for f in (*run_findings[0], *findings)}
        findings += [_not_in_question(c.id) for c in CAUSES if c.id not in answered]
        results.append(_diagnosis(recording, episode, (findings, limits), facts))
    results.append(_diagnosis(recording, None, run_findings, facts))
    return tuple(results)


def _examine_all(
    causes: Sequence[Cause], recording: Recording, episode: Episode | None, memory: Memory | None
) -> tuple[list[Finding], list[str]]:
    """Examine each cause; a failure of one stays its own, as a sentence."""
    findings, limits = [], []
    for cause in causes:
        try:
            found = cause.examine(recording, episode)
        except Exception as error:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            limits.append(f"The cause {cause.id} could not be examined ({what}).")
            found = not_tested(cause.id, f"This cause could not be examined: {what}.")
        if found is not None:
            findings.append(_vague(found) if episode is None else found)
    if memory is not None:
        newest = max((s.epoch for s in recording.summaries if s.complete), default=0)
        findings, notes = memory.steadied(episode, findings, newest)
        limits += notes
    return findings, limits


def _not_in_question(cause: str) -> Finding:
    account = _ACCOUNT_OF.get(cause, "something else")
    return Finding(
        cause=cause,
        verdict="rejected",
        statement=f"{NOT_IN_QUESTION}: {_words(cause)} is an account of {account}.",
    )


def _diagnosis(
    recording: Recording,
    episode: Episode | None,
    examined: tuple[list[Finding], list[str]],
    facts: tuple[Finding, ...],
) -> Diagnosis:
    findings, limits = examined
    supported = {f.cause for f in (*facts, *findings) if f.verdict == "supported"}
    if _UNLIKE in supported and _rises_elsewhere(recording, episode):
        supported.remove(_UNLIKE)
    findings = naming_the_loss(recording, episode, _contradicted(_explain_away(findings, supported)))
    ranked = tuple(sorted(findings, key=_rank))
    if episode is not None:
        limits = limits + _unexplained(episode, ranked, facts)
    return Diagnosis(
        episode=episode,
        findings=ranked,
        headline=headline(recording, episode, ranked, facts),
        limits=tuple(limits),
    )


def _explain_away(findings: list[Finding], supported: set[str]) -> list[Finding]:
    """Take back conclusions that another supported cause would bring about by itself."""
    result = []
    for finding in findings:
        f = finding
        reasons = sorted(c for c in supported if f.cause in _EXPLAINED_AWAY.get(c, ()))
        if f.verdict == "supported" and reasons:
            first = (
                f"It cannot be told apart from {_words(reasons[0])}, found in this run: repair that first."
            )
            f = replace(f, verdict="undecided", statement=f"{f.statement} {first}")
        result.append(f)
    return result


def _rises_elsewhere(recording: Recording, episode: Episode | None) -> bool:
    """Tell whether the loss of another held-out split rises as well between the same epochs."""
    w = window(recording, episode)
    if w is None:
        return False
    for split in set(recording.splits()) - {w.split, "train", "train_eval"}:
        at = {s.epoch: s.nll for s in recording.series(split)}
        rise = at.get(w.end.epoch, np.nan) - at.get(w.start.epoch, np.nan)
        if rise > max(0.01, _ELSEWHERE * w.loss_change):
            return True
    return False


def _vague(f: Finding) -> Finding:
    """Take back a cause of an unmarked rise whose share could be nearly anything."""
    if f.verdict != "supported" or f.share is None or f.share.low >= 0.5:
        return f
    if not f.share.high - f.share.low > _WIDEST:
        return f
    doubt = "The rise is too small against its sampling error to say so."
    return replace(f, verdict="undecided", statement=f"{f.statement} {doubt}")


def _contradicted(findings: list[Finding]) -> list[Finding]:
    """Leave out "nothing unusual" where something else is supported."""
    if any(f.verdict == "supported" and f.cause not in {"fluctuation", *_BENIGN} for f in findings):
        return [f for f in findings if f.cause != "fluctuation" or f.verdict != "supported"]
    return findings


def _rank(f: Finding) -> tuple[int, bool, int, float]:
    small = f.share is not None and np.isfinite(f.share.value) and f.share.value < 0.2
    tier = _TIER.get(f.cause, len(_TIERS))
    if f.cause in _ADDITIVE and f.share is not None and np.isfinite(f.share.value):
        if _mended_by_no_temperature(f):
            return (_VERDICTS[f.verdict], small, _TIER["overfitting"], -np.inf)
        # These cut one change between them: the larger part comes first.
        return (_VERDICTS[f.verdict], small, _TIER["overfitting"], -f.share.value)
    return (_VERDICTS[f.verdict], small, tier, -f.strength)


def _mended_by_no_temperature(f: Finding) -> bool:
    """Tell whether answers became wrong beside what they became too sure of, and not as a side effect."""
    worse = any(e.name == overfitting.SURE_FALL and e.supports for e in f.evidence)
    return worse and f.share is not None and f.share.value >= overfitting.PART


def _words(cause: str) -> str:
    return cause.replace("_", " ")


def _unexplained(episode: Episode, findings: tuple[Finding, ...], facts: tuple[Finding, ...]) -> list[str]:
    """State what is left of the rise, and what could not be decided."""
    limits = []
    supported = [f for f in findings if f.verdict == "supported"]
    undecided = [_words(f.cause) for f in findings if f.verdict == "undecided"]
    shares = [f.share.value for f in supported if f.cause in _ADDITIVE and f.share is not None]
    if episode.kind in RISING_LOSS and shares:
        rest = 1 - sum(shares)
        if rest > 0.1:
            limits.append(
                f"About {percent(rest)} of the rise is not explained by a supported cause of calibration or "
                "overfitting."
            )
    if not supported and episode.harmful and not any(f.cause != "fluctuation" for f in facts):
        limits.append("No cause examined is supported for this episode.")
    if undecided:
        limits.append(f"Undecided with these records: {', '.join(undecided)}.")
    overlapping = [f.cause for f in supported if f.share is not None]
    if len(overlapping) > 1:
        limits.append(
            "Shares of different causes cut the same change in different ways and need not add up to 100 %."
        )
    return limits
