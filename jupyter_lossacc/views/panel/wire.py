"""A shorter way for the panel's most frequent message: what stays the same is packed once.

Of the time that a live message costs the training thread, more than a third goes into turning the header of
the cell's request, which every message names, and empty metadata into JSON. Here they are kept as bytes;
the message that reaches the browser is the same. Where anything is not as expected, nothing is sent, and
ipywidgets' own way is taken.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Wire"]


class Wire:
    """Sends custom messages of one widget."""

    def __init__(self) -> None:
        self._parent: object = None
        self._packed_parent = b""
        self._nothing = b""
        self._broken = False

    def send(self, comm: Any, content: Mapping[str, Any], buffers: Sequence[bytes]) -> bool:
        """Send `content` over the widget's `comm`; False when nothing was sent."""
        if self._broken:
            return False
        try:
            kernel, comm_id, topic = comm.kernel, comm.comm_id, comm.topic
            session, socket, parent = kernel.session, kernel.iopub_socket, kernel.get_parent()
            if session.adapt_version or session.debug or session.pid != os.getpid():
                return False
            pack = session.pack
            if parent is not self._parent or not self._nothing:
                self._packed_parent, self._nothing = pack(parent.get("header", {})), pack({})
                self._parent = parent
            data = {"data": {"method": "custom", "content": content}, "comm_id": comm_id}
            parts = [pack(session.msg_header("comm_msg")), self._packed_parent, self._nothing, pack(data)]
            session.send_raw(socket, [*parts, *buffers], ident=topic)
        except Exception:  # a kernel that is built in another way
            self._broken = True
            return False
        return True
