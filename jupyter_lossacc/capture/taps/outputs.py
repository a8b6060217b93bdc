"""Tap on the output of the trained module: for losses that torch does not know.

A criterion written by hand leaves no trace of its own. What the module returned, the targets of the
batch and the value that backward starts from are enough to record it. The same tap sees evaluation
loops that compute no loss at all.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Mapping
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from jupyter_lossacc.capture.taps.attacks import AttackWatch
from jupyter_lossacc.capture.taps.fingerprints import row_fingerprints
from jupyter_lossacc.capture.taps.journal import ATTACK, BATCH, INDEX, INPUT, OUTPUT, Journal, is_plain
from jupyter_lossacc.capture.taps.models import labels_ignored
from jupyter_lossacc.capture.taps.scripting import hide_hooks_from_scripting
from jupyter_lossacc.capture.taps.units import UnitTaps

if TYPE_CHECKING:
    from types import FrameType

    from torch.nn import Module

    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["OutputTaps"]

_LATELY = 4  # entries within which a batch was given that an output is of
_AT_ONCE, _SELDOM = 16, 0.2  # looks for accuracies from tensors: the first ones; seconds between others
_CUTS = 12  # entries in which they are looked for
_COVERED = 8  # trained losses seen after which outputs in training are not needed any more


class OutputTaps:
    """Forward hooks on the modules that are trained."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.units = UnitTaps(journal, _first_tensor)
        self.n_covered = 0
        self.n_classes = 0  # that are trained on, as far as known
        self.watching = False  # the loader gives data that were not trained on: no loss may follow
        self._n_looks, self._looked = 0, 0.0
        self._patches: Patches | None = None
        self._hooked: weakref.WeakSet[Module] = weakref.WeakSet()
        self.called: weakref.WeakSet[Module] = weakref.WeakSet()  # those whose outputs were seen

    def install(self, patches: Patches) -> None:
        """Allow modules to be hooked until `patches` are undone."""
        self._patches = patches
        hide_hooks_from_scripting(patches)

    def attach(self, module: Module) -> None:
        """Put a hook on one module, once."""
        compiled = module.__dict__.get("_compiled_call_impl") is not None  # its hooks would be traced
        if self._patches is None or module in self._hooked or compiled:
            return
        self._hooked.add(module)
        self._patches.callback(module.register_forward_hook(_Hook(self, module)).remove)
        self.units.attach(module, self._patches)

    def covered(self) -> None:
        """Note that a known loss was trained on."""
        self.n_covered += 1

    def keep_watching(self) -> None:
        """Note outputs that are trained on from now on: accuracies are computed from them."""
        self.watching = True

    def note(self, module: Module, inputs: Any, output: Any, *, copied: bool = False) -> None:
        """Entry: (OUTPUT, output, version, whether it may be trained on, module.training, `copied`).

        With a graph, and yet on data that were not trained on so far, that is None: not known.
        """
        journal = self.journal
        if module not in self.called:
            self.called.add(module)
        tensor = _first_tensor(output, self.n_classes)
        if tensor is None:
            return
        if not tensor.requires_grad:
            self.look_at_labels(sys._getframe(1))
        graph = tensor.requires_grad
        if journal.source is None:
            self.flush_accuracies()
        if journal.wants_inputs:
            self.note_input(inputs, tensor)
        if graph and journal.learner is not None:
            journal.learner.arm()
        if graph and self.n_covered >= _COVERED and not self.watching:
            return
        if tensor.is_inference():
            version, tensor = -1, tensor.clone()
        else:
            version, tensor = tensor._version, tensor.detach()
        journal.n_bytes += tensor.nbytes
        trained = None if graph and self.watching else graph
        journal.entries.append((OUTPUT, tensor, version, trained, module.training, copied))

    def flush_accuracies(self) -> None:
        """Hand over accuracies computed from tensors alone: no loss and no loader tells that a pass is over.

        The first ones at once: what masks are called is found as long as the user's frames hold them.
        """
        now = monotonic()
        if self._n_looks >= _AT_ONCE and now - self._looked < _SELDOM:
            return
        self._n_looks, self._looked = self._n_looks + 1, now
        lately = [e for e in self.journal.entries[-_CUTS:] if e[0] == INDEX and not e[1].is_floating_point()]
        again = any(a[3] is b[3] for a, b in pairwise(lately))  # predictions and labels
        if again or any(entry[1].dtype is torch.bool for entry in lately):
            self.journal.flush()

    def note_attack(self, watch: AttackWatch, given: Tensor) -> None:
        """Entry: (ATTACK,): the next loss is that of an input whose own gradient is asked for."""
        try:
            if watch.sees(given):
                self.journal.entries.append((ATTACK,))
                self.journal.n_light += 1
        except Exception as error:
            self.journal.contain("attack", error)

    def look_at_labels(self, frame: FrameType) -> None:
        """Note at the first batch of an evaluation whether the user throws its labels away."""
        last = next((e[1] for e in reversed(self.journal.entries[-_LATELY:]) if e[0] == BATCH), None)
        if last is not None and not last.number:
            last.source.unlabelled = labels_ignored(last.leaves, frame)

    def note_input(self, inputs: Any, output: Tensor) -> None:
        """Entry: (INPUT, fingerprints of the rows, memory of the output, their length); without loaders."""
        given = next((v for v in inputs if isinstance(v, Tensor) and is_plain(v)), None)
        with torch.no_grad():
            prints = None if given is None else row_fingerprints(given)
        if prints is not None:
            length = given.shape[1] if given is not None and given.dim() > 1 else 1
            self.journal.entries.append((INPUT, prints, output.untyped_storage().data_ptr(), length))
            self.journal.n_light += 1


