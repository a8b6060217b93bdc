"""Dead and saturated units as rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_lossacc.records import Recording

__all__ = ["COLUMNS", "unit_rows"]

COLUMNS = (
    *("epoch", "step", "split", "layer", "kind", "n_units", "n_samples"),
    *("dead_share", "saturated_share"),
)


def unit_rows(recording: Recording) -> list[tuple[object, ...]]:
    """Return a row per activation module that was looked at and evaluation, in order of time."""
    return [
        (
            *(s.epoch, s.step, s.split, u.layer, u.kind, u.n_units, u.n_samples),
            *(_share(u.dead, u.n_units), _share(u.saturated, u.n_units)),
        )
        for s in recording.summaries
        for u in s.units
    ]


def _share(n: int | None, of: int) -> float:
    return float("nan") if n is None or not of else n / of
