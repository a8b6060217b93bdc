"""Tell whether the process that writes a run is still there."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["is_writing", "this_process"]

# A run that nobody here can ask about is believed to live as long as its head was touched this recently.
SILENCE = 15 * 60  # seconds
SAME_START = 5.0  # seconds by which a clock that was set may move the start of a process


def this_process() -> dict[str, Any]:
    """Return what identifies this process: host, pid and the moment it was started."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": psutil.Process(pid).create_time()}


def is_writing(process: Mapping[str, Any], head: Path) -> bool:
    """Tell whether the process that `head` names can still be writing its run.

    A pid alone is not enough: pids are used again, so the start of the process counts too. Another
    machine's processes cannot be asked; there the last sign of life decides.
    """
    pid, started = process.get("pid"), process.get("started")
    here = process.get("host") == socket.gethostname()
    if here and isinstance(pid, int) and isinstance(started, (int, float)):
        try:
            found = psutil.Process(pid)
            same = abs(found.create_time() - started) < SAME_START
            return same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            pass  # it belongs to somebody who does not let us ask
    return time.time() - head.stat().st_mtime < SILENCE
