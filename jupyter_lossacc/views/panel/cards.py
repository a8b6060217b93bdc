"""One card per episode and one for the run: verdict, why, what next, and the evidence behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.views.losses import is_weighted, loss_meant
from jupyter_lossacc.views.panel import tables
from jupyter_lossacc.views.panel.coding import coded, coded_list
from jupyter_lossacc.views.verdict import BENIGN, with_diagnosis
from jupyter_lossacc.views.words import (
    KINDS,
    VERDICTS,
    asked,
    capitalized,
    cause_title,
    episode_title,
    epochs_of,
    evidence_words,
    here,
    interval,
    loss_unit,
    measured,
    movement,
    number,
    percent,
    quantity,
    reach,
    short_verdict,
    signed,
    split_word,
    typeset,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Evidence, Finding, Recording

__all__ = ["advice_state", "chart_words", "episode_cards", "evidence_tables", "run_card"]

Card = dict[str, Any]
MAX_NAMED = 8
NO_REPAIR = "nothing is wrong here, so there is nothing to take away"
NOT_COMPUTED = "the records cannot say what the loss would be; the experiment below shows it"
MAX_OVERLAY = 250  # points of a line drawn into the chart


def episode_cards(
    recording: Recording, episodes: Sequence[Episode], diagnoses: Sequence[Diagnosis]
) -> list[tuple[Card, Card]]:
    """(band, card) of every episode, in order."""
    made, count = [], dict[str, int]()
    for episode, diagnosis in with_diagnosis(episodes, diagnoses):
        stem = f"{episode.split}-{episode.kind}"
        count[stem] = count.get(stem, 0) + 1
        card_id = f"{stem}-{count[stem]}"
        band = _band(card_id, episode, diagnosis, open_end=_goes_on(recording, episode))
        made.append((band, _card(card_id, recording, episode, diagnosis)))
    return made


def _goes_on(recording: Recording, episode: Episode) -> bool:
    """Whether a stretch reaches the newest epoch that was analysed of a run that is going on."""
    series = recording.series(episode.split)
    running = recording.status == "running" and not episode.retracted
    return running and bool(series) and series[-1].epoch == episode.end_epoch


def _band(card_id: str, episode: Episode, diagnosis: Diagnosis | None, *, open_end: bool) -> Card:
    """Describe what is drawn over the charts; `label` is what a screen reader says.

    The browser draws a band with an open end on to the newest point, lighter: that it goes on is known up
    to `end` only.
    """
    title = episode_title(episode) + (f", still going on at epoch {episode.end_epoch}" if open_end else "")
    return {
        "id": card_id,
        "split": episode.split,
        "split_word": split_word(episode.split),
        "start": episode.start_epoch,
        "end": episode.end_epoch,
        "open": open_end,
        "kind": episode.kind,
        "tone": KINDS[episode.kind].tone,
        "quiet": not episode.harmful or episode.kind == "loss_rises_accuracy_falls",
        "retracted": episode.retracted,
        "short": short_verdict(episode, diagnosis),
        "title": title,
        "label": f"{title}. {'No longer supported. ' if episode.retracted else ''}Open the explanation.",
    }


def _card(card_id: str, recording: Recording, episode: Episode, diagnosis: Diagnosis | None) -> Card:
    card: Card = {
        "id": card_id,
        "title": episode_title(episode),
        "short": short_verdict(episode, diagnosis),
        "kind": episode.kind,
        "split": episode.split,
        "start": episode.start_epoch,
        "end": episode.end_epoch,
        "retracted": episode.retracted,
        "facts": _facts(recording, episode),
        **_reading(diagnosis, _kind_lead(episode)),
    }
    if not episode.retracted:
        findings = diagnosis.findings if diagnosis else ()
        card.update(
            evidence_tables(recording, episode.split, episode.start_epoch, episode.end_epoch, findings)
        )
    return card


def run_card(diagnoses: Sequence[Diagnosis]) -> Card | None:
    """Make the card of what holds for the whole run: order, splits, activations, learning rate."""
    diagnosis = next((d for d in diagnoses if d.episode is None), None)
    if diagnosis is None or not (diagnosis.findings or diagnosis.headline):
        return None
    lead = "Checks that concern the whole run: order of the data, splits, learning rate, activations."
    supported = diagnosis.supported
    nothing = "undecided" if diagnosis.headline else "nothing found"
    brief = cause_title(supported[0].cause).lower() if supported else nothing
    return {
        "id": "run",
        "title": "The whole run",
        "short": f"whole run: {brief}",
        "brief": brief,
        "facts": [],
        "found": bool(supported),
        "tone": "tone-worse" if any(f.cause not in BENIGN for f in supported) else "tone-none",
        **_reading(diagnosis, lead),
    }


def _kind_lead(episode: Episode) -> str:
    if episode.retracted:
        return "This was shown earlier in the run; with the epochs since then it is no longer supported."
    return f"{capitalized(movement(episode))}."


def _reading(diagnosis: Diagnosis | None, lead: str) -> Card:
    if diagnosis is None:
        return {"lead": lead, "causes": [], "limits": []}
    told, others = asked(diagnosis.findings)
    return {
        "lead": typeset(diagnosis.headline) or lead,
        "causes": [_cause(f) for f in told],
        "limits": [typeset(line) for line in (*diagnosis.limits, others) if line],
    }


def _facts(recording: Recording, episode: Episode) -> list[list[str]]:
    """(name, value, note) of what moved, how far, and how sure that is."""
    ends = _ends(recording, episode)
    rows = []
    loss = episode.loss_change
    if loss_unit(recording) != "nats":
        loss = replace(loss, unit="1")
    drawn = "weighted loss" if is_weighted(recording) else "loss"
    for name, key, change in (
        (drawn, "loss", loss),
        ("accuracy", "accuracy", episode.accuracy_change),
    ):
        span = interval(change)
        sure = f"along the trend, 95 %: {span}" if span else "along the trend"
        rows.append([name, measured(change), "; ".join(filter(None, [sure, ends.get(key)]))])
    notes = []
    if episode.start_interval and episode.start_interval[0] != episode.start_interval[1]:
        notes.append(f"begins between {episode.start_interval[0]} and {episode.start_interval[1]}")
    if _goes_on(recording, episode):
        notes.append("still going on at the newest epoch analysed")
    rows.append(["when", epochs_of(episode), ", ".join(notes)])
    series = recording.series(episode.split)
    n_samples = series[-1].n_samples if series else 0
    rows.append([*here(episode, n_samples)])
    rows.append(["on new data", *reach(episode, n_samples)])
    return rows


def _ends(recording: Recording, episode: Episode) -> dict[str, str]:
    """Say the plain difference between both ends: sentences may quote it, and it is not the trend's."""
    try:
        first, last = (recording.summary(episode.split, e) for e in (episode.start_epoch, episode.end_epoch))
    except KeyError:
        return {}
    what = f"epoch {last.epoch} minus epoch {first.epoch}"
    loss, points = last.reported_loss - first.reported_loss, 100 * (last.accuracy - first.accuracy)
    unit = " nats" if loss_unit(recording) == "nats" else ""
    return {"loss": f"{what}: {signed(loss)}{unit}", "accuracy": f"{what}: {signed(points)} points"}


