"""How often the quickstart's effect shows: run its own cells under ten seeds.

`python examples/quickstart_seeds.py` prints a line per seed; `--write` keeps the result in
`quickstart_seeds.json`, with a hash of the cells that made it, and puts the count into the notebook.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path

import torch

import jupyter_lossacc as la

HERE = Path(__file__).parent
NOTEBOOK = HERE / "quickstart.ipynb"
RESULT = HERE / "quickstart_seeds.json"
SEEDS = range(10)
LEAST_EPOCHS = 15
COUNT = re.compile(r"\*\*\d+ of \d+\*\*")


def training_cells() -> tuple[str, str]:
    """Return what the notebook does before the training cell, and the training cell itself."""
    before: list[str] = []
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or source.startswith("%load_ext"):
            continue
        if source.startswith("%%lossacc"):
            return "\n".join(before), source.partition("\n")[2]
        before.append(source)
    raise ValueError(f"Expected a cell that starts with %%lossacc in {NOTEBOOK.name}, found none.")


def cells_hash() -> str:
    """Return a short hash of the cells that are run."""
    return hashlib.sha256("\n".join(training_cells()).encode()).hexdigest()[:16]


def run_seed(seed: int) -> dict[str, object]:
    """Train once with this seed and say whether loss and accuracy rose together."""
    before, training = training_cells()
    seeded, times = re.subn(r"manual_seed\(\d+\)", f"manual_seed({seed})", before)
    if times != 1:
        raise ValueError(f"Expected one torch.manual_seed(...) in {NOTEBOOK.name}, found {times}.")
    names: dict[str, object] = {"print": lambda *_: None}
    exec(seeded, names)  # noqa: S102 - the notebook beside this file
    with la.record(f"seed-{seed}", store="none", view="none"):
        exec(training, names)  # noqa: S102
    run = la.last_run()
    rises = [e for e in run.episodes if e.split == "val" and e.kind == "both_rise"]
    longest = max(rises, key=lambda e: e.end_epoch - e.start_epoch, default=None)
    if longest is None:
        return {"seed": seed, "shows": False}
    return {
        "seed": seed,
        "shows": longest.end_epoch - longest.start_epoch + 1 >= LEAST_EPOCHS,
        "epochs": [longest.start_epoch, longest.end_epoch],
        "loss_change": round(longest.loss_change.value, 2),
        "accuracy_change": round(longest.accuracy_change.value, 3),
        "holds_on_new_data": longest.holds_on_new_data,
    }


def write(rows: list[dict[str, object]]) -> None:
    """Keep the rows, and put the count into the notebook."""
    shown = sum(bool(row["shows"]) for row in rows)
    result = {
        "cells": cells_hash(),
        "least_epochs": LEAST_EPOCHS,
        "shows": shown,
        "of": len(rows),
        "torch": torch.__version__.partition("+")[0],
        "seeds": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text, times = COUNT.subn(f"**{shown} of {len(rows)}**", NOTEBOOK.read_text(encoding="utf-8"))
    if times != 1:
        raise ValueError(f"Expected one count like **10 of 10** in {NOTEBOOK.name}, found {times}.")
    NOTEBOOK.write_text(text, encoding="utf-8")


def main() -> None:
    """Run the seeds and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="keep the result and update the notebook")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in SEEDS:
        rows.append(run_seed(seed))
        print(rows[-1], flush=True)
    print(f"{sum(bool(row['shows']) for row in rows)} of {len(rows)} seeds")
    if options.write:
        write(rows)


if __name__ == "__main__":
    main()
