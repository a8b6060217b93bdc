"""The one sentence to read if only one is read, and the advice beside it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from math import isfinite, isinf
from typing import TYPE_CHECKING

from jupyter_lossacc.views.words import (
    KINDS,
    STATUSES,
    capitalized,
    cause_title,
    episode_title,
    epochs_seen,
    number,
    percent,
    split_word,
    typeset,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Recording

__all__ = ["BENIGN", "Headline", "advice_line", "headline", "leading", "status_line", "with_diagnosis"]

# Supported, and no reason to worry.
BENIGN = frozenset({"fluctuation", "growing_confidence"})
EARLIEST = 5  # evaluated epochs, before which nothing is said of a trend
_ORDER = {"val": 0, "test": 1}
_STOP = {"now": "Stop now.", "keep going": "Keep going.", "undecided": ""}


@dataclass(frozen=True, slots=True)
class Headline:
    """What to say first. ``tone`` is ``"problem"``, ``"watch"``, ``"good"`` or ``"quiet"``."""

    text: str
    tone: str
    episode: Episode | None = None


def with_diagnosis(
    episodes: Sequence[Episode], diagnoses: Sequence[Diagnosis]
) -> list[tuple[Episode, Diagnosis | None]]:
    """Pair every episode with its diagnosis (None for a retracted one)."""
    return [(e, next((d for d in diagnoses if d.episode == e), None)) for e in episodes]


def leading(episodes: Sequence[Episode]) -> Episode | None:
    """Return the episode that matters most now: harmful, on held-out data, latest."""
    shown = [e for e in episodes if not e.retracted]
    return min(shown, key=lambda e: (not e.harmful, _ORDER.get(e.split, 2), -e.end_epoch), default=None)


def headline(recording: Recording, episodes: Sequence[Episode], diagnoses: Sequence[Diagnosis]) -> Headline:
    """Say the most important thing now."""
    whole = next((d for d in diagnoses if d.episode is None), None)
    found = whole.supported[0].cause if whole is not None and whole.supported else None
    broken = _broken(recording)
    if broken:
        why = f" Found in this run: {cause_title(found).lower()}." if found and found not in BENIGN else ""
        return Headline(broken + why, "problem")
    episode = leading(episodes)
    if whole is not None and found and (episode is None or not episode.harmful):
        return Headline(typeset(whole.headline), "good" if found in BENIGN else "problem")
    if whole is not None and whole.headline and (episode is None or not episode.harmful):
        # A question that is open is said, as it is on the card of the run, before what is no reason to worry.
        return Headline(typeset(whole.headline), "watch")
    if episode is None:
        return _nothing_to_report(recording)
    diagnosis = next((d for d in diagnoses if d.episode == episode), None)
    # "Why is undecided" beside a cause that holds for the whole run would hide the answer.
    if whole is not None and found and found not in BENIGN and not (diagnosis and diagnosis.supported):
        return Headline(typeset(whole.headline), "problem")
    text = typeset(diagnosis.headline) if diagnosis is not None else ""
    tone = "good" if not episode.harmful else "problem" if KINDS[episode.kind].tone == "worse" else "watch"
    return Headline(text or f"{episode_title(episode)}. No cause is decided yet.", tone, episode)


def _broken(recording: Recording) -> str:
    for split in recording.splits():
        series = recording.series(split)
        since = list(takewhile(lambda s: not isfinite(s.reported_loss), reversed(series)))
        if not since:
            continue
        where, value = capitalized(split_word(split)), number(since[0].reported_loss)
        said = f"{where} loss is {value} since epoch {since[-1].epoch}"
        trained = recording.series("train")
        if (
            isinf(since[0].reported_loss)
            and split != "train"
            and trained
            and isfinite(trained[-1].reported_loss)
        ):
            # One sample that was given no chance at all is enough; the weights may be in order.
            return f"{said}, while training loss is finite: some sample's loss is too large for a number."
        return f"{said}: training has broken down there."
    return ""


def _nothing_to_report(recording: Recording) -> Headline:
    evaluated = [s for s in recording.splits() if s != "train" and recording.series(s)]
    if not evaluated:
        if not recording.series("train"):
            unfit = next((text for text in recording.limits if text.startswith("Expected")), "")
            if unfit:
                return Headline(typeset(unfit), "quiet")
            waiting = (
                "Waiting for the first epoch to end."
                if recording.status == "running"
                else "No epoch was completed."
            )
            return Headline(waiting, "quiet")
        return Headline("Training is recorded; no validation pass has been seen yet.", "quiet")
    split = "val" if "val" in evaluated else evaluated[0]
    last = recording.series(split)[-1]
    where = capitalized(split_word(split))
    numbers = f"{where} loss {number(last.reported_loss)}, accuracy {percent(last.accuracy)}"
    if len(recording.series(split)) < EARLIEST:
        return Headline(f"{numbers} at epoch {last.epoch}. Too early to judge a trend.", "quiet")
    return Headline(
        f"Nothing unusual: loss and accuracy do not contradict each other. {numbers} at epoch {last.epoch}.",
        "good",
    )


def advice_line(recording: Recording, advice: CheckpointAdvice | None) -> str:
    """Say whether to go on, and which epoch to keep."""
    if advice is None:
        return ""
    if recording.status == "running":
        so_far = f"Best epoch so far: {advice.epoch}." if advice.epoch is not None else ""
        return " ".join(part for part in (_STOP[advice.stop], advice.stop_reason, so_far) if part)
    return advice.reason


def status_line(recording: Recording, status: str) -> str:
    """Say the state, how many epochs and steps, and the time taken."""
    steps = len(recording.steps.get("step", ()))
    parts = [STATUSES.get(status, status), epochs_seen(recording)]
    if steps:
        parts.append(f"{steps:,} steps")
    seconds = max((s.seconds for s in recording.summaries), default=0.0)
    if seconds >= 1 and status != "running":
        parts.append(_duration(seconds))
    return " · ".join(parts)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
