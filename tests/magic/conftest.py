"""An IPython shell in this process, and a recorder that only notes what is asked of it."""

import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jupyter_lossacc import magic


class FakeRecorder:
    """Notes how it was made and how it ended."""

    made: ClassVar[list["FakeRecorder"]] = []

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.stop = threading.Event()
        self.events: list[str] = []
        self.made.append(self)

    def start(self) -> None:
        self.events.append("start")

    def finish(self, error: BaseException | None = None) -> None:
        self.events.append(f"finish {type(error).__name__}")


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[FakeRecorder]:
    """Put the fake in place of `session.record`; the list fills with the recorders made."""
    FakeRecorder.made = []
    session = types.ModuleType("jupyter_lossacc.session")
    session.record = FakeRecorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jupyter_lossacc.session", session)
    return FakeRecorder.made


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Give a fresh shell with the extension loaded."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    hook = sys.excepthook
    InteractiveShell.clear_instance()
    ip = InteractiveShell.instance(config=config)
    magic.load(ip)
    yield ip
    magic.unload(ip)
    InteractiveShell.clear_instance()
    sys.excepthook = hook
