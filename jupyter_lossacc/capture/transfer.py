"""Device to host without making the training wait.

Values that lie on an accelerator are copied on a stream of their own into pinned memory; later
flushes ask whether the copies have landed. Only the end of the recording may wait.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Landing"]

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
