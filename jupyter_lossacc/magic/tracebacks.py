"""What IPython shows of an error in a recorded cell: the user's own lines."""

from __future__ import annotations

import linecache
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from jupyter_lossacc.magic.words import BEGIN

if TYPE_CHECKING:
    from types import FrameType

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["OwnLines"]


class OwnLines:
    """While it is installed, tracebacks leave out our taps and show the ``%%lossacc`` line as it was."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._ours: Any = None
        self._before: Any = None

    def install(self, frame: FrameType | None) -> None:
        """Begin; `frame` is one that the cell called."""
        shell: Any = self._shell
        self._before, show = vars(shell).get("showtraceback"), shell.showtraceback

        def showtraceback(*args: Any, **kwargs: Any) -> Any:
            with suppress(Exception):
                from jupyter_lossacc.session.traces import drop_taps

                drop_taps(sys.exc_info()[1])
            return show(*args, **kwargs)

        self._ours = shell.showtraceback = showtraceback
        with suppress(Exception):
            _restore_line(frame)

    def remove(self) -> None:
        """End; whoever took our place since keeps it."""
        attributes = vars(self._shell)
        if self._ours is not None and attributes.get("showtraceback") is self._ours:
            if self._before is None:
                del attributes["showtraceback"]
            else:
                attributes["showtraceback"] = self._before
        self._ours = None


def _restore_line(frame: FrameType | None) -> None:
    """Let the source that tracebacks quote say what the user wrote, as a comment: it must parse."""
    while frame is not None:
        lines = linecache.getlines(frame.f_code.co_filename)
        for number, line in enumerate(lines):
            if line.startswith("get_ipython()") and f"'{BEGIN}'" in line:
                options = line.partition(f"'{BEGIN}', ")[2].rstrip().rstrip(")").strip("'\"")
                lines[number] = f"# %%lossacc {options}".rstrip() + "\n"
                return
        frame = frame.f_back
