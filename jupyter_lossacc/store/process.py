"""Tell whether the process that writes a run is still there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["is_writing", "this_process"]

# A run on another machine is believed to live as long as its head was touched this recently (seconds).
SILENCE = 15 * 60


def this_process() -> dict[str, Any]:
    """Return what identifies this process: host, boot, pid and the moment it was started."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": _boot(), "pid": pid, "started": _started(pid)}


def is_writing(process: Mapping[str, Any], head: Path) -> bool:
    """Tell whether the process that `head` names can still be writing its run.

    A pid alone is not enough: pids are used again, so the start of the process counts too. Another
    machine's processes cannot be asked; there the last sign of life decides.
    """
    pid = process.get("pid")
    if process.get("host") != socket.gethostname() or not isinstance(pid, int):
        return time.time() - head.stat().st_mtime < SILENCE
    if process.get("boot") != _boot():
        return False
    started = _started(pid)
    return started is not None and process.get("started") in (None, started)


def _boot() -> str:
    """Return an id of the machine's last start, "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return when a process was started, in the system's own words; None when it is gone."""
    try:
        # Everything after the command's closing bracket: state is field 3, start time field 22.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    return _started_windows(pid) if sys.platform == "win32" else _started_elsewhere(pid)


def _started_elsewhere(pid: int) -> str | None:
    try:
        listed = subprocess.run(  # noqa: S603 - a fixed command and a number
            ["ps", "-o", "lstart=", "-p", str(pid)],  # noqa: S607 - where it lies differs by system
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return listed.stdout.strip() or None


def _started_windows(pid: int) -> str | None:
    script = f"(Get-Process -Id {pid}).StartTime.ToFileTimeUtc()"
    try:
        listed = subprocess.run(  # noqa: S603 - a fixed command and a number
            ["powershell", "-NoProfile", "-Command", script],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return listed.stdout.strip() or None
