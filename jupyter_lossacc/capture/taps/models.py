"""Which module is being trained: found in the user's frames, held weakly, never called."""

from __future__ import annotations

import inspect
import sys
import types
import weakref
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Set

    from jupyter_lossacc.capture.taps.journal import Journal
    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["Models", "is_users", "labels_ignored", "local_items", "user_frames"]

_MAX_FRAMES = 40
_MAX_SCANS = 64
_MAX_HOLDERS, _MAX_HELD, _DEPTH = 500, 64, 2  # objects that may hold a tensor, what they hold, how deep
_MAX_ATTRIBUTES = 200  # of an object of the user's that are looked at
_OWN_REFERENCES = 3  # of a frame's dictionary: the frame, our name for it, the call that counts
_FOREIGN = ("torch.", "IPython", "ipykernel", "asyncio", "tqdm", "jupyter_lossacc.", "traitlets", "zmq")
_OWN_LOADER_NAMES = ("self", "loader", "dataloader", "dl", "iterator", "iterable", "data_loader")


def is_users(frame: FrameType) -> bool:
    """Whether a frame runs code that is neither ours nor torch's nor the notebook's."""
    return not str(frame.f_globals.get("__name__", "")).startswith(_FOREIGN)


def user_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Frames of code that is neither ours nor torch's, innermost first, up to the cell or script."""
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return
        if is_users(frame):
            yield frame
            if frame.f_code.co_name == "<module>":
                return
        frame = frame.f_back


def local_items(frame: FrameType) -> list[tuple[str, Any]]:
    """Local names of a frame and their values.

    Before Python 3.13 a function's frame keeps the dictionary that it hands out, and with it every
    value of that moment; it is emptied again unless the user holds it (``locals()``).
    """
    snapshot = frame.f_locals
    items = list(snapshot.items())
    optimized = frame.f_code.co_flags & inspect.CO_OPTIMIZED
    if optimized and type(snapshot) is dict and sys.getrefcount(snapshot) <= _OWN_REFERENCES:
        snapshot.clear()
    return items


class Models:
    """Finds modules and names in frames.

    Parameters
    ----------
    journal : Journal
        Receives a weak reference to the module that is trained.
    namespace : mapping
        The user's global names.
    """

    def __init__(self, journal: Journal, namespace: Mapping[str, Any]) -> None:
        self.journal = journal
        self.namespace = namespace
        self._names: weakref.WeakKeyDictionary[Any, tuple[str, ...]] = weakref.WeakKeyDictionary()
        self._numbers: weakref.WeakKeyDictionary[Module, int] = weakref.WeakKeyDictionary()
        self._n_numbers = 0
        self._n_scans = 0
        self.trained: Callable[[], Module | None] = lambda: None  # the module that was found last
        self._n_vain = 0  # looks for siblings, one after the other, that found none

    def install(self, patches: Patches) -> None:
        """Note every change between training and evaluation mode."""
        journal = self.journal

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def train(module: Module, mode: bool = True) -> Any:
                result = original(module, mode)
                if journal.here():
                    journal.mode = bool(mode)
                    journal.border = True
                return result

            return train

        patches.attribute(Module, "train", make)

    def find_trained(self, frame: FrameType | None) -> Module | None:
        """Look for the module that an optimiser in the user's frames already trains."""
        optimizers = [value for f in user_frames(frame) for _, value in local_items(f)]
        optimizers += list(self.namespace.values())
        parameters = frozenset(
            id(p)
            for optimizer in optimizers
            if isinstance(optimizer, torch.optim.Optimizer)
            for group in optimizer.param_groups
            for p in group["params"]
        )
        return self.find(parameters, frame) if parameters else None

    def number(self, module: Module) -> int:
        """Return a number that no other module ever has."""
        known = self._numbers.get(module)
        if known is None:
            self._n_numbers += 1
            known = self._numbers[module] = self._n_numbers
        return known

    def by_number(self, number: int) -> Module | None:
        """Return the module with that number, if it still exists."""
        return next((m for m, n in self._numbers.items() if n == number), None)

    def find(self, parameters: frozenset[int], frame: FrameType | None) -> Module | None:
        """Look for the outermost module that owns `parameters` (any parameters when empty)."""
        self._n_scans += 1
        if self._n_scans > _MAX_SCANS:
            return None
        modules = {id(m): m for m in self._modules(frame)}
        inner = {id(child) for m in modules.values() for child in m.modules() if child is not m}
        best: tuple[int, Module] | None = None
        for module in modules.values():
            if id(module) in inner:
                continue
            own = [p for p in module.parameters() if not parameters or id(p) in parameters]
            if own and (best is None or len(own) > best[0]):
                best = (len(own), module)
        if best is not None:
            self.trained = self.journal.model = weakref.ref(best[1])
            self.journal.mode_layers = sum(map(_depends_on_mode, best[1].modules()))
            return best[1]
        return None

    def siblings(
        self, model: Module, frame: FrameType | None, trained: Set[int] | None = None
    ) -> list[Module]:
        """Modules of the user's that are built like the trained one: copies whose weights are averaged.

        `trained`: ids of all weights that optimisers have; then copies that could be trained count too
        (loaded from a file for a test, say).
        """
        if self._n_vain > _MAX_SCANS:
            return []
        shapes = [p.shape for p in model.parameters()]
        found = [
            module
            for module in self._modules(frame)
            if module is not model
            and type(module) is type(model)
            and [p.shape for p in module.parameters()] == shapes
            and not any(p.requires_grad if trained is None else id(p) in trained for p in module.parameters())
        ]
        self._n_vain = 0 if found else self._n_vain + 1
        return found

    def _modules(self, frame: FrameType | None) -> Iterator[Module]:
        seen: set[int] = set()
        for user_frame in user_frames(frame):
            for _, value in local_items(user_frame):
                yield from _modules_in(value, seen)
        for value in list(self.namespace.values()):
            if isinstance(value, Module):
                yield value

    def hidden_weights(self, optimizer: Any) -> frozenset[int]:
        """Ids of the weights whose rows are hidden units: linear and convolution layers but the last."""
        del optimizer
        model = self.journal.model() if self.journal.model is not None else None
        if model is None:
            return frozenset()
        kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
        weights = [m.weight for m in model.modules() if isinstance(m, kinds)]
        return frozenset(id(w) for w in weights[:-1])

    def names(self, value: Any, frame: FrameType | None) -> tuple[str, ...]:
        """Return what the user's frames and globals call `value`; looked up once per object."""
        known = self._names.get(value)
        if known:
            return known
        found = self._look_up(value, frame) or self._held_as(value, frame)
        self._names[value] = found
        return found

    def tensor_names(self, value: Tensor) -> tuple[str, ...]:
        """Return what the user's frames and globals call a tensor at this moment."""
        return self._look_up(value, sys._getframe(1))

    def held_names(self, value: Tensor) -> tuple[str, ...]:
        """Return these names, and those in what they hold: ``data.val_mask``, ``split_idx["valid"]``."""
        return (*self.tensor_names(value), *self._held_as(value, sys._getframe(1)))

    def _held_as(self, value: Any, frame: FrameType | None) -> tuple[str, ...]:
        found: dict[str, None] = {}
        holders = [held for f in user_frames(frame) for _, held in local_items(f)]
        seen: set[int] = set()
        for holder in [*holders, *self.namespace.values()]:
            found.update(dict.fromkeys(_names_in(holder, value, seen, _DEPTH)))
        return tuple(found)

    def _look_up(self, value: Any, frame: FrameType | None) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for user_frame in user_frames(frame):
            for name, local in local_items(user_frame):
                if local is value and name not in _OWN_LOADER_NAMES and not name.startswith("_"):
                    found[name] = None
        for name, other in list(self.namespace.items()):
            if other is value and not name.startswith("_"):
                found[name] = None
        return tuple(found)


