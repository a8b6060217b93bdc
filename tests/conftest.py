"""For all tests: one thread per process, and one browser for the tests that need one.

With one thread two cores stay usable, and results do not depend on the machine.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell starts background jobs with interrupts ignored, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Without these Chromium asks Google's hosts for updates, and needs a sandbox that containers lack.
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(autouse=True)
def recorded_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out no training samples: how many depends on how busy the machine is."""
    monkeypatch.setattr("jupyter_lossacc.capture.reading.governor.GRACE", math.inf)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Start one Chromium for the whole session: Playwright runs once per process."""
    from playwright.sync_api import sync_playwright

    names = (os.environ.get("LOSSACC_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, filter(None, names))), None)
    with sync_playwright() as playwright:
        path = path or playwright.chromium.executable_path
        if not Path(path).exists():
            pytest.fail(
                "No Chromium was found: `make test` installs one, or set LOSSACC_CHROMIUM to its path."
            )
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()
