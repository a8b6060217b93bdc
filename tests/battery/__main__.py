"""Run batteries, write tables: ``python -m tests.battery [BATTERY|tables] [processes]``."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

from tests.battery.measure import measure_at
from tests.battery.scenarios import BATTERIES, FIRST_SEED, plans
from tests.battery.tables import TABLES

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def run(battery: str, processes: int) -> list[dict[str, Any]]:
    """Train everything once."""
    todo = [(battery, i) for i in range(len(list(plans(battery, FIRST_SEED[battery]))))]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.starmap(measure_at, todo, chunksize=1)


def write_readme(results: dict[str, list[dict[str, Any]]]) -> None:
    """Fill the tables into README.md between their marks."""
    path = HERE / "README.md"
    text = path.read_text(encoding="utf-8")
    for battery, rows in results.items():
        for name, table in TABLES.items():
            mark = f"{battery} {name}"
            before, found, rest = text.partition(f"<!-- {mark} -->")
            _, _, after = rest.partition(f"<!-- end {mark} -->")
            if found:
                text = f"{before}<!-- {mark} -->\n{table(rows)}\n<!-- end {mark} -->{after}"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Run one battery or all, keep the results, write and print the tables."""
    which = sys.argv[1] if len(sys.argv) > 1 else "all"
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for battery in {"all": tuple(BATTERIES), "tables": ()}.get(which, (which,)):
        results[battery] = run(battery, processes)
        RESULTS.write_text(json.dumps(results, indent=0) + "\n", encoding="utf-8")
        for table in TABLES.values():
            print(table(results[battery]), end="\n\n")  # noqa: T201
    write_readme(results)


if __name__ == "__main__":
    main()
