"""The panel as it stays: in a saved notebook, or as a page of its own, with no kernel behind it.

What shows first is a picture and plain HTML, which every viewer keeps; where scripts run, the same
panel as in the live notebook takes its place.
"""

from __future__ import annotations

import base64
import json
import uuid
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from typing import Any, Literal

from jupyter_lossacc.views.panel.assets import inline_script

__all__ = ["BUDGET", "SaveMode", "frozen_bundle", "plain_text", "standalone_html"]

SaveMode = Literal["html", "static", "none"]
State = Mapping[str, Any]
BUDGET = 250_000  # bytes of one output: notebooks are committed and mailed
_SPARE = ("not_tested", "rejected", "undecided")  # whose pages are left out, in this order
MANY_EPOCHS = 400  # points per curve that a narrow room leaves


def frozen_bundle(state: State, png: bytes, *, mode: SaveMode = "html", uid: str = "") -> dict[str, str]:
    """Make the output that stays in the notebook.

    Parameters
    ----------
    state : dict
        From `panel_state`.
    png : bytes
        Picture of the curves.
    mode : {"html", "static", "none"}
        The panel and its picture; the picture and the text; the text alone.
    uid : str
        ``Panel.run`` of the live panel that this one replaces: what the reader has open stays open.

    Returns
    -------
    dict of str to str
        MIME bundle.
    """
    bundle = {"text/plain": plain_text(state)}
    if mode == "none":
        return bundle
    element = f"lossacc-{uuid.uuid4().hex[:12]}"
    static = f'<div id="{element}" class="lossacc-frozen">{_static_html(state, png)}</div>'
    script = ""
    if mode == "html":
        room = BUDGET - _size(static) - _size(inline_script()) - 2000
        script = _script(element, {**trimmed(state, room), "uid": uid})
    bundle["text/html"] = static + script
    return bundle


def standalone_html(state: State, png: bytes) -> str:
    """Make a page that opens offline, with the panel in it."""
    element = "lossacc"
    name = escape(str(state["run"]["name"]))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: loss and accuracy</title>"
        "<style>:root{color-scheme:light dark}body{margin:0 auto;padding:16px;max-width:1100px;"
        "font:15px/1.5 system-ui,sans-serif}h1{font-size:18px;margin:0 0 12px}</style></head>"
        f"<body><main><h1>{name}</h1>"
        f'<div id="{element}">{_static_html(state, png)}</div></main>'
        f"{_script(element, state)}</body></html>\n"
    )


def _script(element: str, state: State) -> str:
    # Where anything fails, the picture and the text stay.
    return (
        f"<script>(()=>{{{inline_script()}\n"
        f"lossaccPanel.embed(document.getElementById({json.dumps(element)}),{_payload(state)})"
        "})()</script>"
    )


def _payload(state: State) -> str:
    """Write the state with its pages compressed: they are half of it, and nobody reads them at once."""
    pages = json.dumps(state["pages"], ensure_ascii=False, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(pages.encode(), 9)).decode()
    return embedded_json({**state, "pages": {}, "packed_pages": packed})


