"""How the panel behaves for everybody: contrast, motion, zoom, narrow places, scripts of every direction."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.views.gallery import gallery_html
from tests.views.states import conclude, simulate
from tests.views.test_gallery import ORANGE, drawn, state

pytestmark = pytest.mark.browser

LUMINANCE = """([ink, ground]) => {
    const light = colour => {
        const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
}"""
COLOURS = """panel => {
    const style = getComputedStyle(panel);
    return [style.backgroundColor, ...['--muted', '--line', '--train', '--val', '--test', '--grid']
        .map(name => style.getPropertyValue(name).trim())];
}"""

LABELS = """panel => {
    const shown = [], crossed = [];
    for (const label of panel.querySelectorAll('.reference')) {
        if (getComputedStyle(label).visibility === 'hidden' || label.hidden) continue;
        shown.push(label.textContent);
        const box = label.getBoundingClientRect();
        const inside = p => p.x > box.left && p.x < box.right && p.y > box.top && p.y < box.bottom;
        for (const curve of label.closest('.pane').querySelectorAll('.curve:not([stroke-width="1"])')) {
            const onScreen = at => curve.getPointAtLength(at).matrixTransform(curve.getScreenCTM());
            const steps = [...Array(Math.ceil(curve.getTotalLength() / 2)).keys()];
            if (steps.some(i => inside(onScreen(2 * i)))) crossed.push(label.textContent);
        }
    }
    return [shown, crossed];
}"""
STROKES = """curves => curves.map(
    c => ['stroke-dasharray', 'stroke-width'].map(name => c.getAttribute(name)).join())"""
FOCUSED = """host => {
    const active = host.shadowRoot.activeElement;
    return active && (active.getAttribute('aria-label') || active.textContent);
}"""


def contrast(page, name="both-rise"):
    """Contrast of text, of lines, and of the curves with the panel's ground."""
    ground, *inks = state(page, name).locator(".la").evaluate(COLOURS)
    return [page.evaluate(LUMINANCE, [ink, ground]) for ink in inks[:5]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_have_contrast_in_both_themes(open_gallery, scheme):
    muted, _, *curves = contrast(open_gallery(scheme=scheme))
    assert muted >= 4.5
    assert min(curves) >= 3


@pytest.mark.parametrize("theme", ["JupyterLab Light High Contrast", "JupyterLab Dark High Contrast"])
def test_themes_of_high_contrast_are_followed(open_gallery, theme):
    page = open_gallery()
    dark = "Dark" in theme
    page.evaluate(
        """([theme, light]) => {
            document.body.setAttribute('data-jp-theme-light', light);
            document.body.setAttribute('data-jp-theme-name', theme);
        }""",
        [theme, str(not dark).lower()],
    )
    expect(state(page, "both-rise").locator(".la")).to_have_attribute("data-contrast", "true")
    page.wait_for_timeout(50)
    muted, line, *_ = contrast(page)
    assert muted >= 7
    assert line >= 7


def test_no_curve_runs_through_the_label_of_a_reference_line_and_no_line_through_a_bands(open_page, tmp_path):
    """With three classes the validation loss ends where guessing stands."""
    run = simulate(classes=3, signal=lambda t: 1.0 + 0.25 * t, scale=lambda t: 1.0 + 12.0 * t, name="near")
    path = tmp_path / "near.html"
    path.write_text(gallery_html({"near": conclude(run.build())}), encoding="utf-8")
    box = state(open_page(path.as_uri()), "near").locator(".la")
    box.locator(".over").first.wait_for()
    shown, crossed = box.evaluate(LABELS)
    assert "chance 1.1" in shown
    assert crossed == []
    tag, line = (
        box.locator(place).first.evaluate("n => Number(getComputedStyle(n).zIndex)")
        for place in ("a.band .tag", ".line.keep")
    )
    assert tag > line


def test_colours_forced_by_the_system_leave_charts_that_can_be_read(open_gallery):
    page = open_gallery(forced_colors="active")
    box = state(page, "both-rise")
    dashes = box.locator(".plot").first.locator(".curve").evaluate_all(STROKES)
    assert len(set(dashes)) == len(dashes) - 1  # the calibrated twins of two splits differ by colour alone
    muted, line, *curves = contrast(page)
    assert min(muted, line) >= 7
    assert min(curves) >= 3
    assert box.locator("a.band").first.evaluate("a => getComputedStyle(a).borderTopStyle") == "solid"
    assert Axe().run(page).response["violations"] == []


def test_nothing_moves_for_who_wants_no_motion(open_gallery):
    page = open_gallery()  # with reduced motion
    moving = """panel => panel.getAnimations({subtree: true}).length"""
    assert state(page, "running").locator(".la").evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    page.wait_for_timeout(50)
    assert state(page, "running").locator(".la").evaluate(moving) > 0


def test_at_two_hundred_percent_everything_is_there(open_gallery):
    page = open_gallery(width=500, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 500
    box = state(page, "running")
    for name in ("Log loss", "Reset zoom", "Stop", "Stop after this epoch"):
        at = box.get_by_role("button", name=name, exact=True).bounding_box()
        assert at["x"] >= 0
        assert at["x"] + at["width"] <= 500
    assert drawn(page, "running").get(ORANGE["light"], 0) > 200


def test_in_a_narrow_place_on_a_wide_screen_no_tab_is_cut(open_gallery):
    """An output area may be narrow where the window is not."""
    page = open_gallery(width=1200)
    box = state(page, "both-rise")
    box.evaluate("node => { node.style.width = '300px'; }")
    expect(box.get_by_role("tab", name="Details")).to_be_visible()
    card = box.locator(".card").bounding_box()
    for tab in box.get_by_role("tab").all():
        at = tab.bounding_box()
        assert at["x"] >= card["x"]
        assert at["x"] + at["width"] <= card["x"] + card["width"]
    for part in (".head", ".range", ".chips", ".card"):
        at = box.locator(part).first.bounding_box()
        assert at["width"] <= 300


@pytest.mark.parametrize("width", [400, 1000])
def test_the_height_stays_while_it_runs(open_gallery, width):
    page = open_gallery(width=width)
    box = state(page, "running")
    heights = {round(box.bounding_box()["height"])}
    deliver = """progress => window.deliver('running', {t: 'live', progress},
        [new DataView(new ArrayBuffer(0)), new DataView(new ArrayBuffer(0))])"""
    for progress in (
        {"epoch": 22, "batch": 4, "batches": 12, "split": "train"},
        {
            "epoch": 22,
            "batch": 1123,
            "batches": 1234,
            "split": "train",
            "rate": 123_000,
            "left": 3723,
            "lr": 0.00123,
        },
        {"epoch": 22, "batch": 3, "split": "val"},
    ):
        page.evaluate(deliver, progress)
        page.wait_for_timeout(60)
        heights.add(round(box.bounding_box()["height"]))
    assert len(heights) == 1


def test_class_names_from_right_to_left_stand_in_their_own_direction(open_gallery):
    page = open_gallery()
    box = state(page, "class-names")
    box.get_by_role("tab", name="Classes").click()
    name = box.get_by_role("rowheader", name="قطة صغيرة").first
    assert name.evaluate("n => getComputedStyle(n).direction") == "rtl"
    assert name.evaluate("n => getComputedStyle(n.closest('table')).direction") == "ltr"


def test_epochs_are_whole_numbers_on_the_axis(open_gallery):
    page = open_gallery()
    for name in ("both-rise", "one-epoch", "waiting"):
        pane = state(page, name).locator(".pane").nth(1)
        ticks = pane.locator(".tick").all_text_contents()
        epochs = [t for t in ticks if "%" not in t]
        assert epochs
        assert all(t.replace(",", "").isdigit() for t in epochs)


def test_what_is_not_finite_stands_at_the_last_finite_height(open_gallery):
    page = open_gallery()
    box = state(page, "not-finite")
    mark = box.locator(".pane").first.locator(".broken[title^='validation: NaN']").bounding_box()
    pane = box.locator(".over").first.bounding_box()
    curve = box.locator(".curve[stroke-width='2.25']").first
    end = curve.evaluate("c => { const p = c.getPointAtLength(c.getTotalLength()); return [p.x, p.y]; }")
    assert mark["y"] + mark["height"] / 2 - pane["y"] == pytest.approx(end[1], abs=3)
    assert mark["x"] - pane["x"] > end[0]


def test_every_control_is_reached_by_keyboard(open_gallery):
    page = open_gallery()
    box = state(page, "running")
    page.evaluate("document.querySelector('#state-running').previousElementSibling.tabIndex = 0")
    page.evaluate("document.querySelector('#state-running').previousElementSibling.focus()")
    met = []
    for _ in range(16):
        page.keyboard.press("Tab")
        met.append(box.locator(".lossacc-host").evaluate(FOCUSED))
    for name in ("Log loss", "Save", "Stop", "Stop after this epoch", "Why?", "First epoch to compare"):
        assert name in met, name
    assert any("loss and accuracy rise together" in (m or "") for m in met), "the band"
    assert any((m or "").startswith("Loss in nats") for m in met), "the chart"
