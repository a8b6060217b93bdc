"""The examples run from a clean kernel, and what is committed of them can be read by anybody."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
COMMITTED = sorted(p for p in EXAMPLES.glob("*.ipynb") if ".executed." not in p.name)
WITH_OUTPUTS = [p for p in COMMITTED if p.stem != "quickstart"]


def load(name):
    """Import a script of the examples."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXECUTE = load("execute")


def in_turn(many):
    """Some of the notebooks, others with every commit; the quickstart has tests of its own."""
    names = [name for name in EXECUTE.names() if name not in EXECUTE.CLEAN]
    count = subprocess.run(
        ["git", "rev-list", "--count", "HEAD"], check=False, cwd=ROOT, capture_output=True, text=True
    )
    first = many * int(count.stdout or 0)
    return [names[(first + i) % len(names)] for i in range(many)]


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.parametrize("name", in_turn(2))
def test_an_example_runs_from_a_clean_kernel(name):
    notebook, _seconds, _megabytes = EXECUTE.execute(name)
    shown = [
        o for cell in notebook.cells for o in cell.get("outputs", ()) if "text/html" in o.get("data", {})
    ]
    assert any("lossacc" in o["data"]["text/html"] for o in shown), "a panel stands under the training cell"


@pytest.mark.parametrize("path", WITH_OUTPUTS, ids=lambda p: p.stem)
def test_a_committed_example_holds_its_outputs_and_no_path(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    numbers = [c.execution_count for c in code]
    assert numbers == list(range(1, len(code) + 1)), "run once, from top to bottom"
    outputs = [o for c in code for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert any("text/html" in o.get("data", {}) for o in outputs)
    assert not re.search(r"/(home|root|work|Users|tmp)/", path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 2_000_000


@pytest.mark.slow
def test_the_script_records_says_what_it_found_and_leaves_a_page(tmp_path):
    command = [sys.executable, EXAMPLES / "outside_notebooks.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    name = re.search(r"load_run\('([\w-]+)'\)", done.stdout)[1]
    assert (tmp_path / "lossacc_runs" / name / "run.json").is_file()
    assert "<html" in (tmp_path / "outside_notebooks.html").read_text(encoding="utf-8")
