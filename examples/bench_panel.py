"""What the live panel costs, measured in JupyterLab with a real Chromium attached.

1. One update of the curves, CPU and bytes: what the training thread does for it (training; steps: the
   message alone), what the clerk's thread does after a pass (points), and beside them livelossplot, trainplot
   and a matplotlib figure that is kept and drawn again; same kernel, same run. (The two others are measured
   where they are installed: ``pip install livelossplot trainplot``.)
2. A training whose steps take 2 ms, with the panel and without any view, in turns.
3. The saved output's size, and how long the browser takes to open a run of 1,000 epochs and to list
   10,000 samples.
"""

import json
import os
import re
import shutil
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, sync_playwright
from screenshot import FLAGS, READY, WIDGET, jupyterlab

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

UPDATES = """
import io, json, threading, time, warnings
import numpy as np
from IPython import get_ipython
from IPython.display import Image, display
from jupyter_lossacc.session.desk import Desk
from jupyter_lossacc.session.ledger import Ledger
from jupyter_lossacc.session.threads import Clerk
from jupyter_lossacc.views.panel.show import PanelView, _nothing_yet
warnings.simplefilter("ignore")
sent = []  # counted later: what is measured is the update
thread = get_ipython().kernel.iopub_thread
send = thread.send_multipart
def noted(parts, *args, **kwargs):
    sent.append(parts)
    return send(parts, *args, **kwargs)
thread.send_multipart = noted
NAMES = ("loss", "val_loss", "acc", "val_acc")
def values(i):
    return {name: float(np.exp(-i / 3000) + 0.1 * np.sin(i + k)) for k, name in enumerate(NAMES)}

class Training:  # what the training thread does
    def __init__(self, n):
        view = PanelView("html", threading.Event(), threading.Event())
        view.open("bench")
        self.panel = view._panel
        ledger = Ledger(_nothing_yet("bench").recording.info)
        self.desk = Desk(ledger, Clerk(print), view, None, keep="none", on_error=print)
        empty = {k: [] for k in ("x", "epoch", "loss", "accuracy", "calibrated")}
        start = [dict(empty, id=s, label=s, name="", samples=9) for s in ("train", "val")]
        self.panel.push_curves(start)
        self.add(range(1, n + 1))
    def add(self, epochs):
        grow = {}
        for curve, (loss, acc) in zip(self.panel.state["curves"], (("loss", "acc"), ("val_loss", "val_acc"))):
            made = [values(i) for i in epochs]
            grow[curve["id"]] = {"from": len(curve["x"]), "x": list(epochs), "epoch": list(epochs),
                "loss": [v[loss] for v in made], "accuracy": [v[acc] for v in made], "calibrated": []}
        self.panel.push_points(lambda drawn: grow)
    def update(self, i):
        self.take(i, self.desk.steps)
    def take(self, i, steps):
        rows = {"epoch": np.full(4, float(i)), "step": np.arange(4.0 * i, 4.0 * i + 4), "loss": np.ones(4)}
        steps(dict(rows, n_samples=np.full(4, 32.0), learning_rate=np.full(4, 0.1)))

class Steps(Training):  # the message alone
    def update(self, i):
        self.take(i, self.panel.push_steps)

class Points(Training):  # what another thread sends at the end of a pass
    def update(self, i):
        self.add([i])

class LiveLossPlot:
    def __init__(self, n):
        from livelossplot import PlotLosses
        self.plot = PlotLosses()
        for i in range(1, n + 1):
            self.plot.update(values(i))
    def update(self, i):
        self.plot.update(values(i))
        self.plot.send()

class TrainPlot:
    def __init__(self, n):
        from trainplot import TrainPlot
        self.plot = TrainPlot(update_period=0)
        for i in range(1, n + 1):
            if hasattr(self.plot, "update_period"):
                self.plot.update_period = 1e9 if i < n else 0
            self.plot(step=i, **values(i))
    def update(self, i):
        self.plot(step=i, **values(i))

class KeptFigure:
    def __init__(self, n):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        self.figure = Figure(figsize=(9, 4), dpi=100)
        FigureCanvasAgg(self.figure)
        panes = self.figure.subplots(2, 1, sharex=True)
        self.lines = {name: panes[k // 2].plot([], [])[0] for k, name in enumerate(NAMES)}
        self.rows = [values(i) for i in range(1, n + 1)]
        self.handle = display({"text/plain": "figure"}, raw=True, display_id=True)
    def update(self, i):
        self.rows.append(values(i))
        for name, line in self.lines.items():
            line.set_data(range(len(self.rows)), [row[name] for row in self.rows])
            line.axes.relim()
            line.axes.autoscale_view()
        out = io.BytesIO()
        self.figure.savefig(out, format="png")
        self.handle.update({"image/png": out.getvalue()}, raw=True)

found = []
for kind in (Training, Steps, Points, LiveLossPlot, TrainPlot, KeptFigure):
    for n in (10, 1000, 10_000):
        try:
            view = kind(n)
        except ImportError:
            break
        took, size = [], []
        for i in range(n + 1, n + 17):
            time.sleep(0.5)  # with what follows longer than `INTERVAL`: every update sends its message
            sent.clear()
            began = time.thread_time()
            view.update(i)
            took.append(1e3 * (time.thread_time() - began))
            time.sleep(0.05)
            size.append(sum(memoryview(getattr(p, "buffer", p)).nbytes for parts in sent for p in parts))
        took, size = took[2:], size[2:]
        found.append([kind.__name__, n, min(took), float(np.median(took)), float(np.median(size))])
print("FOUND" + json.dumps(found))
"""

