"""What the Save menu gives: pictures that show what the screen shows, tables, and the report."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def save(open_gallery):
    """Save something of a state and return the file's name and content."""

    def saved(choice: str, name: str = "both-rise", **options: object) -> tuple[str, bytes]:
        page = open_gallery(**options)
        box = page.locator(f"#state-{name}")
        box.locator("summary", has_text="Save").click()
        with page.expect_download() as download:
            box.get_by_role("button", name=choice).click()
        expect(box.locator(".status")).to_have_text(f"{choice}: saved.")
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    return saved


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_png_has_curves_and_the_panels_background(save, scheme):
    name, content = save("Figure as PNG", scheme=scheme)
    assert name == "both-rise-curves.png"
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    colours = {colour: n for n, colour in picture.getcolors(picture.width * picture.height)}
    assert colours[{"light": (213, 94, 0), "dark": (255, 154, 82)}[scheme]] > 1000
    assert max(colours, key=colours.get) == {"light": (255, 255, 255), "dark": (23, 25, 28)}[scheme]


def test_the_svg_stands_alone_and_keeps_names_as_text(save):
    name, content = save("Figure as SVG", "class-names")
    assert name == "i-names-i-more-curves.svg"
    root = ET.fromstring(content)
    texts = [node.text or "" for node in root.iter(f"{SVG}text")]
    assert "both rise: over-confidence" in texts
    assert any("<i>names</i>" in t for t in (node.text or "" for node in root.iter(f"{SVG}title")))
    assert "validation: " in root.find(f"{SVG}desc").text
    strokes = {node.get("stroke") for node in root.iter(f"{SVG}path")}
    assert "rgb(213, 94, 0)" in strokes
    assert b"var(--" not in content
    assert b"class=" not in content


def test_the_epochs_are_a_table(save):
    name, content = save("Epochs as CSV", "not-finite")
    assert name == "not-finite-epochs.csv"
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    val = [r for r in rows if r["split"] == "val"]
    assert [int(r["epoch"]) for r in val] == list(range(1, 13))
    assert val[-1]["loss_nats"] == "NaN"
    assert 0 < float(val[-1]["accuracy"]) <= 1


def test_the_report_is_markdown(save):
    name, content = save("Report as Markdown")
    assert name == "both-rise-report.md"
    text = content.decode()
    assert text.startswith("# both rise\n")
    assert "### Over-confidence (supported" in text
    assert "## Which epoch to keep" in text


def test_the_menu_is_left_with_escape(open_gallery):
    page = open_gallery()
    box = page.locator("#state-both-rise")
    box.locator("summary", has_text="Save").focus()
    page.keyboard.press("Enter")
    expect(box.get_by_role("button", name="Figure as PNG")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(box.get_by_role("button", name="Figure as PNG")).to_be_hidden()
    expect(box.locator("summary", has_text="Save")).to_be_focused()


def test_the_samples_of_the_open_card_are_a_table(save):
    name, content = save("Samples of this card as CSV")
    assert name.startswith("both-rise-samples-")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert {"stayed_right", "stayed_wrong"} <= {r["group"] for r in rows}
    for row in rows:
        change = float(row["nll"]) - float(row["nll_start"])
        assert float(row["nll_change"]) == pytest.approx(change, abs=0.01 * (1 + float(row["nll"])))
