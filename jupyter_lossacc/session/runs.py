"""Runs that were stored: find, list, load, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_lossacc import store as runs_store
from jupyter_lossacc.diagnosis.ranks import merge_ranks
from jupyter_lossacc.errors import RunNotFoundError
from jupyter_lossacc.run import Run
from jupyter_lossacc.session.options import Options

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    import pandas as pd

    from jupyter_lossacc.records import Recording

__all__ = ["delete_run", "list_runs", "load_run", "store_directory", "whole_run"]

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
    """
    directory = store_directory(store)
    path = runs_store.find_run(reference, directory)
    return Run(whole_run(path), path=path)


def whole_run(run_dir: Path) -> Recording:
    """Return what is recorded in a run's folder, by one process or by several."""
    parts, ranks = runs_store.open_parts(run_dir)
    return parts[0] if ranks == 1 else merge_ranks(parts, ranks)


def delete_run(reference: str | Path, store: str | PathLike[str] | None = None) -> None:
    """Delete a stored run from disk; raises `RunNotFoundError` when there is none."""
    runs_store.delete_run(reference, store_directory(store))
