"""Measure the detector anew and write its tables: ``python -m tests.studies [STUDY ...]``.

Studies: nulls, stuck, many, healthy, planted, late, kept, turnover, positive; all of them when none is named.
What a study has measured is kept in results/STUDY.json as it comes, with a hash of the code that decides it:
a study that was cut short goes on where it stopped, and one whose code has changed starts anew.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from tests.studies.measure import STUDIES
from tests.studies.tables import TABLES

HERE = Path(__file__).parent
SAVED_EVERY = 20.0  # seconds


def results_path(name: str) -> Path:
    """Where a study's results are kept."""
    return HERE / "results" / f"{name}.json"


def read_results(name: str) -> dict[str, Any]:
    """Read what a study has measured so far: `code`, `seconds`, and `rows` of job and result."""
    return dict(json.loads(results_path(name).read_text(encoding="utf-8")))


def _write_results(name: str, code: str, seconds: float, rows: list[Any]) -> None:
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = f'{{"code": "{code}", "seconds": {seconds:.0f}, "rows": [\n{lines}\n]}}\n'
    results_path(name).parent.mkdir(exist_ok=True)
    results_path(name).write_text(text, encoding="utf-8")


def run_study(name: str) -> None:
    """Do the jobs of a study that have not been done with this code."""
    study, code = STUDIES[name], STUDIES[name].hash
    kept = read_results(name) if results_path(name).exists() else {"code": ""}
    rows, spent = (kept["rows"], kept["seconds"]) if kept["code"] == code else ([], 0.0)
    done = {json.dumps(job) for job, _ in rows}
    began, saved = time.process_time(), time.monotonic()
    for job in study.jobs:
        if json.dumps(job) in done:
            continue
        rows.append([job, study.run(*job)])
        if time.monotonic() - saved > SAVED_EVERY:
            _write_results(name, code, spent + time.process_time() - began, rows)
            saved = time.monotonic()
    _write_results(name, code, spent + time.process_time() - began, rows)


def write_readme() -> None:
    """Fill the tables into README.md between their marks."""
    path = HERE / "README.md"
    text = path.read_text(encoding="utf-8")
    for mark, filled in tables().items():
        before, _, rest = text.partition(f"<!-- {mark} -->")
        _, _, after = rest.partition(f"<!-- end {mark} -->")
        text = f"{before}<!-- {mark} -->\n{filled}\n<!-- end {mark} -->{after}"
    path.write_text(text, encoding="utf-8")


def tables() -> dict[str, str]:
    """Every table of README.md by its mark, each with the hash of the code that made it."""
    filled = {}
    for name, made in TABLES.items():
        results = read_results(name)
        minutes = results["seconds"] / 60
        note = f"`python -m tests.studies {name}`: {minutes:.0f} CPU minutes, code {results['code']}."
        for mark, table in made.items():
            filled[mark] = f"{table(results['rows'])}\n\n{note}"
    return filled


def main() -> None:
    """Run the studies named, keep their results, and print their tables."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)
    names = sys.argv[1:] or list(STUDIES)
    unknown = set(names) - set(STUDIES)
    if unknown:
        sys.exit(f"Expected some of {', '.join(STUDIES)}, got {', '.join(sorted(unknown))}.")
    for name in names:
        run_study(name)
    write_readme()
    for name in names:
        for table in TABLES[name].values():
            print(table(read_results(name)["rows"]), end="\n\n")  # noqa: T201


if __name__ == "__main__":
    main()
