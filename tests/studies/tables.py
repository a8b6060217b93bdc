"""Results → the tables of README.md."""

from __future__ import annotations

from typing import Any

from scipy.stats import binomtest

from tests.studies.baselines import NAMES
from tests.studies.measure import RISES, SIZES
from tests.studies.trainings import HEALTHY, POSITIVE


def upper(count: int, runs: int) -> float:
    """Exact one-sided 95 % upper bound of a rate (Clopper and Pearson, 1934)."""
    return float(binomtest(count, runs, alternative="less").proportion_ci(0.95).high)


def _rate(count: int, runs: int) -> str:
    return f"{count}/{runs} ({100 * upper(count, runs):.1f} %)"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def healthy_table(results: dict[str, Any]) -> str:
    """False alarms on real healthy runs, by configuration, by data and in total."""
    runs = results["healthy"]
    groups = [(f"{t.data}, {t.name}", [r for r in runs if r["training"] == i]) for i, t in enumerate(HEALTHY)]
    groups += [
        (f"**{d}**", [r for r in runs if r["data"] == d]) for d in dict.fromkeys(t.data for t in HEALTHY)
    ]
    groups.append(("**all**", runs))
    rows = [
        [
            name,
            _rate(sum(bool(r["harmful"]) for r in group), len(group)),
            str(sum(r["growing surer"] for r in group)),
            _with_test(group),
            *(str(sum(r[rule] for r in group)) for rule in NAMES),
        ]
        for name, group in groups
        if group
    ]
    return _table(
        ["healthy runs", "harmful shown (95 % bound)", "growing surer", "test loss rises", *NAMES], rows
    )


def _with_test(group: list[dict[str, Any]]) -> str:
    """Runs whose test loss rises, among those that have a test split."""
    known = [r["test loss rises"] for r in group if HEALTHY[r["training"]].sizes[2]]
    return f"{sum(known)}/{len(known)}" if known else "no test split"


def null_table(results: dict[str, Any]) -> str:
    """False alarms on simulated curves, by null and autocorrelation."""
    rows = [
        [
            f"{c['loss']}",
            f"{c['accuracy']}",
            f"{c['rho']}",
            _rate(c["any"], c["runs"]),
            ", ".join(f"{kind} {100 * n / c['runs']:.1f} %" for kind, n in c["kinds"].items()) or "none",
        ]
        for c in results["nulls"]
    ]
    return _table(["loss", "accuracy", "ρ", "any false kind (95 % bound)", "by kind"], rows)


def planted_table(results: dict[str, Any]) -> str:
    """Power where both curves rise over the last twenty of forty epochs."""
    cells = {(c["n"], c["rise"]): c for c in results["planted"]}
    rows = []
    for n in SIZES:
        for what, name in (
            ("shown", "both_rise shown"),
            ("anything harmful", "any shown"),
            ("holds", "holds on new data"),
        ):
            row = [str(n), name]
            for rise in RISES:
                cell = cells[n, rise]
                row.append(f"{100 * sum(r[what] for r in cell['rows']) / cell['runs']:.0f} %")
            rows.append(row)
    truth = {row["rise"]: row for row in results["planted truth"]}
    rows.append(["population", "loss, nats", *(f"{truth[rise]['loss']:+.2f}" for rise in RISES)])
    rows.append(["population", "accuracy", *(f"{100 * truth[rise]['accuracy']:+.1f} pp" for rise in RISES)])
    return _table(["samples", "", *(f"accuracy +{100 * rise:.0f} pp" for rise in RISES)], rows)


def positive_table(results: dict[str, Any]) -> str:
    """What is shown on real runs with a cause built in, by size of the validation set."""
    rows = []
    for i, training in enumerate(POSITIVE):
        for n in SIZES:
            group = [r for r in results["positive"] if r["training"] == i and r["n"] == n]
            if not group:
                continue
            firsts = sorted(r["first"] for r in group if r["first"] is not None)
            starts = sorted(r["start"] for r in group if r["start"] is not None)
            rows.append(
                [
                    f"{training.data}, {training.name}",
                    str(n),
                    f"{sum(r['shown'] for r in group)}/{len(group)}",
                    f"{sum(r['holds'] for r in group)}/{len(group)}",
                    f"{sum(r['anything harmful'] for r in group)}/{len(group)}",
                    " ".join(map(str, firsts)) or "none",
                    " ".join(map(str, starts)) or "none",
                ]
            )
    head = [
        "runs with a cause",
        "samples",
        "both_rise shown",
        "holds",
        "any harmful shown",
        "first shown at",
        "starts at",
    ]
    return _table(head, rows)
