"""Where in the user's code an evaluation runs, and what the code calls its split.

Without a loader and without a tensor that tells where rows come from, that is all that tells one set
from another: ``evaluate(val)`` and ``evaluate(test)`` stand in two places, and ``for split in ("train",
"val")`` gives the name itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jupyter_lossacc.capture.taps.journal import PLACE, Journal
from jupyter_lossacc.capture.taps.models import is_users, local_items

if TYPE_CHECKING:
    from types import CodeType, FrameType

__all__ = ["Places"]

_MAX_FRAMES = 40
_NAMES = ("split", "phase", "mode", "stage", "subset", "partition")
_SPLIT = re.compile(r"(train|tr|val|valid|validation|dev|eval|test|te)(ing|_?set)?", re.IGNORECASE)


class Places:
    """Notes a change of place at losses without gradients: (PLACE, number, name of the split or "")."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._numbers: dict[Any, int] = {}
        self._last: tuple[Any, str] | None = None
        self._named: dict[
            CodeType, bool | None
        ] = {}  # may name a split; None for code that is not the user's

    def look(self, frame: FrameType | None) -> None:
        """Look at the frames of the user's code."""
        path: list[tuple[CodeType, int]] = []
        name = ""
        for _ in range(_MAX_FRAMES):
            if frame is None:
                break
            code = frame.f_code
            if code not in self._named:
                self._named[code] = _may_name(code) if is_users(frame) else None
            named = self._named[code]
            if named is not None:
                path.append((code, frame.f_lasti))
                if named and not name:
                    name = _split_named(frame)
                if code.co_name == "<module>":
                    break
            frame = frame.f_back
        here = (tuple(path), name)
        if here != self._last:
            self._last = here
            number = self._numbers.setdefault(here, len(self._numbers))
            self.journal.entries.append((PLACE, number, name))
            self.journal.n_light += 1


def _may_name(code: CodeType) -> bool:
    return any(name in code.co_varnames or name in code.co_names for name in _NAMES)


def _split_named(frame: FrameType) -> str:
    """Return the value of a variable of the user's that names a split; "" when there is none."""
    for name, value in local_items(frame):
        if name in _NAMES and isinstance(value, str) and _SPLIT.fullmatch(value):
            return value
    return ""
