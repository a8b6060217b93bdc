"""Which run ``--resume`` continues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_lossacc import store as runs_store
from jupyter_lossacc.errors import RunNotFoundError
from jupyter_lossacc.session.runs import load_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_lossacc.run import Run
    from jupyter_lossacc.session.options import Options

__all__ = ["run_to_resume"]


def run_to_resume(options: Options, latest: Sequence[Run]) -> Run | None:
    """Return the run to continue; None when nothing is to be continued.

    Parameters
    ----------
    options : Options
    latest : sequence of Run
        Those of the latest recording in this process.

    Raises
    ------
    RunNotFoundError
        When there is no such run.
    ValueError
        When another name is given beside it.
    """
    if options.resume is None:
        return None
    run = _find(options.resume, options, latest)
    if options.name not in ("", run.name, run.id):
        raise ValueError(
            f"Expected one run, got two: {options.name!r} as a name, and {run.name!r} to resume, which keeps "
            f"its name. Write --resume {options.name} to continue that one, or leave out {options.name!r}."
        )
    return run


def _find(wanted: str, options: Options, latest: Sequence[Run]) -> Run:
    if latest and wanted in ("", latest[-1].name, latest[-1].id):
        return latest[-1]
    if options.store_dir is None:
        raise RunNotFoundError("Expected a run of this session to resume (store='none'), found none.")
    if wanted:
        return load_run(wanted, options.store_dir)
    stored = runs_store.list_runs(options.store_dir)
    if not stored:
        raise RunNotFoundError(
            f"Expected a run to resume in {options.store_dir}, found none. Leave out --resume."
        )
    return load_run(stored[-1]["id"], options.store_dir)
