"""Processes: those that the watched code starts, forks of this one, and the group it trains in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.multiprocessing

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.taps.journal import Journal
    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["Wrap", "forget_in_forks", "install_processes", "process_group"]


class Wrap(Protocol):
    """Makes what a started process runs into something that records while it runs."""

    def __call__(self, entry: Callable[..., Any], start_method: str) -> Callable[..., Any]:
        """Return what to run instead; it is pickled unless the process is forked."""


def install_processes(patches: Patches, journal: Journal, wrap: Wrap) -> None:
    """Tap ``torch.multiprocessing.start_processes``: spawn, where all launchers end."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def tap(fn: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if journal.open:
                try:
                    method = kwargs.get("start_method", args[4] if len(args) > 4 else "spawn")
                    fn = wrap(fn, method)
                except Exception as error:
                    journal.contain("processes", error)
            return original(fn, *args, **kwargs)

        return tap

    patches.code(torch.multiprocessing.start_processes, make)  # type: ignore[attr-defined]


def forget_in_forks(forget: Callable[[], None]) -> None:
    """Call `forget` in every process forked from this one, before any of its own code.

    Such a process (a loader's worker, a rank) inherits what is patched but none of the threads that
    write the recording.
    """
    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=forget)


def process_group() -> tuple[int, int]:
    """Return rank and number of processes that train together; (0, 1) for a training on its own."""
    group: Any = torch.distributed
    if not group.is_available() or not group.is_initialized():
        return 0, 1
    return int(group.get_rank()), int(group.get_world_size())
