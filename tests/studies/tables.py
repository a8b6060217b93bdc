"""Results → the tables of README.md. `rows` are pairs of a job and its result (measure.py)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest

from tests.studies import simulated
from tests.studies.baselines import NAMES
from tests.studies.measure import BEFORE, BLOCK, ENDS, LATE_RISES, LATE_SIZES, RISES, SIZES
from tests.studies.trainings import HEALTHY, POSITIVE

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = ("on the screen", "after the end", "at once")

Rows = list[tuple[list[Any], Any]]


def upper(count: int, runs: int) -> float:
    """Exact one-sided 95 % upper bound of a rate (Clopper and Pearson, 1934)."""
    return float(binomtest(count, runs, alternative="less").proportion_ci(0.95).high)


def _rate(count: int, runs: int) -> str:
    return f"{count}/{runs} ({100 * upper(count, runs):.1f} %)" if runs else "not run"


def _share(found: list[bool]) -> str:
    return f"{100 * sum(found) / len(found):.0f} %" if found else "not run"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def healthy_table(rows: Rows) -> str:
    """False alarms on real healthy runs, by configuration, by data and in total."""
    of_data = {t.data: [i for i, other in enumerate(HEALTHY) if other.data == t.data] for t in HEALTHY}
    groups = [(f"{t.data}, {t.name}", [i]) for i, t in enumerate(HEALTHY)]
    groups += [(f"**{data}**", indices) for data, indices in of_data.items()]
    groups.append(("**all**", list(range(len(HEALTHY)))))
    lines = []
    for name, indices in groups:
        runs = [row for (index, _), row in rows if index in indices]
        tested = [row["test loss rises"] for (i, _), row in rows if i in indices and HEALTHY[i].sizes[2]]
        lines.append(
            [
                name,
                _rate(sum(bool(r["harmful"]) for r in runs), len(runs)),
                str(sum(r["growing surer"] for r in runs)),
                f"{sum(tested)}/{len(tested)}" if tested else "no test split",
                *(str(sum(r[rule] for r in runs)) for rule in NAMES),
            ]
        )
    head = ["healthy runs", "harmful shown (95 % bound)", "growing surer", "test loss rises", *NAMES]
    return _table(head, lines)


def null_table(rows: Rows) -> str:
    """False alarms on simulated curves, by null, length and autocorrelation."""
    cells: dict[tuple[Any, ...], list[dict[str, int]]] = {}
    for (loss, accuracy, rho, n_epochs, _), kinds in rows:
        cells.setdefault((n_epochs, rho, loss, accuracy), []).append(kinds)
    lines = []
    for (n_epochs, rho, loss, accuracy), shown in cells.items():
        counts = Counter(kind for kinds in shown for kind in kinds)
        by_kind = ", ".join(f"{kind} {n}" for kind, n in sorted(counts.items())) or "none"
        rate = _rate(sum(map(bool, shown)), len(shown))
        late = str(sum(min(kinds.values(), default=0) > 60 for kinds in shown)) if n_epochs > 60 else ""
        lines.append([str(n_epochs), str(rho), loss, accuracy, rate, late, by_kind])
    head = [
        "epochs",
        "ρ",
        "loss",
        "accuracy",
        "any false kind (95 % bound)",
        "first after epoch 60",
        "by kind",
    ]
    return _table(head, lines)


def many_table(rows: Rows) -> str:
    """False alarms on so many simulated curves that the bounds are close, and by number of samples."""
    runs = [
        ((*cell, seed), found.get(str(seed), {}))
        for (*cell, first), found in rows
        for seed in range(first, first + BLOCK)
    ]
    head, rule, *lines = null_table(runs).splitlines()
    sizes: dict[tuple[Any, ...], Counter[int]] = {}
    for (*cell, seed), kinds in runs:
        n = simulated.SIZES[seed % len(simulated.SIZES)]
        sizes.setdefault(tuple(cell), Counter())[n] += bool(kinds)
    by_size = (", ".join(str(counts[n]) for n in simulated.SIZES) for counts in sizes.values())
    joined = [f"{line} {counts} |" for line, counts in zip(lines, by_size, strict=True)]
    return "\n".join(
        [f"{head} with {', '.join(map(str, simulated.SIZES))} samples |", f"{rule} --- |", *joined]
    )


def turnover_table(rows: Rows) -> str:
    """How often a movement of this validation set alone is said to hold on new data."""
    lines = []
    for loss in ("rises", "stays"):
        for n in simulated.SIZES:
            runs = [row for (a, b, _), row in rows if (a, b) == (loss, n)]
            kinds = ", ".join(sorted({kind for row in runs for kind in row["holds"]})) or "none"
            lines.append(
                [
                    loss,
                    str(n),
                    _share([bool(r["shown"]) for r in runs]),
                    _rate(sum(bool(r["holds"]) for r in runs), len(runs)),
                    kinds,
                ]
            )
    head = ["loss of the population", "samples", "shown", "said to hold (95 % bound)", "kinds said to hold"]
    return _table(head, lines)


def planted_table(rows: Rows) -> str:
    """Power where both curves rise over the last twenty of forty epochs."""
    lines = []
    for n in SIZES:
        for what, name in (
            ("shown", "both_rise shown"),
            ("anything harmful", "any shown"),
            ("holds", "holds on new data"),
        ):
            cells = [[row[what] for (m, r, _), row in rows if (m, r) == (n, rise)] for rise in RISES]
            lines.append([str(n), name, *map(_share, cells)])
    start = simulated.population(-simulated.LEARNED, 2.0)
    ends = [simulated.population(*simulated.after_the_turn(rise)) for rise in RISES]
    lines.append(["population", "loss, nats", *(f"{loss - start[0]:+.2f}" for loss, _ in ends)])
    lines.append(["population", "accuracy", *(f"{100 * (a - start[1]):+.1f} pp" for _, a in ends)])
    return _table(["samples", "", *(f"accuracy +{100 * rise:.0f} pp" for rise in RISES)], lines)


def late_table(rows: Rows) -> str:
    """What is shown of a rise that begins late in a long run, and after how many of its epochs."""
    lines = []
    for n in LATE_SIZES:
        for rise in LATE_RISES:
            found = [row for (m, r, _), row in rows if (m, r) == (n, rise)]
            alarms, rises = (
                sorted(r[what] - BEFORE for r in found if r[what] is not None)
                for what in ("first alarm", "first")
            )
            shown = _share([r["shown"] for r in found])
            lines.append(
                [
                    str(n),
                    f"+{100 * rise:.0f} pp",
                    _share([r["anything harmful"] for r in found]),
                    " ".join(map(str, alarms)) or "none",
                    shown,
                    " ".join(map(str, rises)) or "none",
                ]
            )
    return _table(
        ["samples", "accuracy", "any shown", "epochs after the turn", "both_rise shown", "epochs after"],
        lines,
    )


def kept_table(rows: Rows) -> str:
    """Of runs with an alarm, how many show one still: on the screen, after an end there, found at once."""
    lines = []
    for place, end in enumerate(ENDS):
        shown = [row for _, row in rows if row["first alarm"] is not None and row["first alarm"] <= end]
        counts = [str(sum(row[what][place] for row in shown)) for what in KEPT]
        lines.append([str(end), f"{len(shown)} of {len(rows)}", *counts])
    return _table(
        ["epochs", "shown by then", "still on the screen", "still there after an end", "found at once"], lines
    )


def positive_table(rows: Rows) -> str:
    """What is shown on real runs with a cause built in, by size of the validation set."""
    lines = []
    for i, training in enumerate(POSITIVE):
        for n in SIZES:
            group = [row for (index, _), found in rows if index == i for row in found if row["n"] == n]
            if not group:
                continue
            firsts = sorted(r["first"] for r in group if r["first"] is not None)
            starts = sorted(r["start"] for r in group if r["start"] is not None)
            lines.append(
                [
                    f"{training.data}, {training.name}",
                    str(n),
                    *(
                        f"{sum(r[what] for r in group)}/{len(group)}"
                        for what in ("shown", "holds", "anything harmful")
                    ),
                    " ".join(map(str, firsts)) or "none",
                    " ".join(map(str, starts)) or "none",
                    str(sum(r["grey at the end"] for r in group)),
                ]
            )
    head = ["runs with a cause", "samples", "both_rise shown", "holds", "any harmful shown"]
    return _table([*head, "first shown at", "starts at", "bands in grey at the end"], lines)


def rules_table(rows: Rows) -> str:
    """On how many runs with a cause the rules of other tools fire: on all, whatever the cause."""
    lines = []
    for i, training in enumerate(POSITIVE):
        group = [found[-1] for (index, _), found in rows if index == i]
        counts = [f"{sum(r[rule] for r in group)}/{len(group)}" for rule in NAMES]
        lines.append([f"{training.data}, {training.name}", *counts])
    return _table(["runs with a cause", *NAMES], lines)


TABLES: dict[str, dict[str, Callable[[Rows], str]]] = {
    "healthy": {"healthy": healthy_table},
    "nulls": {"nulls": null_table},
    "stuck": {"stuck": null_table},
    "many": {"many": many_table},
    "turnover": {"turnover": turnover_table},
    "planted": {"planted": planted_table},
    "late": {"late": late_table},
    "kept": {"kept": kept_table},
    "positive": {"positive": positive_table, "rules": rules_table},
}
