"""The house keeps its shape: short modules, one file per cause with its page, nothing left to do."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jupyter_lossacc"
MODULES = sorted(PACKAGE.rglob("*.py"))
TOP_LEVEL = {
    *("pyproject.toml", "README.md", "jupyter_lossacc", "tests", "examples", "binder", "LICENSE"),
    *(
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Makefile",
        "constraints.txt",
        ".ci",
        ".gitignore",
        ".gitattributes",
    ),
}
LONGEST_MODULE = 400
LONGEST_FUNCTION = 50
VAGUE = {"utils", "util", "helpers", "common", "base", "core", "types", "misc"}


def tracked() -> list[str]:
    """Return the paths git tracks; an unpacked archive has none."""
    answer = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.split("\n")[:-1]


def test_the_top_level_is_the_agreed_one():
    found = {path.partition("/")[0] for path in tracked()}
    assert found <= TOP_LEVEL


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_is_short_and_its_name_says_what_it_holds(path):
    text = path.read_text(encoding="utf-8")
    assert path.stem not in VAGUE
    assert text.count("\n") <= LONGEST_MODULE
    assert ast.get_docstring(ast.parse(text)), "a module says what it is for"


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return a function's lines without its docstring: describing more is never a fault."""
    first = function.body[0]
    documented = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) else 0
    return function.end_lineno - function.lineno + 1 - documented


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_function_is_long(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert {f.name: length(f) for f in functions if length(f) > LONGEST_FUNCTION} == {}


def test_nothing_is_left_to_do_or_passed_over():
    # Marks in pieces, here and below: this file must not hold what it forbids.
    marks = ("".join(pieces) for pieces in (("TO", "DO"), ("FIX", "ME"), ("XX", "X")))
    passed_over = ("".join(pieces) for pieces in (("mark.sk", "ip"), ("mark.xf", "ail"), ("sk", "ip")))
    pattern = rf"\b({'|'.join(marks)})\b|pytest\.({'|'.join(passed_over)})\b"
    unfinished = re.compile(pattern)
    sources = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "examples").glob("*.py")]
    assert [str(p) for p in sources if unfinished.search(p.read_text(encoding="utf-8"))] == []


def test_no_tracked_file_names_a_machine_or_a_registry():
    """A path of the machine that wrote it, or a download address, would not hold elsewhere."""
    hosts = (("registry.n", "pmjs"), ("py", "pi.org/simple"), ("files.py", "thonhosted"))
    folders = (("/", "root", "/"), ("/", "work", "/"))
    names = ["".join(pieces) for pieces in (*hosts, *folders)]
    binary = {".png", ".ico"}
    for path in tracked():
        if Path(path).suffix in binary or not (ROOT / path).is_file():
            continue
        text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
        assert not [name for name in names if name in text], path


def test_only_binder_names_the_index_of_cpu_builds():
    index = "".join(("download.py", "torch.org"))
    named = [
        path
        for path in tracked()
        if (ROOT / path).is_file() and index in (ROOT / path).read_text(encoding="utf-8", errors="replace")
    ]
    assert named in ([], ["binder/requirements.txt"])


def test_print_is_left_to_the_user():
    """What the package says goes through views; a stray print would land among the user's own."""
    for path in MODULES:
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"], path
