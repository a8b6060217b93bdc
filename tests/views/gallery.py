"""The gallery: one page with every state of the panel, drawn by the panel itself.

    make gallery                                  the simulated states, and every cause from its demo
    python -m tests.views.gallery FILE            the simulated states alone (a few seconds)
    python -m tests.views.gallery FILE --causes   a training for each cause too (a minute)

Each state lives in ``<div id="state-NAME">``. States of a running training get a model that behaves
like anywidget's: what the panel sends is collected in ``window.sent``, and ``window.deliver(NAME,
message)`` is a message from the kernel. The state "connected" has a kernel that answers: with the rows
of its passes, and with a picture for every sample.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from html import escape
from pathlib import Path

import numpy as np

from jupyter_lossacc.views.panel.assets import inline_script
from jupyter_lossacc.views.panel.frozen import embedded_json
from jupyter_lossacc.views.panel.rows import pass_rows
from jupyter_lossacc.views.samples import portray
from tests.views.states import STATES, Shown, state_of

__all__ = ["cause_states", "gallery_html", "write_gallery"]

CONNECTED = {"connected"}

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Panel gallery</title>
<style>:root{color-scheme:light dark}body{margin:0 auto;padding:16px;max-width:1100px;font:15px system-ui}
h2{font-size:15px;margin:24px 0 8px}</style></head><body><main><h1>Panel gallery</h1>
"""
_SCRIPT = """
window.sent = []; window.models = {};
const shown = {};
window.again = name => {
  const element = document.getElementById('state-' + name);
  element.replaceChildren();
  show(name, shown[name]);
};
window.connect = (name, reply) => {
  const heard = new Set();
  globalThis.__lossaccModels.set(name, {
    get: key => name,
    on: (_, handler) => heard.add(handler),
    off: (_, handler) => heard.delete(handler),
    send: question => setTimeout(() => {
      window.sent.push(question);
      const [value, buffers] = reply(question);
      for (const handler of [...heard]) handler({t: 'answer', id: question.id, value}, buffers);
    }),
  });
};
window.refuse = (name, error) => {
  window.connect(name, () => []);
  const model = globalThis.__lossaccModels.get(name), heard = new Set();
  model.on = (_, handler) => heard.add(handler);
  model.send = question => setTimeout(() => heard.forEach(h => h({t: 'answer', id: question.id, error})));
};
window.deliverRows = (name, message, buffers) => window.deliver(name, message, buffers.map(bytes));
const bytes = text => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
function kernel(passes, png) {
  return question => {
    if (question.what === 'look') return [question.ids.map(id => ({id, text: 'picture', png}))];
    const found = passes.find(p => p.split === question.split && p.epoch === question.epoch);
    return [found, found.buffers.map(bytes)];
  };
}
function show(name, state) {
  shown[name] = state;
  const element = document.getElementById('state-' + name);
  if (state.status !== 'running') return lossaccPanel.embed(element, {...state, uid: name});
  const handlers = {};
  const model = {
    get: key => ({run: name, snapshot: state})[key],
    on: (event, handler) => { (handlers[event] ||= []).push(handler); },
    off: () => {},
    send: message => window.sent.push(message),
  };
  model.handlers = handlers;
  window.models[name] = model;
  window.deliver = (to, message, buffers) => {
    for (const handler of window.models[to].handlers['msg:custom']) handler(message, buffers);
  };
  lossaccPanel.initialize({model});
  lossaccPanel.render({model, el: element});
}
"""


def gallery_html(shown: dict[str, Shown]) -> str:
    """Return the page with these states, in order."""
    places = "".join(f'<h2>{escape(n)}</h2><div id="state-{escape(n)}"></div>\n' for n in shown)
    calls = "\n".join(f"{_kernel(n, s)}show({n!r}, {embedded_json(state_of(s))});" for n, s in shown.items())
    script = f"<script>(() => {{{inline_script()}\n{_SCRIPT}\n{calls}\n}})()</script>"
    return f"{_HEAD}{places}</main>{script}</body></html>\n"


def _kernel(name: str, shown: Shown) -> str:
    """Write the call that gives a state a kernel to ask; nothing for most."""
    if name not in CONNECTED:
        return ""
    ends = [
        (c["split"], c[end]) for c in state_of(shown)["cards"] if "split" in c for end in ("start", "end")
    ]
    packed = [pass_rows(shown.recording, split, epoch) for split, epoch in dict.fromkeys(ends)]
    passes = [{**p.value, "buffers": [b64encode(b).decode() for b in p.buffers]} for p in packed]
    picture = portray(0, np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).png
    return f"connect({name!r}, kernel({json.dumps(passes)}, {b64encode(picture).decode()!r}));\n"


def write_gallery(path: Path, *names: str) -> Path:
    """Write the page with the named states (all by default)."""
    chosen = {name: STATES[name]() for name in names or STATES}
    path.write_text(gallery_html(chosen), encoding="utf-8")
    return path


def cause_states() -> dict[str, Shown]:
    """One state per cause, from the training that has it by construction."""
    from jupyter_lossacc.causes import CAUSES
    from tests.demos import cause_state

    return {f"cause-{cause.id}": cause_state(cause.id) for cause in CAUSES}


def _main(arguments: list[str]) -> None:
    every = "--causes" in arguments
    paths = [a for a in arguments if not a.startswith("-")] or ["gallery.html"]
    shown = {name: make() for name, make in STATES.items()} | (cause_states() if every else {})
    Path(paths[0]).write_text(gallery_html(shown), encoding="utf-8")
    sys.stdout.write(f"{len(shown)} states in {paths[0]}\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
