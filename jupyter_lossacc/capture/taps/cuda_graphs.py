"""CUDA graphs: what is captured into one is not recorded.

Nothing is computed while a graph is captured, so there is nothing to read, and whatever we launched or
asked the device meanwhile would become part of the user's graph or break it. Its replays run without
Python: no tap sees them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.taps.journal import Journal
    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["install_cuda_graphs"]

_SENTENCE = (
    "Part of the training was captured in a CUDA graph, whose replays run without Python: their losses and "
    "steps are not seen. Way out: train without the graph, or hand batches over with recorder.log_batch(...)."
)


def install_cuda_graphs(patches: Patches, journal: Journal, limit: Callable[[str], None]) -> None:
    """Close the journal while ``torch.cuda.CUDAGraph`` captures; `limit` says what is missing then."""
    kind: Any = getattr(torch.cuda, "CUDAGraph", None)
    if kind is None:
        return
    closed: list[object] = []  # graphs that are being captured, and closed the journal

    def make_begin(original: Callable[..., Any]) -> Callable[..., Any]:
        def capture_begin(graph: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(graph, *args, **kwargs)
            if journal.here():
                journal.open, journal.missed = False, 0
                closed.append(graph)
            return result

        return capture_begin

    def make_end(original: Callable[..., Any]) -> Callable[..., Any]:
        def capture_end(graph: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(graph, *args, **kwargs)
            finally:
                if closed and closed[-1] is graph:
                    closed.clear()
                    journal.open = True
                    try:
                        if journal.missed:  # not where a compiler captures what is inside the model
                            limit(_SENTENCE)
                    except Exception as error:
                        journal.contain("graphs", error)

        return capture_end

    patches.attribute(kind, "capture_begin", make_begin)
    patches.attribute(kind, "capture_end", make_end)
    patches.callback(closed.clear)
