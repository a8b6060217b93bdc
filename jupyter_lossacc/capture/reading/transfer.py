"""Device to host without making the training wait.

Values that lie on an accelerator are copied on a stream of their own into pinned memory; later
flushes ask whether the copies have landed. Only the end of the recording may wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Chunk", "Landing", "host_number"]

_streams: dict[torch.device, Any] = {}


class Landing:
    """Host copies of tensors, some of which may still be on their way.

    Parameters
    ----------
    tensors : list of Tensor
        Ours alone: nobody writes to them any more.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        self._host: list[Tensor] = list(tensors)
        self._events: list[Any] = []
        self._blocked = False  # a device that cannot copy behind our back: read only at the end
        for device in {t.device for t in tensors if t.device.type != "cpu"}:
            self._start(device)

    def _start(self, device: torch.device) -> None:
        backend = getattr(torch, device.type, None)
        if backend is None or not (hasattr(backend, "Stream") and hasattr(backend, "Event")):
            self._blocked = True
            return
        stream = _streams.get(device)
        if stream is None:
            stream = _streams[device] = backend.Stream(device=device)
        stream.wait_stream(backend.current_stream(device))
        with backend.stream(stream):
            for i, tensor in enumerate(self._tensors):
                if tensor.device == device:
                    target = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                    self._host[i] = target.copy_(tensor, non_blocking=True)
            event = backend.Event()
            event.record(stream)
        self._events.append(event)

    def ready(self) -> bool:
        """Whether all copies have landed; never waits."""
        return not self._blocked and all(event.query() for event in self._events)

    def take(self, *, wait: bool = False) -> list[Tensor]:
        """Return the host copies; `wait` may block and belongs to the end of a recording."""
        if wait:
            for event in self._events:
                event.synchronize()
            if self._blocked:
                self._host = [t.cpu() for t in self._tensors]
        host, self._tensors, self._host = self._host, [], []
        return host


class Chunk:
    """Events of one flush whose values may still be on their way."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.tensors: list[Tensor] = []
        self.fill: list[Callable[[list[Tensor]], None]] = []
        self.landing = Landing([])

    def start(self) -> None:
        """Start the copies to the host."""
        self.landing, self.tensors = Landing(self.tensors), []

    def want(self, tensors: list[Tensor], use: Callable[[list[Tensor]], None]) -> None:
        """Ask for host copies of `tensors`, to be given to `use`."""
        at = len(self.tensors)
        self.tensors += tensors
        self.fill.append(lambda host: use(host[at : at + len(tensors)]))

    def want_scalars(self, scalars: list[tuple[Any, str, Any]]) -> None:
        """Ask for single values, (object, attribute, value): all at once, device by device."""
        by_device: dict[Any, list[tuple[Any, str, Tensor]]] = {}
        for item, name, value in scalars:
            if isinstance(value, Tensor):
                by_device.setdefault(value.device, []).append((item, name, value.detach().reshape(())))
            else:
                setattr(item, name, float(value))
        for group in by_device.values():
            same = len({value.dtype for *_, value in group}) == 1
            stacked = torch.stack([value if same else value.double() for *_, value in group]).double()

            def use(host: list[Tensor], group: list[tuple[Any, str, Tensor]] = group) -> None:
                for (item, name, _), value in zip(group, host[0].tolist(), strict=True):
                    setattr(item, name, value)

            self.want([stacked], use)


def host_number(value: Any) -> float:
    """Return a learning rate that can be read without waiting for a device; NaN otherwise."""
    waits = isinstance(value, Tensor) and value.device.type != "cpu"
    return float("nan") if value is None or waits else float(value)
