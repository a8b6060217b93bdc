"""Two epochs chosen in the browser by mouse, touch and keyboard: what is said at once, and what follows."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

NAMES = ("First epoch to compare", "Second epoch to compare")


@pytest.fixture
def shown(open_gallery):
    """Return the finished state and its two handles."""
    page = open_gallery()
    box = page.locator("#state-both-rise")
    return page, box, *(box.get_by_role("slider", name=name) for name in NAMES)


def drag(page, handle, pixels):
    handle.scroll_into_view_if_needed()
    at = handle.bounding_box()
    x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels, y, steps=5)
    page.mouse.up()


def test_arrow_keys_move_a_handle_and_the_card_follows(shown):
    page, box, first, second = shown
    first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(first).to_be_focused()
    expect(first).to_have_attribute("aria-valuenow", "5")
    expect(first).to_have_attribute("aria-valuetext", "epoch 5")
    card = box.locator(".card")
    expect(card.locator("h3")).to_have_text("Validation: epoch 5 and epoch 30 compared")
    facts = dict(
        zip(card.locator("dt").all_text_contents(), card.locator("dd b").all_text_contents(), strict=True)
    )
    loss = box.locator(".legend b[data-series=val]").first.text_content()
    assert facts["loss"].startswith("+")
    assert facts["accuracy"].endswith("points")
    row = card.get_by_role("row", name="validation loss, nats")
    assert row.locator("td").nth(1).text_content() == loss  # epoch 30 is the newest
    expect(box.locator(".compared")).to_have_count(4)  # two lines in either chart
    page.keyboard.press("Tab")
    second.focus()
    page.keyboard.press("PageDown")
    expect(second).to_have_attribute("aria-valuenow", "20")
    page.keyboard.press("Home")
    expect(second).to_have_attribute("aria-valuenow", "6")
    expect(second).to_have_attribute("aria-valuemin", "6")


def test_the_mouse_drags_a_handle(shown):
    page, box, _, second = shown
    width = box.locator(".over").first.bounding_box()["width"]
    drag(page, second, -width / 2)
    assert 13 <= int(second.get_attribute("aria-valuenow")) <= 16
    expect(box.locator(".card h3")).to_contain_text("compared")


def test_a_finger_moves_a_handle(open_gallery):
    page = open_gallery(width=400, has_touch=True)
    box = page.locator("#state-both-rise")
    track = box.locator(".range .track")
    track.scroll_into_view_if_needed()
    area = track.bounding_box()
    page.touchscreen.tap(area["x"] + area["width"] * 0.25, area["y"] + area["height"] / 2)
    first = box.get_by_role("slider", name=NAMES[0])
    assert 6 <= int(first.get_attribute("aria-valuenow")) <= 9


def test_epochs_with_a_name_are_prepared_with_intervals(shown):
    _, box, first, _ = shown
    box.get_by_role("link", name="compare two epochs").click()
    box.get_by_label("From").select_option(label="lowest loss (epoch 7)")
    expect(first).to_have_attribute("aria-valuenow", "7")
    card = box.locator(".card")
    expect(card.locator("dl")).to_contain_text("95 %:")
    expect(card.locator("dl")).to_contain_text("became right")
    expect(
        card.get_by_role("table", name="Where the loss change from epoch 7 to 30 comes from")
    ).to_be_visible()
    expect(card.locator(".lead")).to_have_count(0)


def test_without_a_kernel_the_card_says_what_is_missing(shown):
    page, box, first, _ = shown
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(box.locator(".card .lead")).to_contain_text("no kernel behind it")


ANSWERING = """() => {
    const heard = new Set();
    window.asked = [];
    globalThis.__lossaccModels.set('both-rise', {
        on: (_, f) => heard.add(f), off: (_, f) => heard.delete(f),
        send: message => {
            window.asked.push(message);
            const value = {id: 'pair', split: 'val', start: message.start, end: message.end, title: 'T',
                lead: '', facts: [['loss', '+0.1 nats', '95 %: −0.2 to +0.4']], causes: [], limits: []};
            setTimeout(() => heard.forEach(f => f({t: 'answer', id: message.id, value}, [])), 10);
        },
    });
}"""


def test_the_kernel_is_asked_once_when_the_handle_rests(shown):
    page, box, first, _ = shown
    page.evaluate(ANSWERING)
    first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(box.locator(".card dl")).to_contain_text("95 %: −0.2 to +0.4")
    asked = page.evaluate("window.asked.filter(m => m.what === 'pair')")
    assert [(m["t"], m["split"], m["start"], m["end"]) for m in asked] == [("ask", "val", 4, 30)]


def test_nothing_is_asked_during_a_run(open_gallery):
    page = open_gallery()
    box = page.locator("#state-running")
    box.get_by_role("slider", name=NAMES[0]).focus()
    page.keyboard.press("ArrowRight")
    expect(box.locator(".card .lead")).to_contain_text("when the cell has ended")
    page.wait_for_timeout(400)
    assert page.evaluate("window.sent") == []


def test_handles_stay_on_their_epochs_when_the_chart_is_zoomed(shown):
    page, box, first, second = shown
    box.locator(".pane").first.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    expect(box.get_by_role("button", name="Reset zoom")).to_be_enabled()
    area = box.locator(".range .track").bounding_box()
    for handle in (first, second):
        at = handle.bounding_box()
        assert area["x"] - 15 <= at["x"] <= area["x"] + area["width"] + 1
    expect(first).to_have_attribute("aria-valuenow", "1")


ROWS = """() => {
    const pass = (epoch, nll, correct) => {
        const packed = [[Float64Array, [0, 1, 2, 3]], [Int32Array, [0, 0, 1, 1]], [Int32Array, [0, 0, 1, 1]],
            [Float32Array, nll], [Float32Array, [0.5, 0.5, 0.5, 0.5]], [Float32Array, correct]];
        const columns = [['id', '<f8'], ['target', '<i4'], ['predicted', '<i4'], ['nll', '<f4'],
            ['confidence', '<f4'], ['correct', '<f4']];
        const buffers = packed.map(([kind, values]) => new DataView(new kind(values).buffer));
        window.deliver('running', {t: 'rows', split: 'val', epoch, columns}, buffers);
    };
    pass(2, [1, 1, 1, 1], [1, 0, 1, 0]);
    pass(21, [1.5, 0.5, 2, 1.25], [1, 1, 0, 0]);
}"""


def test_during_a_run_exact_sums_come_from_the_rows_that_are_here(open_gallery):
    page = open_gallery()
    box = page.locator("#state-running")
    page.evaluate(ROWS)
    box.get_by_role("slider", name=NAMES[0]).focus()
    page.keyboard.press("ArrowRight")
    table = box.get_by_role("table", name="Where the loss change from epoch 2 to 21 comes from")
    parts = {
        row.locator("th").text_content(): row.locator("td").all_text_contents()
        for row in table.locator("tbody tr").all()
    }
    assert [cells[0] for cells in parts.values()] == ["1", "1", "1", "1", ""]
    assert [cells[-1] for cells in parts.values()] == ["+0.125", "−0.125", "+0.25", "+0.0625", "+0.313"]
    page.wait_for_timeout(400)
    assert page.evaluate("window.sent") == []
