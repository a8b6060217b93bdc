"""Inputs made to mislead: the model is given a sample plus something whose own gradient is asked for.

The loss of such a forward pass is a step of the attack (FGSM, PGD), and not what the batch is trained
or evaluated on, where another loss on the same batch follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AttackWatch"]

_MAX_NODES = 24
_CLEAN = 8  # inputs with a graph that come from other weights, after which nobody looks any more


class AttackWatch:
    """Tells inputs that an attack changes from those that another module made."""

    def __init__(self) -> None:
        self._n_clean = 0

    def sees(self, given: Tensor) -> bool:
        """Whether an input with a graph is one whose own gradient is asked for."""
        if self._n_clean >= _CLEAN:
            return False
        attacked = _is_leaf_of_its_own(given)
        self._n_clean = 0 if attacked else self._n_clean + 1
        return attacked


def _is_leaf_of_its_own(given: Tensor) -> bool:
    """Whether the first leaf above an input is no weight, and as long as the batch."""
    if given.grad_fn is None:
        return not isinstance(given, Parameter)
    nodes = [given.grad_fn]
    for _ in range(_MAX_NODES):
        if not nodes:
            return False
        node = nodes.pop(0)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            alike = leaf.dim() > 0 and given.dim() > 0 and len(leaf) in (1, len(given))
            return not isinstance(leaf, Parameter) and alike
        nodes += [parent for parent, _ in node.next_functions if parent is not None]
    return False
