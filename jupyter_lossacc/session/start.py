"""`record`: the same recording as ``%%lossacc``, for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_lossacc.session.options import Options
from jupyter_lossacc.session.ranks import is_other_rank
from jupyter_lossacc.session.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

__all__ = ["record"]


def record(
    name: str = "",
    *,
    store: str | PathLike[str] | None = None,
    split: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
    keep: str = "val",
    keep_weights: str = "none",
    resume: str | None = None,
    view: str | None = None,
    save: str = "html",
    cell: str = "",
) -> Recorder:
    """Record the training inside a ``with`` block: the same capture as ``%%lossacc``.

    Parameters
    ----------
    name : str
        Name of the run.
    store : path, optional
        Directory of the runs; None is ``./lossacc_runs``, ``"none"`` keeps the run in memory.
    split : mapping of str to loader or dataset, optional
        Names of splits, where they cannot be guessed.
    classes : sequence of str
        Names of the classes, in order of their index.
    keep : {"val", "all", "none"}
        Whose per-sample records are stored.
    keep_weights : {"none", "best"}
        "best" stores the weights of the epochs that may be advised.
    resume : str, optional
        Run to continue: id or name; "" is the latest.
    view : {"panel", "figure", "text", "none"}, optional
        What is shown; by default the panel in a notebook and text elsewhere.
    save : {"html", "static", "none"}
        What stays in the saved notebook.
    cell : str
        Source of the recorded code, kept with the run.

    Returns
    -------
    Recorder

    Raises
    ------
    ValueError, TypeError
        For an option that is not one of the choices.

    Examples
    --------
    >>> with record("baseline", view="none") as recorder:  # doctest: +SKIP
    ...     train(model)
    """
    from jupyter_lossacc.views.choose import in_notebook, make_view

    options = Options(
        name=name,
        store=store,
        split={} if split is None else split,
        classes=tuple(classes) if hasattr(classes, "__iter__") and not isinstance(classes, str) else classes,
        keep=keep,
        keep_weights=keep_weights,
        resume=resume,
        view="none" if is_other_rank() else view or ("panel" if in_notebook() else "text"),
        save=save,
    )
    return Recorder(
        options, view=lambda r: make_view(options.view, options.save, r.stop, r.stop_later), cell=cell
    )
