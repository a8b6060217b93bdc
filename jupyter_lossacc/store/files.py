"""Where things lie in a store, and how a file gets there whole."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_lossacc.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from jupyter_lossacc.records import PassKey

__all__ = [
    "FORMAT_VERSION",
    "HEAD",
    "ignore_in_git",
    "predictions_path",
    "rank_head",
    "run_id",
    "write_head",
    "write_whole",
]

FORMAT_VERSION = 1
HEAD = "run.json"
IGNORE = "# Recordings made by jupyter_lossacc. Delete this file to commit them.\n*\n"


def run_id(name: str, started: datetime | None = None) -> str:
    """Return a run's id: its UTC start time and its name, fit for a folder on any system.

    Examples
    --------
    >>> run_id("wide net/2", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc))
    '20260102T030405Z-wide-net-2'
    """
    moment = (started or datetime.now(timezone.utc)).astimezone(timezone.utc)
    words = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:80]
    return f"{moment:%Y%m%dT%H%M%SZ}-{words or 'run'}"


def predictions_path(run_dir: Path, key: PassKey, rank: int = 0) -> Path:
    """Return where the per-sample records of a pass lie (Hive partitions, a part per rank)."""
    split, epoch, step = key
    # Hive engines decode %XX, so any name the user gave a split survives as a folder.
    folder = (
        run_dir / "predictions" / f"split={quote(split, safe=' ')}" / f"epoch={epoch:05d}" / f"step={step}"
    )
    return folder / f"part-{rank}.parquet"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it into place.

    Raises
    ------
    StoreError
        When the disk is full, the folder read-only, ...; `path` is then as it was before.
    """
    # The leading dot hides a half-written file from every Parquet reader.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise StoreError(
            f"Could not write {path}: {error.strerror or error}. The training is not affected, but this "
            "part of the recording exists only in memory. Free some space or choose another folder (--store)."
        ) from error


def rank_head(run_dir: Path, rank: int) -> Path:
    """Return where a rank writes its status and limits: rank 0 speaks for the run."""
    return run_dir / HEAD if rank == 0 else run_dir / "ranks" / f"rank-{rank}.json"


def write_head(path: Path, head: Mapping[str, Any]) -> None:
    """Write ``run.json``, or what stands for it in the part of another rank."""
    # A line per entry, to be read and compared; `indent` would do it ten times slower.
    lines = (f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False, default=str)}" for k, v in head.items())
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    write_whole(path, lambda whole: whole.write_text(text, encoding="utf-8"))


def ignore_in_git(store_dir: Path, run_dir: Path, *, made: bool) -> None:
    """Keep recordings out of version control unless the user decides otherwise.

    A store that this package made ignores itself as a whole. A folder that was there before may
    hold the user's own files (``--store .``): then only the run's folder ignores itself.
    """
    if made:
        target = store_dir / ".gitignore"
    elif (store_dir / ".gitignore").exists():
        return
    else:
        target = run_dir / ".gitignore"
    write_whole(target, lambda path: path.write_text(IGNORE, encoding="utf-8"))
