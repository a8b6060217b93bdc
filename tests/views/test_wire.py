"""The short way to the browser: the same message as ipywidgets', or none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from jupyter_client.session import Session

from jupyter_lossacc.views.panel.wire import Wire

LIVE = {"t": "live", "progress": {"epoch": 3, "rate": 1230.0, "left": None, "split": "naïve"}}
BUFFERS = [b"\0\0\0\0", b"\0\0\x80?"]


class Socket:
    """What hands messages to the thread that sends them."""

    def __init__(self):
        self.sent = []

    def send_multipart(self, parts, *_, **__):
        self.sent.append([bytes(part) for part in parts])


@pytest.fixture
def comm():
    session = Session(key=b"secret")
    request = {"header": session.msg_header("execute_request"), "content": {"code": "train()"}}
    kernel = SimpleNamespace(session=session, iopub_socket=Socket(), get_parent=lambda: request)
    return SimpleNamespace(kernel=kernel, comm_id="c1", topic=b"comm-c1")


def received(comm, parts):
    idents, message = comm.kernel.session.feed_identities(parts)
    return idents, comm.kernel.session.deserialize(message)  # raises where the signature is wrong


def test_the_message_is_the_one_that_the_session_would_send(comm):
    kernel = comm.kernel
    assert Wire().send(comm, LIVE, BUFFERS)
    data = {"data": {"method": "custom", "content": LIVE}, "comm_id": "c1"}
    kernel.session.send(
        kernel.iopub_socket, "comm_msg", data, parent=kernel.get_parent(), ident=b"comm-c1", buffers=BUFFERS
    )
    (to, short), (also_to, whole) = (received(comm, parts) for parts in kernel.iopub_socket.sent)
    assert to == also_to == [b"comm-c1"]
    for name in ("content", "parent_header", "metadata", "buffers", "msg_type"):
        assert short[name] == whole[name]
    assert short["header"].keys() == whole["header"].keys()
    assert short["msg_id"] != whole["msg_id"]


def test_a_later_cell_is_named_as_the_one_that_asked(comm):
    wire = Wire()
    wire.send(comm, LIVE, [])
    later = {"header": comm.kernel.session.msg_header("execute_request")}
    comm.kernel.get_parent = lambda: later
    wire.send(comm, LIVE, [])
    parents = [received(comm, parts)[1]["parent_header"]["msg_id"] for parts in comm.kernel.iopub_socket.sent]
    assert parents[0] != parents[1] == later["header"]["msg_id"]


@pytest.mark.parametrize("other", [None, SimpleNamespace(comm_id="c1"), SimpleNamespace(kernel=None)])
def test_where_there_is_no_such_kernel_nothing_is_sent(other):
    assert not Wire().send(other, LIVE, BUFFERS)


def test_in_a_forked_process_nothing_is_sent(comm, monkeypatch):
    monkeypatch.setattr("jupyter_lossacc.views.panel.wire.os.getpid", lambda: 1)
    assert not Wire().send(comm, LIVE, BUFFERS)
    assert comm.kernel.iopub_socket.sent == []
