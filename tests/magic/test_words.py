"""The transformer is pure and keeps lines; the splitter keeps Python expressions whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from jupyter_lossacc.magic.words import split_words, transform

line = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20) | st.sampled_from(
    [
        "%%lossacc",
        "%%lossacc wide --view text",
        "%%lossacc?",
        "%%lossacc_2",
        "%%time",
        "%%lossacc.x",
        "",
        "  ",
    ]
)


@given(cell=st.lists(line, max_size=6))
def test_a_cell_keeps_its_number_of_lines(cell: list[str]) -> None:
    lines = [text + "\n" for text in cell]
    before = list(lines)
    out = transform(lines)
    assert len(out) == len(lines)
    assert lines == before
    assert transform(out) == out
    if not (cell and any(text.startswith("%%lossacc") for text in cell)):
        assert out == before


@pytest.mark.parametrize(
    ("cell", "seen"),
    [
        ("%%lossacc\nx = 1\n", "get_ipython().run_line_magic('_lossacc_begin', '')\nx = 1\n"),
        ("\n\n%%lossacc a -b\nx\n", "get_ipython().run_line_magic('_lossacc_begin', 'a -b')\nx\n"),
        ("%%lossacc\n%%time\nx\n", "get_ipython().run_cell_magic('time', '', '%_lossacc_begin\\nx\\n')\n"),
        ("%%time\n%%lossacc\nx\n", "get_ipython().run_cell_magic('time', '', '%%lossacc\\nx\\n')\n"),
        (
            "%%writefile f\n%%lossacc\nx\n",
            "get_ipython().run_cell_magic('writefile', 'f', '%%lossacc\\nx\\n')\n",
        ),
        ("%%lossacc?", "get_ipython().run_line_magic('pinfo', '%%lossacc')\n"),
        ("x = 1\n%%lossacc\n", None),
    ],
)
def test_what_ipython_makes_of_a_cell(cell: str, seen: str | None) -> None:
    manager = TransformerManager()
    without = manager.transform_cell(cell)
    manager.cleanup_transforms.insert(0, transform)
    assert manager.transform_cell(cell) == (without if seen is None else seen)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("a  b", ["a", "b"]),
        ('--classes ["cat", "a dog"]', ["--classes", '["cat", "a dog"]']),
        ("--split val=f(x, [1, 2])  -v", ["--split", "val=f(x, [1, 2])", "-v"]),
        ("'two words' x", ["two words", "x"]),
        ("val='a' + 'b'", ["val='a'", "+", "b"]),
        ("'(' \")\"", ["(", ")"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize("text", ["--classes [1", "'a", '{"a: 1}'])
def test_what_is_not_closed_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is missing in"):
        split_words(text)
