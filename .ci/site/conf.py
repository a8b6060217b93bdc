"""The documentation as a site: the same Markdown files that GitHub and the panel show, and the API reference.

`make site` builds it into build/site. The source directory is the repository, so that links between
files mean the same here and there.
"""

from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

project = "jupyter_lossacc"
author = "The jupyter_lossacc developers"
release = version = installed_version("jupyter_lossacc")
html_theme = "furo"
html_title = "jupyter_lossacc"
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "examples/README.md",
    "jupyter_lossacc/causes/**.md",
    "tests/**/README.md",
    ".ci/site/*.md",
]
exclude_patterns = ["**/node_modules"]
source_suffix = {".md": "markdown"}

nitpicky = False  # types are words with shapes and units, not names to look up
myst_heading_anchors = 3
myst_links_external_new_tab = True
suppress_warnings = ["myst.header"]  # a glossary begins where its words begin
autodoc_typehints = "none"  # the types stand in the docstrings, with shapes and units
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

# What stands on the left beside every page; on GitHub the links in the text do the same.
CONTENTS = """
```{toctree}
:hidden:
:caption: Explanations

jupyter_lossacc/causes/README
jupyter_lossacc/causes/glossary
```

```{toctree}
:hidden:
:caption: Reference

.ci/site/api
examples/README
tests/studies/README
tests/battery/README
tests/capture/README
CONTRIBUTING
CHANGELOG
```
"""
PAGES = """
```{toctree}
:hidden:
:glob:

episodes/*
*
```
"""


def add_contents(_app: Sphinx, name: str, source: list[str]) -> None:
    """Give the two index files a table of contents, which GitHub would show as code."""
    if name == root_doc:
        source[0] += CONTENTS
    elif name == "jupyter_lossacc/causes/README":
        source[0] += PAGES


def add_front_door(app: Sphinx, error: Exception | None) -> None:
    """Let the site's address lead to the README."""
    if error is None:
        page = '<!doctype html><title>lossacc</title><meta http-equiv="refresh" content="0; url=README.html">'
        (Path(app.outdir) / "index.html").write_text(page.replace("><", ">\n<"), encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Connect what this site adds to Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("build-finished", add_front_door)
