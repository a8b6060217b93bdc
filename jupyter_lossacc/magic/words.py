"""The text after ``%%lossacc``: where the line stands in a cell, and how it falls into words."""

from __future__ import annotations

import re

__all__ = ["BEGIN", "split_words", "transform"]

BEGIN = "_lossacc_begin"
# Not %%lossacc?, which asks for help, nor %%lossacc_other, somebody else's magic.
_OURS = re.compile(r"%%lossacc(?![\w.?])[ \t]*(.*)", re.DOTALL)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def transform(lines: list[str]) -> list[str]:
    r"""Turn the ``%%lossacc`` line of a cell into a line magic; IPython then runs the rest as usual.

    It has no side effects and keeps the number of lines: IPython calls it several times per cell,
    and tracebacks count lines. Other cell magics below ours stay first, because IPython looks for
    them on the first line only. A cell that begins with another magic is that magic's business.

    Examples
    --------
    >>> transform(["%%lossacc wide --view text\n", "train()\n"])
    ['%_lossacc_begin wide --view text\n', 'train()\n']
    >>> transform(["%%lossacc\n", "%%time\n", "train()\n"])
    ['%%time\n', '%_lossacc_begin\n', 'train()\n']
    """
    first = next((k for k, line in enumerate(lines) if line.strip()), None)
    if first is None or not _OURS.match(lines[first]):
        return lines
    last = first
    while last < len(lines) and lines[last].startswith("%%"):
        last += 1
    others = [line for line in lines[first:last] if not _OURS.match(line)]
    ours = [match[1].strip() for line in lines[first:last] if (match := _OURS.match(line))]
    begins = [f"%{BEGIN} {options}".rstrip() + "\n" for options in ours]
    return [*lines[:first], *others, *begins, *lines[last:]]


def split_words(text: str) -> list[str]:
    """Split at spaces that stand outside brackets and quotes; quotes around a whole word fall away.

    So Python expressions may be written as they are: ``--classes ["cat", "dog"]``.

    Raises
    ------
    ValueError
        When a bracket or a quote is not closed.

    Examples
    --------
    >>> split_words('wide --split val=loaders["val", 0] --classes "names[:3]"')
    ['wide', '--split', 'val=loaders["val", 0]', '--classes', 'names[:3]']
    """
    words: list[str] = []
    word, closing = "", ""  # `closing` holds the brackets and the quote that are open
    escaped = False
    for character in text.strip() + " ":
        quoted = closing[-1:] in {"'", '"'}
        if character.isspace() and not closing:
            if word:
                words.append(word)
            word = ""
            continue
        word += character
        if escaped or (quoted and character == "\\"):
            escaped = not escaped
        elif closing and character == closing[-1]:
            closing = closing[:-1]
        elif not quoted and character in _PAIRS:
            closing += _PAIRS[character]
        elif not quoted and character in "'\"":
            closing += character
    if closing:
        raise ValueError(f"a {closing[-1]} is missing in: {text.strip()}")
    return [_unquoted(word) for word in words]


def _unquoted(word: str) -> str:
    whole = len(word) >= 2 and word[0] == word[-1] and word[0] in "'\"" and word[0] not in word[1:-1]
    return word[1:-1] if whole else word