def _cause(finding: Finding) -> Card:
    return {
        "id": finding.cause,
        "title": cause_title(finding.cause),
        "verdict": finding.verdict,
        "word": VERDICTS[finding.verdict],
        "statement": typeset(finding.statement),
        "evidence": [_evidence(e) for e in finding.evidence],
        **_amount(finding),
        **_what_next(finding),
    }


def _amount(finding: Finding) -> Card:
    """How much of the change it is, and what the loss would be without it."""
    card: Card = {}
    if finding.share is not None and np.isfinite(finding.share.value):
        share = finding.share
        card["share"] = {
            "value": coded(share.value, 3),
            "low": coded(share.low, 3),
            "high": coded(share.high, 3),
            "text": f"{percent(share.value)} of the {loss_meant(finding)} change"
            + _share_interval(share.low, share.high),
        }
    if finding.counterfactual is not None:
        what = finding.counterfactual
        card["counterfactual"] = {
            "text": f"{what.name}: {quantity(what.value, what.unit)} "
            f"instead of {quantity(what.actual, what.unit)}",
            "value": coded(what.value),
            "actual": coded(what.actual),
        }
    elif finding.verdict == "supported":
        card["without"] = NO_REPAIR if finding.cause in BENIGN else NOT_COMPUTED
    if finding.overlay:
        epochs = sorted(finding.overlay)
        epochs = epochs[:: -(-len(epochs) // MAX_OVERLAY)] + epochs[-1:]
        card["overlay"] = {
            "x": [int(e) for e in dict.fromkeys(epochs)],
            "y": coded_list(finding.overlay[e] for e in dict.fromkeys(epochs)),
            "label": f"without {cause_title(finding.cause).lower()}",
        }
    return card


def _what_next(finding: Finding) -> Card:
    """Say what to try, how to verify it, and which samples to look at."""
    if finding.verdict == "rejected":  # advice beside it would read as if it were the cause all the same
        return {"action": "", "samples": []}
    card: Card = {
        "action": typeset(finding.action),
        "samples": [int(i) for i in finding.sample_ids[:MAX_NAMED]],
    }
    if finding.experiment is not None:
        e = finding.experiment
        card["experiment"] = {
            "code": e.code,
            "prediction": typeset(e.prediction),
            "result": typeset(e.result),
        }
    return card


def _share_interval(low: float, high: float) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    return f" (95 %: {number(100 * low)} to {percent(high)})"


def _evidence(evidence: Evidence) -> Card:
    value, threshold = evidence_words(evidence)
    return {
        "name": evidence.name,
        "value": value,
        "threshold": threshold,
        "supports": bool(evidence.supports),
    }


def evidence_tables(
    recording: Recording, split: str, start: int, end: int, findings: Sequence[Finding] = ()
) -> Card:
    """Waterfall, samples, classes and both ends; what the records cannot give is left out."""
    made: Card = {}
    try:
        first, last = recording.summary(split, start), recording.summary(split, end)
    except KeyError:
        return made
    made["ends"] = tables.ends_table(first, last)
    made["reliability"] = tables.reliability(first, last)
    made["classes"] = tables.class_changes(recording, first, last)
    try:
        before, after = recording.paired(split, start, end)
    except KeyError:
        return {k: v for k, v in made.items() if v is not None}
    if len(after):
        made["waterfall"] = tables.waterfall(recording, split, start, end)
        made["histogram"] = tables.confidence_histograms(before, after)
        made["samples"] = tables.samples_table(before, after, findings)
        if last.loss.task in ("multiclass", "binary"):
            made["confusions"] = tables.confusions(before, after)
    return {k: v for k, v in made.items() if v is not None}


def advice_state(advice: CheckpointAdvice | None, line: str) -> Card | None:
    """Which epoch to keep, and what the others would cost."""
    if advice is None:
        return None
    return {
        "line": line,
        "epoch": advice.epoch,
        "temperature": number(advice.temperature),
        "reason": advice.reason,
        "stop": advice.stop,
        "stop_reason": advice.stop_reason,
        "optimism": advice.optimism,
        "alternatives": [_alternative(advice, epoch) for epoch in dict.fromkeys(_epochs(advice))],
    }


def _epochs(advice: CheckpointAdvice) -> list[int]:
    return [a.epoch for a in advice.alternatives]


def _alternative(advice: CheckpointAdvice, epoch: int) -> Card:
    """One row for an epoch, whatever it is best at."""
    same = [a for a in advice.alternatives if a.epoch == epoch]
    a, kept = same[0], epoch == advice.epoch
    accuracy, loss = a.accuracy_difference, a.calibrated_nll_difference
    return {
        "name": ", ".join(["advised"] * kept + [each.name for each in same]),
        "epoch": epoch,
        "accuracy": percent(a.accuracy),
        "loss": number(a.nll),
        "calibrated": number(a.calibrated_nll),
        "accuracy_difference": "" if kept else _difference(measured(accuracy), interval(accuracy)),
        "loss_difference": "" if kept else _difference(signed(loss.value), interval(loss)),
        "cost": "" if kept else a.cost,
    }


def _difference(value: str, span: str) -> str:
    return f"{value} ({span})" if span else value


def chart_words(recording: Recording, column: str) -> str:
    """Say a chart in numbers: where each split started, its best, and where it is."""
    better = min if column == "reported_loss" else max
    word = "lowest" if column == "reported_loss" else "highest"
    said = []
    for split in recording.splits():
        series = [s for s in recording.series(split) if np.isfinite(getattr(s, column))]
        if not series:
            continue
        best = better(series, key=lambda s: getattr(s, column))
        tell = number if column == "reported_loss" else percent
        first, last = series[0], series[-1]
        said.append(
            f"{split_word(split)}: {tell(getattr(first, column))} at epoch {first.epoch}, "
            f"{word} {tell(getattr(best, column))} at epoch {best.epoch}, "
            f"{tell(getattr(last, column))} at epoch {last.epoch}"
        )
    return "; ".join(said) or "no values yet"