def embedded_json(state: State) -> str:
    """Write JSON that can stand inside a script element: no ``<`` can end or open anything there."""
    text = json.dumps(state, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _size(text: str) -> int:
    return len(text.encode())


def trimmed(state: State, room: int) -> State:
    """Leave out what is least missed until the state fits into `room` bytes.

    Nothing is left out silently: a sentence is added to the limits.
    """
    steps: tuple[Callable[[State], State], ...] = (
        _fewer_steps,
        partial(_fewer_pages, room=room),
        _fewer_rows,
        _slim_pairs,
        _fewer_epochs,
        _no_tables,
    )
    slim = state
    for cut in steps:
        if _size(_payload(slim)) <= room:
            break
        slim = cut(slim)
    if slim is state:
        return state
    note = "The saved copy leaves out points, tables or pages to stay small; `%lossacc show` has all."
    return {**slim, "limits": [*state["limits"], note]}


def _fewer_steps(state: State) -> State:
    stride = -(-len(state["steps"]["x"]) // 400) or 1
    return {**state, "steps": {k: v[::stride] for k, v in state["steps"].items()}}


def _fewer_pages(state: State, room: int) -> State:
    """Leave out pages until the rest fits, those of rejected causes first; of what is found all stay."""
    verdicts = {c["id"]: c["verdict"] for card in state["cards"] for c in card["causes"]}
    spare = [name for verdict in _SPARE for name in state["pages"] if verdicts.get(name) == verdict]
    slim = state
    for name in spare:
        if _size(_payload(slim)) <= room:
            break
        slim = {**slim, "pages": {k: v for k, v in slim["pages"].items() if k != name}}
    return slim


def _fewer_rows(state: State) -> State:
    def cut(card: State) -> State:
        slim = dict(card)
        for name in ("samples", "classes"):
            if name in slim:
                columns = {k: v[:25] for k, v in slim[name]["columns"].items()}
                slim[name] = {**slim[name], "columns": columns}
        return slim

    return {**state, "cards": [cut(card) for card in state["cards"]]}


def _slim_pairs(state: State) -> State:
    compare = state["compare"]
    if compare is None:
        return state
    heavy = {"classes", "confusions", "histogram"}
    pairs = [{k: v for k, v in pair.items() if k not in heavy} for pair in compare["pairs"]]
    return {**state, "compare": {**compare, "pairs": pairs}}


def _fewer_epochs(state: State) -> State:
    columns = ("x", "epoch", "loss", "accuracy", "calibrated")
    curves = []
    for curve in state["curves"]:
        n = len(curve["x"])
        rows = sorted({*range(0, n, -(-n // MANY_EPOCHS)), n - 1})
        thin = {k: [curve[k][i] for i in rows] if curve[k] else [] for k in columns}
        curves.append({**curve, **thin})
    return {**state, "curves": curves}


def _no_tables(state: State) -> State:
    heavy = {"samples", "classes", "confusions", "reliability", "histogram"}
    cards = [{k: v for k, v in card.items() if k not in heavy} for card in state["cards"]]
    return {**state, "cards": cards, "classes": []}


def _static_html(state: State, png: bytes) -> str:
    """Picture and text that need no script; every string from outside is escaped."""
    advice = state["advice"]
    keep = f"<p>{escape(advice['line'])}</p>" if advice and advice["line"] else ""
    alt = f"{state['words']['loss']} {state['words']['accuracy']}"
    picture = base64.b64encode(png).decode()
    return (
        f"<p><strong>{escape(state['headline']['text'])}</strong></p>{keep}"
        f'<figure style="margin:0"><img alt="{escape(alt)}" style="max-width:100%" '
        f'src="data:image/png;base64,{picture}">'
        f"<figcaption>lossacc {escape(state['run']['name'])}: {escape(state['status_line'])}</figcaption>"
        "</figure>" + "".join(_details(card) for card in state["cards"]) + _limits_html(state)
    )


def _details(card: State) -> str:
    facts = "".join(
        f"<li>{escape(name)}: {escape(value)}{_aside(note)}</li>" for name, value, note in card["facts"]
    )
    shown = [c for c in card["causes"] if c["verdict"] == "supported"]
    others = [c for c in card["causes"] if c["verdict"] != "supported"]
    rest = "".join(f"<li>{escape(c['title'])}: {c['word']}. {escape(c['statement'])}</li>" for c in others)
    return (
        f"<details><summary>{escape(card['title'])} ({escape(card['short'])})</summary>"
        f"<p>{escape(card['lead'])}</p><ul>{facts}</ul>"
        + "".join(_cause_html(c) for c in shown)
        + (f"<p>Also examined:</p><ul>{rest}</ul>" if rest else "")
        + "</details>"
    )


def _aside(note: str) -> str:
    return f" ({escape(note)})" if note else ""


def _cause_html(cause: State) -> str:
    share = f" ({escape(cause['share']['text'])})" if "share" in cause else ""
    evidence = "".join(
        f"<li>{'for' if e['supports'] else 'against'}: {escape(e['name'])}: {escape(e['value'])}"
        f"{_aside(e['threshold'] and 'decides at ' + e['threshold'])}</li>"
        for e in cause["evidence"]
    )
    said = f"<p><strong>{escape(cause['title'])}</strong>{share}: {escape(cause['statement'])}</p>"
    parts = [said, f"<ul>{evidence}</ul>"]
    without = cause["counterfactual"]["text"] if "counterfactual" in cause else cause.get("without", "")
    if without:
        parts.append(f"<p>Without it: {escape(without)}.</p>")
    if cause["action"]:
        parts.append(f"<p>What to try: {escape(cause['action'])}</p>")
    if "experiment" in cause:
        experiment = cause["experiment"]
        code = f"<pre>{escape(experiment['code'])}</pre>" if experiment["code"] else ""
        parts.append(
            f"<p>How to verify: {escape(experiment['prediction'])} {escape(experiment['result'])}</p>{code}"
        )
    return "".join(parts)


def _limits_html(state: State) -> str:
    lines = [*state["non_finite"], *state["limits"]]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<details><summary>Limits ({len(lines)})</summary><ul>{items}</ul></details>" if lines else ""


def plain_text(state: State) -> str:
    """Say the state in a few lines, for wherever only text is shown."""
    lines = [f"lossacc {state['run']['name']}: {state['status_line']}", state["headline"]["text"]]
    if state["advice"] and state["advice"]["line"]:
        lines.append(state["advice"]["line"])
    lines += [f"- {card['title']} ({card['short']})" for card in state["cards"] if card["id"] != "run"]
    lines += state["non_finite"]
    return "\n".join(lines)
