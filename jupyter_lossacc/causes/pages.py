"""Explanation pages: one Markdown file per cause and per kind of episode, beside the code they explain.

The files are read as they are on GitHub; here they become HTML for the panel, with links between
pages turned into the panel's own (``#lossacc-page-<id>``). HTML inside the files is not passed through.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from jupyter_lossacc.errors import LossAccError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markdown_it.token import Token

__all__ = ["HEADINGS", "Page", "UnknownPageError", "glossary", "ids", "page"]

HEADINGS = (
    "What you see",
    "Why it happens",
    "How we test it",
    "What to try",
    "What it is not",
    "References",
)
NOT_PAGES = ("README",)


class UnknownPageError(LossAccError, ValueError):
    """There is no explanation page of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One explanation.

    Parameters
    ----------
    id : str
        A cause id, an episode kind or ``"glossary"``.
    title, summary : str
        Plain text; the summary has at most 240 characters.
    sections : mapping of str to str
        Heading to Markdown, in reading order.
    html : str
        Summary and sections as HTML, without the title.
    markdown : str
        The whole file.
    """

    id: str
    title: str
    summary: str
    sections: Mapping[str, str]
    html: str
    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __str__(self) -> str:
        """Return the page as it stands in its file."""
        return self.markdown

    __repr__ = __str__  # what a terminal without Markdown shows


@cache
def _sources() -> Mapping[str, Path]:
    """Page id → file: causes in alphabetical order, then episode kinds."""
    folder = Path(__file__).parent
    found = {f.stem: f for place in (folder, folder / "episodes") for f in sorted(place.glob("*.md"))}
    return MappingProxyType({name: f for name, f in found.items() if name not in NOT_PAGES})


def ids() -> tuple[str, ...]:
    """Names of all pages: causes, episode kinds and the glossary."""
    return tuple(_sources())


@cache
def page(id: str = "") -> Page:  # noqa: A002 - the word users know it by
    """Return the explanation of a cause or of a kind of episode.

    Parameters
    ----------
    id : str
        As in ``Finding.cause``, ``Episode.kind`` or ``"glossary"``.

    Raises
    ------
    UnknownPageError
        Naming the pages that exist and the nearest match.
    """
    name = str(id).strip().lower().replace("-", "_").replace(" ", "_")
    source = _sources().get(name)
    if source is None:
        within = [known for known in ids() if name and name in known]
        near = within or difflib.get_close_matches(name, ids(), n=1)
        hint = f" Did you mean {' or '.join(map(repr, near[:3]))}?" if near else ""
        raise UnknownPageError(f"no explanation page {id!r}.{hint} Pages: {', '.join(ids())}.")
    text = source.read_text(encoding="utf-8")
    title, summary, sections = _parts(text)
    body = text.split("\n", 1)[1]
    return Page(
        id=name,
        title=title,
        summary=_plain(summary),
        sections=MappingProxyType(sections),
        html=_render(body),
        markdown=text,
    )


def glossary() -> Mapping[str, str]:
    """Return the words that pages and panel use, each with its meaning in Markdown."""
    return MappingProxyType(dict(_glossary_parts()))


def _parts(text: str) -> tuple[str, str, dict[str, str]]:
    """Split a file into title, first paragraph and sections by second-level heading."""
    lines = text.split("\n")
    fenced = False
    title, current = "", ""
    blocks: dict[str, list[str]] = {"": []}
    for line in lines:
        fenced ^= line.startswith("```")
        if not fenced and line.startswith("# ") and not title:
            title = line[2:].strip()
        elif not fenced and line.startswith("## "):
            current = line[3:].strip()
            blocks[current] = []
        else:
            blocks[current].append(line)
    summary = "\n".join(blocks.pop("")).strip().split("\n\n")[0]
    return title, summary, {heading: "\n".join(block).strip() for heading, block in blocks.items()}


def _plain(markdown: str) -> str:
    """Reduce a paragraph to its text: links become their words, marks fall away."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return " ".join(text.replace("**", "").replace("`", "").replace("*", "").split())


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading.

    Examples
    --------
    >>> anchor("Reported loss")
    'reported-loss'
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _render(markdown: str) -> str:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    terms = {anchor(term): (term, _plain(text)) for term, text in _glossary_parts().items()}
    for token, content in pairwise(tokens):
        if token.type == "heading_open" and anchor(content.content) in terms:
            token.attrSet("id", f"lossacc-term-{anchor(content.content)}")
        for child in token.children or ():
            if child.type == "link_open":
                _relink(child, terms)
    return str(parser.renderer.render(tokens, parser.options, {}))


@cache
def _glossary_parts() -> Mapping[str, str]:
    source = _sources().get("glossary")
    return _parts(source.read_text(encoding="utf-8"))[2] if source is not None else {}


def _relink(token: Token, terms: Mapping[str, tuple[str, str]]) -> None:
    """Turn a link to another page's file into the panel's link; open the web in a new tab."""
    href = str(token.attrGet("href") or "")
    match = re.fullmatch(r"(?:\.\./|episodes/)?(\w+)\.md(?:#([\w-]+))?", href)
    if match is None:
        token.attrSet("target", "_blank")
        token.attrSet("rel", "noopener noreferrer")
    elif match[1] == "glossary" and match[2]:
        token.attrSet("href", f"#lossacc-term-{match[2]}")
        token.attrSet("title", ": ".join(terms.get(match[2], ("", ""))))  # the meaning, on hovering
    else:
        token.attrSet("href", f"#lossacc-page-{match[1]}")
