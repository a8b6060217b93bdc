"""Runs that were stored: find, list, load, delete."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from jupyter_lossacc import store as runs_store
from jupyter_lossacc.diagnosis.ranks import merge_ranks
from jupyter_lossacc.errors import RunNotFoundError
from jupyter_lossacc.run import Run
from jupyter_lossacc.session.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pandas as pd

    from jupyter_lossacc.records import Recording

__all__ = ["delete_run", "list_runs", "load_run", "remember_data", "store_directory", "whole_run"]

_read_here: dict[Path, Mapping[str, Callable[[], object]]] = {}  # by folder of the run

LIST_COLUMNS = ("id", "name", "started", "status", "epochs", "splits", "path")


def store_directory(store: str | PathLike[str] | None) -> Path:
    """Return the store directory that `store` names (None: the default one)."""
    directory = Options(store=store).store_dir
    if directory is None:
        raise RunNotFoundError(
            "Expected a store directory, got 'none': runs kept in memory end with the kernel."
        )
    return directory


def list_runs(store: str | PathLike[str] | None = None) -> pd.DataFrame:
    """List the stored runs, oldest first.

    Parameters
    ----------
    store : path, optional
        The store directory; ``./lossacc_runs`` by default.

    Returns
    -------
    DataFrame
        `id`, `name`, `started` (UTC), `status`, `epochs`, `splits`, `path`; no rows when the
        directory does not exist.
    """
    import pandas as pd

    rows = runs_store.list_runs(store_directory(store))
    return pd.DataFrame([[row.get(c) for c in LIST_COLUMNS] for row in rows], columns=list(LIST_COLUMNS))


def load_run(reference: str | Path, store: str | PathLike[str] | None = None) -> Run:
    """Load a stored run; works without importing torch, also after the kernel was killed.

    Parameters
    ----------
    reference : str or path
        Id, name (the latest of that name), unique beginning of an id, or path of a run's folder.
    store : path, optional
        The store directory; ``./lossacc_runs`` by default.

    Raises
    ------
    RunNotFoundError
        When there is no such run; says which there are.
    StoreVersionError
        When it was written by a newer version of this package.
    TypeError
        When `reference` is neither text nor a path.
    """
    path = _found(reference, store).absolute()
    return Run(whole_run(path), path=path, data=_read_here.get(path))


def remember_data(path: Path | None, data: Mapping[str, Callable[[], object]]) -> None:
    """Let runs of this process that are loaded again find their datasets, which are not kept alive."""
    if path is not None:
        _read_here[path] = data


def whole_run(run_dir: Path) -> Recording:
    """Return what is recorded in a run's folder, by one process or by several."""
    parts, ranks = runs_store.open_parts(run_dir)
    return parts[0] if ranks == 1 else merge_ranks(parts, ranks)


def delete_run(reference: str | Path, store: str | PathLike[str] | None = None) -> None:
    """Delete a stored run from disk; raises `RunNotFoundError` when there is none."""
    path = _found(reference, store)
    runs_store.delete_run(path, path.parent)


def _found(reference: str | Path, store: str | PathLike[str] | None) -> Path:
    if not isinstance(reference, str | PathLike):
        raise TypeError(f"Expected the id, name or path of a run, got {reference!r}.")
    return runs_store.find_run(reference, store_directory(store))
