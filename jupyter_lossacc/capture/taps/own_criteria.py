"""Criteria written by the user: found while the first batches are trained on, then watched.

What backward starts from says which of the user's functions is the criterion: the one that was
called on predictions and returned that value (or one from which it was divided, scaled or
averaged). From then on its return values are noted, so that its own value is known in evaluation
too, where no backward follows.
"""

from __future__ import annotations

import functools
import gc
import site
import sys
import sysconfig
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from jupyter_lossacc.capture.taps.journal import CRITERION, LOSS, Journal, is_plain
from jupyter_lossacc.capture.taps.losses import at_rest, note_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["CriterionLearner"]

_BATCHES = 16  # trained batches looked at, at most
_CERTAIN = 2  # batches in a row that need nothing learned, after which nobody looks any more
_MAX_NODES = 256  # of the graph between backward's root and the criterion
_LARGEST = 64  # arguments of a call that are looked at
_FOREIGN = (
    str(Path(torch.__file__).parent),
    str(Path(__file__).parents[2]),
    "<frozen",
)
_STDLIB = sysconfig.get_paths()["stdlib"]
_SITES = (*site.getsitepackages(), sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"])


@functools.lru_cache(maxsize=4096)
def _foreign(filename: str) -> bool:
    """Whether code is torch's, ours or the standard library's: no criterion of a user's."""
    if filename.startswith(_FOREIGN):
        return True
    return filename.startswith(_STDLIB) and not filename.startswith(_SITES)


@dataclass(slots=True)
class _Given:
    """A call on predictions: where it stands, and what it was given."""

    began: int  # place among all such calls
    n_before: int  # losses of torch waiting for backward when it was called
    names: tuple[str, str] | None  # of the predictions and the targets among its arguments
    tensors: tuple[Tensor, Tensor] | None


@dataclass(slots=True)
class _Returned:
    """A call on predictions that returned a value with a graph."""

    code: types.CodeType
    given: _Given
    number: int  # autograd sequence number of what it returned
    n_after: int  # losses of torch waiting for backward when it returned
    value: Tensor


class CriterionLearner:
    """Looks at the functions called between a model's output and backward, for the first batches.

    Parameters
    ----------
    journal : Journal
    patches : Patches
        Undo what is watched.
    """

    def __init__(self, journal: Journal, patches: Patches) -> None:
        self.journal, self.patches = journal, patches
        self._hook: Callable[..., None] = self._profile
        self._n_batches = self._n_certain = self._n_calls = 0
        self._calls: dict[int, _Given] = {}
        self._returned: list[_Returned] = []
        self._watched: set[types.CodeType] = set()
        self._fired = False  # a watched criterion returned since the last backward
        patches.callback(self.disarm)

    def arm(self) -> None:
        """Begin to look, at the output of a model that has a graph."""
        self._calls.clear()
        self._returned.clear()
        if sys.getprofile() is None:
            sys.setprofile(self._hook)

    def disarm(self) -> None:
        """Stop looking; a profiler of the user's stays."""
        if sys.getprofile() is self._hook:
            sys.setprofile(None)
        self._calls.clear()
        self._returned.clear()

    def learn(self, roots: Any) -> None:
        """Look for the criterion, at the beginning of backward."""
        if sys.getprofile() is self._hook:
            sys.setprofile(None)
        root = roots if isinstance(roots, Tensor) else next((r for r in roots if isinstance(r, Tensor)), None)
        fired, self._fired = self._fired, False
        if root is not None and is_plain(root) and root.grad_fn is not None:
            itself = root.grad_fn._sequence_nr() in self.journal.pending
            found = None if itself or fired else self._criterion(root)
            if found is not None:
                self._note_first(found)
                self._watch(found)
            certain = itself or fired or found is not None
            self._n_certain = self._n_certain + 1 if certain else 0
            self._n_batches += 1
        self._calls.clear()
        self._returned.clear()
        if self._n_certain >= _CERTAIN or self._n_batches >= _BATCHES:
            self.journal.learner = None

    def _profile(self, frame: types.FrameType, event: str, value: Any) -> None:
        if event == "call":
            code = frame.f_code  # a tensor class's own dispatch sees every operation and is no criterion
            if not _foreign(code.co_filename) and code.co_name != "__torch_function__":
                given = _given(frame, self._n_calls, len(self.journal.pending))
                if given is not None:
                    self._n_calls += 1
                    self._calls[id(frame)] = given
        elif event == "return":
            given = self._calls.pop(id(frame), None)
            if given is None or not isinstance(value, Tensor) or not is_plain(value):
                return
            if value.dim() > 1 or value.grad_fn is None:
                return
            number = value.grad_fn._sequence_nr()
            kept = value.detach().clone()  # the user may go on writing into it: ``loss /= n``
            made = _Returned(frame.f_code, given, number, len(self.journal.pending), kept)
            self._returned.append(made)

    def _criterion(self, root: Tensor) -> _Returned | None:
        """Return the outermost call that accounts for everything under `root`."""
        above = _numbers_above(root)
        made = [r for r in self._returned if r.number in above]
        if not made:
            return None
        last = made[-1]
        pending = list(self.journal.pending)
        inside = set(pending[last.given.n_before : last.n_after])
        # Its value is that of a loss that is tapped anyway, or it is one term of several.
        if last.number in inside or any(n in above and n not in inside for n in pending):
            return None
        beside = [r for r in made if r.given.began < last.given.began]
        return None if any(r.value.dim() == 0 for r in beside) else last

    def _note_first(self, found: _Returned) -> None:
        """Note the call that the criterion was found by, before backward is noted."""
        journal, given = self.journal, found.given.tensors
        if given is None or found.n_after > found.given.n_before:
            journal.entries.append((CRITERION, found.value))
            return
        journal.pending[found.number] = journal.n_steps
        journal.n_losses += 1
        logits, target, versions = at_rest(journal, *given)
        head = (LOSS, "unknown", found.number, logits, (target,), found.value)
        journal.entries.append((*head, *versions, journal.training()))

    def _watch(self, found: _Returned) -> None:
        for made in self._returned:
            if made.number == found.number and made.code not in self._watched:
                self._watched.add(made.code)
                for function in _functions(made.code):
                    self.patches.code(function, functools.partial(self._tap, names=made.given.names))

    def _tap(self, original: Callable[..., Any], names: tuple[str, str] | None) -> Callable[..., Any]:
        """Entry: (CRITERION, value returned), or that of a loss where torch's are not called inside."""
        journal = self.journal
        code: types.CodeType = original.__code__
        keys = None if names is None else tuple(_place(code, name) for name in names)

        def criterion(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if is_dynamo_compiling() or not journal.here():
                return original(*args, **kwargs)
            journal.hold += 1  # the losses inside are to be read together with the value returned
            before = journal.n_losses
            try:
                value = original(*args, **kwargs)
            finally:
                journal.hold -= 1
            try:
                given = None
                if keys is not None and journal.n_losses == before:
                    given = [args[k] if isinstance(k, int) else kwargs[k] for k in keys]
                self._note(value, given)
            except Exception as error:
                journal.contain("criterion", error)
            return value

        return criterion

    def _note(self, value: Any, given: list[Any] | None) -> None:
        journal = self.journal
        if journal.hold or not isinstance(value, Tensor) or not is_plain(value) or value.dim() > 1:
            return
        self._fired = True
        if given is None or not all(isinstance(t, Tensor) and is_plain(t) for t in given):
            journal.entries.append((CRITERION, value.detach().clone()))  # the user may write into it
        else:
            copies, journal.copies = journal.copies, True
            note_loss(journal, "unknown", (*given,), {}, value)
            journal.copies = copies
            return
        journal.flush_if_due(border=not value.requires_grad)


def _place(code: types.CodeType, name: str) -> int | str:
    """Where an argument is found in a call that passes as much as possible by position."""
    at = code.co_varnames.index(name)
    return at if at < code.co_argcount else name


def _given(frame: types.FrameType, began: int, n_before: int) -> _Given | None:
    """Describe a call that was given predictions and no finished loss; None for any other."""
    code = frame.f_code
    n = code.co_argcount + code.co_kwonlyargcount
    more = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    local = frame.f_locals
    tensors = [t for name in code.co_varnames[: n + more] for t in _tensors(local.get(name))]
    graphs = [t for t in tensors[:_LARGEST] if t.requires_grad and not t.is_leaf]
    if not graphs or any(t.dim() == 0 for t in graphs):
        return None
    named = {name: local[name] for name in code.co_varnames[:n] if isinstance(local.get(name), Tensor)}
    outputs = [name for name, t in named.items() if t.requires_grad and not t.is_leaf]
    if not outputs:
        return _Given(began, n_before, None, None)
    output = named[outputs[0]]
    rest = [(name, t) for name, t in named.items() if not t.requires_grad and t.dim()]
    whole = [(name, t) for name, t in rest if len(t) == len(output) and not t.is_floating_point()]
    alike = [(name, t) for name, t in rest if t.numel() == output.numel()]
    if len(outputs) > 1 or not (whole or alike):
        return _Given(began, n_before, None, None)
    name, target = (whole or alike)[0]
    return _Given(began, n_before, (outputs[0], name), (output.detach(), target))


def _tensors(value: Any, depth: int = 2) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (tuple, list)):
        for part in value[:_LARGEST]:
            yield from _tensors(part, depth - 1)
    elif depth and isinstance(value, dict):
        for part in list(value.values())[:_LARGEST]:
            yield from _tensors(part, depth - 1)


def _numbers_above(root: Tensor) -> set[int]:
    """Autograd sequence numbers of the nodes nearest to `root`."""
    numbers: set[int] = set()
    nodes = [root.grad_fn]
    while nodes and len(numbers) < _MAX_NODES:
        node = nodes.pop(0)
        if node is None or (number := node._sequence_nr()) in numbers:
            continue
        numbers.add(number)
        nodes += [parent for parent, _ in node.next_functions]
    return numbers


def _functions(code: types.CodeType) -> list[types.FunctionType]:
    """All function objects that run `code`."""
    holders = gc.get_referrers(code)
    return [h for h in holders if isinstance(h, types.FunctionType) and h.__code__ is code]
