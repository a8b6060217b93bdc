"""The one sentence about an episode or a run that matters most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_lossacc.causes.cause import share_text, signed, spoken, window
from jupyter_lossacc.causes.pages import page
from jupyter_lossacc.diagnosis.checkpoint import best_epoch, stop_or_go

if TYPE_CHECKING:
    from jupyter_lossacc.records import Episode, Finding, Recording

__all__ = ["headline"]

_MOVES = {
    "both_rise": "loss rises",
    "both_fall": "loss and accuracy fall together",
    "loss_rises_accuracy_flat": "loss rises at constant accuracy",
    "loss_falls_accuracy_flat": "loss falls at constant accuracy",
    "accuracy_stuck_loss_high": "loss stays high and accuracy is stuck",
    "loss_rises_accuracy_falls": "loss rises and accuracy falls",
}
_OPEN = "loss rises (accuracy moves within its noise)"
# Examined about the run only where no episode is shown.
_ABOUT_A_RISE = frozenset({"overconfidence", "underconfidence", "overfitting", "confident_errors"})
_UNMARKED = "No stretch is marked: loss and accuracy wobble too much from epoch to epoch for one."
# A cause explains what the loss does; of the accuracy is said only where it goes.
_LOSS = {"loss_rises_accuracy_falls": "loss rises"}
_ALSO = {"both_rise": "; accuracy rises all the same", "loss_rises_accuracy_falls": "; accuracy falls too"}


def headline(
    recording: Recording,
    episode: Episode | None,
    findings: tuple[Finding, ...],
    facts: tuple[Finding, ...] = (),
) -> str:
    """Say what happens, because of what, and what to do.

    Parameters
    ----------
    recording : Recording
    episode : Episode, optional
        None for the run as a whole.
    findings : tuple of Finding
        Ranked.
    facts : tuple of Finding
        What is supported of the run as a whole: named where an episode has no cause of its own.
    """
    supported = [f for f in findings if f.verdict == "supported"]
    if episode is None:
        if supported and supported[0].cause == "fluctuation":
            return supported[0].statement
        if supported:
            first = supported[0]
            said = _since_the_lowest(recording, first) or f"{page(first.cause).title}: {first.statement}"
            return f"{said} {_what_to_do(recording, None)}".strip()
        undecided = [f for f in findings if f.verdict == "undecided" and f.cause == "fluctuation"]
        return undecided[0].statement if undecided else ""
    moves = _OPEN if episode.accuracy_open else _MOVES[episode.kind]
    moves = _LOSS.get(episode.kind, moves) if supported else moves
    what = f"{spoken(episode.split).capitalize()} {moves}"
    if supported:
        first = supported[0]
        said = (
            f"{what} because {first.because}" if first.because else f"{what}: {first.statement.rstrip('.')}"
        )
        sentence = f"{said}{_ALSO.get(episode.kind, '')}."
    else:
        sentence = f"{what}{_without_cause(episode, findings, facts)}."
    return f"{sentence} {_what_to_do(recording, episode)}".strip()


def _since_the_lowest(recording: Recording, first: Finding) -> str:
    """Say of a rise that no episode marks why, and how far; empty where the cause is of another kind."""
    w = window(recording, None)
    if w is None or first.cause not in _ABOUT_A_RISE:
        return ""
    why = first.because
    if not why.endswith(")"):  # else it names two losses, with how far each rises
        why += f" ({signed(w.loss_change)} nats since epoch {w.start.epoch})"
    return f"{spoken(w.split).capitalize()} loss rises because {why}. {_UNMARKED}"


def _without_cause(episode: Episode, findings: tuple[Finding, ...], facts: tuple[Finding, ...]) -> str:
    if not episode.harmful:
        return ": as a rule a model growing surer of what it gets right, and no reason to worry"
    named = [page(f.cause).title.lower() for f in facts if f.cause != "fluctuation"]
    if named:
        return f"; found in the run as a whole: {' and '.join(named[:2])}"
    examined = [f for f in findings if f.verdict != "not_tested"]
    if not examined and findings:
        return (
            f"; why could not be tested ({spoken(episode.split)} samples were not kept or cannot be matched)"
        )
    if any(f.verdict == "undecided" for f in findings):
        return f"; why is undecided{_candidates(findings)}"
    return "; none of the causes examined explains it"


def _candidates(findings: tuple[Finding, ...]) -> str:
    names = []
    for f in findings:
        if f.verdict == "undecided":
            share = ""
            if f.share is not None and not f.share.low <= 0:  # one that may be none of it says nothing
                share = f" ({share_text(f.share)} of it)"
            names.append(page(f.cause).title.lower() + share)
    return (
        f" between {' and '.join(names[:2])}" if len(names) > 1 else f": perhaps {names[0]}" if names else ""
    )


def _what_to_do(recording: Recording, episode: Episode | None) -> str:
    best = best_epoch(recording)
    if episode is not None and episode.split in ("train", "train_eval"):
        return ""
    if recording.status != "running":
        return "" if best is None else f"Keep epoch {best}."
    if best is None:
        return ""
    stop, _ = stop_or_go(recording)
    go = {"now": "Stop now", "keep going": "Keep going", "undecided": "Whether to go on is undecided"}[stop]
    return f"{go}; keep epoch {best} so far."
