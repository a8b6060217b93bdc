"""What the documents promise exists: links, make targets, options and commands."""

import re
from pathlib import Path

import pytest

from jupyter_lossacc.magic.options import cell_parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
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
