"""Taps on backward: which losses were trained on.

A loss belongs to training if and only if it is an ancestor of what backward was called on. The
graph is matched by autograd's sequence numbers, plain integers that keep no graph alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jupyter_lossacc.capture.taps.journal import BACKWARD, Journal, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["MANY", "forget_old", "install_backward"]

_MAX_NODES = 4000
_LEAF = 1 << 62  # nodes that accumulate gradients are numbered from here
_MAX_PENDING = 4096
MANY = 8  # losses that wait for backward: more than a step has


def install_backward(patches: Patches, journal: Journal) -> None:
    """Tap ``torch.autograd.backward`` (so ``Tensor.backward``) and ``torch.autograd.grad``."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def tap(roots: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            lane = journal.lane
            try:
                known = lane is not None and journal.open and lane.backward(roots)
                if not known and journal.here():
                    _note(journal, roots)
            except Exception as error:
                journal.lane = None
                journal.contain("backward", error)
            return original(roots, *args, **kwargs)

        return tap

    patches.code(torch.autograd.backward, make)
    patches.code(torch.autograd.grad, make)


def _note(journal: Journal, roots: Any) -> None:
    """Entry: (BACKWARD, numbers of the losses under the roots, root or None, inside a closure).

    The root is None when it is the one loss itself.
    """
    pending = journal.pending
    if journal.learner is not None:
        journal.learner.learn(roots)
    if isinstance(roots, Tensor):
        if not is_plain(roots):
            return  # a compiler tracing its graph
        node = roots.grad_fn
        number = node._sequence_nr() if node is not None else -1
        if pending.pop(number, None) is not None:
            journal.entries.append((BACKWARD, (number,), None, journal.inside_step > 0))
            return
        found = _ancestors(pending, (node,))
        journal.entries.append((BACKWARD, found, roots.detach(), journal.inside_step > 0))
        return
    tensors = [root for root in roots if isinstance(root, Tensor) and is_plain(root)]
    if not tensors:
        return
    found = _ancestors(pending, (root.grad_fn for root in tensors))
    root = tensors[0].detach() if len(tensors) == 1 else None
    journal.entries.append((BACKWARD, found, root, journal.inside_step > 0))


def _ancestors(pending: dict[int, int], nodes: Iterable[Any]) -> tuple[int, ...]:
    """Numbers of pending losses that the graph above `nodes` contains; they stop being pending."""
    if not pending:
        return ()
    while len(pending) > _MAX_PENDING:
        del pending[next(iter(pending))]
    lowest = min(pending)
    found: list[int] = []
    seen: set[int] = set()
    stack = [node for node in nodes if node is not None]
    while stack and pending and len(seen) < _MAX_NODES:
        node = stack.pop()
        number = node._sequence_nr()
        if pending.pop(number, None) is not None:
            found.append(number)
            continue
        for parent, _ in node.next_functions:
            if parent is None:
                continue
            above = parent._sequence_nr()
            if lowest <= above < _LEAF and above not in seen:
                seen.add(above)
                stack.append(parent)
    return tuple(found)


def forget_old(journal: Journal, steps: int = 2) -> None:
    """Stop waiting for losses that were not trained on: no gradient reached them for `steps` steps."""
    limit = journal.n_steps - steps
    for number in [n for n, step in journal.pending.items() if step < limit]:
        del journal.pending[number]
