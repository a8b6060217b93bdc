"""What a panel can do once its cell has ended, and in a second cell while its run goes on."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DATA = """
import threading, time
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import jupyter_lossacc as la
%load_ext jupyter_lossacc
torch.manual_seed(0)
images = torch.rand(300, 1, 8, 8)
labels = (images[:, 0, :4].mean((1, 2)) > images[:, 0, 4:].mean((1, 2))).long()
flipped = torch.where(torch.rand(300) < 0.25, 1 - labels, labels)
train_set, val_set = TensorDataset(images[:100], flipped[:100]), TensorDataset(images[100:], labels[100:])

def train(epochs, pause=0.0, until=lambda: False):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    train_loader, val_loader = DataLoader(train_set, 25, shuffle=True), DataLoader(val_set, 100)
    for epoch in range(epochs):
        for x, y in train_loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            for x, y in val_loader:
                nn.functional.cross_entropy(model(x), y)
        time.sleep(pause)
        if until():
            break
"""
TRAIN = "%%lossacc after --store none\ntrain(40)"
BACKGROUND = """
shown, over = threading.Event(), threading.Event()
def job():
    with la.record("background", store="none", view="panel"):
        train(100_000, pause=0.05, until=lambda: shown.set() or over.is_set())
thread = threading.Thread(target=job)
thread.start()
shown.wait();
"""


IN_STEP = r"""() => {
    const status = host => host.shadowRoot.querySelector('.status').textContent;
    const hosts = [...document.querySelectorAll(".lossacc-host")];
    const epochs = hosts.map(h => /epoch (\d+)/.exec(status(h))?.[1]);
    return epochs.length === 2 && Number(epochs[0]) > 5 && epochs[0] === epochs[1];
}"""


def panels(page):
    return page.locator(".lossacc-host")


def test_a_finished_panel_fetches_all_samples_and_shows_them(notebook):
    page = notebook.page
    notebook.open(DATA, TRAIN, "before = torch.get_rng_state(); torch.rand(1).item()", "%lossacc show")
    notebook.run_all().wait_done(3, seconds=120)
    for copy in (panels(page).first, panels(page).last):  # under the cell, and shown again
        copy.get_by_role("link", name=re.compile("validation")).last.click()
        copy.get_by_role("tab", name="Samples").click()
        expect(copy.get_by_role("table", name="All 200 samples")).to_be_visible()
        copy.get_by_role("button", name="Show the samples themselves").click()
        expect(copy.get_by_role("img", name=re.compile("picture of 8 × 8 pixels"))).to_have_count(15)
    assert not [error for error in notebook.errors if "lossacc" in error]


def test_a_run_in_the_background_is_shown_in_two_cells_in_step_and_after_a_reload(notebook):
    page = notebook.page
    notebook.open(DATA, BACKGROUND, "%lossacc show", "over.set(); thread.join()")
    for index in range(3):
        notebook.run(index).wait_done(index)
    expect(panels(page)).to_have_count(2)
    status = [panels(page).nth(i).locator(".status") for i in (0, 1)]
    for one in status:
        expect(one).to_contain_text("Running")
    page.wait_for_function(IN_STEP)
    notebook.save()
    notebook.open()
    expect(panels(page)).to_have_count(2, timeout=30_000)
    page.wait_for_function(IN_STEP)
    notebook.run(3).wait_done(3)
    for i in (0, 1):
        expect(panels(page).nth(i).locator(".status")).to_contain_text("Finished")
    assert not [error for error in notebook.errors if "lossacc" in error]
