"""Put a run under its cell: the live panel or a picture, swapped at the end for what stays."""

from __future__ import annotations

import time
from base64 import b64encode
from collections import deque
from datetime import datetime, timezone
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import numpy as np
from IPython.display import display

from jupyter_lossacc.records import STEP_COLUMNS, CheckpointAdvice, Floats, Recording, RunInfo
from jupyter_lossacc.views.figures import figure_png
from jupyter_lossacc.views.live import Findings
from jupyter_lossacc.views.panel.curves import Positions, curves
from jupyter_lossacc.views.panel.frozen import SaveMode, frozen_bundle
from jupyter_lossacc.views.panel.pairs import pair_card
from jupyter_lossacc.views.panel.points import new_points
from jupyter_lossacc.views.panel.rows import Packed, RowFeed, pass_rows
from jupyter_lossacc.views.panel.state import panel_state
from jupyter_lossacc.views.panel.widget import Answer, Panel
from jupyter_lossacc.views.plain import NoView
from jupyter_lossacc.views.text import summary

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from jupyter_lossacc.views.samples import Portrait

__all__ = ["FigureView", "PanelView", "bundle_of", "show_run", "show_running"]


MAX_ANSWERING = 2  # finished runs whose panels can still ask the kernel; each keeps its records in memory
MAX_LOOK = 24  # samples fetched at once
_answering: deque[Panel] = deque()
_running: list[PanelView] = []


class PanelView(NoView):
    """The live panel of one run; at the end of the cell it becomes a frozen copy of itself.

    Parameters
    ----------
    save : {"html", "static", "none"}
        What stays in the saved notebook.
    stop, stop_later : threading.Event
        Set when the reader asks to stop at once, or at the end of the epoch.
    """

    live = True

    def __init__(self, save: str, stop: threading.Event, stop_later: threading.Event) -> None:
        self._save = save
        self._stop, self._stop_later = stop, stop_later
        self._panel: Panel | None = None
        self._handles: list[Any] = []
        self._rows = RowFeed()
        self.run_id = ""

    def open(self, name: str) -> None:
        """Show an empty panel."""
        self._panel = Panel(_state(_nothing_yet(name)), stop=self._stop, stop_later=self._stop_later)
        self.again()
        _running.append(self)

    def again(self) -> None:
        """Show the same panel in the cell that runs now, too; both stay in step."""
        self._handles.append(display(self._panel, display_id=True))

    def steps(self, columns: Mapping[str, Floats]) -> None:
        """Draw new optimiser steps, at most twice a second."""
        if self._panel is not None:
            self._panel.push_steps(columns)

    def progress(self, split: str, epoch: int, step: int, batch: int, n_batches: int | None) -> None:
        """Show which batch is running."""
        if self._panel is not None:
            self._panel.push_progress(split, epoch, step, batch, n_batches)

    def passed(self, recording: Callable[[], Recording]) -> None:
        """Draw the new points; the conclusions follow when they are ready."""
        if self._panel is not None:
            so_far = recording()
            if not self._panel.push_points(partial(new_points, so_far)):
                self._panel.push_curves(curves(so_far, Positions(so_far)))

    def update(self, findings: Findings) -> None:
        """Show the curves and cards as of now."""
        if self._panel is None:
            return
        self.run_id = findings.recording.info.run_id
        state = _state(findings)
        self._panel.push_state(state)
        for packed in self._rows.due(findings.recording, _ends(state), time.monotonic()):
            self._panel.push_rows(packed)

    def close(self, findings: Findings | None, notes: tuple[str, ...]) -> None:
        """Swap the live panel for its frozen copy, in the same place."""
        if self._panel is None:
            return
        if self in _running:
            _running.remove(self)
        if findings is None:
            self._swap(_notes_bundle(notes))
            self._panel.close()
            return
        self._panel.push_state(_state(findings))
        self._panel.answer_with(answers(findings))
        self._swap(bundle_of(findings, self._save, uid=self._panel.run))
        keep_answering(self._panel)

    def _swap(self, bundle: Mapping[str, Any]) -> None:
        for handle in self._handles:
            handle.update(bundle, raw=True)


class FigureView(NoView):
    """A picture of the curves, drawn anew after each analysis."""

    live = True

    def __init__(self, save: str) -> None:
        self._save = save
        self._handle: Any = None

    def open(self, name: str) -> None:
        """Keep a place under the cell."""
        text = f"lossacc {name}: waiting for the first evaluation"
        self._handle = display({"text/plain": text}, raw=True, display_id=True)

    def update(self, findings: Findings) -> None:
        """Draw the curves as of now."""
        self._handle.update(_picture(findings), raw=True)

    def close(self, findings: Findings | None, notes: tuple[str, ...]) -> None:
        """Leave the last picture, or what ``--save`` asks for."""
        if findings is None:
            self._handle.update(_notes_bundle(notes), raw=True)
        elif self._save == "none":
            self._handle.update({"text/plain": _words(findings)}, raw=True)
        else:
            self._handle.update(_picture(findings), raw=True)


