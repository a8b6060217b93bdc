"""Which run ``--resume`` continues, and what of the options of its first cell holds on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jupyter_lossacc import store as runs_store
from jupyter_lossacc.errors import RunNotFoundError
from jupyter_lossacc.session.runs import load_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_lossacc.run import Run
    from jupyter_lossacc.session.options import Options
    from jupyter_lossacc.session.recorder import Recorder

__all__ = ["inherited", "run_to_resume"]


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


def inherited(options: Options, run: Run | None, before: Recorder | None) -> tuple[Options, tuple[str, ...]]:
    """Return the options with what the cell before chose and this one leaves out, and what to say of it.

    A loader that the first cell named would otherwise get a name of its own here, and its curve end there.
    What is shown (`view`, `save`) is each cell's own.

    Parameters
    ----------
    options : Options
    run : Run, optional
        The run to continue.
    before : Recorder, optional
        The latest recording in this process.
    """
    if run is None:
        return options, ()
    if before is None or all(run.id != known.id for known in before.runs):
        named = "--split" in run.recording.info.cell.partition("\n")[0]
        lost = (
            f"The first cell of {run.name!r} named its data with --split, this one does not and cannot know "
            "them any more: they may get other names here. Way out: give the same --split again."
        )
        return options, ((lost,) if named and not options.split else ())
    first = before.options
    split = {
        name: data for name, data in first.split.items() if all(data is not d for d in options.split.values())
    }
    return replace(
        options,
        split={**split, **options.split},
        classes=options.classes or first.classes,
        store=first.store if options.store is None else options.store,
        keep=first.keep if options.keep == "val" else options.keep,
        keep_weights=first.keep_weights if options.keep_weights == "none" else options.keep_weights,
    ), ()


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
