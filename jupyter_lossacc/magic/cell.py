"""The magics themselves, and how they come into and out of a shell."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand

from jupyter_lossacc.errors import LossAccError, LossAccWarning
from jupyter_lossacc.magic.commands import COMMANDS, LATER, run_command
from jupyter_lossacc.magic.interrupt import SoftInterrupt
from jupyter_lossacc.magic.options import cell_options, cell_parser
from jupyter_lossacc.magic.tracebacks import OwnLines
from jupyter_lossacc.magic.words import BEGIN, transform

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from jupyter_lossacc.session import Recorder

__all__ = ["LossAccMagics", "load", "unload"]


class _AlreadyShownError(Exception):
    """Stops a program whose cell failed; IPython has shown the cell's own traceback before."""

    def _render_traceback_(self) -> list[str]:
        return []


def _documentation() -> str:
    commands = "\n".join(f"    %lossacc {c.usage:<24} {c.summary}" for c in COMMANDS.values())
    return f"""Record the training in this cell and explain its loss and accuracy while it runs.

::

    %%lossacc [NAME] [options]        above a training cell, which stays as it is
    %lossacc                          help, and the state of the last run
{commands}

Options of %%lossacc; all exist under the same name in jupyter_lossacc.record(...).
EXPR is evaluated in the notebook; words with spaces go in quotes or brackets.

{cell_parser().format_help()}"""


@magics_class
class LossAccMagics(Magics):
    """``%%lossacc`` above a training cell, ``%lossacc`` for everything about recorded runs."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._ip = shell
        self._parser = cell_parser()
        self._info: ExecutionInfo | None = None  # of the cell that is running
        self._watched: ExecutionInfo | None = None  # of the cell that is recorded
        self._recorder: Recorder | None = None
        self._interrupt: SoftInterrupt | None = None
        self._lines = OwnLines(shell)

    @no_var_expand
    @line_cell_magic
    def lossacc(self, line: str, cell: str | None = None) -> Any:
        """Show help, run a command, or record a cell (`DOCUMENTATION` takes this text's place)."""
        return run_command(line, DOCUMENTATION) if cell is None else self.run_nested(line, cell)

    @no_var_expand
    @line_magic
    def _lossacc_begin(self, line: str) -> None:
        """Start to record the cell that is running (what a %%lossacc line becomes)."""
        self.begin(line)

    def begin(self, line: str) -> None:
        """Start to record the cell that is running.

        Raises
        ------
        UsageError
            When an option cannot be used; the cell is then not run.
        """
        self.end(None)  # a cell that died without its end leaves a recorder open
        options = cell_options(line, self._ip.ev, (*COMMANDS, *LATER, "help"), self._parser)
        try:
            self._start(options)
        except (LossAccError, ValueError, TypeError) as error:
            raise UsageError(f"%%lossacc: {error} The cell was not run.") from None
        except Exception as error:
            _warn("could not start, so this cell runs without it", error)

    def end(self, error: BaseException | None) -> None:
        """Finish the recording, if one is open, and give back the interrupt; never raises."""
        recorder, self._recorder, self._watched = self._recorder, None, None
        self._lines.remove()
        if self._interrupt is not None:
            self._interrupt.remove()
            self._interrupt = None
        if recorder is None:
            return
        try:
            recorder.finish(error)
        except Exception as failure:
            _warn("could not finish its view of this cell; what was recorded is kept", failure)

    def before_cell(self, info: ExecutionInfo) -> None:
        """Remember which cell is running (an IPython event)."""
        self._info = info

    def after_cell(self, result: ExecutionResult | None) -> None:
        """End the recording with its cell (an IPython event)."""
        if self._recorder is None:
            return
        # A cell may run others inside itself: their end is not ours.
        if result is not None and self._watched is not None and result.info is not self._watched:
            return
        self.end(None if result is None else result.error_in_exec or result.error_before_exec)

    def _start(self, options: dict[str, Any]) -> None:
        from jupyter_lossacc.session import record

        recorder = record(**options, cell=self._source())
        recorder.start()
        self._recorder, self._watched = recorder, self._info
        self._interrupt = SoftInterrupt(recorder.stop)
        self._interrupt.install()
        self._lines.install(sys._getframe())

    def _source(self) -> str:
        return "" if self._info is None else str(self._info.raw_cell or "")

    def run_nested(self, line: str, cell: str) -> None:
        """Run a cell for a program that calls ``run_cell_magic``; notebooks never come here."""
        self.begin(line)
        self._watched = None
        result = None
        try:
            result = self._ip.run_cell(cell)
        finally:
            error = None if result is None else result.error_in_exec or result.error_before_exec
            self.end(error)
        if error is not None:
            raise _AlreadyShownError(f"the cell below %%lossacc stopped with {type(error).__name__}: {error}")


DOCUMENTATION = _documentation()
LossAccMagics.__dict__["lossacc"].__doc__ = DOCUMENTATION


def load(ip: InteractiveShell) -> None:
    """Register the magics, the transformer and the events; a second call changes nothing."""
    unload(ip)
    magics = LossAccMagics(ip)
    ip.register_magics(magics)
    # First in the list: IPython's own transformer would take the line for a plain cell magic.
    ip.input_transformers_cleanup.insert(0, transform)
    ip.events.register("pre_run_cell", magics.before_cell)
    ip.events.register("post_run_cell", magics.after_cell)


def unload(ip: InteractiveShell) -> None:
    """Take everything back; an open recording is finished."""
    magics = ip.magics_manager.registry.pop(LossAccMagics.__name__, None)
    if magics is None:
        return
    magics.end(None)
    ip.input_transformers_cleanup[:] = [t for t in ip.input_transformers_cleanup if not _ours(t)]
    ip.events.unregister("pre_run_cell", magics.before_cell)
    ip.events.unregister("post_run_cell", magics.after_cell)
    for kind, names in (("line", ("lossacc", BEGIN)), ("cell", ("lossacc",))):
        for name in names:
            ip.magics_manager.magics[kind].pop(name, None)


def _ours(transformer: object) -> bool:
    """Recognise our transformer by name, so that one left by an earlier import goes too."""
    return getattr(transformer, "__module__", "") == transform.__module__


def _warn(what: str, error: BaseException) -> None:
    warnings.warn(f"lossacc {what} ({type(error).__name__}: {error}).", LossAccWarning, stacklevel=3)
