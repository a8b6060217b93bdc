"""JupyterLab and Notebook 7 in a real Chromium: one server per application, one page per test."""

import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Page

FAILURES = Path(__file__).parent / "failures"
WIDGET = "window.jupyterapp.shell.currentWidget"
MODULES = {"lab": ("jupyterlab", "LabApp"), "notebook": ("notebook", "JupyterNotebookApp")}


@dataclass(frozen=True)
class Server:
    """A Jupyter server that serves one folder."""

    app: str
    url: str
    token: str
    root: Path


@dataclass
class NotebookPage:
    """A notebook open in the browser, driven through JupyterLab's own commands and models."""

    page: Page
    server: Server
    name: str = "test.ipynb"
    errors: list[str] = field(default_factory=list)

    def write(self, *cells: str) -> Path:
        """Write a notebook of code cells into the server's folder."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        path = self.server.root / self.name
        nbformat.write(notebook, path)
        return path

    def open(self, *cells: str) -> "NotebookPage":
        """Show a notebook of these cells (or the one already there) and wait for its kernel."""
        if cells:
            self.write(*cells)
        view = "doc/tree" if self.server.app == "lab" else "notebooks"
        self.page.goto(f"{self.server.url}/{view}/{self.name}?token={self.server.token}")
        self.page.wait_for_function(
            f"""() => {{
                const kernel = window.jupyterapp && {WIDGET}?.context?.sessionContext?.session?.kernel;
                return kernel && kernel.status === 'idle' && kernel.connectionStatus === 'connected';
            }}"""
        )
        return self

    def run_all(self) -> "NotebookPage":
        """Run all cells and return at once."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        return self

    def run(self, index: int) -> "NotebookPage":
        """Run one cell and return at once."""
        self.page.evaluate(
            f"""index => {{
                {WIDGET}.content.activeCellIndex = index;
                window.jupyterapp.commands.execute('notebook:run-cell');
            }}""",
            index,
        )
        return self

    def cell(self, index: int) -> dict[str, Any]:
        """Return a cell's execution count, state and outputs as the notebook's model holds them."""
        found: dict[str, Any] = self.page.evaluate(
            f"""index => {{
                const cell = {WIDGET}.content.model.cells.get(index);
                const outputs = cell.outputs.toJSON();
                return {{count: cell.executionCount, state: cell.executionState, outputs}};
            }}""",
            index,
        )
        return found

    def printed(self, index: int) -> str:
        """Return what a cell wrote to stdout and stderr."""
        outputs = self.cell(index)["outputs"]
        return "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")

    def wait_done(self, index: int, seconds: float = 60) -> "NotebookPage":
        """Wait until a cell has ended."""
        self.page.wait_for_function(
            f"""index => {{
                const cell = {WIDGET}.content.model.cells.get(index);
                return cell.executionCount && cell.executionState !== 'running';
            }}""",
            arg=index,
            timeout=seconds * 1000,
        )
        return self

    def cell_count(self) -> int:
        """Return how many cells the notebook has (a shortcut that fired by mistake changes it)."""
        return int(self.page.evaluate(f"{WIDGET}.content.model.cells.length"))

    def save(self) -> Path:
        """Save the notebook as the user would."""
        self.page.evaluate(f"async () => {{ await {WIDGET}.context.save() }}")
        return self.server.root / self.name

    def set_theme(self, name: str) -> None:
        """Switch JupyterLab's theme while the page is open."""
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name
        )

    def close(self) -> None:
        """Save and shut the kernel down."""
        self.page.evaluate(
            f"""async () => {{
                const context = {WIDGET}?.context;
                if (context) {{ await context.save(); await context.sessionContext.shutdown(); }}
            }}"""
        )


def wait_for_server(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until the server answers, and fail with its log when it does not."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"The Jupyter server did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="session", params=["lab", "notebook"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a Jupyter server on the loopback address, with settings and folders of its own."""
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    module, traits = MODULES[request.param]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    settings = home / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        '{"fetchNews":"false","checkForUpdates":false}'
    )
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        *(sys.executable, "-m", module, "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"),
        *(f"--ServerApp.root_dir={root}", f"--{traits}.expose_app_in_browser=True"),
    ]
    log = home / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT)
    try:
        wait_for_server(process, f"http://127.0.0.1:{port}/api/status?token={token}", log)
        yield Server(request.param, f"http://127.0.0.1:{port}", token, root)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def notebook(server: Server, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[NotebookPage]:
    """Give a fresh browser page; a picture of it is kept when the test fails."""
    context = chromium.new_context(viewport={"width": 1200, "height": 950})
    page = context.new_page()
    page.set_default_timeout(90_000)  # of a machine that is busy otherwise
    opened = NotebookPage(page, server, name=re.sub(r"\W+", "-", request.node.name) + ".ipynb")
    page.on("pageerror", lambda error: opened.errors.append(f"{error}\n{error.stack}"))
    yield opened
    if getattr(request.node, "failed_call", False):
        FAILURES.mkdir(exist_ok=True)
        page.screenshot(path=FAILURES / f"{request.node.name}.png", full_page=True)
    opened.close()
    context.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Tell the fixture above whether the test itself failed."""
    report = yield
    if report.when == "call":
        item.failed_call = report.failed
    return report
