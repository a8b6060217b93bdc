"""The names a notebook relies on: all there, all documented, and light to import."""

import inspect
import subprocess
import sys

import pytest

import jupyter_lossacc as la

CONTRACT = {
    *("record", "last_run", "list_runs", "load_run", "explain", "delete_run"),
    *(
        "Run",
        "Recorder",
        "Page",
        "Episode",
        "Diagnosis",
        "Finding",
        "Evidence",
        "Counterfactual",
        "Experiment",
    ),
    *("CheckpointAdvice", "Alternative", "Estimate"),
    *(
        "LossAccError",
        "LossAccWarning",
        "CaptureError",
        "StoreError",
        "RunNotFoundError",
        "StoreVersionError",
    ),
    *("DiagnosisError", "StopTraining"),
}
RUN = {
    *("metrics", "steps", "samples", "classes", "episodes", "diagnose", "decompose", "checkpoint", "restore"),
    *("limits", "figure", "report", "to_html"),
}
LOAD = """\
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance().run_line_magic("load_ext", "jupyter_lossacc")"""
HEAVY = ("torch", "pandas", "matplotlib")


def test_exactly_the_agreed_names_are_public():
    assert set(la.__all__) == CONTRACT
    assert len(la.__all__) == len(set(la.__all__))


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_a_public_name_exists_and_is_documented(name):
    assert inspect.getdoc(getattr(la, name))


def test_a_run_answers_what_the_contract_lists():
    assert set(dir(la.Run)) >= RUN


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        la.unknown  # noqa: B018


def test_the_version_is_that_of_the_package():
    assert la.__version__.count(".") >= 2


@pytest.mark.parametrize(
    "code",
    ["import jupyter_lossacc", LOAD],
    ids=["import", "load_ext"],
)
def test_nothing_heavy_is_loaded(code):
    """In a process of its own: this one has loaded everything."""
    check = f"import sys\n{code}\nprint([m for m in {HEAVY} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_option_of_the_magic_exists_in_python():
    from jupyter_lossacc.magic.options import cell_parser

    options = {action.dest for action in cell_parser()._actions} - {"help"}
    assert options <= set(inspect.signature(la.record).parameters)
