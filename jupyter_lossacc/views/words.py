"""Numbers and names in words: the same in text, figures and panel.

Accuracy and shares become percent here and nowhere below; differences carry a sign; nothing has
more than three significant digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import floor, isclose, isfinite, isinf, isnan, log10
from typing import TYPE_CHECKING

from jupyter_lossacc.diagnosis.diagnose import NOT_IN_QUESTION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_lossacc.records import Diagnosis, Episode, Evidence, Finding, Recording
    from jupyter_lossacc.stats.estimate import Estimate

__all__ = [
    "KINDS",
    "NOT_FINITE",
    "STATUSES",
    "VERDICTS",
    "Kind",
    "asked",
    "capitalized",
    "cause_title",
    "class_name",
    "episode_title",
    "epochs_of",
    "epochs_seen",
    "evidence_words",
    "here",
    "interval",
    "limits_of",
    "loss_unit",
    "measured",
    "movement",
    "number",
    "percent",
    "quantity",
    "reach",
    "short_verdict",
    "signed",
    "split_word",
    "typeset",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """How an episode kind is said and drawn.

    ``tone`` is ``"joint"`` (loss and accuracy contradict each other), ``"worse"`` or ``"benign"``.
    """

    short: str
    movement: str
    tone: str


KINDS: dict[str, Kind] = {
    "both_rise": Kind("both rise", "loss and accuracy rise together", "joint"),
    "both_fall": Kind("both fall", "loss and accuracy fall together", "joint"),
    "loss_rises_accuracy_flat": Kind("loss rises alone", "loss rises, accuracy stays", "worse"),
    "loss_falls_accuracy_flat": Kind("loss falls alone", "loss falls, accuracy stays", "benign"),
    "accuracy_stuck_loss_high": Kind("stuck", "accuracy stuck, loss stays high", "worse"),
    "loss_rises_accuracy_falls": Kind("both get worse", "loss rises, accuracy falls", "worse"),
}

STATUSES = {
    "running": "Running",
    "finished": "Finished",
    "interrupted": "Interrupted",
    "failed": "Ended by an error",
    "cut off": "Cut off",
}

VERDICTS = {
    "supported": "supported",
    "rejected": "rejected",
    "undecided": "undecided",
    "not_tested": "not tested",
}

# Units whose name says less than the number alone, or a sign more.
_UNITS = {"": "", "1": "", "z": " standard errors", "ratio": "×", "2 nats": ""}

# Criteria whose value is a negative log-likelihood.
_LIKELIHOODS = frozenset(
    {
        "cross_entropy",
        "nll_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "kl_div",
        "none",
    }
)

# Evidence about a difference; a "change factor" is none.
_DIFFERENCE = re.compile(r"\bchange\b(?! factor)|^(rise|contribution)\b|\babove (its|the)\b")
_BOUND = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
_MINUS = re.compile(r"(?<![\w.)\]-])-(?=[\d.])")

NOT_FINITE = "not finite"
SMALLEST_SHARE = 1e-5  # what rounding leaves behind is no fact to be told with an exponent

_SPLITS = {
    "train": "training",
    "val": "validation",
    "test": "test",
    "train_eval": "training data in evaluation",
}


def number(value: float, digits: int = 3) -> str:
    """Write a number with at most `digits` significant digits and a real minus sign.

    Examples
    --------
    >>> number(0.23468), number(12345.0), number(-0.00001234), number(float("nan"))
    ('0.235', '12,300', '−1.23e−5', 'NaN')
    """
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    size = floor(log10(abs(value)))
    if size < -3 or size > 8:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    else:
        rounded = round(value, digits - 1 - size)
        text = f"{rounded:,.{max(0, digits - 1 - size)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def signed(value: float, digits: int = 3) -> str:
    """Write a difference: always with its sign. Between losses that are infinite there is none.

    Examples
    --------
    >>> signed(0.235), signed(-2), signed(float("nan"))
    ('+0.235', '−2', 'not finite')
    """
    if isnan(value):
        return NOT_FINITE
    return ("+" if value > 0 else "") + number(value, digits)


def percent(value: float, digits: int = 3) -> str:
    """Write a share of 1 as percent.

    Examples
    --------
    >>> percent(0.6183)
    '61.8 %'
    """
    return f"{number(100 * value, digits)} %" if isfinite(value) else number(value)


def quantity(value: float, unit: str) -> str:
    """Write a number with its unit: nats, share, points (of a share), truth, epochs, samples, ...

    Examples
    --------
    >>> quantity(1.31, "nats"), quantity(0.0525, "share"), quantity(2.1, "1")
    ('1.31 nats', '5.25 %', '2.1')
    """
    if unit == "truth":
        return "yes" if value else "no"
    if unit in ("share", "points"):
        if 0 < abs(value) < SMALLEST_SHARE:
            return "below 0.001 %" if unit == "share" else "below 0.001 points"
        return percent(value) if unit == "share" else f"{number(100 * value)} points"
    if float(value).is_integer() and abs(value) < 1e15:
        text = f"{int(value):,}".replace("-", "−")
    else:
        text = number(value)
    return f"{text}{_UNITS.get(unit, f' {unit}')}"


def typeset(text: str) -> str:
    """Give a sentence real signs: minus, at least, at most, becomes.

    Examples
    --------
    >>> typeset("it changes by -0.2 (>= 0.5 -> 1e-3, 2024-01)")
    'it changes by −0.2 (≥ 0.5 → 1e-3, 2024-01)'
    """
    for plain, sign in (("->", "→"), (">=", "≥"), ("<=", "≤")):
        text = text.replace(plain, sign)
    return _MINUS.sub("−", text)


def evidence_words(evidence: Evidence) -> tuple[str, str]:
    """Write the value of a piece of evidence and what decides it, both in the same unit.

    Differences carry a sign; differences of shares are percentage points.

    Examples
    --------
    >>> from jupyter_lossacc.records import Evidence
    >>> evidence_words(Evidence(name="change of recall", value=-0.08, unit="share", threshold="< -0.05",
    ...                         supports=True))
    ('−8 points', '< −5 points')
    >>> evidence_words(Evidence(name="share of the rise", value=1.762, unit="share", threshold=">= 0.5",
    ...                         supports=True))
    ('176 %', '≥ 50 %')
    """
    value, unit = evidence.value, evidence.unit
    difference = bool(_DIFFERENCE.search(evidence.name)) and "share of" not in evidence.name
    if unit == "share" and (difference or evidence.name.startswith("wobble")):
        unit = "points"
    elif difference and unit == "ratio":
        unit = "share"
    said = "not known" if isnan(value) else quantity(value, unit)
    sign = "+" if difference and value > 0 and isfinite(value) else ""

    def bound(found: re.Match[str]) -> str:
        return quantity(float(found[0]), unit if unit in ("share", "points", "nats", "ratio") else "")

    threshold = evidence.threshold
    if "%" not in threshold and "of the" not in threshold:
        threshold = _BOUND.sub(bound, threshold, count=1)
    return f"{sign}{said}", typeset(threshold)


def _scaled(unit: str) -> tuple[float, str]:
    return (100.0, "points") if unit == "share" else (1.0, "" if unit == "1" else unit)


def measured(estimate: Estimate) -> str:
    """Write a difference with its unit; shares become percentage points.

    Examples
    --------
    >>> from jupyter_lossacc.stats.estimate import Estimate
    >>> measured(Estimate(0.025, 0.01, 0.04, "share"))
    '+2.5 points'
    """
    scale, unit = _scaled(estimate.unit)
    said = signed(scale * estimate.value)
    return said if said == NOT_FINITE else f"{said} {unit}".strip()


def interval(estimate: Estimate) -> str:
    """Write the 95 % interval of a difference, or '' when there is none."""
    if isnan(estimate.low) or isnan(estimate.high):
        return ""
    scale, _ = _scaled(estimate.unit)
    return f"{signed(scale * estimate.low)} to {signed(scale * estimate.high)}"


def split_word(split: str) -> str:
    """Name a split in a sentence.

    Examples
    --------
    >>> split_word("val"), split_word("holdout")
    ('validation', 'holdout')
    """
    return _SPLITS.get(split, split)


def loss_unit(recording: Recording) -> str:
    """Name what the reported loss is measured in: nats where it is a likelihood, else whatever gives it."""
    newest = next((s for s in reversed(recording.summaries) if s.complete and s.split != "train"), None)
    if newest is None or newest.loss.name in _LIKELIHOODS:
        return "nats"
    if isclose(newest.reported_loss, newest.nll, rel_tol=1e-3):
        return "nats"
    return "your criterion" if newest.loss.name == "unknown" else newest.loss.name


def capitalized(text: str) -> str:
    """Raise the first letter only; the rest may be a name."""
    return text[:1].upper() + text[1:]


def epochs_of(episode: Episode) -> str:
    """Say which epochs an episode covers."""
    if episode.start_epoch == episode.end_epoch:
        return f"epoch {episode.start_epoch}"
    return f"epochs {episode.start_epoch}–{episode.end_epoch}"


def epochs_seen(recording: Recording) -> str:
    """Say how many epochs a run has; one that was cut short is named as such."""
    whole = max((s.epoch for s in recording.summaries if s.complete), default=0)
    begun = max((s.epoch for s in recording.summaries), default=0)
    said = f"{whole:,} epoch{'' if whole == 1 else 's'}"
    return f"{said} and part of epoch {begun:,}" if begun > whole else said


def limits_of(recording: Recording, diagnoses: Iterable[Diagnosis]) -> tuple[str, ...]:
    """Say what could not be recorded or decided, and about which episode."""
    undecided = []
    for diagnosis in diagnoses:
        about = ""
        if diagnosis.episode is not None:
            about = f"{capitalized(split_word(diagnosis.episode.split))}, {epochs_of(diagnosis.episode)}: "
        undecided += [f"{about}{line}" for line in diagnosis.limits]
    return tuple(dict.fromkeys((*recording.limits, *_without_loss(recording), *undecided)))


def _without_loss(recording: Recording) -> list[str]:
    if any("computed by hand or inside a compiled function" in line for line in recording.limits):
        return []  # said there, with the way out
    splits = dict.fromkeys(s.split for s in recording.summaries if s.complete and s.loss.name == "none")
    return [
        f"No criterion was called on the {split_word(split)} data: the loss shown for them is the negative "
        "log-likelihood of the predictions."
        for split in splits
    ]


def episode_title(episode: Episode) -> str:
    """Say what moves, where and when, in one line."""
    where = capitalized(split_word(episode.split))
    return f"{where}: {movement(episode)}, {epochs_of(episode)}"


def movement(episode: Episode) -> str:
    """Say what loss and accuracy do along an episode."""
    return "loss rises, accuracy within its noise" if episode.accuracy_open else KINDS[episode.kind].movement


def cause_title(cause: str) -> str:
    """Title of a cause's page; its id in words while it has none."""
    from jupyter_lossacc.causes.pages import page

    try:
        return page(cause).title
    except (KeyError, ValueError):
        return capitalized(cause.replace("_", " "))


