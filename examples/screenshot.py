"""Take the README's pictures: the quickstart, run in JupyterLab in a real Chromium, light and dark."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
IMAGES = HERE / "images"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
)
WIDGET = "window.jupyterapp.shell.currentWidget"
TALLEST = 900  # the curves and the first lines of the open card
TRAINING = "%%lossacc"
DARK = "() => jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
READY = f"""() => {{
    const kernel = window.jupyterapp && {WIDGET}?.context?.sessionContext?.session?.kernel;
    return kernel && kernel.status === 'idle' && kernel.connectionStatus === 'connected';
}}"""
ENDED = f"""() => {{
    const cells = [...Array({WIDGET}.content.model.cells.length).keys()]
        .map(i => {WIDGET}.content.model.cells.get(i));
    const cell = cells.find(c => c.sharedModel.getSource().startsWith({TRAINING!r}));
    return cell.executionCount && cell.executionState !== 'running';
}}"""


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """Serve a folder with JupyterLab on the loopback address; yields the notebook's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    home = folder / ".home"
    settings = home / "@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        '{"fetchNews":"false","checkForUpdates":false}'
    )
    own = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    environment = {**os.environ, **own, "JUPYTERLAB_SETTINGS_DIR": str(home)}
    command = [
        *(
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            "--ip=127.0.0.1",
            f"--port={port}",
        ),
        *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"),
        "--LabApp.expose_app_in_browser=True",
    ]
    with (folder / ".home/server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{base}/api/status?token={token}", timeout=2).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"{base}/doc/tree/quickstart.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(20)


def take(page: Page, name: str) -> None:
    """Save a picture of the panel."""
    IMAGES.mkdir(exist_ok=True)
    page.wait_for_timeout(800)
    box = page.locator(".lossacc-host").first.bounding_box()
    if box is None:
        sys.exit("Expected the panel on the page, found none: run `make demo` to see what the notebook says.")
    page.screenshot(path=IMAGES / f"{name}.png", clip={**box, "height": min(box["height"], TALLEST)})
    print(f"{IMAGES.name}/{name}.png")


def main() -> None:
    """Run the quickstart up to its training cell and take the panel live, then at the end, light and dark."""
    chromium = os.environ.get("LOSSACC_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        shutil.copy(HERE / "quickstart.ipynb", folder)
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1100, "height": 3200}, device_scale_factor=1.5)
        page.set_default_timeout(300_000)
        with jupyterlab(folder) as address:
            page.goto(address)
            page.wait_for_function(READY)
            page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
            band = re.compile(r"loss .*accuracy.*explanation", re.IGNORECASE)
            page.locator(".lossacc-host").first.get_by_role("link", name=band).first.wait_for()
            take(page, "panel-live")
            page.wait_for_function(ENDED)
            page.locator(".lossacc-host").first.locator(".card").wait_for()
            take(page, "panel-light")
            page.evaluate(DARK)
            page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
            take(page, "panel-dark")
        browser.close()


if __name__ == "__main__":
    main()
