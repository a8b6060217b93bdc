"""Every number in the sentences of a page is the code's, recomputed on the page, or recomputed here."""

from __future__ import annotations

import ast
import re
from functools import cache
from math import exp, log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

import jupyter_lossacc
from jupyter_lossacc.capture.taps import units
from jupyter_lossacc.stats.calibration import BETAS

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(jupyter_lossacc.__file__).parent
PAGES = sorted(path for path in (ROOT / "causes").glob("*.md"))
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*\.?\d*(?:e-?\d+)?")
ALWAYS = {0.0, 1.0, 2.0, 100.0}  # none, all, both

# What follows from other numbers of the sentence: page, number as written, how it comes about.
DERIVED: dict[tuple[str, str], Callable[[], float]] = {
    ("class_imbalance", "87"): lambda: log(0.0001) / log(0.9),
    ("confident_errors", "4.6"): lambda: log(0.01 / 0.0001),
    ("double_softmax", "0.31"): lambda: log(1 + exp(-1)),
    ("double_softmax", "1.46"): lambda: log(1 + 9 * exp(-1)),
    ("double_softmax", "3.62"): lambda: log(1 + 99 * exp(-1)),
    ("double_softmax", "0.37"): lambda: log(1 + exp(-(0.9 - 0.1))),
    ("dead_activations", "95"): lambda: 100 * units._MOST,
    ("glossary", "0.199"): lambda: -0.95 * log(0.95) - 0.05 * log(0.05),
    ("overconfidence", "33"): lambda: len(BETAS),
    ("split_mismatch", "370"): lambda: 1 / (2 * stats.norm.sf(3)),
    ("underconfidence", "0.001"): lambda: stats.chi2.sf(10.83, 1),
}
# What a sentence gives and claims nothing by: the setting of an example, a usual level, a question's number.
GIVEN = {
    ("class_imbalance", "0.0001"),
    ("class_weights_changed", "4"),
    ("fluctuation", "80"),
    ("fluctuation", "1000"),
    ("glossary", "0.5"),
    ("glossary", "5"),
    ("glossary", "10"),
    ("glossary", "15"),
    ("glossary", "80"),
    ("glossary", "90"),
    ("glossary", "95"),
    ("label_noise", "95"),
    ("mode_mismatch", "0.5"),
    ("overfitting", "3"),
    ("overfitting", "14"),
    ("overfitting", "40"),
    ("split_mismatch", "282160"),
}


@cache
def numbers_in(module: Path) -> frozenset[float]:
    """Numbers in the code of a module and of the modules of statistics that it uses."""
    tree = ast.parse(module.read_text())
    found = {
        float(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("jupyter_lossacc."):
            used = ROOT.parent / (node.module.replace(".", "/") + ".py")
            if used.exists() and used.parent.name in ("stats", "causes"):
                found |= numbers_in(used)
    return frozenset(found)


def value_of(written: str) -> float:
    return float(written.replace(",", "").rstrip("."))


def unexplained(path: Path) -> list[str]:
    text = path.read_text()
    blocks = re.findall(r"```.*?```", text, flags=re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL).partition("## References")[0]
    prose = re.sub(r"\]\([^)]*\)", "]", prose)
    module = path.with_suffix(".py")
    known = set(numbers_in(module)) if module.exists() else set()
    recomputed = {value_of(n) for n in NUMBER.findall("\n".join(blocks))}
    known |= recomputed | ALWAYS
    left = []
    for match in NUMBER.finditer(prose):
        written = match.group().rstrip(",.")
        value = value_of(written)
        year = re.search(r"\([^()]*$", prose[: match.start()]) and 1900 < value < 2100
        key = (path.stem, written.replace(",", ""))
        forms = (value, value / 100, 1 - value, 1 - value / 100)
        if year or key in GIVEN or any(np.isclose(f, k, rtol=1e-9, atol=1e-12) for f in forms for k in known):
            continue
        digits = len(written.partition(".")[2])
        derived = {DERIVED[key]()} if key in DERIVED else recomputed if digits else set()
        if any(round(number, digits) == value for number in derived):
            continue
        left.append(f"{written}: ...{prose[max(0, match.start() - 50) : match.end() + 30]!r}")
    return left


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_number_of_a_page_has_its_reason(path: Path) -> None:
    assert not unexplained(path)


def test_a_wrong_number_is_found(tmp_path: Path) -> None:
    page = tmp_path / "double_softmax.md"
    page.write_text("The loss stays above 0.31 and 1.46, never above 1.47.\n")
    assert [line.partition(":")[0] for line in unexplained(page)] == ["1.47"]
