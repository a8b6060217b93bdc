"""The panel where people use it: asked while it runs and after, in JupyterLab and Notebook 7."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_quickstart import ALL_DRAWN, panel

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """\
%load_ext jupyter_lossacc
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(1)
digits = load_digits()
x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
train_loader = DataLoader(TensorDataset(x[:1200], y[:1200]), 20, shuffle=True)
val_loader = DataLoader(TensorDataset(x[1200:], y[1200:]), 200)"""
TRAINING = """\
%%lossacc handles
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), 0.05)
for epoch in range(100_000):
    for xb, yb in train_loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(xb), yb).backward()
        optimizer.step()
    with torch.no_grad():
        for xb, yb in val_loader:
            nn.functional.cross_entropy(model(xb), yb)"""
AFTER = """\
import jupyter_lossacc as la
run = la.last_run()
print(run.metrics["complete"].all(), len(run.steps) == 60 * run.metrics["epoch"].max(), run.status)"""


def test_stop_after_the_epoch_then_ask_the_kernel_then_save_then_switch_the_theme(notebook):
    page = notebook.page
    notebook.open(SETUP, TRAINING, AFTER).run(0).wait_done(0).run(1)
    box = panel(page)
    status = box.locator(".status")
    expect(status).to_contain_text(re.compile(r"epoch \d+ · .*left in this epoch"), timeout=60_000)
    expect(status).to_contain_text("samples/s")
    expect(status).to_contain_text("learning rate 0.05")
    expect(box.locator(".plot .curve")).not_to_have_count(0)
    page.wait_for_function(ALL_DRAWN)
    box.get_by_role("button", name="Stop after this epoch").click()
    notebook.wait_done(1)
    assert "StopTraining" in json.dumps(notebook.cell(1)["outputs"])
    notebook.run(2).wait_done(2)
    assert notebook.printed(2) == "True True interrupted\n"

    # The frozen copy stands there now, and finds the kernel through the widget it replaced.
    box = panel(page)
    expect(box.locator(".stops")).to_be_hidden()
    first = box.get_by_role("slider", name="First epoch to compare")
    first.focus()
    cells = notebook.cell_count()
    for key in ("ArrowRight", "ArrowRight", "b", "a", "x", "d", "d", "m"):
        page.keyboard.press(key)
    assert notebook.cell_count() == cells, "a shortcut of the notebook fired inside the panel"
    expect(first).to_be_focused()
    expect(first).to_have_attribute("aria-valuenow", "3")
    expect(box.locator(".card dl")).to_contain_text("95 %:", timeout=20_000)
    expect(box.locator(".card")).to_contain_text("Where the loss change from epoch 3")

    box.locator("summary", has_text="Save").click()
    with page.expect_download() as download:
        box.get_by_role("button", name="Figure as SVG").click()
    assert download.value.suggested_filename == "handles-curves.svg"
    notebook.set_theme("JupyterLab Dark High Contrast")
    expect(panel(page).locator(".la")).to_have_attribute("data-contrast", "true")
    expect(panel(page).locator(".la")).to_have_attribute("data-dark", "true")
    page.wait_for_function(ALL_DRAWN)
    assert not [error for error in notebook.errors if "lossacc" in error]
