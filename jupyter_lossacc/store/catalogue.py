"""The runs of a store: find, list and delete them."""

from __future__ import annotations

import difflib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_lossacc.errors import RunNotFoundError, StoreError, StoreVersionError
from jupyter_lossacc.store.files import FORMAT_VERSION, HEAD, rank_head, write_head
from jupyter_lossacc.store.process import is_writing

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "delete_run",
    "end_run",
    "find_group",
    "find_run",
    "list_runs",
    "part_statuses",
    "read_head",
    "require_stopped",
    "run_status",
]


def find_run(reference: str | Path, store_dir: Path) -> Path:
    """Return the folder that `reference` means (see `open_run`)."""
    runs = {path.name: path for path in _run_dirs(store_dir)}
    text = str(reference)
    if isinstance(reference, str) and text in runs:
        return runs[text]
    if (Path(reference) / HEAD).is_file():
        return Path(reference).resolve()
    names = {run: _name(path) for run, path in runs.items()}
    called = [run for run, name in names.items() if name == text]
    if called:
        return runs[max(called, key=lambda run: (_started(runs[run]), run))]
    begins = [run for run, name in names.items() if text and (run.startswith(text) or name.startswith(text))]
    if len(begins) == 1:
        return runs[begins[0]]
    raise RunNotFoundError(_not_found(text, store_dir, names, begins))


def list_runs(store_dir: Path) -> list[dict[str, Any]]:
    """Describe every run of a store, the oldest first; a damaged one is listed as such."""
    return sorted(map(_described, _run_dirs(store_dir)), key=lambda row: (row["started"], row["id"]))


def find_group(store_dir: Path, group: str, since: str = "", *, live: bool = False) -> list[Path]:
    """Return the runs of a group and of those below it (``group/...``), the oldest first.

    Parameters
    ----------
    store_dir : Path
    group : str
        See `RunWriter`.
    since : str
        Beginning of an id: older runs are not looked at.
    live : bool
        Only runs that are being recorded now.
    """
    found = []
    for path in _run_dirs(store_dir):
        if path.name < since:
            continue
        head = _said(path)
        called = str(head.get("group", ""))
        alike = called == group or called.startswith(f"{group}/")
        if alike and (not live or run_status(path, head) == "running"):
            found.append(path)
    return found


def part_statuses(run_dir: Path) -> tuple[dict[int, str], int]:
    """Return the status of every process's part by rank, and how many processes there are."""
    ranks = int(read_head(run_dir).get("ranks", 1))
    present = [rank for rank in range(ranks) if rank == 0 or rank_head(run_dir, rank).is_file()]
    return {rank: run_status(run_dir, read_head(run_dir, rank), rank) for rank in present}, ranks


def end_run(run_dir: Path, status: str) -> None:
    """Write how a run ended whose own process was killed; a run that goes on is left alone."""
    head = read_head(run_dir)
    if run_status(run_dir, head) == "cut off":
        write_head(run_dir / HEAD, {**head, "status": status})


def delete_run(reference: str | Path, store_dir: Path) -> str:
    """Delete a run and return its id.

    Raises
    ------
    StoreError
        When it is still being recorded, or the disk refuses.
    """
    run_dir = find_run(reference, store_dir)
    require_stopped(run_dir, _said(run_dir), "be deleted")  # also one of a newer version, or a damaged one
    try:
        # Renamed first: a deletion that is cut short leaves no half run behind.
        doomed = run_dir.with_name(f".deleted-{run_dir.name}")
        run_dir.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise StoreError(f"Could not delete {run_dir}: {error.strerror or error}.") from error
    return run_dir.name


def read_head(run_dir: Path, rank: int = 0) -> dict[str, Any]:
    """Return ``run.json``, or what stands for it in the part of another rank.

    Raises
    ------
    StoreVersionError
        When a newer version of the package wrote the run.
    """
    path = rank_head(run_dir, rank)
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        format_version = int(head["format_version"])
        complete = {"name", "started"} <= head.keys()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"Expected a description of the run in {path}, but it cannot be read: {error}."
        ) from error
    if format_version > FORMAT_VERSION:
        needed = head.get("written_by", "a newer version")
        raise StoreVersionError(
            f"{run_dir.name} was written by jupyter_lossacc {needed} in format {format_version}; this "
            f"version reads up to format {FORMAT_VERSION}. Install jupyter_lossacc>={needed} to open it."
        )
    lists = all(isinstance(head.get(key, []), list) for key in ("limits", "class_names", "shown"))
    if not complete or not lists:
        raise StoreError(
            f"Expected a name, a start time and lists of sentences in {path}; it was changed since."
        )
    return dict(head)


def run_status(run_dir: Path, head: Mapping[str, Any], rank: int = 0) -> str:
    """Return the status that `head` says; one whose process died without a word is "cut off"."""
    status = str(head.get("status", "running"))
    if status == "running" and not is_writing(head.get("process", {}), rank_head(run_dir, rank)):
        return "cut off"
    return status


def require_stopped(run_dir: Path, head: Mapping[str, Any], what: str) -> None:
    """Refuse to touch a run that another process, or this one, is still writing."""
    if run_status(run_dir, head) == "running":
        process = head.get("process", {})
        raise StoreError(
            f"{run_dir.name} is still being recorded by process {process.get('pid')} "
            f"on {process.get('host')} and cannot {what}: stop that training first."
        )


def _run_dirs(store_dir: Path) -> list[Path]:
    try:
        return sorted(p for p in store_dir.iterdir() if not p.name.startswith(".") and (p / HEAD).is_file())
    except OSError:
        return []


def _described(run_dir: Path) -> dict[str, Any]:
    head: dict[str, Any] = {}
    try:
        head = read_head(run_dir)
        status = run_status(run_dir, head)
    except StoreVersionError:
        said = _said(run_dir)
        head, status = {key: str(said.get(key, "")) for key in ("name", "started")}, "newer version"
    except StoreError:
        status = "damaged"
    last = head.get("last") or {}
    return {
        "id": run_dir.name,
        "name": head.get("name", run_dir.name.partition("-")[2]),
        "started": head.get("started", ""),
        "status": status,
        "epochs": head.get("epochs", 0),
        "steps": head.get("steps", 0),
        "passes": head.get("passes", 0),
        "splits": ", ".join(head.get("splits", ())),
        "split": last.get("split", ""),
        "loss": _number(last.get("reported_loss")),
        "accuracy": _number(last.get("accuracy")),
        "path": str(run_dir),
    }


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _name(run_dir: Path) -> str:
    return str(_said(run_dir).get("name", ""))


def _started(run_dir: Path) -> str:
    return str(_said(run_dir).get("started", ""))


def _said(run_dir: Path) -> dict[str, Any]:
    """Return ``run.json`` as it is, of any version; empty when it cannot be read."""
    try:
        head = json.loads((run_dir / HEAD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return head if isinstance(head, dict) else {}


def _not_found(text: str, store_dir: Path, names: Mapping[str, str], begins: list[str]) -> str:
    if begins:
        return f"{text!r} may mean {len(begins)} runs: {', '.join(begins)}. Give the whole id."
    if not names:
        return f"No run {text!r}: there are no runs in {store_dir}. Record one with %%lossacc first."
    known = list(dict.fromkeys([*(name for name in names.values() if name), *names]))
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(sorted(names)[-5:])
    more = f" (and {len(names) - 5} older)" if len(names) > 5 else ""
    return f"No run {text!r} in {store_dir}.{hint} The latest runs there: {shown}{more}."