def asked(findings: Iterable[Finding]) -> tuple[list[Finding], str]:
    """Return the findings about causes that may explain a movement, and a sentence that names the others."""
    told, others = [], []
    for finding in findings:
        if finding.verdict == "rejected" and finding.statement.startswith(NOT_IN_QUESTION):
            others.append(cause_title(finding.cause).lower())
        else:
            told.append(finding)
    if not others:
        return told, ""
    return told, f"Not asked here, because they explain other movements: {', '.join(others)}."


def short_verdict(episode: Episode, diagnosis: Diagnosis | None) -> str:
    """Verdict in about four words: what moves, and why."""
    kind = KINDS[episode.kind].short
    if episode.retracted:
        return f"{kind}: no longer supported"
    supported: tuple[Finding, ...] = diagnosis.supported if diagnosis is not None else ()
    if supported:
        return f"{kind}: {cause_title(supported[0].cause).lower()}"
    return kind if episode.kind == "loss_falls_accuracy_flat" else f"{kind}: cause undecided"


def here(episode: Episode, n_samples: int) -> tuple[str, str, str]:
    """Say of which samples the movement is sure: where, the answer, and what it rests on."""
    where = "on this validation set" if episode.split == "val" else "on these samples"
    return where, "sustained", f"more than the wobble between epochs, on these {n_samples:,} samples"


def reach(episode: Episode, n_samples: int) -> tuple[str, str]:
    """Say whether the movement is expected on new data too: the answer, and what it rests on."""
    if episode.holds_on_new_data == "yes":
        return "expected too", f"also with the sampling error of {n_samples:,} samples"
    needed = ""
    if episode.n_needed is not None and episode.n_needed > n_samples:
        needed = f"; about {quantity(float(f'{episode.n_needed:.2g}'), 'samples')} would decide it"
    return "undecided", f"other {n_samples:,} samples might not show it{needed}"


def class_name(recording: Recording, index: int) -> str:
    """Name of a class, or its number when no names were given."""
    names = recording.info.class_names
    return names[index] if 0 <= index < len(names) else str(index)
