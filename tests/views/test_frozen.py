"""The copy that stays in a saved notebook."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser

import pytest

from jupyter_lossacc.views.figures import figure_png
from jupyter_lossacc.views.panel import assets, frozen
from jupyter_lossacc.views.words import typeset
from tests.views.states import STATES, state_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class Tags(HTMLParser):
    """Names of all elements, and the text outside scripts."""

    def __init__(self, html):
        super().__init__()
        self.names, self.words = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)

    def handle_data(self, data):
        if not self.names or self.names[-1] != "script":
            self.words.append(data)


@pytest.mark.parametrize("name", STATES)
def test_a_frozen_panel_stays_within_its_budget(name):
    shown = STATES[name]()
    bundle = frozen.frozen_bundle(state_of(shown), figure_png(*shown.arguments))
    assert sum(len(v.encode()) for v in bundle.values()) <= frozen.BUDGET


def test_the_script_is_small_and_can_stand_in_a_page():
    assert len(assets.module_source().encode()) <= 100_000
    assert "</script" not in assets.inline_script()
    assert "export" not in assets.inline_script()[-300:]


def test_modes_differ_in_what_they_keep():
    state = state_of(STATES["both-rise"]())
    full = frozen.frozen_bundle(state, PNG)
    static = frozen.frozen_bundle(state, PNG, mode="static")
    assert "<script" in full["text/html"]
    assert "<script" not in static["text/html"]
    assert "data:image/png" in static["text/html"]
    assert list(frozen.frozen_bundle(state, PNG, mode="none")) == ["text/plain"]


def test_without_scripts_verdict_causes_and_actions_can_be_read():
    shown = STATES["both-rise"]()
    state = state_of(shown)
    text = " ".join(Tags(frozen.frozen_bundle(state, PNG, mode="static")["text/html"]).words)
    finding = next(d for d in shown.diagnoses if d.supported).supported[0]
    for part in (state["headline"]["text"], finding.statement, finding.action, state["status_line"]):
        assert typeset(part) in text


def test_names_are_text_everywhere():
    state = state_of(STATES["class-names"]())
    for html in (frozen.frozen_bundle(state, PNG)["text/html"], frozen.standalone_html(state, PNG)):
        tags = Tags(html)
        assert tags.names.count("script") == 1
        assert "i" not in tags.names
        assert "b" not in tags.names


def test_embedded_json_can_close_nothing():
    state = {"a": "</script><!--<script>\u2028 é"}
    text = frozen.embedded_json(state)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == state


def test_what_is_left_out_is_said():
    state = state_of(STATES["thousand-epochs"]())
    slim = frozen.trimmed(state, 60_000)
    assert len(frozen.embedded_json(slim).encode()) < len(frozen.embedded_json(state).encode())
    assert "leaves out" in slim["limits"][-1]
    assert frozen.trimmed(state, 10**9) is state


def test_pages_travel_packed_and_few_are_left_out_before_others():
    state = state_of(STATES["both-rise"]())
    html = frozen.frozen_bundle(state, PNG)["text/html"]
    packed = re.search(r'"packed_pages":"([^"]+)"', html)[1]
    assert json.loads(zlib.decompress(base64.b64decode(packed))) == state["pages"]
    assert len(packed) < 0.45 * len(json.dumps(state["pages"]))
    verdicts = {c["id"]: c["verdict"] for card in state["cards"] for c in card["causes"]}
    named = {k for k, v in verdicts.items() if v == "supported"} | {c["kind"] for c in state["cards"][:-1]}
    few, some = (set(frozen.trimmed(state, room)["pages"]) for room in (60_000, 105_000))
    assert named & set(state["pages"]) == few < some < set(state["pages"])


def test_a_standalone_page_needs_nothing_from_elsewhere():
    html = frozen.standalone_html(state_of(STATES["healthy"]()), PNG)
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    assert not re.search(r"""(src|href)=["']https?:""", outside)
    assert html.startswith("<!doctype html>")
    assert Tags(html).names.count("main") == 1


def test_plain_text_is_short_and_whole():
    text = frozen.plain_text(state_of(STATES["both-rise"]()))
    assert text.startswith("lossacc both rise: Finished")
    assert len(text.splitlines()) < 12


def test_two_copies_of_one_run_do_not_share_an_element():
    state = state_of(STATES["one-epoch"]())
    ids = [
        re.search(r'id="(lossacc-\w+)"', frozen.frozen_bundle(state, PNG)["text/html"])[1] for _ in range(2)
    ]
    assert ids[0] != ids[1]
