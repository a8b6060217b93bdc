"""Training steps that look like the ones before, noted as one entry instead of four.

Where steps are short, recording every sample would cost more than the step (`Governor`), and what is
left to note is small: what the criterion returned, and what the optimiser did. The rules say what the
last step looked like. A step that goes the same way is written into one entry while it happens; where
it turns out differently, that entry still holds all that the ordinary ones would.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jupyter_lossacc.capture.taps.journal import BACKWARD, BATCH, LOSS, PICKED, PLAIN, Entry, Journal

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from jupyter_lossacc.capture.taps.loaders import Batch, LoaderPass

__all__ = ["Lane", "PlainStep", "n_noted"]

_transform: Callable[[], Any] = torch._C._functorch.peek_interpreter_stack
_thread = threading.get_ident


@dataclass(eq=False, slots=True)
class PlainStep:
    """What (PLAIN, PlainStep) is about; `trained` and `step` follow while the step goes on."""

    lane: Lane
    batch: Batch | None
    number: int  # autograd sequence number of the loss
    logits: Tensor | None  # let go when the step is over
    rest: tuple[Any, ...]  # target and parameters of the criterion
    output: Tensor
    version: int
    target_version: int
    training: bool | None
    trained: bool = False  # backward began at the loss
    step: Entry | None = None

    @property
    def usual(self) -> bool:
        """Whether it went to its end, and neither its targets nor its value were written into since."""
        unchanged = self.rest[0]._version == self.target_version and not self.output._version
        return self.step is not None and unchanged

    def parts(self) -> list[Entry]:
        """Return it as ordinary entries, as far as it went."""
        # Without predictions its targets or its value were changed since: nobody will look at either.
        logits = self.output if self.logits is None else self.logits
        head = (LOSS, self.lane.name, self.number, logits, self.rest, self.output)
        parts: list[Entry] = [] if self.batch is None else [(BATCH, self.batch)]
        parts.append((*head, self.version, self.target_version, self.training))
        if self.trained:
            parts.append((BACKWARD, (self.number,), None, False))
        return parts if self.step is None else [*parts, self.step]


class Lane:
    """Notes steps that look like a known one.

    Parameters
    ----------
    journal : Journal
    pattern : object
        What the steps look like, for those who read the entries.
    call : tuple of (str, tuple)
        Name of the criterion, and its arguments after input and target; none of them is a tensor.
    optimizer : int
    source : LoaderPass, optional
        What the batches come from.
    target : weakref to Tensor, optional
        Without a loader: the targets of the whole set, which every step trains on.
    copied : bool
        Whether targets are copies of a batch's, of which only their number tells.
    takes : callable
        Whether the next batch is recorded sample by sample.
    """

    def __init__(
        self,
        journal: Journal,
        pattern: Any,
        call: tuple[str, tuple[Any, ...]],
        optimizer: int,
        source: LoaderPass | None,
        target: weakref.ref[Tensor] | None,
        copied: bool,
        takes: Callable[[], bool],
    ) -> None:
        self.journal, self.pattern, self.optimizer, self.takes = journal, pattern, optimizer, takes
        self.name, self._parameters = call
        self._source, self._target, self._copied = source, target, copied
        self._entry: tuple[int, PlainStep] | None = None  # of the step that goes on

    def loss(self, name: str, args: tuple[Any, ...], output: Tensor) -> bool:
        """Note a call of a criterion, if it looks like that of the known step; else do nothing."""
        journal, logits, target = self.journal, args[0], args[1]
        if (
            args[2:] != self._parameters
            or name != self.name
            or type(logits) is not Tensor
            or type(target) is not Tensor
            or target.dim() != 1
            or journal.no_grad
            or journal.hold
            or not output.requires_grad
            or _thread() != journal.owner
            or _transform() is not None
        ):
            return False
        batch = None
        if self._source is not None:
            batch = self._batch(target)
            if batch is None:
                return False
        elif self._target is None or self._target() is not target:
            return False
        if self.takes():
            journal.entries.append((PICKED,))
            return False
        number: int = output.grad_fn._sequence_nr()  # type: ignore[union-attr]
        journal.pending[number] = journal.n_steps
        journal.n_losses += 1
        model = None if journal.model is None else journal.model()
        training = journal.mode if model is None else model.training
        rest, versions = args[1:], (logits._version, target._version)
        value = output.detach().clone() if journal.copies else output.detach()
        step = PlainStep(self, batch, number, logits.detach(), rest, value, *versions, training)
        self._entry = (PLAIN, step)
        if batch is None:
            journal.entries.append(self._entry)
        else:
            journal.entries[-1] = self._entry  # instead of the batch alone
        return True

    def _batch(self, target: Tensor) -> Batch | None:
        """Return the batch of which `target` is all labels, if nothing was noted since it was given."""
        entries = self.journal.entries
        if not entries or entries[-1][0] != BATCH:
            return None
        batch: Batch = entries[-1][1]
        if batch.source is not self._source or batch.indices is None or target.numel() != batch.size:
            return None
        if target._version:
            return None  # it may be a buffer for every batch in turn
        if self._copied:
            return batch
        for leaf in batch.leaves:
            if leaf is target or _same(leaf, target):
                return batch
        return None

    def backward(self, root: Any) -> bool:
        """Note that backward begins at the loss noted last; else do nothing."""
        entry, journal = self._entry, self.journal
        entries = journal.entries
        if entry is None or not entries or entries[-1] is not entry or journal.inside_step:
            return False
        step = entry[1]
        if step.trained or type(root) is not Tensor or root.grad_fn is None:
            return False
        if root.grad_fn._sequence_nr() != step.number:
            return False
        journal.pending.pop(step.number, None)
        step.trained = True
        return True

    def step(self, noted: Entry) -> bool:
        """Note the step of an optimiser, `noted` as its own entry, after that backward; else do nothing."""
        entry, self._entry = self._entry, None
        entries = self.journal.entries
        if entry is None or not entries or entries[-1] is not entry:
            return False
        step = entry[1]
        if not step.trained or noted[1] != self.optimizer:
            return False
        step.step, step.logits = noted, None
        return True


def n_noted(entry: Entry) -> int:
    """Count what an entry notes: batch, loss, backward and step are one each."""
    return 4 if entry[0] == PLAIN else 1


def _same(leaf: Tensor, target: Tensor) -> bool:
    """Whether `target` is another view of all that `leaf` holds."""
    return (
        leaf.data_ptr() == target.data_ptr() != 0
        and leaf.numel() == target.numel()
        and leaf.is_contiguous()
        and target.is_contiguous()
    )
