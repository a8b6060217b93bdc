"""The quickstart in JupyterLab and Notebook 7: what a person sees while it trains, and after."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
TRAINING = 3
BAND = re.compile(r"loss .*accuracy.*explanation", re.IGNORECASE)
# A curve that is drawn has a length and a colour of its own, and lies in a chart of some size.
DRAWN = """() => [...document.querySelectorAll('.lossacc-host')]
    .flatMap(host => [...host.shadowRoot.querySelectorAll('.plot')])
    .map(plot => [...plot.querySelectorAll('.curve')].filter(curve =>
        curve.getTotalLength() > 100 && plot.clientWidth > 300 && getComputedStyle(curve).stroke !== 'none'
    ).length)"""
WAIT = 90_000  # ms
ALL_DRAWN = f"() => {{ const n = ({DRAWN})(); return n.length > 1 && Math.min(...n) > 0; }}"


def quickstart_cells(epochs: int) -> list[str]:
    """Return the notebook's code up to the training cell, with another number of epochs."""
    cells = [c.source for c in nbformat.read(QUICKSTART, as_version=4).cells if c.cell_type == "code"]
    until = next(i for i, source in enumerate(cells) if source.startswith("%%lossacc"))
    training, replaced = re.subn(r"range\(1, \d+\)", f"range(1, {epochs + 1})", cells[until])
    assert replaced == 1
    return [*cells[:until], training]


def panel(page: Page):
    """Return the panel; names outside it belong to JupyterLab."""
    return page.locator(".lossacc-host").first


def test_the_band_and_its_card_come_before_training_ends_and_stop_keeps_the_variables(notebook):
    page = notebook.page
    notebook.open(*quickstart_cells(100_000), "print('after', epoch)").run_all()

    band = panel(page).get_by_role("link", name=BAND).first
    band.wait_for(timeout=150_000)
    assert notebook.cell(TRAINING)["state"] == "running"
    band.focus()
    page.keyboard.press("Enter")
    card = panel(page).locator(".card")
    expect(card).to_be_visible()
    expect(card).to_contain_text(re.compile("What to try", re.IGNORECASE))
    page.keyboard.press("b")
    assert notebook.cell_count() == 5, "a shortcut of the notebook fired inside the panel"

    panel(page).get_by_role("button", name="Stop", exact=True).click()
    notebook.wait_done(TRAINING)
    assert "epoch 10:" in notebook.printed(TRAINING), "the user's own prints are gone"
    page.wait_for_function(ALL_DRAWN)
    expect(panel(page).locator(".stops")).to_be_hidden()
    # Notebook 7 would put a tall output into a box that scrolls, at the end of the cell or when it is opened.
    expect(page.locator(".jp-mod-outputsScrolled")).to_have_count(0)
    notebook.save()
    notebook.open()
    page.wait_for_function(ALL_DRAWN)
    expect(page.locator(".jp-mod-outputsScrolled")).to_have_count(0)
    assert notebook.cell(4)["count"] is None, "a stopped cell must stop Run All"
    notebook.run(4).wait_done(4)
    assert re.fullmatch(r"after \d+\n", notebook.printed(4)), "the variables of the stopped cell are gone"
    assert not [error for error in notebook.errors if "lossacc" in error]


def test_the_saved_notebook_shows_the_panel_without_a_kernel(notebook):
    page = notebook.page
    notebook.open(*quickstart_cells(30)).run_all().wait_done(TRAINING, seconds=200)
    outputs = notebook.cell(TRAINING)["outputs"]
    kinds = [kind for o in outputs if "data" in o for kind in o["data"]]
    assert "text/html" in kinds
    assert "application/vnd.jupyter.widget-view+json" not in kinds
    page.wait_for_function(ALL_DRAWN)

    saved = json.loads(notebook.save().read_text())
    assert "epoch 10:" in json.dumps(saved)
    notebook.open()
    expect(panel(page).locator(".headline")).to_be_visible()
    page.wait_for_function(ALL_DRAWN)
    assert not panel(page).get_by_role("button", name="Stop", exact=True).is_visible()


def test_dark_and_light(notebook):
    page = notebook.page
    notebook.open(*quickstart_cells(5)).run_all().wait_done(TRAINING, seconds=180)
    # The copy that stays takes the live panel's place a moment after the end: before that there is none.
    expect(panel(page).locator(".stops")).to_be_hidden()
    page.wait_for_function(ALL_DRAWN)
    light = panel(page).locator(".la").evaluate("section => getComputedStyle(section).color")
    notebook.set_theme("JupyterLab Dark")
    # The attribute changes first, the colours when the theme's styles are loaded.
    expect(panel(page).locator(".la")).to_have_attribute("data-dark", "true", timeout=WAIT)
    expect(panel(page).locator(".la")).not_to_have_css("color", light, timeout=WAIT)
    page.wait_for_function(ALL_DRAWN)
