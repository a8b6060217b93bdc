"""The demos of the causes, each trained once per test session."""

from __future__ import annotations

from functools import cache

import torch

import jupyter_lossacc as la
from jupyter_lossacc.magic.demos import DEMOS
from tests.views.states import Shown

__all__ = ["cause_state", "demo"]


@cache
def demo(cause: str) -> la.Run:
    """The run of ``%lossacc demo CAUSE``."""
    with torch.random.fork_rng(), la.record(f"demo {cause}", store="none", view="none"):
        exec(compile(DEMOS[cause].source, "demo", "exec"), {})
    return la.last_run()


def cause_state(cause: str) -> Shown:
    """What the panel shows where `cause` is the answer."""
    run = demo(cause)
    return Shown(run.recording, run.episodes, run.diagnose(), run.checkpoint)
