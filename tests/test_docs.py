"""What the documents promise exists: links, make targets, options and commands."""

import re
from pathlib import Path

import pytest

from jupyter_lossacc.causes.pages import page
from jupyter_lossacc.magic.demos import DEMOS
from jupyter_lossacc.magic.options import cell_parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")]
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_every_link_leads_somewhere(path):
    links = LINK.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_two_commands_come_before_everything_else():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.index("make demo") < text.index("make test") < text.index("![") < text.index("\n## ")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_every_make_target_named_exists(path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|=cpu )make ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


def test_every_option_of_the_magic_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    options = {o for action in cell_parser()._actions for o in action.option_strings if o.startswith("--")}
    assert {o for o in options - {"--help"} if f"`{o} " not in text} == set()


def test_contributing_is_short():
    assert (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").count("\n") <= 150


def test_launch_links_take_the_address_from_pyproject_and_open_files_that_exist():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    address = re.search(r'^Source = "https://github.com/([^"]+)"$', project, re.MULTILINE)[1]
    text = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    links = re.findall(r"https://mybinder\.org/v2/gh/([\w./-]+)/HEAD\?urlpath=lab/tree/([\w./]+)", text)
    assert len(links) >= 2
    assert {repository for repository, _ in links} == {address}
    assert [path for _, path in links if not (ROOT / path).is_file()] == []


def test_every_example_is_listed():
    notebooks = {p.name for p in (ROOT / "examples").glob("*.ipynb") if ".executed." not in p.name}
    listed = set(re.findall(r"\]\((\w+\.ipynb)\)", (ROOT / "examples/README.md").read_text(encoding="utf-8")))
    assert listed == notebooks


def test_the_causes_in_the_readme_are_the_pages_with_their_titles():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\[([^\]]+)\]\(jupyter_lossacc/causes/(\w+)\.md\)", text)
    assert {name for _, name in named} >= set(DEMOS)
    assert [(title, name) for title, name in named if page(name).title != title] == []
