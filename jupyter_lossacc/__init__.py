"""Watch a PyTorch classifier train in a notebook and explain loss against accuracy.

``%load_ext jupyter_lossacc``, then ``%%lossacc`` above an unchanged training cell; in scripts
``with jupyter_lossacc.record("name"): train(model)``. Names are loaded when first used, so that
importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_lossacc.causes.pages import Page
    from jupyter_lossacc.causes.pages import page as explain
    from jupyter_lossacc.errors import (
        CaptureError,
        DiagnosisError,
        LossAccError,
        LossAccWarning,
        RunNotFoundError,
        StopTraining,
        StoreError,
        StoreVersionError,
    )
    from jupyter_lossacc.records import (
        Alternative,
        CheckpointAdvice,
        Counterfactual,
        Diagnosis,
        Episode,
        Evidence,
        Experiment,
        Finding,
    )
    from jupyter_lossacc.run import Run
    from jupyter_lossacc.session import Recorder, delete_run, last_run, list_runs, load_run, record
    from jupyter_lossacc.stats.estimate import Estimate

_HOMES = {
    "jupyter_lossacc.session": ("Recorder", "delete_run", "last_run", "list_runs", "load_run", "record"),
    "jupyter_lossacc.run": ("Run",),
    "jupyter_lossacc.stats.estimate": ("Estimate",),
    "jupyter_lossacc.records": (
        "Alternative",
        "CheckpointAdvice",
        "Counterfactual",
        "Diagnosis",
        "Episode",
        "Evidence",
        "Experiment",
        "Finding",
    ),
    "jupyter_lossacc.causes.pages": ("Page",),
    "jupyter_lossacc.errors": (
        "CaptureError",
        "DiagnosisError",
        "LossAccError",
        "LossAccWarning",
        "RunNotFoundError",
        "StopTraining",
        "StoreError",
        "StoreVersionError",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Alternative",
    "CaptureError",
    "CheckpointAdvice",
    "Counterfactual",
    "Diagnosis",
    "DiagnosisError",
    "Episode",
    "Estimate",
    "Evidence",
    "Experiment",
    "Finding",
    "LossAccError",
    "LossAccWarning",
    "Page",
    "Recorder",
    "Run",
    "RunNotFoundError",
    "StopTraining",
    "StoreError",
    "StoreVersionError",
    "delete_run",
    "explain",
    "last_run",
    "list_runs",
    "load_run",
    "record",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home module (PEP 562)."""
    if name == "__version__":
        return import_module("importlib.metadata").version("jupyter_lossacc")
    if name == "explain":
        return import_module("jupyter_lossacc.causes.pages").page
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    """List the public names without loading them."""
    return sorted([*__all__, "__version__", "load_ipython_extension", "unload_ipython_extension"])


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Make ``%%lossacc`` and ``%lossacc`` known to the notebook (``%load_ext jupyter_lossacc``)."""
    from jupyter_lossacc import magic

    magic.load(ip)


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """Remove them again (``%unload_ext jupyter_lossacc``)."""
    from jupyter_lossacc import magic

    magic.unload(ip)
