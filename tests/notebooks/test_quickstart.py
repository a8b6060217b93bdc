"""The quickstart is a newcomer's notebook, and what it says about its ten seeds is true."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SLICE = (0, 4)


@pytest.fixture(scope="module")
def seeds() -> ModuleType:
    """Load the script that made the count."""
    spec = importlib.util.spec_from_file_location("quickstart_seeds", EXAMPLES / "quickstart_seeds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notebook() -> nbformat.NotebookNode:
    """Read the committed notebook."""
    return nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)


def test_it_is_committed_without_outputs():
    code = [c for c in notebook().cells if c.cell_type == "code"]
    assert all(not c.outputs and c.execution_count is None for c in code)
    nbformat.validate(notebook())


def test_only_the_magic_was_added_to_the_training(seeds):
    before, training = seeds.training_cells()
    assert "lossacc" not in before + training


def test_the_count_in_the_text_is_the_one_measured(seeds):
    result = json.loads(seeds.RESULT.read_text())
    text = "\n".join(c.source for c in notebook().cells if c.cell_type == "markdown")
    assert seeds.COUNT.findall(text) == [f"**{result['shows']} of {result['of']}**"]
    assert result["cells"] == seeds.cells_hash(), "the cells changed: run quickstart_seeds.py --write"
    assert result["least_epochs"] == seeds.LEAST_EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLICE)
def test_a_slice_of_the_seeds_gives_the_same_answer(seeds, seed):
    kept = json.loads(seeds.RESULT.read_text())["seeds"][seed]
    assert seeds.run_seed(seed)["shows"] == kept["shows"]
