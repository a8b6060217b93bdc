"""Everything the panel shows, as plain data that JSON can hold.

A pure function of the recording and what was concluded from it. Numbers that are not finite are
coded (see `coding`); sentences are made here, the browser only draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_lossacc.causes.pages import page
from jupyter_lossacc.views.losses import calibrated_word
from jupyter_lossacc.views.panel.cards import advice_state, chart_words, episode_cards, run_card
from jupyter_lossacc.views.panel.curves import (
    Positions,
    best_marks,
    curves,
    non_finite_words,
    rate_changes,
    references,
    steps_curve,
)
from jupyter_lossacc.views.panel.pairs import compared_split, named_epochs, prepared_pairs
from jupyter_lossacc.views.panel.tables import GROUPS, class_names_of
from jupyter_lossacc.views.verdict import advice_line, headline, status_line
from jupyter_lossacc.views.words import loss_unit, split_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jupyter_lossacc.records import CheckpointAdvice, Diagnosis, Episode, Recording

__all__ = ["FORMAT", "PanelState", "panel_state"]

FORMAT = 1
MAX_CLASS_NAMES = 2000
PanelState = dict[str, Any]


def panel_state(
    recording: Recording,
    episodes: Sequence[Episode],
    diagnoses: Sequence[Diagnosis],
    advice: CheckpointAdvice | None,
    *,
    status: str,
    limits: Iterable[str],
) -> PanelState:
    """Make the panel's state.

    Parameters
    ----------
    recording : Recording
    episodes : sequence of Episode
    diagnoses : sequence of Diagnosis
        One per episode that is not retracted, and one with ``episode=None``.
    advice : CheckpointAdvice, optional
    status : str
        As `Recording.status`.
    limits : iterable of str
        What could not be recorded or decided, in sentences.

    Returns
    -------
    dict
        JSON-able; keys that hold nothing are present and empty.
    """
    positions, unit = Positions(recording), loss_unit(recording)
    made = episode_cards(recording, episodes, diagnoses)
    whole = run_card(diagnoses)
    cards = [card for _, card in made] + ([whole] if whole else [])
    first_line = headline(recording, episodes, diagnoses)
    leading = next(
        (b["id"] for (b, _), e in zip(made, episodes, strict=True) if e is first_line.episode), None
    )
    if leading is None and whole and whole["found"]:
        leading = "run"
    return {
        "format": FORMAT,
        "run": {"id": recording.info.run_id, "name": recording.info.name},
        "status": status,
        "status_line": status_line(recording, status),
        "headline": {"text": first_line.text, "tone": first_line.tone, "card": leading},
        "advice": advice_state(advice, advice_line(recording, advice)),
        "curves": curves(recording, positions),
        "steps": steps_curve(recording, positions),
        "references": references(recording),
        "rate_changes": rate_changes(recording, positions),
        "marks": best_marks(recording, positions, advice),
        "non_finite": non_finite_words(recording),
        "compare": _compare(recording, advice, status),
        "bands": [band for band, _ in made],
        "cards": cards,
        "pages": _pages(cards),
        "classes": class_names_of(recording, min(_n_classes(recording), MAX_CLASS_NAMES)),
        "groups": GROUPS,
        "quiet": _quiet(recording, bool(made)),
        "limits": list(dict.fromkeys(limits)),
        "words": {
            "unit": unit,
            "calibrated": calibrated_word(recording),
            "loss": f"Loss in {unit}. {chart_words(recording, 'reported_loss')}.",
            "accuracy": f"Accuracy. {chart_words(recording, 'accuracy')}.",
        },
    }


def _compare(recording: Recording, advice: CheckpointAdvice | None, status: str) -> PanelState | None:
    """Which epochs can be compared; the pairs themselves are made when the run is over."""
    split = compared_split(recording)
    if split is None:
        return None
    named = named_epochs(recording, split, advice)
    pairs = prepared_pairs(recording, split, named) if status != "running" else []
    return {"split": split, "word": split_word(split), "named": named, "pairs": pairs}


def _quiet(recording: Recording, found: bool) -> str:
    """Say what stands where findings would, when there are none."""
    if found:
        return ""
    return "No findings so far." if recording.status == "running" else "No episode was found in this run."


def _n_classes(recording: Recording) -> int:
    return max((s.n_classes for s in recording.summaries), default=0)


def _pages(cards: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Explanation pages of everything that the cards link to: causes and episode kinds."""
    wanted = [card["kind"] for card in cards if "kind" in card]
    wanted += [cause["id"] for card in cards for cause in card["causes"]]
    pages = {}
    for name in dict.fromkeys(wanted):
        try:
            found = page(name)
        except (KeyError, ValueError):
            continue
        pages[name] = {"title": found.title, "summary": found.summary, "html": found.html}
    return pages
