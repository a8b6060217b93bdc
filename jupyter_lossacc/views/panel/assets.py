"""The built front end, in the two forms in which it is needed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["inline_script", "module_source"]

_BUNDLE = Path(__file__).parent / "static" / "panel.js"
_EXPORT = re.compile(r"export\s*\{\s*([\w$]+) as default\s*\};?")


@cache
def module_source() -> str:
    """Source of the panel as an ES module, as anywidget loads it."""
    return _BUNDLE.read_text(encoding="utf-8")


@cache
def inline_script() -> str:
    """Source of the panel as statements that define ``lossaccPanel``, for a plain script element.

    Raises
    ------
    ValueError
        When the bundle does not end in the one default export that the build makes.
    """
    source, replaced = _EXPORT.subn(r"const lossaccPanel=\1;", module_source())
    if replaced != 1 or "</script" in source or "<!--" in source:
        raise ValueError(
            f"{_BUNDLE.name} cannot be placed in a script element; rebuild it with `make panel`."
        )
    return source
