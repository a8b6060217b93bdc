"""The example with frameworks: each section runs alone and records what the framework itself reports."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "frameworks.ipynb"
SECTIONS = ("Lightning", "Hugging Face", "fastai")


def sections() -> dict[str, list[Any]]:
    """Return the cells by heading; those before the first one are needed by all."""
    found: dict[str, list[Any]] = {"": []}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        heading = re.match(r"## (.+)", cell.source)
        name = heading[1] if heading else next(reversed(found))
        found.setdefault(name, []).append(cell)
    return found


def compared(cells: list[Any]) -> list[list[float]]:
    """Rows of the tables that hold loss and accuracy twice: as recorded, and as the framework says."""
    texts = [o["data"]["text/plain"] for c in cells for o in c.get("outputs", ()) if "data" in o]
    tables = [text for text in texts if "reported_loss" in text]
    return [[float(word) for word in line.split()[2:]] for text in tables for line in text.splitlines()[1:]]


@pytest.mark.parametrize("name", SECTIONS)
def test_the_committed_outputs_show_equal_numbers(name: str) -> None:
    rows = compared(sections()[name])
    assert len(rows) == 4
    assert all(row[:2] == row[2:] for row in rows)


def test_only_the_magic_stands_above_fit() -> None:
    trained = [c.source for cells in sections().values() for c in cells if c.source.startswith("%%lossacc")]
    bodies = [source.partition("\n")[2] for source in trained]
    assert [("fit" in body or "train" in body) and "lossacc" not in body for body in bodies] == [True] * 3


@pytest.mark.slow
def test_each_section_runs_alone(tmp_path: Path) -> None:
    """In one kernel, because imports take longest; names are forgotten between sections."""
    found = sections()
    cells = []
    for name in SECTIONS:
        cells += [nbformat.v4.new_code_cell("%reset -f"), *found[""], *found[name]]
    notebook = nbformat.v4.new_notebook(cells=copy.deepcopy(cells))
    NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    rows = compared(notebook.cells)
    assert len(rows) == 4 * len(SECTIONS)
    assert all(row[:2] == row[2:] for row in rows)
