"""The table of README.md: what is to be seen, and the styles that show it."""

from __future__ import annotations

from pathlib import Path

from tests.capture.loops import EXPECTED

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- styles -->", "<!-- /styles -->"
# What a style of its own cannot show is shown by these tests.
ELSEWHERE = {
    "resumed training": "`test_seen.py::test_a_resumed_run_counts_on`, `tests/session/test_record.py`",
    "iterators older than the recording": "`test_seen.py::test_iterators_older_than_the_recording`",
    "every criterion of torch against its unreduced self": "`test_losses.py`",
    "torch.compile: no graph break and no recompile": "`test_compile.py`",
    "learning rates, gradient norm, updates, dead units": "`test_seen.py`, `test_signals.py`",
    "batches handed over by hand": "`test_seen.py::test_batches_handed_over_by_hand`",
}


def table() -> str:
    """Return the rows, by item in alphabetical order."""
    items: dict[str, list[str]] = {}
    for name, expected in EXPECTED.items():
        said = " (declared)" if expected.limits else ""
        for item in expected.items.split("; "):
            items.setdefault(item, []).append(f"`{name}`{said}")
    rows = [f"| {item} | {', '.join(names)} |" for item, names in sorted(items.items())]
    rows += [f"| {item} | {where} |" for item, where in sorted(ELSEWHERE.items())]
    head = f"{len(EXPECTED)} styles; *declared*: a part cannot be seen, and `run.limits` says which.\n"
    return "\n".join([head, "| To be seen | Style |", "|---|---|", *rows])


def written(text: str) -> str:
    """Return the README with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"
