"""Dead and saturated units, counted from what activation modules give in one batch of an evaluation.

The first batch of an evaluation that may cost it carries a hook on every activation module, which
removes itself at its first call. Activations that are functions (``F.relu``) have no module and
are not seen here, and nothing is looked at once ``torch.compile`` was called: a hook that comes and
goes is compiled in. There only exactly-zero gradients speak (`optimizers`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling

from jupyter_lossacc.capture.taps.journal import UNITS, Journal, is_plain
from jupyter_lossacc.capture.taps.optimizers import Cadence
from jupyter_lossacc.records import UnitShare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["UnitTaps", "UnitsEvent", "want_units"]

_SHARE = 0.01  # share of the time that looking at activations may take
_NEAR = 0.01  # closer to a limit of its function than this, a value is saturated
_MOST = 0.95  # share of a unit's values that must be saturated for the unit to be
_MIN_ROWS, _MAX_VALUES = 16, 1 << 21  # of a larger output only the first samples are looked at
_DEADLY = (nn.ReLU, nn.ReLU6, nn.GELU)  # functions that can be exactly zero for every input
_LIMITS: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-1.0, 1.0),
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.ReLU6: (float("-inf"), 6.0),
}
_KINDS = (*_DEADLY, *_LIMITS, nn.Hardtanh)
_READABLE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
Sizes = tuple[frozenset[int], frozenset[int]]  # of what linear layers and what convolutions give
_ROOT = "."  # no module has this name
_NO_SIZES: Sizes = (frozenset(), frozenset())


@dataclass(eq=False, slots=True)
class UnitsEvent:
    """A look at the activation modules, during the batch whose loss comes next.

    A layer is (name, kind, units, samples, whether its units can die, whether they can saturate,
    numbers of those that are dead and saturated, on their device).
    """

    layers: list[tuple[str, str, int, int, bool, bool, Tensor]] = field(default_factory=list)
    shares: tuple[UnitShare, ...] = ()

    def fill(self, host: list[Tensor]) -> None:
        """Take the counts from the host."""
        layers, self.layers = self.layers, []
        self.shares = tuple(
            UnitShare(
                layer=name,
                kind=kind,
                n_units=n_units,
                n_samples=n_samples,
                dead=int(dead) if dies else None,
                saturated=int(saturated) if saturates else None,
            )
            for (name, kind, n_units, n_samples, dies, saturates, _), (dead, saturated) in zip(
                layers, host[0].tolist(), strict=True
            )
        )


class UnitTaps:
    """Looks at activations when the trained module is about to evaluate a batch.

    Parameters
    ----------
    journal : Journal
    first_tensor : callable
        Finds the predictions in what a module returns.
    """

    def __init__(self, journal: Journal, first_tensor: Callable[[Any], Tensor | None]) -> None:
        self.journal = journal
        self.first_tensor = first_tensor
        self._attached: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self.event: UnitsEvent | None = None  # while the look goes on
        self.spent = 0.0
        self.last: Tensor | None = None  # output of the activation that was called last
        self.handles: dict[str, Any] = {}
        self._cadence = Cadence(_SHARE)
        self._at: tuple[int, int] | None = None  # steps and loader of the evaluation looked at last

    def attach(self, root: nn.Module, patches: Patches) -> None:
        """Be told when `root` is about to compute, until `patches` are undone."""
        compiled = root.__dict__.get("_compiled_call_impl") is not None  # its hooks would be traced
        if root in self._attached or compiled:
            return
        self._attached.add(root)
        patches.callback(self._end)
        patches.callback(root.register_forward_pre_hook(_Before(self)).remove)

    def begin(self, root: nn.Module) -> None:
        """Put hooks on the activations of `root` if this is an evaluation not yet looked at."""
        at = (self.journal.n_steps, id(self.journal.source))
        began = time.perf_counter()
        if at == self._at or not self._cadence.due(began):
            return
        self._at = at
        self._end()
        modules, sizes = ([], _NO_SIZES) if _compiles() else _activations(root)
        if modules:
            self.event = UnitsEvent()
            for name, module in modules:
                self.handles[name] = module.register_forward_hook(_Once(self, name, sizes))
            self.handles[_ROOT] = root.register_forward_hook(_After(self))
            self.journal.entries.append((UNITS, self.event))
        now = time.perf_counter()
        self.spent = now - began
        if not modules:
            self._cadence.took(self.spent, now)

    def finish(self, output: Any) -> None:
        """End the look; an activation whose output is that of the whole model is no hidden layer."""
        event, last, output = self.event, self.last, self.first_tensor(output)
        self._end()
        if event is None:
            return
        if event.layers and last is not None and output is not None:
            memory = last.untyped_storage().data_ptr()
            if memory and memory == output.untyped_storage().data_ptr():
                event.layers.pop()
        self._cadence.took(self.spent, time.perf_counter())

    def _end(self) -> None:
        self.event = self.last = None
        for handle in self.handles.values():
            handle.remove()
        self.handles.clear()


class _Inert:
    """Copies and pickles into a hook that does nothing, without naming us."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (getattr, (contextlib.nullcontext(), "__exit__"))


class _Before(_Inert):
    """Runs before the trained module computes; in training it does next to nothing."""

    def __init__(self, taps: UnitTaps) -> None:
        self.taps = taps

    def __call__(self, module: nn.Module, _: Any) -> None:
        if is_dynamo_compiling():
            return
        if module.training and torch.is_grad_enabled():
            return
        journal = self.taps.journal
        if journal.here():
            try:
                self.taps.begin(module)
            except Exception as error:
                journal.contain("units", error)


