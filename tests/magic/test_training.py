"""The magic on real trainings in real kernels: recorded, stopped, killed, run as a whole notebook."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_lossacc as la
from tests.magic.kernels import OLD, Kernel, old_ipykernel

pytestmark = pytest.mark.kernel

SETUP = """
%load_ext jupyter_lossacc
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(1)
torch.manual_seed(0)
inputs = torch.randn(400, 8)
data = TensorDataset(inputs, (inputs @ torch.randn(8, 3)).argmax(1))
train_loader = DataLoader(TensorDataset(*data[:200]), 20, shuffle=True)
val_loader = DataLoader(TensorDataset(*data[200:]), 100)
model, criterion = nn.Linear(8, 3), nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
"""
LOOP = """
for epoch in range(1, EPOCHS + 1):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for x, y in val_loader:
            last = criterion(model(x), y)
    print("epoch", epoch)
    if epoch == 3:
        print("go")
last.numel()
"""


def training(options: str, epochs: int) -> str:
    return f"%%lossacc {options}{LOOP.replace('EPOCHS', str(epochs))}"


@pytest.fixture(scope="module", params=["newest", OLD])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    started = Kernel(tmp_path_factory.mktemp("training"), old_ipykernel() if request.param == OLD else "")
    reply = started.run(SETUP)
    assert reply.status == "ok", reply
    yield started
    started.close()


@pytest.fixture
def store(kernel: Kernel) -> Path:
    return Path(kernel.value("__import__('os').getcwd()").strip("'")) / "lossacc_runs"


def test_a_training_is_recorded_and_can_be_asked_about(kernel: Kernel, store: Path) -> None:
    reply = kernel.run(training("first --view text", 5))
    assert (reply.status, reply.result) == ("ok", "1")
    assert "lossacc first" in reply.stdout
    run = la.load_run("first", store)
    assert run.status == "finished"
    assert run.metrics.query("split == 'val'")["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert run.recording.info.cell.startswith("%%lossacc first --view text\nfor epoch")
    overview = kernel.run("%lossacc").stdout
    assert "Last run: <Run 'first'" in overview
    assert "first" in (kernel.run("%lossacc runs").result or "")
    assert "sample_id" in (kernel.run("%lossacc samples first --by margin -n 3").result or "")
    assert "text/markdown" in kernel.run("%lossacc report").shown[0]
    assert "text/markdown" in kernel.run("%lossacc explain overconfidence").shown[0]
    assert "text/html" in kernel.run("%lossacc show first").shown[0]


LIVE = """
import threading
import numpy as np
from jupyter_lossacc.views.panel.show import PanelView
view = PanelView("html", threading.Event(), threading.Event())
view.open("wired")
columns = {"epoch": np.ones(2), "step": np.arange(2.0), "loss": np.ones(2), "n_samples": np.ones(2)}
for broken in (False, True):  # the short way, then ipywidgets' own
    view._panel._wire._broken = broken
    view._panel.push_steps(columns)
    view._panel.flush()
    assert view._panel._wire._broken == broken
    view._panel._sent = 0.0
"""


def test_live_messages_are_the_same_the_short_way(kernel: Kernel) -> None:
    request = kernel.client.execute(LIVE)
    live = []
    while (message := kernel.client.get_iopub_msg(timeout=30))["content"].get("execution_state") != "idle":
        assert message["msg_type"] != "error", message["content"]
        content = message["content"].get("data", {}).get("content", {})
        if message["msg_type"] == "comm_msg" and content.get("t") == "live":
            live.append(message)
    short, own = live
    assert short["parent_header"]["msg_id"] == own["parent_header"]["msg_id"] == request
    for name in ("metadata", "buffers", "content"):
        assert short[name] == own[name]
    assert short["header"].keys() == own["header"].keys()


def test_an_interrupt_stops_at_a_step_and_keeps_everything(kernel: Kernel, store: Path) -> None:
    reply = kernel.run(training("endless --view none", 10**6), interrupt=1, then="ran_on = 1")
    assert (reply.status, reply.follow, reply.errors) == ("error", "aborted", ["StopTraining"])
    assert reply.traceback.startswith("lossacc: training stopped after step ")
    run = la.load_run("endless", store)
    assert run.status == "interrupted"
    assert int(kernel.value("epoch")) >= 3
    assert run.metrics["complete"].tolist()[:6] == [True] * 6


def test_deleting_a_run(kernel: Kernel, store: Path) -> None:
    kernel.run(training("short --view none", 1))
    assert kernel.run("%lossacc delete short").stdout == "Deleted short.\n"
    with pytest.raises(la.RunNotFoundError):
        la.load_run("short", store)


def test_a_failing_training_stops_run_all_and_keeps_what_was_recorded(kernel: Kernel, store: Path) -> None:
    reply = kernel.run(training("broken --view none", 2) + "\nmodel(x, y)", then="ran_on = 1")
    assert (reply.status, reply.follow, reply.errors) == ("error", "aborted", ["TypeError"])
    run = la.load_run("broken", store)
    assert run.status == "failed"
    assert run.metrics.query("split == 'val'")["epoch"].tolist() == [1, 2]


def test_kill_9_of_the_kernel_keeps_every_finished_epoch(kernel: Kernel, store: Path) -> None:
    """The last test of its kernel; passes take the 50 ms at least that capture gathers before it looks."""
    pid = int(kernel.value("__import__('os').getpid()"))
    slower = training("killed --view none", 10**6).replace("    model.", "    time.sleep(0.06)\n    model.")
    kernel.run("import time")
    kernel.client.execute(slower)
    seen, deadline = "", time.monotonic() + 60
    while "epoch 8\n" not in seen and time.monotonic() < deadline:
        message = kernel.client.get_iopub_msg(timeout=30)
        seen += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
    os.kill(pid, signal.SIGKILL)
    while kernel.manager.is_alive():
        time.sleep(0.05)
    run = la.load_run("killed", store)
    assert run.status == "cut off"
    assert run.metrics.query("split == 'val'")["epoch"].tolist()[:7] == list(range(1, 8))
    assert len(run.samples("val", 7)) == 200
    assert la.list_runs(store)["status"].tolist()[-1] == "cut off"
