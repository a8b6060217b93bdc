"""The panel in a real browser, state by state, with neither Jupyter nor a kernel."""

from __future__ import annotations

import re
import struct
from io import BytesIO

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from jupyter_lossacc.views.figures import figure_png
from jupyter_lossacc.views.panel.frozen import standalone_html
from tests.views.states import STATES, state_of

pytestmark = pytest.mark.browser

ORANGE = {"light": (213, 94, 0), "dark": (255, 154, 82)}  # the validation curve


def state(page, name):
    return page.locator(f"#state-{name}")


def drawn(page, name, pane=0):
    """Count the pixels of a chart by colour, as a person sees them."""
    picture = Image.open(BytesIO(state(page, name).locator(".pane").nth(pane).screenshot())).convert("RGB")
    return {colour: n for n, colour in picture.getcolors(picture.width * picture.height)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["both-rise", "healthy", "class-names", "not-finite", "running"])
def test_charts_are_not_blank(open_gallery, name, scheme):
    page = open_gallery(scheme=scheme)
    for pane in (0, 1):
        assert drawn(page, name, pane).get(ORANGE[scheme], 0) > 200


def test_one_epoch_is_a_point(open_gallery):
    page = open_gallery()
    assert drawn(page, "one-epoch").get(ORANGE["light"], 0) > 8


def test_a_theme_switch_changes_colours_and_keeps_the_charts(open_gallery):
    page = open_gallery()
    assert ORANGE["light"] in drawn(page, "both-rise")
    page.evaluate("document.body.setAttribute('data-jp-theme-light', 'false')")
    expect(state(page, "both-rise").locator(".la")).to_have_attribute("data-dark", "true")
    page.wait_for_timeout(100)
    assert drawn(page, "both-rise").get(ORANGE["dark"], 0) > 200
    page.emulate_media(color_scheme="dark")  # the page says light or dark itself: the system does not count
    page.evaluate("document.body.setAttribute('data-jp-theme-light', 'true')")
    expect(state(page, "both-rise").locator(".la")).to_have_attribute("data-dark", "false")


def test_the_system_scheme_counts_where_the_page_has_none(open_gallery):
    page = open_gallery()
    page.emulate_media(color_scheme="dark")
    expect(state(page, "both-rise").locator(".la")).to_have_attribute("data-dark", "true")


def test_a_panel_that_is_hidden_at_first_is_drawn_when_it_shows(open_page, gallery, tmp_path):
    page = gallery.read_text(encoding="utf-8").replace("<main>", "<main style='display:none'>", 1)
    hidden = tmp_path / "hidden.html"
    hidden.write_text(page, encoding="utf-8")
    shown = open_page(hidden.as_uri())
    shown.evaluate("document.body.setAttribute('data-jp-theme-light', 'false')")
    shown.wait_for_timeout(100)
    shown.evaluate("document.querySelector('main').style.display = ''")
    state(shown, "both-rise").locator(".over").first.wait_for()
    shown.wait_for_timeout(200)
    assert drawn(shown, "both-rise").get(ORANGE["dark"], 0) > 200


def test_a_band_is_a_link_that_the_keyboard_opens(open_gallery):
    page = open_gallery()
    box = state(page, "running")
    band = box.get_by_role("link", name="Validation: loss and accuracy rise together")
    band.focus()
    page.keyboard.press("Enter")
    card = box.locator(".card")
    expect(card).to_be_focused()
    expect(card).to_contain_text("Over-confidence")
    card.get_by_role("button", name="Close").click()
    expect(box.locator(".card")).to_have_count(0)
    expect(box.locator("a.chip").first).to_be_focused()


