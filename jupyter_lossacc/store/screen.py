"""What was on the screen while a run went on: a fact, whatever is found in the run later."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jupyter_lossacc.records import Episode
from jupyter_lossacc.stats.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["shown_from_rows", "shown_to_rows"]

_PAIRS = ("start_interval", "end_interval")
_ESTIMATES = ("loss_change", "accuracy_change")


def shown_to_rows(shown: Iterable[Episode]) -> list[dict[str, Any]]:
    """Write episodes as plain rows for ``run.json``."""
    return [asdict(episode) for episode in shown]


def shown_from_rows(rows: Iterable[Mapping[str, Any]]) -> tuple[Episode, ...]:
    """Read the rows of `shown_to_rows`; none of them when a run of another version wrote other columns."""
    try:
        return tuple(
            Episode(
                **{
                    **row,
                    **{name: Estimate(**row[name]) for name in _ESTIMATES},
                    **{name: tuple(row[name]) if row[name] else None for name in _PAIRS},
                }
            )
            for row in rows
        )
    except (KeyError, TypeError):
        return ()
