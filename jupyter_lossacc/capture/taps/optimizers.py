"""Taps on optimisers: steps, learning rates, gradient norms, update sizes, and Stop."""

from __future__ import annotations

import functools
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

from jupyter_lossacc.capture.taps.backward import MANY, forget_old
from jupyter_lossacc.capture.taps.clipping import Clipping
from jupyter_lossacc.capture.taps.journal import OPTIMIZER, STEP, Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from jupyter_lossacc.capture.taps.patches import Patches
    from jupyter_lossacc.capture.taps.stopping import Stopper

__all__ = ["OptimizerTaps"]

_NORM_SHARE = 0.01  # share of the time that gradient norms may take
_UPDATE_SHARE = 0.005  # share of the time that copying weights to measure updates may take
_MAX_COPIED = 4_000_000  # weights copied to measure an update
_PLAIN = (Tensor, torch.nn.Parameter)


class Cadence:
    """Says when a measurement is due, so that it takes no more than a share of the time."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._next = 0.0
        self._n = 0

    def due(self, now: float) -> bool:
        """Whether to measure at `now` (seconds)."""
        return now >= self._next

    def took(self, cost: float, now: float) -> None:
        """Note that a measurement took `cost` seconds of this thread; the first two warm up and are free.

        The thread's own seconds: a measurement that had to wait for a core was not expensive.
        """
        self._n += 1
        if self._n > 2:
            self._next = now + cost / self.share


class OptimizerTaps:
    """Hooks around every optimiser's step.

    Parameters
    ----------
    journal : Journal
    stopper : Stopper
        Ends the training where the user asked for it.
    hidden_weights : callable
        Gives the weights of the layers whose rows are hidden units, by id of the parameter.
    """

    def __init__(
        self, journal: Journal, stopper: Stopper, hidden_weights: Callable[[Any], frozenset[int]]
    ) -> None:
        self.journal = journal
        self.stopper = stopper
        self.hidden_weights = hidden_weights
        self.found: Callable[[frozenset[int], FrameType | None], int | None] | None = None
        self._last: tuple[Callable[[], Any], int] = (lambda: None, -1)  # the optimiser keyed last, its key
        self._keys: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._n_optimizers = 0
        self._numbers: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._n_parameters = 0
        self._norms = Cadence(_NORM_SHARE)
        self._updates = Cadence(_UPDATE_SHARE)
        self._measured: tuple[Any, Tensor | None] = (None, None)
        self._clipping = Clipping(journal)
        self._copied: tuple[list[Any], list[Tensor], float] | None = None
        self._hidden: tuple[int, frozenset[int]] = (-1, frozenset())
        self._late = False  # the gradients are computed inside the step, by a closure

    def install(self, patches: Patches) -> None:
        """Register the hooks."""
        patches.callback(torch_optimizer.register_optimizer_step_pre_hook(self.before).remove)
        patches.callback(torch_optimizer.register_optimizer_step_post_hook(self.after).remove)
        patches.attribute(torch.optim.Optimizer, "__init__", self._make_init)
        self._clipping.install(patches)

    def watch(self, patches: Patches, kind: type) -> None:
        """Tap a class of optimisers that are not torch's and know no hooks."""
        patches.attribute(kind, "__init__", self._make_init)
        patches.attribute(kind, "step", self._make_step)

    def _make_step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def step(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            self.before(optimizer, (optimizer, *args), kwargs)
            result = original(optimizer, *args, **kwargs)
            self.after(optimizer)
            return result

        return step

    def _make_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        journal = self.journal

        def init(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            if journal.here():
                try:
                    self.key(optimizer)
                except Exception as error:
                    journal.contain("optimizer", error)

        return init

    def key(self, optimizer: Any) -> int:
        """Return a number for the optimiser; a new one leaves (OPTIMIZER, key, parameters, owner)."""
        known, key = self._last
        if known() is optimizer:
            return key
        key = self._keys.get(optimizer, -1)
        if key < 0:
            key = self._keys[optimizer] = self._n_optimizers
            self._n_optimizers += 1
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            owner = None
            if self.found is not None:
                owner = self.found(frozenset(map(id, parameters)), sys._getframe(1))
            self.journal.entries.append((OPTIMIZER, key, frozenset(map(self._number, parameters)), owner))
        self._last = weakref.ref(optimizer), key
        return key

    def _number(self, parameter: Tensor) -> int:
        """Return a number that no other parameter ever has, unlike its id."""
        known = self._numbers.get(id(parameter))
        if known is None or known[0]() is not parameter:
            self._n_parameters += 1
            known = self._numbers[id(parameter)] = (weakref.ref(parameter), self._n_parameters)
        return known[1]

    def before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Measure gradients, after any unscaling and clipping, before they are used.

        Raises
        ------
        StopTraining
            When the user asked to stop at the end of an epoch, and it is over.
        """
        if not self.journal.here():
            return
        if not self.journal.inside_step:
            self.stopper.before()
        self.journal.inside_step += 1
        try:
            closure = None
            if kwargs or len(args) > 1:
                closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
            # LBFGS evaluates its closure at several points: no gradient is that of the step.
            self._late = closure is not None and not isinstance(optimizer, torch.optim.LBFGS)
            if closure is None:
                self._measure(optimizer)
            elif self._late:
                self._copy_early(optimizer)
        except Exception as error:
            self.journal.contain("gradients", error)

    def after(self, optimizer: Any, *_: Any) -> None:
        """Note the step: (STEP, key, learning rate, gradient norm, update ratio, dead share).

        The learning rate is a tuple where there are several groups, the norm is one with its limit
        where the gradients were clipped.

        Raises
        ------
        StopTraining
            When the user asked for it.
        """
        journal = self.journal
        if not journal.here():
            return
        journal.inside_step = max(0, journal.inside_step - 1)
        try:
            if self._late and not journal.inside_step:
                self._late = False
                self._measure(optimizer, late=True)
            self._note(optimizer)
        except Exception as error:
            journal.lane = None
            journal.contain("optimizer", error)
        if not journal.inside_step:
            self.stopper.after()

    def _note(self, optimizer: Any) -> None:
        journal = self.journal
        journal.n_steps += 1
        ratio = None
        if self._copied is not None:
            weights, copies, spent = self._copied
            self._copied = None
            began = time.thread_time()
            ratio = _update_ratio(weights, copies)
            self._updates.took(spent + time.thread_time() - began, time.perf_counter())
        (norm, dead), self._measured = self._measured, (None, None)
        groups = optimizer.param_groups
        rate = groups[0].get("lr")
        if len(groups) > 1:
            rate = (rate, *(group.get("lr") for group in groups[1:]))
        step = (STEP, self.key(optimizer), rate, norm, ratio, dead)
        if journal.lane is None or not journal.lane.step(step):
            journal.entries.append(step)
        if len(journal.pending) > MANY:
            forget_old(journal)
        journal.flush_if_due(border=True)

    def _copy_early(self, optimizer: Any) -> None:
        """Copy weights before a step whose gradients are not there yet."""
        now = time.perf_counter()
        if self._norms.due(now) and self._updates.due(now):
            parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
            if all(type(p) in _PLAIN for p in parameters):
                self._copy(_sample(parameters), time.thread_time())

    def _copy(self, weights: list[Any], began: float) -> None:
        with torch.no_grad():
            copies = [w.detach().clone() for w in weights]
        self._copied = (weights, copies, time.thread_time() - began)

    def _measure(self, optimizer: Any, *, late: bool = False) -> None:
        """Take the gradient norm; less often, the dead share and copies to measure the update with.

        `late`: after the step; the closure that computed the gradients has left them in place.
        """
        now = time.perf_counter()
        clipped = self._clipping.take(optimizer) if self._clipping.clipped else None
        self._measured = (clipped, None)
        if not (self._norms.due(now) if clipped is None else self._updates.due(now)):
            return
        began = time.thread_time()
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters or not all(type(p) in _PLAIN and type(p.grad) is Tensor for p in parameters):
            return
        gradients = [p.grad for p in parameters]
        if any(g.layout is not torch.strided for g in gradients):
            return
        with torch.no_grad():
            norm: Any = clipped
            if clipped is None:
                norms = torch._foreach_norm(gradients)
                norm = torch.linalg.vector_norm(torch.stack([n.to(norms[0].device) for n in norms]))
                self._norms.took(time.thread_time() - began, now)
            began = time.thread_time()
            dead = None
            if late:
                dead = None if self._copied is None else self._dead_share(optimizer, parameters)
            elif self._updates.due(now):
                dead = self._dead_share(optimizer, parameters)
                self._copy(_sample(parameters), began)
        self._measured = (norm, dead)

    def _dead_share(self, optimizer: Any, parameters: list[Any]) -> Tensor | None:
        """Share of hidden units through which no gradient at all came back."""
        key = self.key(optimizer)
        if self._hidden[0] != key:
            self._hidden = (key, self.hidden_weights(optimizer))
        rows = [p.grad.flatten(1) for p in parameters if id(p) in self._hidden[1]]
        if not rows:
            return None
        dead = [(row == 0).all(dim=1).float() for row in rows]
        return torch.cat(dead).mean()


def _sample(parameters: list[Any]) -> list[Any]:
    """Parameters spread over the model, with no more weights than may be copied."""
    total = sum(p.numel() for p in parameters)
    if total <= _MAX_COPIED:
        return parameters
    chosen, n = [], 0
    for p in parameters[:: max(1, round(total / _MAX_COPIED))]:
        if n + p.numel() <= _MAX_COPIED:
            chosen.append(p)
            n += p.numel()
    return chosen


def _update_ratio(weights: list[Any], copies: list[Tensor]) -> Tensor | None:
    """Norm of the update over the norm of the weights before it; 0-dim tensor, nothing is read."""
    if not weights:
        return None
    with torch.no_grad():
        moved = torch._foreach_sub([w.detach() for w in weights], copies)
        device = copies[0].device
        update = torch.linalg.vector_norm(torch.stack([n.to(device) for n in torch._foreach_norm(moved)]))
        size = torch.linalg.vector_norm(torch.stack([n.to(device) for n in torch._foreach_norm(copies)]))
        return update / size