class _After(_Inert):
    """Runs once, after the trained module has computed the batch that is looked at."""

    def __init__(self, taps: UnitTaps) -> None:
        self.taps = taps

    def __call__(self, *call: Any) -> None:
        if is_dynamo_compiling() or not self.taps.journal.open:
            return
        try:
            self.taps.finish(call[-1])
        except Exception as error:
            self.taps.journal.contain("units", error)


class _Once(_Inert):
    """Counts the units of one activation module at its next call, and is gone."""

    def __init__(self, taps: UnitTaps, name: str, sizes: Sizes) -> None:
        self.taps, self.name, self.sizes = taps, name, sizes

    def __call__(self, module: nn.Module, _: Any, output: Any) -> None:
        if is_dynamo_compiling():
            return
        taps, journal = self.taps, self.taps.journal
        try:
            handle = taps.handles.pop(self.name, None)
            if handle is not None:
                handle.remove()
            # Replicas of a model compute in threads of their own, which are not those of the loop.
            if journal.open and threading.get_ident() == journal.owner and taps.event is not None:
                began = time.perf_counter()
                self.count(taps.event, module, output)
                taps.spent += time.perf_counter() - began
        except Exception as error:
            journal.contain("units", error)

    def count(self, event: UnitsEvent, module: nn.Module, output: Any) -> None:
        """Add a layer to `event`: name, kind, units, samples, and its counts on the device."""
        self.taps.last = None
        if not _readable(output):
            return
        with torch.no_grad():
            values = output.detach()
            self.taps.last = values
            dim = _unit_dim(values.shape, self.sizes)
            if dim is None or not values.numel():
                return
            rows = max(_MIN_ROWS, _MAX_VALUES * len(values) // values.numel())
            values = values[:rows]
            counts = _counts(module, values, [d for d in range(values.dim()) if d != dim])
        kind = type(module)
        saturates = kind is nn.Hardtanh or kind in _LIMITS
        event.layers.append(
            (self.name, kind.__name__, values.shape[dim], len(values), kind in _DEADLY, saturates, counts)
        )


def _readable(output: Any) -> bool:
    """Whether an output has values that can be counted now: nothing traced, transformed, or packed."""
    if not isinstance(output, Tensor) or not is_plain(output) or torch._C._get_tracing_state() is not None:
        return False
    if torch._C._functorch.peek_interpreter_stack() is not None or output.is_nested:
        return False
    return output.layout is torch.strided and output.dtype in _READABLE


def _unit_dim(shape: torch.Size, sizes: Sizes) -> int | None:
    """Return the dimension along which units lie; None where it cannot be told from channels or features."""
    if len(shape) <= 2:
        return 1 if len(shape) == 2 else None
    linear, channels = sizes
    first, last = shape[1] in channels, shape[-1] in linear
    if first and (len(shape) > 3 or not last):
        return 1
    return len(shape) - 1 if last and not first else None


def _counts(module: nn.Module, values: Tensor, over: list[int]) -> Tensor:
    """Numbers of dead and of saturated units, as one tensor on the device of `values`."""
    kind = type(module)
    none = torch.zeros((), dtype=torch.float32, device=values.device)
    dead = saturated = none
    if kind in _DEADLY:
        dead = ((values.amax(over) == 0) & (values.amin(over) == 0)).sum()
    limits = (module.min_val, module.max_val) if isinstance(module, nn.Hardtanh) else None
    low, high = _LIMITS.get(kind, limits) or (float("-inf"), float("inf"))
    if low > float("-inf") or high < float("inf"):
        near = (values <= low + _NEAR) | (values >= high - _NEAR)
        saturated = (near.float().mean(over) >= _MOST).sum()
    return torch.stack([dead.float(), saturated.float()])


def _compiles() -> bool:
    """Whether anything in this process may be compiled code: inside it a hook costs a recompilation."""
    backends = getattr(sys.modules.get("torch._dynamo.eval_frame"), "cached_backends", None) or {}
    return any(backend is not None for backend in backends.values())


def _activations(root: nn.Module) -> tuple[list[tuple[str, nn.Module]], Sizes]:
    """Activation modules of `root` that run as ordinary code, by the name that ``named_modules`` gives.

    Scripted parts are left alone, and so are torch's own transformer layers: with a hook inside,
    they compute in another way.
    """
    found: list[tuple[str, nn.Module]] = []
    linear: set[int] = set()
    channels: set[int] = set()
    seen: set[int] = set()

    def walk(name: str, module: nn.Module) -> None:
        seen.add(id(module))
        if isinstance(module, (nn.TransformerEncoderLayer, torch.jit.ScriptModule)):
            return
        if type(module) in _KINDS:
            found.append((name, module))
        elif isinstance(module, nn.Linear):
            linear.add(module.out_features)
        elif isinstance(module, nn.modules.conv._ConvNd):
            channels.add(module.out_channels)
        for child_name, child in module.named_children():
            if id(child) not in seen:
                walk(f"{name}.{child_name}" if name else child_name, child)

    walk("", root)
    return found, (frozenset(linear), frozenset(channels))


def want_units(
    want: Callable[[list[Tensor], Callable[[list[Tensor]], None]], None], items: Iterable[Any]
) -> None:
    """Ask for the counts of a flush to be copied to the host."""
    for event in items:
        if isinstance(event, UnitsEvent) and event.layers:
            counts = [layer[-1] for layer in event.layers]
            want([torch.stack([c.to(counts[0].device, non_blocking=True) for c in counts])], event.fill)
