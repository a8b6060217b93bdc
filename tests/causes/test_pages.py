"""Every cause and every kind of episode has a page that can be read, checked and followed."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import get_args

import pytest

import jupyter_lossacc.causes
from jupyter_lossacc.causes import CAUSES
from jupyter_lossacc.causes.pages import HEADINGS, UnknownPageError, anchor, glossary, ids, page
from jupyter_lossacc.errors import LossAccError
from jupyter_lossacc.records import EpisodeKind

FOLDER = Path(jupyter_lossacc.causes.__file__).parent
KINDS = get_args(EpisodeKind)
FILES = [f for f in sorted(FOLDER.rglob("*.md")) if f.stem not in ("README", "glossary")]
LINK = re.compile(r"\[[^\]]*\]\(([^)]+)\)")


def names(paths: list[Path]) -> list[str]:
    return [p.stem for p in paths]


def test_every_cause_and_kind_has_a_page_and_the_reverse() -> None:
    causes = [f.stem for f in FOLDER.glob("*.md") if f.stem not in ("README", "glossary")]
    assert sorted(causes) == sorted(cause.id for cause in CAUSES)
    assert sorted(f.stem for f in (FOLDER / "episodes").glob("*.md")) == sorted(KINDS)
    assert set(ids()) == {*causes, *KINDS, "glossary"}
    assert len({cause.id for cause in CAUSES}) == len(CAUSES)


@pytest.mark.parametrize("file", FILES, ids=names(FILES))
def test_a_page_has_the_fixed_shape(file: Path) -> None:
    found = page(file.stem)
    assert file.read_text(encoding="utf-8").startswith(f"# {found.title}\n\n")
    assert tuple(found.sections) == (HEADINGS if file.parent == FOLDER else tuple(found.sections))
    assert set(found.sections) <= set(HEADINGS)
    assert [h for h in HEADINGS if h in found.sections] == list(found.sections)
    assert 40 <= len(found.summary) <= 240, len(found.summary)
    assert found.summary.endswith((".", "?"))
    assert all(found.sections.values())
    assert "<h1>" not in found.html
    assert "<h2>What you see</h2>" in found.html


@pytest.mark.parametrize("file", FILES, ids=names(FILES))
def test_numbers_in_worked_examples_are_recomputed(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    blocks = re.findall(r"^```pycon\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks, "a page carries a worked example that a reader can check"
    parser, runner, scope = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False), {}
    for block in blocks:  # one namespace: later examples may build on earlier ones
        test = parser.get_doctest(block, scope, file.stem, str(file), 0)
        runner.run(test, clear_globs=False)
        scope = test.globs
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("file", FILES, ids=names(FILES))
def test_code_to_paste_is_python(file: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks, "a page says what to try in code"
    for block in blocks:
        compile(block, file.name, "exec")


@pytest.mark.parametrize("file", [*FILES, FOLDER / "glossary.md", FOLDER / "README.md"], ids=lambda f: f.stem)
def test_links_lead_somewhere(file: Path) -> None:
    terms = {anchor(term) for term in glossary()}
    for target in LINK.findall(file.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, fragment = target.partition("#")
        assert (file.parent / path).resolve().is_file(), target
        if fragment:
            assert Path(path).name == "glossary.md", target
            assert fragment in terms, target


def test_links_between_pages_become_the_panels() -> None:
    for name in ids():
        html = page(name).html
        for href in re.findall(r'href="([^"]*)"', html):
            if href.startswith("#lossacc-page-"):
                assert href.removeprefix("#lossacc-page-") in ids()
            elif not href.startswith("#lossacc-term-"):
                assert href.startswith("https://"), href
    assert 'href="#lossacc-page-class_imbalance"' in page("both_rise").html
    assert 'href="#lossacc-page-both_rise"' not in page("both_rise").html


def test_terms_carry_their_meaning() -> None:
    html = page("class_imbalance").html
    assert re.search(r'href="#lossacc-term-recall" title="Recall: Of the samples of a class', html)
    assert 'id="lossacc-term-recall"' in page("glossary").html


def test_every_page_uses_the_glossary() -> None:
    assert [f.stem for f in FILES if "glossary.md#" not in f.read_text(encoding="utf-8")] == []


def test_html_in_a_page_is_not_passed_through() -> None:
    from jupyter_lossacc.causes.pages import _render

    assert "<script>" not in _render("<script>alert(1)</script>")


def test_the_index_lists_every_page() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`(\w+)`\]\(([\w/]+\.md)\) \| ([^|]+) \|$", text, re.MULTILINE)
    have = {(name, path, title.strip()) for name, path, title in rows}
    want = {(f.stem, f.relative_to(FOLDER).as_posix(), page(f.stem).title) for f in FILES}
    assert have == want


def test_titles_are_distinct() -> None:
    titles = [page(name).title for name in ids()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("class_inbalance", "'class_imbalance'"),
        ("both-raise", "'both_rise'"),
        ("learning rate", "'learning_rate_too_high' or 'learning_rate_too_low'"),
    ],
)
def test_an_unknown_page_names_the_nearest(asked: str, hint: str) -> None:
    with pytest.raises(UnknownPageError, match=f"Did you mean {hint}"):
        page(asked)
    with pytest.raises(LossAccError, match="Pages: "):
        page("zzz")
    with pytest.raises(ValueError, match="no explanation page"):
        page()


def test_names_are_forgiving() -> None:
    assert page("Class imbalance") is not None
    assert page("class-imbalance").id == "class_imbalance"
