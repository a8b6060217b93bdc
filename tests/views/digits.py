"""Numbers that say more than they know: more than three significant digits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["strings", "too_many_digits"]

# Whole numbers are counts, epochs and ids; "0.10.2" is a version and "p2.5x" a name.
_NUMBER = re.compile(r"(?<![\w.,])[-−+]?(\d[\d,]*\.\d+)(?:e[-−]?\d+)?(?![\w.]*\.\d)")
_NOT_PROSE = {"code", "html", "id"}


def too_many_digits(text: str) -> list[str]:
    """Return the numbers of a text that have too many digits, with what stands around them."""
    found = []
    for number in _NUMBER.finditer(text):
        digits = number[1].replace(",", "").replace(".", "").lstrip("0")
        if len(digits) > 3:
            found.append(text[max(0, number.start() - 40) : number.end() + 20])
    return found


def strings(value: object) -> Iterator[str]:
    """Walk through the texts of a panel's state that people read."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in _NOT_PROSE:
                yield from strings(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from strings(part)
