"""The examples in docstrings do what they say."""

import doctest
import importlib
import pkgutil

import pytest

import jupyter_lossacc

MODULES = sorted(m.name for m in pkgutil.walk_packages(jupyter_lossacc.__path__, "jupyter_lossacc."))


def examples(name):
    """Doctests of a module that can run here: some only show how a notebook looks."""
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    return [t for t in found if any(doctest.SKIP not in e.options for e in t.examples)]


@pytest.mark.parametrize("name", [n for n in MODULES if examples(n)])
def test_docstring_examples(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples(name):
        runner.run(test)
    assert runner.tries > 0
    assert runner.failures == 0
