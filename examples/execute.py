"""Run example notebooks in a clean kernel: `python examples/execute.py [--write] [NAME ...]`.

Without `--write` nothing is changed: it shows that they run. With it the outputs are kept in the notebooks,
frozen panels included, to be read on GitHub. Prints seconds and the kernel's peak memory for each.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).parent
# The quickstart is for running it yourself. The frameworks need an environment of their own:
# `.venv-frameworks/bin/python examples/execute.py --write frameworks`, after `bash .ci/setup frameworks`.
CLEAN = ("quickstart",)
APART = ("frameworks",)
# Networks this small are slowed down by a second thread, on a busy machine by a lot.
os.environ.setdefault("OMP_NUM_THREADS", "1")
MEMORY = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def names() -> list[str]:
    """Return the notebooks that run in this environment."""
    found = sorted(p.stem for p in HERE.glob("*.ipynb") if not p.stem.endswith(".executed"))
    return [name for name in found if name not in APART]


def execute(name: str) -> tuple[nbformat.NotebookNode, float, float]:
    """Run one notebook in an empty folder; return it with its outputs, seconds, and MB of its kernel's peak.

    Raises
    ------
    CellExecutionError
        When a cell fails.
    """
    notebook = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    probe = nbformat.v4.new_code_cell(MEMORY)
    notebook.cells.append(probe)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": folder}},
        ).execute()
    notebook.cells.pop()
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kB elsewhere
    return notebook, time.monotonic() - start, int(probe.outputs[0].text) / unit


def clean(notebook: nbformat.NotebookNode) -> None:
    """Take out what says where and when this was run."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            text = str(output)
            here = [
                path for path in (str(Path.home()), str(HERE.parent), tempfile.gettempdir()) if path in text
            ]
            if here:
                sys.exit(f"An output names a path of this machine: {here[0]}. Nothing was written.")


def main() -> None:
    """Run what was asked for, and keep the outputs where that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; all by default")
    parser.add_argument("--write", action="store_true", help="keep the outputs in the notebooks")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {*names(), *APART}
    if unknown:
        parser.error(f"expected some of {', '.join(names())}; got {', '.join(sorted(unknown))}")
    for name in arguments.names or names():
        try:
            notebook, seconds, megabytes = execute(name)
        except CellExecutionError as error:
            sys.exit(f"{name} stopped with an error:\n{error}")
        print(f"{name}: {seconds:.0f} s, {megabytes:.0f} MB at its peak", flush=True)
        if arguments.write and name not in CLEAN:
            clean(notebook)
            nbformat.write(notebook, HERE / f"{name}.ipynb")


if __name__ == "__main__":
    main()
