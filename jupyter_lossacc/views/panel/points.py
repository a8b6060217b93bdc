"""New points of the curves, found without looking at the old ones: a pass costs the same in a long run."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.views.panel.curves import Positions, curves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jupyter_lossacc.records import EpochSummary, Recording

__all__ = ["new_points"]

COLUMNS = ("x", "epoch", "loss", "accuracy", "calibrated")
Curves = list[dict[str, Any]]


def new_points(recording: Recording, drawn: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the points that `drawn` lacks, by split, as `delta` gives them; None when all must travel.

    Parameters
    ----------
    recording : Recording
    drawn : sequence of dict
        The curves as the browser has them.
    """
    known = {curve["id"]: curve for curve in drawn}
    fresh = _undrawn(recording, known)
    if not fresh:
        return {}
    tail = _tail(recording, min(s.epoch for s in fresh))
    grown: dict[str, Any] = {}
    for curve in curves(replace(recording, summaries=tuple(fresh)), Positions(tail)):
        before = known.get(curve["id"])
        if before is None or bool(before["calibrated"]) != bool(curve["calibrated"]):
            return None
        grown[curve["id"]] = {"from": len(before["x"]), **{k: curve[k] for k in COLUMNS}}
    return grown


def _undrawn(recording: Recording, known: Mapping[str, Mapping[str, Any]]) -> list[EpochSummary]:
    """Walk back from the newest pass until every split met on the way is known to be drawn."""
    newest = {split: curve["epoch"][-1] for split, curve in known.items()}
    found, met, closed = [], set[str](), set[str]()
    for s in reversed(recording.summaries):
        if not s.complete:
            continue
        met.add(s.split)
        if s.epoch < newest.get(s.split, -1):
            closed.add(s.split)
        elif s.split not in closed:
            found.append(s)
        if met == closed and len(met) >= min(2, len(known)):
            break
    # Of the passes of the newest epoch drawn, the first ones are drawn already.
    drawn = {
        split: len(list(takewhile(lambda e, n=newest[split]: e == n, reversed(curve["epoch"]))))  # type: ignore[misc]
        for split, curve in known.items()
    }
    fresh = []
    for s in reversed(found):
        if s.epoch == newest.get(s.split) and drawn[s.split] > 0:
            drawn[s.split] -= 1
        else:
            fresh.append(s)
    return fresh


def _tail(recording: Recording, epoch: int) -> Recording:
    """Keep the steps of `epoch`, the one before it and later ones: positions depend on no others."""
    epochs = recording.steps.get("epoch", np.empty(0))
    start = int(np.searchsorted(epochs, epoch - 1))
    return replace(recording, steps={k: v[start:] for k, v in recording.steps.items()})
