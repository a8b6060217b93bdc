"""Each cause in the panel, from a training that has it: the card says all that it should."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from jupyter_lossacc.causes import CAUSES
from tests.views.digits import strings, too_many_digits
from tests.views.gallery import cause_states, gallery_html
from tests.views.states import state_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def states():
    """What the panel shows for each cause."""
    return cause_states()


@pytest.fixture(scope="module")
def page(chromium, states, tmp_path_factory) -> Page:
    """All causes on one page."""
    path = tmp_path_factory.mktemp("causes") / "gallery.html"
    path.write_text(gallery_html(states), encoding="utf-8")
    context = chromium.new_context(viewport={"width": 1000, "height": 900}, reduced_motion="reduce")
    opened = context.new_page()
    errors = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(path.as_uri())
    yield opened
    context.close()
    assert errors == []


@pytest.mark.parametrize("cause", [cause.id for cause in CAUSES])
def test_its_card_says_what_why_how_sure_and_what_next(page, states, cause):
    state = state_of(states[f"cause-{cause}"])
    card, shown = next(
        (card, c)
        for card in state["cards"]
        for c in card["causes"]
        if c["id"] == cause and c["verdict"] == "supported"
    )
    box = page.locator(f"#state-cause-{cause}")
    if not box.locator(f"#card-{card['id']}").count():
        box.locator(f"[data-key='chip-{card['id']}']").click()
    section = box.locator(".cause").filter(has=page.get_by_role("heading", name=shown["title"]))
    more = section.locator(f"details[data-key='more-{card['id']}-{cause}'] > summary")
    if more.count():
        more.click()
    expect(section).to_contain_text(shown["statement"])
    expect(section.get_by_role("table", name=re.compile(r"Evidence: \d+ for, \d+ against"))).to_be_visible()
    assert section.locator("table.evidence tbody tr").count() == len(shown["evidence"]) > 0
    expect(section.get_by_text("Without it", exact=True)).to_be_visible()
    expect(section.get_by_text("What to try", exact=True)).to_be_visible()
    expect(section.get_by_text("How to verify", exact=True)).to_be_visible()
    section.get_by_role("link", name=re.compile("Read about it")).click()
    expect(box.locator(".page").get_by_role("heading", name="What it is not")).to_be_visible()
    box.get_by_role("button", name="Back to the card").click()
    text = section.inner_text()
    assert [found for said in strings(state) for found in too_many_digits(said)] == []
    assert not re.search(r"(?<![\w.)\]-])-\d|>=|<=|\bnan\b|undefined|\[object", _without_code(text)), text


def _without_code(text: str) -> str:
    return text.partition("Code to paste")[0]
