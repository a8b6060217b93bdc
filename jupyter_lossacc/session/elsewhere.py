"""Runs that started processes record: shown here while they go on, and ended here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_lossacc import store as runs_store
from jupyter_lossacc.session.identity import status_of_both
from jupyter_lossacc.session.launch import Launcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jupyter_lossacc.records import Recording
    from jupyter_lossacc.session.desk import Desk
    from jupyter_lossacc.session.options import Options

__all__ = ["Elsewhere"]


class Elsewhere:
    """The runs of processes that a recorded cell starts, by their folders.

    Parameters
    ----------
    options : Options
        Of the recorder of this process.
    cell : str
    open_desk : callable
        Takes a recording seen for the first time and its folder, and gives its desk; None while there
        can be none.
    """

    def __init__(
        self, options: Options, cell: str, open_desk: Callable[[Recording, Path], Desk | None]
    ) -> None:
        self._options, self._cell = options, cell
        self._open_desk = open_desk
        self._launcher: Launcher | None = None
        self._desks: dict[Path, Desk] = {}

    def __len__(self) -> int:
        """Count the runs."""
        return len(self._desks)

    def __contains__(self, path: Path) -> bool:
        """Whether the run in that folder is recorded by other processes."""
        return path in self._desks

    def wrap(self, entry: Callable[..., Any], start_method: str) -> Callable[..., Any]:
        """Make a process that is about to start record its part."""
        if self._launcher is None:
            self._launcher = Launcher(self._options, self._cell, self._delivered)
        return self._launcher.wrap(entry, start_method)

    def close(self) -> None:
        """Show what the processes have recorded, for the last time."""
        if self._launcher is not None:
            self._launcher.close()

    def status(self, desk: Desk, status: str) -> str:
        """Return how a run ended, given how the cell did."""
        return status_of_both(desk.ledger.status, status) if desk in self._desks.values() else status

    def end(self, desk: Desk, status: str) -> None:
        """Write down how a run ended that others recorded."""
        for path, other in self._desks.items():
            if other is desk:
                runs_store.end_run(path, status)

    def _delivered(self, path: Path, recording: Recording) -> None:
        """Show what started processes have recorded so far."""
        desk = self._desks.get(path) or self._open_desk(recording, path)
        if desk is not None:
            self._desks[path] = desk
            desk.show(recording)