SLOWDOWN = """
import json, statistics, time, warnings
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import jupyter_lossacc as la
warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
data = TensorDataset(torch.randn(16_000, 100), torch.randint(0, 10, (16_000,)))
held = TensorDataset(torch.randn(512, 100), torch.randint(0, 10, (512,)))
def train(view, epochs=6):
    model = nn.Sequential(nn.Linear(100, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    loader, val = DataLoader(data, 128), DataLoader(held, 512)
    with la.record("slow", store="none", view=view):
        began, cpu = time.perf_counter(), time.thread_time()
        for _ in range(epochs):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            with torch.no_grad():
                for x, y in val:
                    nn.functional.cross_entropy(model(x), y)
        steps = epochs * len(loader)
        return (time.perf_counter() - began) / steps, (time.thread_time() - cpu) / steps
train("panel", 2)
pairs = [(train("none"), train("panel")) for _ in range(12)]
found = [1e3 * min(a[0] for a, _ in pairs)]
for k in (0, 1):  # wall, CPU of the training thread
    found.append(statistics.median(b[k] / a[k] for a, b in pairs))
    found.append(min(b[k] for _, b in pairs) / min(a[k] for a, _ in pairs))
print("FOUND" + json.dumps(found))
"""

OPEN = """async () => {
    const lines = () => document.querySelector('.lossacc-host')?.shadowRoot.querySelectorAll('svg path');
    const drawn = () => lines()?.length > 2;
    while (!drawn()) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now();
}"""
LIST = """async () => {
    const root = document.querySelector('.lossacc-host').shadowRoot;
    const began = performance.now();
    root.getElementById('tab-samples').click();
    const all = () => [...root.querySelectorAll('caption')].some(c => c.textContent.startsWith('All 10,000'));
    while (!all()) await new Promise(requestAnimationFrame);
    return performance.now() - began;
}"""


