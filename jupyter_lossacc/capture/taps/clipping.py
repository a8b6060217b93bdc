"""The gradient norm that clipping computes anyway: no measurement of our own is needed then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.utils.clip_grad as torch_clipping
from torch import Tensor

from jupyter_lossacc.capture.taps.journal import Journal, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.taps.patches import Patches

__all__ = ["Clipping"]


class Clipping:
    """Keeps the last norm that ``clip_grad_norm_`` computed, for the step that follows.

    Its two halves are looked up when it is called, so every alias of it is reached.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._euclidean = False
        self._last: tuple[list[Tensor], Tensor, float, Tensor, int] | None = None

    def install(self, patches: Patches) -> None:
        """Tap both halves; where torch does not have them, norms are measured as ever."""
        patches.attribute(torch_clipping, "_get_total_norm", self._make_norm)
        patches.attribute(torch_clipping, "_clip_grads_with_norm_", self._make_clip)
        scaler = getattr(torch.amp, "GradScaler", None)
        if scaler is not None:
            patches.attribute(scaler, "unscale_", self._make_unscale)
        patches.callback(self._forget)

    @property
    def clipped(self) -> bool:
        """Whether gradients were clipped since the last step."""
        return self._last is not None

    def _forget(self) -> None:
        self._last = None

    def _make_unscale(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Forget a norm of gradients that were scaled: unscaling them leaves no trace on them."""

        def unscale(scaler: Any, optimizer: Any) -> Any:
            self._forget()
            return original(scaler, optimizer)

        return unscale

    def _make_norm(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def total(tensors: Any, norm_type: float = 2.0, *args: Any, **kwargs: Any) -> Any:
            self._euclidean = float(norm_type) == 2.0
            return original(tensors, norm_type, *args, **kwargs)

        return total

    def _make_clip(self, original: Callable[..., Any]) -> Callable[..., Any]:
        journal = self.journal

        def clip(parameters: Any, max_norm: float, total_norm: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(parameters, max_norm, total_norm, *args, **kwargs)
            if journal.here():
                try:
                    self._note(parameters, max_norm, total_norm)
                except Exception as error:
                    journal.contain("clipping", error)
            return result

        return clip

    def _note(self, parameters: Any, max_norm: float, total_norm: Any) -> None:
        self._last = None
        if not self._euclidean or not isinstance(parameters, list) or not is_plain(total_norm):
            return
        gradient = next((p.grad for p in parameters if p.grad is not None), None)
        if gradient is not None:
            self._last = (parameters, total_norm.detach(), float(max_norm), gradient, gradient._version)

    def take(self, optimizer: Any) -> tuple[Tensor, float] | None:
        """Return norm and limit if exactly this optimiser's gradients were clipped, and not changed since."""
        last, self._last = self._last, None
        if last is None:
            return None
        parameters, norm, limit, gradient, version = last
        groups = optimizer.param_groups
        n = sum(len(group["params"]) for group in groups)
        if n != len(parameters) or gradient._version != version:
            return None
        first = next((p.grad for p in parameters if p.grad is not None), None)
        same = first is gradient and {id(p) for g in groups for p in g["params"]} == set(map(id, parameters))
        return (norm, limit) if same else None
