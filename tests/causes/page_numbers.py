"""Does a page say the thresholds that its cause is decided by?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jupyter_lossacc.causes.pages import page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_lossacc.records import Finding

__all__ = ["unsaid"]

# Thresholds that stand on a page in words.
_WORDS = {
    0.0: ("positive", "negative", "grew", "ran in", "has layers"),
    0.005: ("half a point",),
    0.2: ("a fifth",),
    0.25: ("a quarter",),
    0.5: ("half",),
    0.85: ("15 %",),
    1.2: ("a fifth",),
    1e-6: ("0.000001",),
    2.0: ("twice",),
    3.0: ("three times",),
}
# Bars that depend on the number of classes, and the course of the loss, which is described on one page.
_ELSEWHERE = {
    "class_divergence": ("|z| >",),
    "class_imbalance": ("> 0.",),
    "gradient_noise": ("> 1.3", "> 0.25", "> 0.4", "> 0.85", "> 0.005", "> 0.05", "> 0.9", "< 0.5"),
}


def unsaid(findings: Iterable[Finding]) -> list[str]:
    """Return every threshold that the evidence names and the page of its cause does not."""
    missing = []
    for finding in findings:
        text = page(finding.cause).sections["How we test it"]
        for evidence in finding.evidence:
            if evidence.threshold.startswith(_ELSEWHERE.get(finding.cause, ("never",))):
                continue
            for number in re.findall(r"\d[\d,]*\.?\d*(?:e-?\d+)?", evidence.threshold):
                value = float(number.replace(",", ""))
                forms = {number, f"{value:g}", f"{100 * value:g} %", *_WORDS.get(value, ())}
                if not any(re.search(rf"(?<![\d.]){re.escape(form)}(?!\d)", text) for form in forms):
                    missing.append(f"{finding.cause}: {evidence.name} {evidence.threshold}")
    return missing