def test_a_band_that_goes_on_is_drawn_on_lighter_to_what_nobody_has_analysed_yet(open_gallery):
    page = open_gallery()
    box = state(page, "running")
    band = box.get_by_role("link", name=re.compile("rise together.*still going on at epoch 21"))
    expect(box.locator(".rest")).to_have_count(0)
    expect(box.locator("a.chip").first).to_contain_text("validation since")
    page.evaluate("""() => {
        const x = [22, 23, 24];
        const more = {x, epoch: x, loss: [2, 2, 2], accuracy: [.8, .8, .8], calibrated: [1, 1, 1]};
        deliver('running', {t: 'delta', set: {}, grow: {val: {from: 21, ...more}}});
    }""")
    rest = box.locator(".rest").first
    expect(rest).to_have_attribute("title", re.compile("Going on at epoch 21; .* not analysed yet"))
    expect(box.locator(".rest")).to_have_count(2)  # in both charts
    there, before = rest.bounding_box(), band.bounding_box()
    assert abs(there["x"] - (before["x"] + before["width"])) < 3
    first = int(re.search(r"since (\d+)", box.locator("a.chip").first.inner_text())[1])
    assert there["width"] / before["width"] == pytest.approx(3 / (21 - first), rel=0.1)
    rest.click(position={"x": 5, "y": 60})
    expect(box.locator(".card")).to_have_count(1)


def test_a_click_on_a_band_opens_its_card_and_a_drag_zooms(open_gallery):
    page = open_gallery()
    box = state(page, "running")
    over = box.locator(".over").first
    over.scroll_into_view_if_needed()
    area = over.bounding_box()
    y = area["y"] + 150
    page.mouse.move(area["x"] + 300, y)
    page.mouse.down()
    page.mouse.move(area["x"] + 500, y, steps=4)
    page.mouse.up()
    expect(box.get_by_role("button", name="Reset zoom")).to_be_enabled()
    expect(box.locator(".card")).to_have_count(0)
    box.get_by_role("button", name="Reset zoom").click()
    expect(box.get_by_role("button", name="Reset zoom")).to_be_disabled()
    page.mouse.click(area["x"] + 400, y)
    expect(box.locator(".card")).to_have_count(1)


def test_values_are_read_under_the_mouse_over_a_band_too(open_gallery):
    page = open_gallery()
    box = state(page, "running")
    over = box.locator(".over").first
    over.scroll_into_view_if_needed()
    area = over.bounding_box()
    expect(box.locator(".at")).to_have_text("latest")
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + 120)
    expect(box.locator(".at")).to_have_text("epoch 11")


def test_arrow_keys_walk_through_the_epochs_and_speak(open_gallery):
    page = open_gallery()
    box = state(page, "both-rise")
    pane = box.locator(".pane").first
    pane.focus()
    page.keyboard.press("ArrowLeft")
    expect(box.locator(".at")).to_have_text("epoch 29")
    spoken = box.get_by_role("status").filter(has_text="Epoch 29")
    expect(spoken).to_contain_text("validation accuracy")
    page.keyboard.press("+")
    expect(box.get_by_role("button", name="Reset zoom")).to_be_enabled()
    page.keyboard.press("0")
    expect(box.get_by_role("button", name="Reset zoom")).to_be_disabled()


def test_charts_have_numbers_for_who_cannot_see_them(open_gallery):
    page = open_gallery()
    label = state(page, "both-rise").locator(".pane").first.get_attribute("aria-label")
    assert "validation: " in label
    assert "at epoch 30" in label


def test_the_explanation_opens_in_place_and_leads_back(open_gallery):
    page = open_gallery()
    box = state(page, "both-rise")
    link = box.get_by_role("link", name="Read about it: Over-confidence").first
    link.click()
    expect(box.locator(".page")).to_be_focused()
    expect(box.get_by_role("heading", name="Why it happens")).to_be_visible()
    box.get_by_role("button", name="Back to the card").click()
    expect(link).to_be_focused()


def test_a_saved_page_unpacks_its_explanations(open_page, tmp_path):
    shown = STATES["both-rise"]()
    saved = tmp_path / "saved.html"
    saved.write_text(standalone_html(state_of(shown), figure_png(*shown.arguments)), encoding="utf-8")
    page = open_page(saved.as_uri())
    page.get_by_role("link", name="Read about it: Over-confidence").first.click()
    expect(page.get_by_role("heading", name="Why it happens")).to_be_visible()