class _Hook:
    """A forward hook that copies and pickles into one that does nothing, without naming us."""

    def __init__(self, taps: OutputTaps, module: Module) -> None:
        self.taps = taps
        known = taps.journal.model is not None and taps.journal.model() is module
        self.model, self.mode_layers = weakref.ref(module), taps.journal.mode_layers if known else None
        self.copied = not known  # built like the trained module, and not trained itself
        self.attacks = AttackWatch()
        self.seen = False  # the module is among those whose outputs were seen

    def __call__(self, module: Module, inputs: Any, output: Any) -> None:
        if is_dynamo_compiling():
            return  # constant for a compiler, which then sees an empty hook
        taps, journal = self.taps, self.taps.journal
        if journal.open and journal.model is not self.model:  # of models trained in turn, this one answers
            journal.model, journal.mode_layers = self.model, self.mode_layers
        if inputs and type(inputs[0]) is Tensor and inputs[0].requires_grad and journal.here():
            taps.note_attack(self.attacks, inputs[0])
        trained = type(output) is Tensor and output.requires_grad and self.seen
        known = taps.n_covered >= _COVERED and not taps.watching
        if trained and known and journal.learner is None and not journal.wants_inputs:
            return  # most steps of most trainings end here
        if journal.here():
            self.seen = True
            try:
                taps.note(module, inputs, output, copied=self.copied)
            except Exception as error:
                journal.contain("output", error)

    def __reduce__(self) -> tuple[Any, ...]:
        return (getattr, (contextlib.nullcontext(), "__exit__"))


def _first_tensor(output: Any, n_classes: int = 0) -> Tensor | None:
    """Predictions in what a module returns: ``logits`` if it names them, else its first float tensor.

    Of several, the first that is as wide as what is trained on (0 classes: not known).
    """
    if isinstance(output, Mapping):
        named = output.get("logits")
        output = [named] if named is not None else list(output.values())
    given = output if isinstance(output, (tuple, list)) else (output,)
    found = [
        v.as_subclass(Tensor)
        for v in given
        if isinstance(v, Tensor) and is_plain(v) and v.is_floating_point() and v.dim()
    ]
    as_wide = [v for v in found if n_classes and v.dim() > 1 and v.shape[1] == n_classes]
    return next(iter((*as_wide, *found)), None)