def in_jupyterlab(browser: Browser, *cells: str) -> list[object]:
    """Run cells in JupyterLab with the browser attached; return what each found."""
    found = []
    for cell in cells:
        with tempfile.TemporaryDirectory() as name:
            notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
            notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
            nbformat.write(notebook, Path(name) / "quickstart.ipynb")
            page = browser.new_page(viewport={"width": 1100, "height": 1400})
            page.set_default_timeout(580_000)
            with jupyterlab(Path(name)) as address:
                page.goto(address)
                page.wait_for_function(READY)
                page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
                outputs = f"{WIDGET}.content.model.cells.get(0).outputs.toJSON()"
                page.wait_for_function(
                    f"() => {outputs}.some(o => /^FOUND/m.test(o.text) || o.output_type === 'error')"
                )
                text = json.dumps(page.evaluate(f"() => {outputs}.filter(o => o.text || o.ename)"))
                line = re.search(r"FOUND(.*?)\\n", text)
                found.append(json.loads(line[1].replace('\\"', '"')) if line else text)
            page.close()
    return found


def opened(browser: Browser) -> tuple[int, float, float]:
    """Return the saved output's bytes, and milliseconds until a long run is drawn and its samples listed."""
    import numpy as np

    from jupyter_lossacc.records import Predictions
    from jupyter_lossacc.views.figures import figure_png
    from jupyter_lossacc.views.panel.frozen import frozen_bundle
    from tests.views.gallery import gallery_html
    from tests.views.states import STATES, state_of

    def load(key: tuple[str, int, int]) -> Predictions:
        rng, n = np.random.default_rng(key[1]), 10_000
        part = rng.random((3, n)).astype(np.float32)
        ids, targets, predicted = np.arange(n), *rng.integers(0, 5, (2, n)).astype(np.int32)
        right = (targets == predicted).astype(np.float32)
        return Predictions(
            sample_ids=ids, targets=targets, predicted=predicted, correct=right, nll=9 * part[0],
            reported_loss=9 * part[0], confidence=part[1], margin=part[2],
        )  # fmt: skip

    shown = STATES["thousand-epochs"]()
    shown = replace(shown, recording=replace(shown.recording, load=load))
    bundle = frozen_bundle(state_of(shown), figure_png(*shown.arguments))
    times = []
    with tempfile.TemporaryDirectory() as name:
        page_file = Path(name) / "run.html"
        page_file.write_text(gallery_html({"connected": shown}), encoding="utf-8")
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1100, "height": 1400})
            page.goto(page_file.as_uri(), wait_until="commit")
            times.append((page.evaluate(OPEN), page.evaluate(LIST)))
            page.close()
    return (
        sum(len(text.encode()) for text in bundle.values()),
        statistics.median(t[0] for t in times),
        statistics.median(t[1] for t in times),
    )


def main() -> None:
    """Measure and print."""
    chromium = os.environ.get("LOSSACC_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        size, opening, listing = opened(browser)
        print(f"saved output of 1,000 epochs: {size / 1000:.0f} kB")
        print(
            f"opened in the browser: {opening:.0f} ms; its 10,000 samples listed: {listing:.0f} ms",
            flush=True,
        )
        (updates,) = in_jupyterlab(browser, UPDATES)
        print("one update after so many epochs: milliseconds of CPU (least, median of 14), bytes sent")
        for kind, n, least, took, sent in updates if isinstance(updates, list) else []:
            print(f"  {kind:<13}{n:>7,} {least:>9.2f} {took:>9.2f} ms {sent:>10,.0f} bytes", flush=True)
        (slow,) = in_jupyterlab(browser, SLOWDOWN)
        if isinstance(slow, list):
            print(f"loop with steps of {slow[0]:.2f} ms, with the panel over without any view:")
            for what, median, least in (("time", *slow[1:3]), ("CPU of the training thread", *slow[3:5])):
                print(f"  {what}: {median:.3f} (median of 12 pairs), {least:.3f} (fastest over fastest)")
        for answer in (updates, slow):
            if isinstance(answer, str):
                sys.exit(answer[:2000])
        browser.close()


if __name__ == "__main__":
    main()