def answers(findings: Findings) -> dict[str, Answer]:
    """Return what a finished run answers when its panel asks."""

    def pair(question: Mapping[str, Any]) -> dict[str, Any]:
        split, start, end = str(question["split"]), int(question["start"]), int(question["end"])
        return pair_card(findings.recording, split, start, end)

    def rows(question: Mapping[str, Any]) -> Packed:
        return pass_rows(findings.recording, str(question["split"]), int(question["epoch"]))

    def look(question: Mapping[str, Any]) -> list[dict[str, Any]]:
        if findings.look is None:
            raise LookupError("the dataset of this run cannot be reached")
        ids = [int(i) for i in question["ids"]][:MAX_LOOK]
        shown = findings.look(ids, str(question["split"]), int(question["epoch"]))
        return [_portrait(portrait) for portrait in shown]

    return {"pair": pair, "rows": rows, "look": look}


def _portrait(portrait: Portrait) -> dict[str, Any]:
    picture = b64encode(portrait.png).decode() if portrait.png else ""
    return {"id": portrait.sample_id, "kind": portrait.kind, "text": portrait.text, "png": picture}


def show_run(findings: Findings) -> None:
    """Show a run in the cell that runs now: the panel it has if it is going on, else a copy of it.

    The copy can ask the kernel as long as this session lasts; what it shows is in the notebook.
    """
    run_id = findings.recording.info.run_id
    if findings.recording.status == "running" and show_running(run_id):
        return
    connection = Panel(_connection_state(findings), uid=f"{run_id}-{uuid4().hex[:8]}")
    connection.answer_with(answers(findings))
    keep_answering(connection)
    display(bundle_of(findings, "html", uid=connection.run), raw=True)


def show_running(run_id: str = "") -> bool:
    """Show the panel of a run that is going on here, too; False when there is none."""
    live = next((view for view in _running if not run_id or view.run_id in (run_id, "")), None)
    if live is not None:
        live.again()
    return live is not None


def _connection_state(findings: Findings) -> dict[str, Any]:
    """Return the state of a widget that is never drawn: it only answers."""
    info = findings.recording.info
    nothing = panel_state(_nothing_yet(info.name).recording, (), (), None, status="finished", limits=())
    return {**nothing, "run": {"id": info.run_id, "name": info.name}}


def _ends(state: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Name the passes at the ends of the cards, the leading card first."""
    leading = state["headline"]["card"]
    cards = sorted((c for c in state["cards"] if "samples" in c), key=lambda c: c["id"] != leading)
    return [(card["split"], card[end]) for card in cards for end in ("start", "end")]


def keep_answering(panel: Panel) -> None:
    """Leave the widget of a finished run open, and close the oldest one beyond `MAX_ANSWERING`."""
    _answering.append(panel)
    while len(_answering) > MAX_ANSWERING:
        _answering.popleft().close()


def bundle_of(findings: Findings, save: str, uid: str = "") -> dict[str, Any]:
    """Return what stays in the notebook for a finished run; `uid` is that of its live panel."""
    drawn = (findings.recording, findings.episodes, findings.diagnoses, findings.advice)
    png = figure_png(*drawn, titled=False)
    return dict(frozen_bundle(_state(findings), png, mode=cast("SaveMode", save), uid=uid))


def _picture(findings: Findings) -> dict[str, Any]:
    png = figure_png(findings.recording, findings.episodes, findings.diagnoses, findings.advice)
    return {"image/png": png, "text/plain": _words(findings)}


def _words(findings: Findings) -> str:
    return summary(findings.recording, findings.episodes, findings.diagnoses, findings.advice)


def _state(findings: Findings) -> dict[str, Any]:
    return panel_state(
        findings.recording,
        findings.episodes,
        findings.diagnoses,
        findings.advice,
        status=findings.recording.status,
        limits=findings.limits,
    )


def _nothing_yet(name: str) -> Findings:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")

    def load(key: object) -> Any:
        raise KeyError(key)

    recording = Recording(
        info=RunInfo(run_id=f"waiting-{name}-{now}", name=name, started=now),
        summaries=(),
        steps={c: np.empty(0, np.float64) for c in STEP_COLUMNS},
        limits=(),
        load=load,
        status="running",
    )
    advice = CheckpointAdvice(epoch=None, temperature=float("nan"), reason="")
    return Findings(recording=recording, episodes=(), diagnoses=(), advice=advice)


def _notes_bundle(notes: Sequence[str]) -> dict[str, str]:
    lines = [f"lossacc: {note}" for note in notes] or ["lossacc: nothing was recorded."]
    html = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return {"text/plain": "\n".join(lines), "text/html": html}
