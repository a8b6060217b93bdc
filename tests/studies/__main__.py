"""Measure the detector anew and write its tables: ``python -m tests.studies [processes]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from tests.studies.measure import measure
from tests.studies.tables import healthy_table, null_table, planted_table, positive_table
from tests.studies.truth import planted_truth

HERE = Path(__file__).parent


def write_readme(results: dict[str, object]) -> None:
    """Fill the tables into README.md between their marks."""
    path = HERE / "README.md"
    text = path.read_text(encoding="utf-8")
    for name, table in (
        ("healthy", healthy_table),
        ("nulls", null_table),
        ("planted", planted_table),
        ("positive", positive_table),
    ):
        before, _, rest = text.partition(f"<!-- {name} -->")
        _, _, after = rest.partition(f"<!-- end {name} -->")
        text = f"{before}<!-- {name} -->\n{table(results)}\n<!-- end {name} -->{after}"
    before, _, rest = text.partition("<!-- code -->")
    _, _, after = rest.partition("<!-- end code -->")
    path.write_text(f"{before}<!-- code -->{results['code']}<!-- end code -->{after}", encoding="utf-8")


def main() -> None:
    """Run, keep the results, and print the tables."""
    torch.set_num_threads(1)
    results = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    results["planted truth"] = planted_truth()
    (HERE / "results.json").write_text(json.dumps(results, indent=0) + "\n", encoding="utf-8")
    write_readme(results)
    for table in (healthy_table, null_table, planted_table, positive_table):
        print(table(results), end="\n\n")  # noqa: T201


if __name__ == "__main__":
    main()