def test_tabs_follow_the_arrow_keys(open_gallery):
    page = open_gallery()
    box = state(page, "both-rise")
    box.get_by_role("tab", name="Why").focus()
    page.keyboard.press("ArrowRight")
    expect(box.get_by_role("tab", name="Samples")).to_be_focused()
    expect(box.get_by_role("tab", name="Samples")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("End")
    expect(box.get_by_role("tab", name="Details")).to_be_focused()


def test_samples_sort_filter_and_keep_whole_ids(open_gallery):
    page = open_gallery()
    box = state(page, "both-rise")
    box.get_by_role("tab", name="Samples").click()
    table = box.get_by_role("table", name="Samples that tell most")
    ids = table.locator("tbody th").all_text_contents()
    assert all(text.isdigit() for text in ids)
    table.get_by_role("button", name="loss change").click()
    changes = [float(t.replace("−", "-")) for t in table.locator("tbody td:nth-child(6)").all_text_contents()]
    assert changes == sorted(changes)  # the largest came first before
    box.get_by_label("What happened").select_option("became right")
    groups = set(table.locator("tbody td:nth-child(2)").all_text_contents())
    assert groups == {"became right"}


def test_a_cause_can_be_drawn_into_the_chart(open_gallery):
    page = open_gallery()
    box = state(page, "both-rise")
    button = box.get_by_role("button", name="Show in the chart").first
    button.click()
    expect(box.locator(".legend").first).to_contain_text("without over-confidence")
    expect(box.get_by_role("button", name="Hide in the chart")).to_have_attribute("aria-pressed", "true")


def test_a_cause_that_is_opened_shows_in_the_chart_what_it_would_leave(open_gallery):
    page = open_gallery()
    box = state(page, "both-rise")
    box.locator("summary", has_text="Under-confidence").focus()
    page.keyboard.press("Enter")
    expect(box.locator(".legend").first).to_contain_text("without under-confidence")
    expect(box.locator(".plot").first.locator(".curve[stroke-dasharray='2 3 6 3']")).to_have_count(1)
    expect(box.locator("summary", has_text="Under-confidence")).to_be_focused()
    box.get_by_role("button", name="Hide in the chart").click()
    expect(box.locator(".legend").first).not_to_contain_text("without")


def test_log_scale(open_gallery):
    page = open_gallery()
    box = state(page, "both-rise")
    before = drawn(page, "both-rise")
    box.get_by_role("button", name="Log loss").click()
    expect(box.get_by_role("button", name="Log loss")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(100)
    assert drawn(page, "both-rise") != before


def test_stop_sends_one_message_and_says_what_happens(open_gallery):
    page = open_gallery()
    box = state(page, "running")
    box.get_by_role("button", name="Stop", exact=True).click()
    assert page.evaluate("window.sent") == [{"t": "stop", "run": "running"}]
    expect(box.locator(".status")).to_contain_text("Interrupt (■)", timeout=3000)


def test_stop_after_this_epoch_is_a_field_of_the_same_message(open_gallery):
    page = open_gallery()
    box = state(page, "waiting")
    box.get_by_role("button", name="Stop after this epoch").click()
    assert page.evaluate("window.sent") == [{"t": "stop", "run": "waiting", "at": "epoch"}]
    deliver(page, {"t": "ack", "at": "epoch"})
    progress = {"epoch": 3, "step": 40, "batch": 4, "batches": 12, "split": "train"}
    deliver(page, {"t": "live", "progress": progress}, [], [])
    said = "Stopping at the end of this epoch … epoch 3 · batch 4 of 12"
    expect(box.locator(".status")).to_have_text(said)
    page.wait_for_timeout(1000)  # longer than the patience of the other button
    expect(box.locator(".status")).to_have_text(said)


def test_nothing_else_is_ever_sent(open_gallery):
    page = open_gallery()
    box = state(page, "running")
    for chip in box.locator("a.chip").all():
        chip.click()
    box.get_by_role("button", name="Log loss").click()
    assert page.evaluate("window.sent") == []


DELIVER = """([message, columns]) => {
    const buffers = columns.map(bytes => new DataView(Uint8Array.from(bytes).buffer));
    window.deliver('waiting', message, buffers);
}"""


def deliver(page, message, *columns):
    """Send a message from the kernel; columns of numbers travel as Float32."""
    page.evaluate(DELIVER, [message, [list(struct.pack(f"<{len(c)}f", *c)) for c in columns]])
    page.wait_for_timeout(100)


def test_live_messages_move_curves_and_nothing_else(open_gallery):
    page = open_gallery()
    box = state(page, "waiting")
    height = box.bounding_box()["height"]
    progress = {"epoch": 3, "step": 40, "batch": 4, "batches": 12, "split": "train"}
    live = {**progress, "rate": 1234, "left": 83.2, "lr": 0.001}
    deliver(page, {"t": "live", "progress": live}, [0.5, 1.0, 1.5], [2.0, 1.5, float("nan")])
    expect(box.locator(".status")).to_have_text(
        "Running · epoch 3 · batch 4 of 12 · 1 min 23 s left in this epoch · 1,234 samples/s"
        " · learning rate 0.001"
    )
    meter = box.get_by_role("progressbar", name="Batches of this pass")
    assert (meter.get_attribute("aria-valuenow"), meter.get_attribute("aria-valuemax")) == ("4", "12")
    expect(box.locator(".legend").first).to_contain_text("training batchesNaN")
    expect(box.locator(".broken")).to_have_text("✕")
    point = {"from": 0, "x": [1], "epoch": [1], "loss": [0.7], "accuracy": [0.6], "calibrated": []}
    empty = {key: [] for key in ("x", "epoch", "loss", "accuracy", "calibrated")}
    curve = {"id": "val", "label": "validation", "name": "", "samples": 9, **empty}
    deliver(page, {"t": "delta", "set": {"curves": [curve]}, "grow": {"val": point}})
    expect(box.locator(".legend").nth(1)).to_contain_text("validation60 %")
    headline = {"text": "A longer sentence about what matters now.", "tone": "watch", "card": None}
    deliver(page, {"t": "delta", "set": {"headline": headline}, "grow": {}})
    expect(box.locator(".headline")).to_contain_text("A longer sentence")
    assert box.bounding_box()["height"] == height
    deliver(page, {"t": "ack"})
    expect(box.locator(".status")).to_have_text("Stopping after this step …")


def test_names_are_text(open_gallery):
    page = open_gallery()
    box = state(page, "class-names")
    box.get_by_role("tab", name="Classes").click()
    expect(
        box.get_by_role("rowheader", name="<b>bold</b><script>window.hacked=1</script>").first
    ).to_be_visible()
    expect(box.locator(".name")).to_have_text("<i>names</i> & more")
    assert page.evaluate("window.hacked") is None
    assert box.get_by_role("rowheader", name="قطة صغيرة").first.get_attribute("dir") == "auto"


def test_what_is_not_finite_is_marked_and_said(open_gallery):
    page = open_gallery()
    box = state(page, "not-finite")
    marks = box.locator(".broken").evaluate_all("nodes => nodes.map(n => n.title)")
    assert "validation: NaN at 8" in marks
    expect(box.locator(".broken-note")).to_contain_text("Validation loss is NaN from epoch 8 on")
    expect(box.locator(".legend").first).to_contain_text("validationNaN")


def test_styles_of_the_page_stay_outside(open_gallery):
    page = open_gallery()
    page.add_style_tag(content="li{display:none!important} a{color:red!important}")
    box = state(page, "both-rise")
    expect(box.locator("a.chip").first).to_be_visible()
    assert box.locator("a.chip").first.evaluate("a => getComputedStyle(a).color") != "rgb(255, 0, 0)"


def test_the_host_keeps_shortcuts_of_the_notebook_away(open_gallery):
    page = open_gallery()
    host = state(page, "both-rise").locator(".lossacc-host")
    expect(host).to_have_attribute("data-lm-suppress-shortcuts", "true")
    assert host.evaluate("h => Boolean(h.shadowRoot)")


def test_a_copy_takes_up_what_the_reader_had_open(open_gallery):
    page = open_gallery()
    box = state(page, "both-rise")
    box.get_by_role("tab", name="Classes").click()
    page.evaluate("window.again('both-rise')")
    expect(box.get_by_role("tab", name="Classes")).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_wider_than_the_page(open_gallery, width):
    page = open_gallery(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(open_gallery, scheme):
    page = open_gallery(scheme=scheme)
    for name in ("class-names", "healthy"):
        for tab in ("Why", "Details"):
            found = state(page, name).get_by_role("tab", name=tab)
            if found.count():
                found.click()
    state(page, "both-rise").get_by_role("link", name="compare two epochs").click()
    state(page, "running").locator("summary", has_text="Save").click()
    found = Axe().run(page).response["violations"]
    assert [(v["id"], [n["html"][:150] for n in v["nodes"]]) for v in found] == []


def test_what_stands_in_the_charts_beside_the_curves(open_gallery):
    box = state(open_gallery(), "both-rise")
    marks = box.locator(".mark").evaluate_all("nodes => nodes.map(n => [n.textContent, n.title])")
    assert sorted(glyph for glyph, _ in marks) == ["▲", "▼", "◆"]
    assert all(re.search(r"(lowest|highest) .*, epoch \d+", title) for _, title in marks)
    keep = box.locator(".line.keep").first
    assert re.fullmatch(r"keep \d+", keep.get_attribute("title"))
    # The learning rate falls to a tenth once, in both charts at the same place.
    rates = box.locator(".line.rate")
    expect(rates).to_have_count(2)
    assert rates.first.get_attribute("title") == "learning rate 0.01 → 0.001"
    assert rates.first.evaluate("n => n.style.left") == rates.last.evaluate("n => n.style.left")
    expect(box.locator(".marks")).to_contain_text("learning rate 0.01 → 0.001")
    expect(box.locator(".marks")).to_contain_text("chance 1.61")
    expect(box.locator(".marks")).to_contain_text("majority 2")
    assert box.locator(".reference-line").count() >= 1  # of those within the axes


def test_each_tab_shows_its_evidence(open_gallery):
    box = state(open_gallery(), "both-rise")
    card = box.locator(".card")
    expect(card.get_by_role("table", name=re.compile("Where the loss change from epoch"))).to_be_visible()
    expect(card).to_contain_text("How sure the model was")
    box.get_by_role("tab", name="Classes").click()
    table = card.get_by_role("table", name=re.compile(r"Classes at epoch \d+"))
    heads = ["class", "samples", "recall", "Δ recall", "precision", "Δ precision", "F1", "Δ F1"]
    assert [text.strip(" ↕↑↓") for text in table.locator("thead th").all_inner_texts()][:8] == heads
    moved = card.get_by_role("table", name="Confusions whose number changed most")
    before, after, change = (
        [
            int(t.replace("−", "-").replace(",", ""))
            for t in moved.locator(f"td:nth-child({n})").all_inner_texts()
        ]
        for n in (3, 4, 5)
    )
    assert [b - a for a, b in zip(before, after, strict=True)] == change
    box.get_by_role("tab", name="Details").click()
    expect(card).to_contain_text("As sure as it is right?")
    assert (
        card.locator("figure svg path, figure svg polyline, figure svg circle, figure svg rect").count() > 5
    )
    expect(card.get_by_role("table", name="Metrics at both ends")).to_contain_text("balanced accuracy")


def test_a_term_of_the_glossary_opens_its_meaning(open_gallery):
    page = open_gallery()
    box = state(page, "both-rise")
    box.get_by_role("link", name="Read about it: Over-confidence").first.click()
    term = box.locator(".page").get_by_role("button", name="logits").first
    term.focus()
    page.keyboard.press("Enter")
    expect(term).to_have_attribute("aria-expanded", "true")
    expect(box.locator(".page .meaning:not([hidden])")).to_contain_text("outputs before the softmax")
