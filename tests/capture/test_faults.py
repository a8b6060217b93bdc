"""A failure anywhere in capture is one warning and one limit; the training does not notice."""

from __future__ import annotations

import warnings
from contextlib import suppress
from types import CodeType
from typing import Any

import pytest

from jupyter_lossacc.capture import capture as capture_module
from jupyter_lossacc.capture.capture import Capture
from jupyter_lossacc.capture.taps.indexing import IndexTap
from jupyter_lossacc.capture.taps.journal import Journal
from jupyter_lossacc.capture.taps.loaders import _Taps
from jupyter_lossacc.capture.taps.losses import _keep_scriptable
from jupyter_lossacc.capture.taps.optimizers import OptimizerTaps
from jupyter_lossacc.capture.taps.outputs import _Hook
from jupyter_lossacc.capture.taps.patches import Patches
from jupyter_lossacc.capture.taps.stopping import Stopper
from jupyter_lossacc.capture.taps.units import _After, _Before, _Once
from jupyter_lossacc.errors import LossAccWarning
from tests.capture.injection import InjectedError, failing, functions_called, name_of, same, small_training
from tests.capture.torch_state import changed, torch_state
from tests.capture.truth import Sink

# What stands between the user's call and torch: guards, which do nothing that can fail.
GUARDS: set[CodeType] = {
    function.__code__
    for function in (
        Journal.here,
        _Hook.__call__,
        _Before.__call__,
        _After.__call__,
        _Once.__call__,
        OptimizerTaps.before,
        OptimizerTaps.after,
        Stopper.before,  # raises on purpose when the user stops
        Stopper.after,
        IndexTap._note,  # the whole body is guarded, as in those below
        _Taps.end,
        Capture.__exit__,
        Capture._contain,
    )
} | {
    # A single undoing that fails leaves its one patch; a callback of a dead iterator cannot reach anybody.
    made
    for function in (_Taps.begin, Patches.attribute, Patches.code, _keep_scriptable)
    for made in function.__code__.co_consts
    if isinstance(made, CodeType)
}


@pytest.fixture(scope="module")
def reached() -> list[CodeType]:
    """Functions that run between the beginning and the end of a recording, taps left out."""
    taps: set[CodeType] = set()
    plain = Patches.attribute, Patches.code

    def noting(original: Any) -> Any:
        def patch(self: Any, *args: Any) -> None:
            def make(before: Any) -> Any:
                tap = args[-1](before)
                taps.add(tap.__code__)
                return tap

            original(self, *args[:-1], make)

        return patch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Patches, "attribute", noting(plain[0]))
        patch.setattr(Patches, "code", noting(plain[1]))
        with Capture(Sink()):
            small_training()
    with Capture(Sink()):  # what is called while patches are made is `record`'s to contain
        found = functions_called(small_training, "capture")
    capture = Capture(Sink()).__enter__()
    small_training()
    found += functions_called(lambda: capture.__exit__(None, None, None), "capture")
    return [code for code in dict.fromkeys(found) if code not in taps and code not in GUARDS]


def test_every_function_may_fail(reached: list[CodeType]) -> None:
    assert len(reached) > 100
    bare, clean = small_training(), torch_state()
    wrong: dict[str, Any] = {}
    for code in reached:
        sink = Sink()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got: Any = "an error came through"
            capture = Capture(sink).__enter__()
            trained: Any = "an error came through"
            with failing(code) as hit:
                with suppress(InjectedError):
                    trained = small_training()
                with suppress(InjectedError):
                    capture.__exit__(None, None, None)
                    got = trained
            capture_module._active.clear()
        said = [w for w in caught if w.category is LossAccWarning and "injected" in str(w.message)]
        outcome = (
            same(bare, got),
            bool(hit),
            len(said),
            len([line for line in sink.limits if "injected" in line]),
            changed(clean),
        )
        if outcome != (True, True, 1, 1, []):
            wrong[name_of(code)] = outcome
            clean = torch_state()  # what it left is its own fault, not that of the next
    assert not wrong, "\n".join(f"{name}: {outcome}" for name, outcome in wrong.items())
