"""Real kernels: the ipykernel that is installed, and an old one in a folder of its own."""

import os
import queue
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

OLD = "6.31.0"
# ipykernel 6 needs one package that ipykernel 7 does not; everything else is shared with the environment.
OLD_REQUIREMENTS = (f"ipykernel=={OLD}", "nest-asyncio==1.6.0")
OLD_FOLDER = Path(sys.prefix) / "share" / "lossacc-tests" / f"ipykernel-{OLD}"

# The magic talks to a session that only notes what it is asked: the battery is about the cell.
FAKE_SESSION = """
import importlib.util, os, sys, threading, types
EVENTS = []
class FakeRecorder:
    runs = ()
    def __init__(self, **options):
        self.stop = threading.Event()
        FakeRecorder.last = self
    def start(self):
        EVENTS.append("start")
    def finish(self, error=None):
        EVENTS.append(type(error).__name__)
session = types.ModuleType("jupyter_lossacc.session")
package = importlib.util.find_spec("jupyter_lossacc").submodule_search_locations[0]
session.__path__ = [os.path.join(package, "session")]  # what does not record is the real one
session.record = FakeRecorder
session.last_recorder = lambda: None
sys.modules["jupyter_lossacc.session"] = session
"""


@dataclass
class Reply:
    """What came back for one cell."""

    status: str = ""
    follow: str = ""  # status of the cell queued behind it
    stdout: str = ""
    stderr: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)  # MIME bundles
    result: str | None = None
    errors: list[str] = field(default_factory=list)
    traceback: str = ""
    payload: str = ""  # the help text of `name?`


class Kernel:
    """A running kernel."""

    def __init__(self, folder: Path, python_path: str = "") -> None:
        environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [python_path, os.environ.get("PYTHONPATH")]))
        environment["JUPYTER_PLATFORM_DIRS"] = "1"
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=environment, cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code: str, *, then: str | None = None, interrupt: int = 0, timeout: float = 60) -> Reply:
        """Run a cell and return what came back.

        `then` is a cell queued behind it at once, as by "Run All"; the kernel is interrupted
        `interrupt` times, a moment after the cell has written "go".
        """
        if then is not None:
            # Keeps the kernel busy until both cells wait in its queue, as by "Run All".
            self.client.execute("import time; time.sleep(0.2); del time", silent=True)
        mine = self.client.execute(code, store_history=True)
        behind = self.client.execute(then, store_history=True) if then is not None else None
        reply, waiting = Reply(), {mine, *([behind] if behind else [])}
        deadline = time.monotonic() + timeout
        while waiting:
            message = self.client.get_iopub_msg(timeout=max(deadline - time.monotonic(), 0.01))
            parent = message["parent_header"].get("msg_id")
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                waiting.discard(parent)
            elif parent == mine:
                _note(reply, message)
            while interrupt and "go" in reply.stdout:
                time.sleep(0.1)
                self.manager.interrupt_kernel()
                interrupt -= 1
        content = self._answer(mine)
        reply.status = content["status"]
        reply.payload = "".join(p["data"]["text/plain"] for p in content.get("payload", []) if "data" in p)
        reply.follow = self._answer(behind)["status"] if behind else ""
        return reply

    def value(self, expression: str) -> str:
        """Return the repr of an expression."""
        reply = self.run(f"print(repr({expression}), end='')")
        assert reply.status == "ok", reply
        return reply.stdout

    def ask(self, method: str, *arguments: Any) -> dict[str, Any]:
        """Send another request (inspect, complete, is_complete) and return its answer."""
        return self._answer(getattr(self.client, method)(*arguments))

    def _answer(self, message_id: str) -> dict[str, Any]:
        while True:
            try:
                message = self.client.get_shell_msg(timeout=30)
            except queue.Empty as error:
                raise AssertionError("the kernel did not answer") from error
            if message["parent_header"].get("msg_id") == message_id:
                content: dict[str, Any] = message["content"]
                return content


def _note(reply: Reply, message: dict[str, Any]) -> None:
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        setattr(reply, content["name"], getattr(reply, content["name"]) + content["text"])
    elif kind == "execute_result":
        reply.result = content["data"].get("text/plain")
    elif kind == "display_data":
        reply.shown.append(content["data"])
    elif kind == "error":
        reply.errors.append(content["ename"])
        reply.traceback += plain("\n".join(content["traceback"]))


def plain(text: str) -> str:
    """Return the text without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def old_ipykernel() -> str:
    """Return the folder of the old ipykernel, installed there the first time."""
    if not (OLD_FOLDER / "ipykernel").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", str(OLD_FOLDER)]
        done = subprocess.run(
            [*command, *OLD_REQUIREMENTS], capture_output=True, text=True, check=False, timeout=240
        )
        if done.returncode:
            raise RuntimeError(
                f"pip could not install {' '.join(OLD_REQUIREMENTS)} into {OLD_FOLDER}: {done.stderr[-500:]}"
            )
    return str(OLD_FOLDER)