def labels_ignored(leaves: Iterable[Tensor], frame: FrameType | None) -> bool:
    """Whether the user throws a batch's labels away: ``for x, _ in loader``.

    In ``for x, y, _ in loader`` other integers have a name.
    """
    labels = {id(leaf) for leaf in leaves if not leaf.is_floating_point()}
    named = [
        name
        for user_frame in user_frames(frame)
        for name, value in local_items(user_frame)
        if isinstance(value, Tensor) and id(value) in labels
    ]
    return bool(named) and all(name.startswith("_") for name in named)


def _modules_in(value: Any, seen: set[int]) -> Iterator[Module]:
    """Return `value` if it is a module, or the modules that an object like a trainer holds."""
    if isinstance(value, Module):
        yield value
        return
    kind = type(value)
    if isinstance(value, (type, types.ModuleType, Tensor)) or kind.__module__ in ("builtins", "numpy"):
        return
    if kind.__module__.startswith("torch") or id(value) in seen:
        return
    seen.add(id(value))
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        for held in list(attributes.values())[:_MAX_ATTRIBUTES]:
            if isinstance(held, Module):
                yield held


def _names_in(holder: Any, value: Any, seen: set[int], depth: int) -> Iterator[str]:
    """Names under which an object or a dictionary holds something; runs none of the user's code."""
    foreign = isinstance(holder, (Tensor, Module, type, types.ModuleType, types.FunctionType))
    if foreign or id(holder) in seen or len(seen) > _MAX_HOLDERS:
        return
    if not isinstance(holder, dict):
        try:
            holder = object.__getattribute__(holder, "__dict__")
        except AttributeError:
            return
    seen.add(id(holder))
    for name, held in list(dict.items(holder))[:_MAX_HELD]:
        if held is value and isinstance(name, str) and name not in _OWN_LOADER_NAMES and name[:1] != "_":
            yield name
        elif depth and not isinstance(held, (str, int, float)):
            yield from _names_in(held, value, seen, depth - 1)


def _depends_on_mode(module: Module) -> bool:
    """Whether a module computes differently in training mode: torch's own, or by the names it uses."""
    if isinstance(module, (torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._NormBase)):
        return True
    if isinstance(module, (torch.nn.RNNBase, torch.nn.MultiheadAttention)):
        return bool(module.dropout)
    if type(module).__module__.startswith("torch.nn."):
        return False
    code = getattr(type(module).forward, "__code__", None)
    return code is None or any(name == "training" or "dropout" in name for name in code.co_names)
