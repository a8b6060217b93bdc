"""Every control of a finished panel, clicked and typed in JupyterLab and Notebook 7."""

import csv
import io
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_panel_after_the_run import DATA

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CLASSES = ["<b>dark</b>", "قطة"]
TRAIN = "%%lossacc every --store none --classes names\ntrain(40)"


@pytest.fixture
def box(notebook):
    """The panel that stays under a training that overfits wrong labels."""
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    notebook.open(f"{DATA}\nnames = {CLASSES}", TRAIN).run(0).wait_done(0).run(1).wait_done(1, seconds=120)
    found = notebook.page.locator(".lossacc-host").first
    expect(found.locator(".stops")).to_be_hidden()
    return found


def copied_code(box):
    """Open the code of the first cause, copy it, and return it as it stands there."""
    if box.locator(".more button").count():  # Notebook 7 shows the card in part
        box.locator(".more button").click()
    box.locator("summary", has_text="Code to paste").first.click()
    experiment = box.locator(".experiment").first
    experiment.get_by_role("button", name="Copy code").click()
    expect(experiment.get_by_role("status")).to_have_text("copied")
    return experiment.locator("pre").inner_text().strip()


def cells(table, name):
    """Texts of a column."""
    heads = table.locator("thead th, thead td").all_inner_texts()
    n = next(i for i, head in enumerate(heads, 1) if head.startswith(name))
    return table.locator(f"tbody tr > :nth-child({n})").all_inner_texts()


def filter_samples(box):
    """Filter by class, by cause and by both, and look at the samples themselves."""
    box.get_by_role("tab", name="Samples").click()
    table = box.get_by_role("table", name="All 200 samples")
    expect(table).to_be_visible()
    box.get_by_label("Class").select_option(label=CLASSES[1])
    assert set(cells(table, "target")) == {CLASSES[1]}
    expect(box.get_by_role("status").filter(has_text="change the mean loss")).to_be_visible()
    cause = box.get_by_label("Cause").locator("option").nth(1).inner_text()
    box.get_by_label("Cause").select_option(label=cause)
    named = cells(table, "named by")
    assert named
    assert all(cause in text for text in named)
    assert set(cells(table, "target")) == {CLASSES[1]}
    rows = len(named)
    box.get_by_role("button", name="Show the samples themselves").click()
    expect(box.get_by_role("img", name=re.compile("picture of 8 × 8 pixels"))).to_have_count(rows)
    first = box.locator("img.portrait").first
    assert first.evaluate("image => image.naturalWidth") >= 8


def saved(page, box, choice):
    """Save something; return its name and content."""
    box.locator("summary", has_text="Save").click()
    with page.expect_download() as download:
        box.get_by_role("button", name=choice).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def save_everything(page, box):
    """Save all that there is, and read it."""
    name, png = saved(page, box, "Figure as PNG")
    colours = dict(map(reversed, Image.open(io.BytesIO(png)).convert("RGB").getcolors(2**24)))
    assert name == "every-curves.png"
    assert colours[213, 94, 0] > 500
    _, svg = saved(page, box, "Figure as SVG")
    assert b"var(--" not in svg
    _, table = saved(page, box, "Epochs as CSV")
    epochs = [int(r["epoch"]) for r in csv.DictReader(io.StringIO(table.decode())) if r["split"] == "val"]
    assert epochs == list(range(1, 41))
    _, table = saved(page, box, "Samples of this card as CSV")
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    assert sorted(int(r["id"]) for r in rows) == list(range(200))
    assert {r["target_name"] for r in rows} == set(CLASSES)
    _, report = saved(page, box, "Report as Markdown")
    assert report.decode().startswith("# every\n")
    assert box.locator(".headline p").inner_text().removesuffix(" Why?") in report.decode()


def move_handles(page, box):
    """Move one handle by mouse, the other by keyboard; the card follows, with intervals from the kernel."""
    box.get_by_role("link", name="compare two epochs").click()
    first, last = (box.get_by_role("slider", name=f"{n} epoch to compare") for n in ("First", "Second"))
    last.scroll_into_view_if_needed()
    at = last.bounding_box()
    page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    page.mouse.down()
    page.mouse.move(at["x"] - 150, at["y"] + 4, steps=4)
    page.mouse.up()
    end = int(last.get_attribute("aria-valuenow"))
    assert 20 < end < 40
    first.focus()
    for key in ("PageUp", "ArrowRight", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    expect(first).to_have_attribute("aria-valuenow", "12")
    expect(box.locator(".card h3")).to_have_text(f"Validation: epoch 12 and epoch {end} compared")
    expect(box.locator(".card dl")).to_contain_text("95 %:", timeout=20_000)


def test_every_control_does_what_it_says(notebook, box):
    page = notebook.page
    code = copied_code(box)
    assert page.evaluate("navigator.clipboard.readText()").strip() == code != ""
    filter_samples(box)
    save_everything(page, box)
    move_handles(page, box)
    box.get_by_role("link", name="which epoch to keep").click()
    expect(box.get_by_role("table", name="What other epochs would give")).to_be_visible()
    page.set_viewport_size({"width": 400, "height": 900})
    for card in ("which epoch to keep", "compare two epochs"):
        box.get_by_role("link", name=card).click()
        wide = box.locator(".la").evaluate(
            "la => [...la.querySelectorAll('.card, .tag, select')].filter(node => node.offsetParent"
            " && node.getBoundingClientRect().right > la.getBoundingClientRect().right + 1).length"
        )
        assert wide == 0, "something is wider than the panel"
    assert not [error for error in notebook.errors if "lossacc" in error]
