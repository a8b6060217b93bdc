"""Taps on loss functions.

``torch.nn.functional`` looks its C entries up at call time, so replacing an entry reaches every
alias (``from torch.nn.functional import cross_entropy``, partials, modules, frameworks), and a
compiler never looks at it. Functions without such an entry get a new code object instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.jit._builtins as jit_builtins
import torch.nn.functional
from torch import Tensor

from jupyter_lossacc.capture.taps.journal import LOSS, Journal, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["at_rest", "install_losses", "note_loss"]

# (owner, attribute, public name)
_C_ENTRIES: tuple[tuple[Any, str, str], ...] = (
    (torch._C._nn, "cross_entropy_loss", "cross_entropy"),
    (torch._C._nn, "nll_loss_nd", "nll_loss"),
    (torch._C._nn, "binary_cross_entropy", "binary_cross_entropy"),
    (torch, "binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits"),
    (torch._C._nn, "mse_loss", "mse_loss"),
    (torch._C._nn, "l1_loss", "l1_loss"),
    (torch._C._nn, "smooth_l1_loss", "smooth_l1_loss"),
    (torch._C._nn, "huber_loss", "huber_loss"),
    (torch._C._nn, "multi_margin_loss", "multi_margin_loss"),
    (torch._C._nn, "soft_margin_loss", "soft_margin_loss"),
)
_COMPOSITES = (
    "kl_div",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "hinge_embedding_loss",
    "poisson_nll_loss",
    "gaussian_nll_loss",
)
_is_compiling = torch.compiler.is_compiling
_transform: Callable[[], Any] = torch._C._functorch.peek_interpreter_stack


def install_losses(patches: Patches, journal: Journal) -> dict[str, Callable[..., Any]]:
    """Tap every loss function that torch has; return the originals by name."""
    originals: dict[str, Callable[..., Any]] = {}

    def make(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
            originals[name] = original
            tap = loss_tap(journal, name, original)
            _keep_scriptable(patches, original, tap)
            return tap

        return wrap

    for owner, attribute, name in _C_ENTRIES:
        patches.attribute(owner, attribute, make(name))
    for name in _COMPOSITES:
        patches.code(getattr(torch.nn.functional, name, None), make(name))
    return originals


def _keep_scriptable(patches: Patches, original: Callable[..., Any], tap: Callable[..., Any]) -> None:
    """Let ``torch.jit.script`` resolve the tap as the operator behind it."""
    builtins: Any = jit_builtins
    operator = builtins._find_builtin(original)
    if operator is not None:
        table = builtins._get_builtin_table()
        table[id(tap)] = operator
        patches.callback(lambda: table.pop(id(tap), None))


def loss_tap(journal: Journal, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `original` so that each call leaves an entry.

    The entry is (LOSS, name, number, input, rest, output, version of the input, version of the
    target, model.training); `number` is the autograd sequence number of the output, -1 without a
    graph. The input is kept detached: otherwise it would hold the graph.
    """

    def tap(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        output = original(*args, **kwargs)
        lane = journal.lane
        try:
            if lane is not None and journal.open and not kwargs and lane.loss(name, args, output):
                return output
        except Exception as error:
            journal.lane = None
            journal.contain("lane", error)
        if not journal.here():
            return output
        try:
            note_loss(journal, name, args, kwargs, output)
        except Exception as error:
            journal.contain("loss", error)
        return output

    return tap


def _traced() -> bool:
    """Whether a compiler or a function transform is looking: there are no values then."""
    return _is_compiling() or _transform() is not None


def _positional(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    names = ("input", "target", *(k for k in kwargs if k not in ("input", "target")))
    return (*args, *(kwargs[k] for k in names[len(args) :] if k in kwargs))


def note_loss(
    journal: Journal, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> None:
    """Leave the entry of one call; see `loss_tap`."""
    if kwargs or len(args) < 2:
        args = _positional(args, kwargs)
    logits, target = args[0], args[1]
    if type(logits) is not Tensor:
        if not is_plain(logits):
            return
        logits = logits.as_subclass(Tensor)
    if _traced() or not isinstance(target, Tensor):
        return
    if output.requires_grad:
        number = output.grad_fn._sequence_nr()
        journal.pending[number] = journal.n_steps
        output = output.detach().clone() if journal.copies else output.detach()
    else:
        number = -1
    logits, target, versions = at_rest(journal, logits, target)
    if journal.find_model is not None:
        journal.find_model()
    rest = args[2:]
    if Tensor in map(type, rest):
        rest = tuple(map(journal.frozen, rest))
    no_grad = number < 0
    if no_grad and journal.evaluating is not None:
        journal.evaluating()
    if no_grad is not journal.no_grad:
        journal.no_grad, journal.border = no_grad, True
    journal.n_bytes += logits.nbytes
    journal.n_losses += 1
    journal.entries.append(
        (LOSS, name, number, logits, (target, *rest), output, *versions, journal.training())
    )
    journal.flush_if_due(border=no_grad)


def at_rest(journal: Journal, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Return input and target without their graph, and the versions that tell whether they change."""
    if not (logits.is_inference() or target.is_inference()):
        if journal.label_copies or journal.are_written_anew(target):
            target = target.clone()
        versions = (logits._version, target._version)
        return (logits.detach() if logits.requires_grad else logits), target, versions
    # Such tensors count no versions, so a later change could not be noticed. The target keeps its
    # identity where it can: it tells which samples these are.
    return logits.clone(), (target.clone() if target.is_inference() else target), (-1, -1)
