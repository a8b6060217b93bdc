"""The table of samples in a browser: all of them, their numbers, their pictures, and how fast."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from playwright.sync_api import expect

from jupyter_lossacc.stats.transitions import TRANSITIONS, transition_groups
from jupyter_lossacc.views.panel.rows import pass_rows
from jupyter_lossacc.views.panel.tables import GROUPS
from tests.views.states import STATES, state_of

pytestmark = pytest.mark.browser

MANY = """n => {
    let seed = 1;
    const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
    const kinds = {id: '<f8', target: '<i4', predicted: '<i4', nll: '<f4', confidence: '<f4', correct: '<f4'};
    window.connect('both-rise', ({split, epoch}) => {
        const columns = {
            id: Float64Array.from({length: n}, (_, i) => i),
            target: Int32Array.from({length: n}, () => 100 * random()),
            predicted: Int32Array.from({length: n}, () => 100 * random()),
            nll: Float32Array.from({length: n}, () => 9 * random()),
            confidence: Float32Array.from({length: n}, random),
            correct: Float32Array.from({length: n}, () => random() < 0.7),
        };
        const buffers = Object.values(columns).map(c => new DataView(c.buffer));
        return [{split, epoch, n, columns: Object.entries(kinds)}, buffers];
    });
}"""
TIMED = """async ([what, value]) => {
    const root = document.querySelector('#state-both-rise .lossacc-host').shadowRoot;
    const began = performance.now();
    if (what === 'button') [...root.querySelectorAll('button')].find(b => b.textContent === value).click();
    else {
        const box = root.querySelector(`select[data-key="samples-filter-${what}"]`);
        box.value = value;
        box.dispatchEvent(new Event('change'));
    }
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - began;
}"""


@pytest.fixture
def connected(open_gallery):
    """The panel whose kernel answers, with its tab of samples open."""
    page = open_gallery()
    box = page.locator("#state-connected")
    box.get_by_role("tab", name="Samples").click()
    box.get_by_role("table", name="All 600 samples").wait_for()
    return page, box


def pair():
    """Both ends of the leading card, from the records."""
    shown = STATES["connected"]()
    state = state_of(shown)
    card = next(c for c in state["cards"] if c["id"] == state["headline"]["card"])
    return card, shown.recording.paired(card["split"], card["start"], card["end"])


def column(table, n):
    texts = table.locator(f"tbody tr > :nth-child({n})").all_text_contents()
    return [float(t.replace("−", "-").replace("%", "").replace(",", "")) for t in texts]


def test_all_samples_are_listed_with_the_numbers_of_the_records(connected):
    _, box = connected
    table = box.get_by_role("table", name="All 600 samples")
    _, (first, last) = pair()
    change = last.nll.astype(float) - first.nll
    worst = np.argsort(-change, kind="stable")[:15]
    assert column(table, 1) == last.sample_ids[worst].tolist()
    assert column(table, 6) == pytest.approx(change[worst], rel=5e-3)
    assert column(table, 7) == pytest.approx(100 * last.confidence[worst], rel=5e-3)
    expect(box.locator(".pager")).to_contain_text("1 of 40, 600 rows")


def test_a_filter_says_what_its_samples_do_to_the_loss(connected):
    _, box = connected
    card, (first, last) = pair()
    groups = transition_groups(first.correct, last.correct)
    chosen = groups == TRANSITIONS.index("stayed_wrong")
    change = (last.nll.astype(float) - first.nll)[chosen].sum() / len(last)
    box.get_by_label("What happened").select_option(GROUPS["stayed_wrong"])
    said = box.get_by_role("status").filter(has_text="change the mean loss")
    expect(said).to_contain_text(f"{chosen.sum()} samples")
    part = float(said.text_content().split("mean loss by ")[1].split(" of")[0].replace("−", "-"))
    assert part == pytest.approx(change, rel=5e-3)
    bar = next(b for b in card["waterfall"]["bars"] if b["label"] == GROUPS["stayed_wrong"])
    assert part == pytest.approx(bar["value"], rel=5e-3)
    box.get_by_label("Class").select_option("2")
    wanted = int((chosen & (last.targets == 2)).sum())
    expect(box.locator(".pager, tbody").last).to_be_visible()
    assert len(column(box.get_by_role("table", name="All 600 samples"), 1)) == min(15, wanted)


def test_the_samples_themselves_come_on_request_and_a_page_at_a_time(connected):
    page, box = connected
    assert {q["what"] for q in page.evaluate("window.sent")} == {"rows"}
    box.get_by_role("button", name="Show the samples themselves").click()
    expect(box.get_by_role("img", name="picture")).to_have_count(15)
    asked = [q for q in page.evaluate("window.sent") if q["what"] == "look"]
    assert [len(q["ids"]) for q in asked] == [15]
    box.get_by_role("button", name="Next").click()
    expect(box.get_by_role("img", name="picture")).to_have_count(15)
    box.get_by_role("button", name="Previous").click()
    assert len([q for q in page.evaluate("window.sent") if q["what"] == "look"]) == 2
    box.get_by_role("button", name="Hide the samples themselves").click()
    expect(box.get_by_role("img", name="picture")).to_have_count(0)


def test_a_kernel_that_cannot_answer_says_why(open_gallery):
    page = open_gallery()
    page.evaluate("window.refuse('both-rise', 'The samples of epoch 7 (val) were not kept.')")
    box = page.locator("#state-both-rise")
    box.get_by_role("tab", name="Samples").click()
    expect(box.locator(".card")).to_contain_text("The others cannot be fetched: The samples of epoch 7 (val)")
    expect(box.get_by_role("table", name="Samples that tell most")).to_be_visible()


def test_a_saved_copy_says_how_many_it_holds(open_gallery):
    page = open_gallery()
    box = page.locator("#state-both-rise")
    box.get_by_role("tab", name="Samples").click()
    expect(box.locator(".card")).to_contain_text("of 600 samples: the ones that causes name")
    expect(box.locator(".card")).to_contain_text("%lossacc show both rise")
    expect(box.get_by_role("button", name="Show the samples themselves")).to_have_count(0)


def test_a_running_panel_lists_what_was_sent_and_asks_for_nothing(open_gallery):
    page = open_gallery()
    box = page.locator("#state-running")
    box.locator("a.chip").first.click()
    box.get_by_role("tab", name="Samples").click()
    expect(box.locator(".card")).to_contain_text("The others follow while it runs")
    shown = STATES["running"]()
    card = next(c for c in state_of(shown)["cards"] if c.get("split") == "val")
    for epoch in (card["start"], card["end"]):
        packed = pass_rows(shown.recording, "val", epoch)
        buffers = [base64.b64encode(b).decode() for b in packed.buffers]
        page.evaluate(
            "([m, b]) => window.deliverRows('running', m, b)", [{"t": "rows", **packed.value}, buffers]
        )
    expect(box.get_by_role("table", name="All 600 samples")).to_be_visible()
    assert page.evaluate("window.sent") == []


def test_a_hundred_thousand_samples_stay_smooth(open_gallery):
    page = open_gallery()
    page.evaluate(MANY, 100_000)
    box = page.locator("#state-both-rise")
    box.get_by_role("tab", name="Samples").click()
    box.get_by_role("table", name="All 100,000 samples").wait_for()
    steps = [("button", "loss"), ("button", "confidence"), ("What happened", "became_wrong"), ("Class", "7")]
    steps += [("What happened", ""), ("Class", ""), ("button", "Next")]
    took = {step: page.evaluate(TIMED, list(step)) for step in steps}
    # A fifth of a second on a quiet core; tests share theirs.
    assert max(took.values()) < 1500, took
    assert took["button", "Next"] < 300, took
    losses = column(box.get_by_role("table", name="All 100,000 samples"), 7)
    assert losses == sorted(losses, reverse=True)
