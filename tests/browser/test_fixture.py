"""The fixture itself: a plain anywidget appears, takes a click, and its outputs are read from the model."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

COUNTER = """\
import anywidget, traitlets
class Counter(anywidget.AnyWidget):
    _esm = '''export default { render({ model, el }) {
        const button = document.createElement("button");
        button.textContent = "count is " + model.get("value");
        button.onclick = () => { model.set("value", model.get("value") + 1); model.save_changes(); };
        model.on("change:value", () => { button.textContent = "count is " + model.get("value"); });
        el.append(button);
    } }'''
    value = traitlets.Int(0).tag(sync=True)
counter = Counter()
counter"""


def test_a_widget_is_shown_and_clicked(notebook):
    notebook.open(COUNTER, "print('done')").run_all().wait_done(1)
    notebook.page.get_by_role("button", name="count is 0").click()
    expect(notebook.page.get_by_role("button", name="count is 1")).to_be_visible()
    assert notebook.printed(1) == "done\n"
