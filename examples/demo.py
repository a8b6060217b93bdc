"""Run the quickstart in a real kernel, say what it found, and leave it to be opened.

Writes `quickstart.executed.ipynb` and the standalone page `quickstart.html` beside the notebook.
"""

import sys
import textwrap
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import jupyter_lossacc as la
from jupyter_lossacc.views.text import summary

HERE = Path(__file__).parent
SOURCE = HERE / "quickstart.ipynb"
EXECUTED = HERE / "quickstart.executed.ipynb"
PAGE = HERE / "quickstart.html"
STORE = HERE / "lossacc_runs"


class TalkingClient(NotebookClient):
    """Runs a notebook and repeats on the terminal what its cells print."""

    def process_message(self, msg, cell, cell_index):  # type: ignore[no-untyped-def]
        """Print what a cell writes to stdout, as it comes."""
        if msg["msg_type"] == "stream" and msg["content"]["name"] == "stdout":
            print(textwrap.indent(msg["content"]["text"], "    "), end="", flush=True)
        return super().process_message(msg, cell, cell_index)


def execute() -> None:
    """Execute the quickstart and write it with its outputs."""
    notebook = nbformat.read(SOURCE, as_version=4)
    client = TalkingClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(HERE)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        sys.exit(f"The quickstart stopped with an error:\n{error}")
    finally:
        nbformat.write(notebook, EXECUTED)


def main() -> None:
    """Run the main job once and say where its results are."""
    print(f"Running {SOURCE.name} in a kernel: a small network learns scanned digits.", flush=True)
    known = set(la.list_runs(store=STORE)["id"]) if STORE.is_dir() else set()
    execute()
    new = [name for name in la.list_runs(store=STORE)["id"] if name not in known]
    if not new:
        sys.exit(f"Expected a recorded run in {STORE.name}, found none: nothing can be said about it.")
    run = la.load_run(new[-1], store=STORE)
    PAGE.write_text(run.to_html(), encoding="utf-8")
    print("\nWhat jupyter_lossacc says about this run:\n")
    for line in summary(run.recording, run.episodes, run.diagnose(), run.checkpoint).splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        print(textwrap.fill(line.strip(), 100, initial_indent=indent, subsequent_indent=indent + "  "))
    place = HERE.name
    print(f"\nThe panel, in any browser and offline:  {place}/{PAGE.name}")
    print(f"The notebook with its outputs:          {place}/{EXECUTED.name}")
    print("To run it yourself in JupyterLab:       make lab")


if __name__ == "__main__":
    main()
