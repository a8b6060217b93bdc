"""Results -> the tables of README.md."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from scipy.stats import binomtest

from tests.battery.scenarios import SCENARIOS

__all__ = ["TABLES", "checkpoints", "confusion", "misses", "numbers", "summary"]

Rows = list[dict[str, Any]]
KEPT = ("advised", "lowest loss", "highest accuracy", "last")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _of(count: int, n: int) -> str:
    """Write a rate with its exact 95 % interval (Clopper and Pearson, 1934)."""
    if not n:
        return "none"
    span = binomtest(count, n).proportion_ci(0.95)
    return f"{count}/{n} = {100 * count / n:.1f} % [{100 * span.low:.0f}, {100 * span.high:.0f}]"


def alarm(row: dict[str, Any]) -> bool:
    """Tell whether a twin is not silent."""
    return bool(row["harmful"] or row["wrong"])


def summary(rows: Rows) -> str:
    """Targets beside what came."""
    caused, twins = [r for r in rows if not r["twin"]], [r for r in rows if r["twin"]]
    right = sum(r["cause"] in r["supported"] for r in caused)
    first = sum(r["named first"] for r in caused)
    wrong = sum(bool(r["wrong"]) for r in caused)
    lines = [
        ["right cause supported", "at least 90 %", _of(right, len(caused))],
        ["right cause named first", "at least 80 %", _of(first, len(caused))],
        ["runs with a wrong cause supported", "at most 5 %", _of(wrong, len(caused))],
        ["healthy twins not silent", "at most 1 in 50", _of(sum(map(alarm, twins)), len(twins))],
    ]
    replaced = _with_the_replaced(caused) + _with_the_slowed(twins)
    return _table(["", "target", "measured"], lines + replaced)


def _with_the_replaced(caused: Rows) -> list[list[str]]:
    """Count the trainings whose recipe had no effect, and the targets with all of them as misses."""
    if not any("tried" in r for r in caused):
        return []
    empty = sum(not r["effect"] for r in caused)
    other = sum(r["effect"] and r["tried"] > 0 for r in caused)
    kept = [r for r in caused if r["tried"] == 0]
    right = sum(r["cause"] in r["supported"] for r in kept)
    first = sum(r["named first"] for r in kept)
    return [
        ["recipe without its effect: another seed was taken", "", f"{other}/{len(caused)}"],
        ["recipe without its effect, whatever seed: kept as it was", "", f"{empty}/{len(caused)}"],
        ["right cause supported, all of those counted as misses", "", _of(right, len(caused))],
        ["right cause named first, all of those counted as misses", "", _of(first, len(caused))],
    ]


def _with_the_slowed(twins: Rows) -> list[list[str]]:
    """Count the twins that were not healthy at first, and the target with all of them as alarms."""
    if not any("healthy" in r for r in twins):
        return []
    never = sum(not r["healthy"] for r in twins)
    slowed = sum(r["healthy"] and r["tried"] > 0 for r in twins)
    loud = sum(alarm(r) or r["tried"] > 0 for r in twins)
    return [
        ["twin not healthy: a lower rate was taken", "", f"{slowed}/{len(twins)}"],
        ["twin not healthy, whatever rate: kept as it was", "", f"{never}/{len(twins)}"],
        ["healthy twins not silent, all of those counted as alarms", "", _of(loud, len(twins))],
    ]


def confusion(rows: Rows) -> str:
    """By scenario: right, first, what else was named, and the twins."""
    lines = []
    for scenario in SCENARIOS:
        mine = [r for r in rows if r["scenario"] == scenario.name]
        caused, twins = [r for r in mine if not r["twin"]], [r for r in mine if r["twin"]]
        others = Counter(c for r in caused for c in r["supported"] if c != scenario.cause)
        wrong = {c for r in caused for c in r["wrong"]}
        named = ", ".join(f"{'**' + c + '**' if c in wrong else c} {n}" for c, n in others.most_common())
        lines.append(
            [
                scenario.name,
                f"{sum(scenario.cause in r['supported'] for r in caused)}/{len(caused)}",
                f"{sum(r['named first'] for r in caused)}/{len(caused)}",
                named or "none",
                f"{sum(map(alarm, twins))}/{len(twins)}",
            ]
        )
    return _table(
        ["scenario", "supported", "first", "also supported (wrong in bold)", "twins alarmed"], lines
    )


def numbers(rows: Rows) -> str:
    """The number of each finding beside the truth."""
    found = [r for r in rows if r["number"]]
    lines = []
    for name in dict.fromkeys(r["scenario"] for r in found):
        mine = [r["number"] for r in found if r["scenario"] == name]
        pairs = "; ".join(f"{n['value']:.3g} / {n['truth']:.3g}" for n in mine)
        sign = sum(np.sign(n["value"]) == np.sign(n["truth"]) for n in mine)
        close = sum(abs(n["value"] - n["truth"]) <= max(0.2 * abs(n["truth"]), 0.02) for n in mine)
        lines.append([name, mine[0]["what"], pairs, f"{sign}/{len(mine)}", f"{close}/{len(mine)}"])
    return _table(["scenario", "number", "said / true", "same sign", "within 20 %"], lines)


def checkpoints(rows: Rows) -> str:
    """Means over the runs in which every choice exists, and how often the advice was no worse."""
    found = [r["checkpoint"] for r in rows if r["checkpoint"] and all(k in r["checkpoint"] for k in KEPT)]
    lines = []
    for name in KEPT:
        mine = np.array([c[name] for c in found])
        best = np.array([c["advised"] for c in found])
        lines.append(
            [
                name,
                f"{100 * mine[:, 1].mean():.2f} %",
                f"{mine[:, 2].mean():.4f}",
                "" if name == "advised" else f"{int((best[:, 2] <= mine[:, 2] + 1e-3).sum())}/{len(found)}",
                "" if name == "advised" else f"{int((best[:, 1] >= mine[:, 1] - 0.005).sum())}/{len(found)}",
            ]
        )
    return _table(
        [
            "epoch kept",
            "test accuracy",
            "test loss, calibrated on validation (nats)",
            "advised loses at most 0.001 nats",
            "advised loses at most 0.5 points",
        ],
        lines,
    )


def misses(rows: Rows) -> str:
    """Every run that is not as it should be."""
    lines = []
    for r in rows:
        missed = not r["twin"] and r["cause"] not in r["supported"]
        late = not r["twin"] and not missed and not r["named first"]
        if not (missed or late or r["wrong"] or (r["twin"] and r["harmful"])):
            continue
        what = [f"not supported ({r['verdict']})"] if missed else []
        what += [f"named after {', '.join(r['first'])}"] if late else []
        what += [f"wrong: {', '.join(r['wrong'])}"] if r["wrong"] else []
        what += ["the recipe had no effect"] if not r.get("effect", True) else []
        what += ["the twin is not healthy at any rate"] if not r.get("healthy", True) else []
        what += [f"shown: {', '.join(r['harmful'])}"] if r["twin"] and r["harmful"] else []
        who = f"{r['scenario']}{', twin' if r['twin'] else ''}"
        lines.append([who, r["family"], str(r["seed"]), "; ".join(what)])
    return _table(["training", "data", "seed", "what"], lines or [["none", "", "", ""]])


TABLES = {
    "summary": summary,
    "confusion": confusion,
    "numbers": numbers,
    "checkpoints": checkpoints,
    "misses": misses,
}
