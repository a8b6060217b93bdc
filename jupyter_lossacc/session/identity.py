"""Who a run is, and how it ended."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING

from jupyter_lossacc.records import RunInfo
from jupyter_lossacc.store import run_id

if TYPE_CHECKING:
    from jupyter_lossacc.session.options import Options

__all__ = ["new_info", "status_of", "status_of_both"]


def new_info(name: str, options: Options, cell: str) -> RunInfo:
    """Return the head of a run that begins now."""
    now = datetime.now(timezone.utc)
    return RunInfo(
        run_id=run_id(name, now),
        name=name,
        started=now.isoformat(timespec="seconds"),
        class_names=tuple(options.classes),
        versions={p: version(p) for p in ("jupyter_lossacc", "torch", "numpy")},
        cell=cell,
    )


def status_of(error: BaseException | None) -> str:
    """Return how a run ended that `error` ended, if anything did."""
    if error is None:
        return "finished"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def status_of_both(elsewhere: str, here: str) -> str:
    """Return how a run of started processes ended: as they say, unless they could not say it."""
    return here if elsewhere in ("cut off", "running") and here != "finished" else elsewhere
