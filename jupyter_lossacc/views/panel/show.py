"""Put a run under its cell: the live panel or a picture, swapped at the end for what stays."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime, timezone
from html import escape
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from IPython.display import display

from jupyter_lossacc.records import STEP_COLUMNS, CheckpointAdvice, Floats, Recording, RunInfo
from jupyter_lossacc.views.figures import figure_png
from jupyter_lossacc.views.live import Findings
from jupyter_lossacc.views.panel.curves import Positions, curves
from jupyter_lossacc.views.panel.frozen import SaveMode, frozen_bundle
from jupyter_lossacc.views.panel.pairs import pair_card
from jupyter_lossacc.views.panel.state import panel_state
from jupyter_lossacc.views.panel.widget import INTERVAL, Answer, Panel
from jupyter_lossacc.views.plain import NoView
from jupyter_lossacc.views.text import summary

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FigureView", "PanelView", "bundle_of"]


MAX_ANSWERING = 4  # finished runs whose panels can still ask the kernel
_answering: deque[Panel] = deque()


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
        self._drawn = 0.0
        self._handle: Any = None

    def open(self, name: str) -> None:
        """Show an empty panel."""
        self._panel = Panel(_state(_nothing_yet(name)), stop=self._stop, stop_later=self._stop_later)
        self._handle = display(self._panel, display_id=True)

    def steps(self, columns: Mapping[str, Floats]) -> None:
        """Draw new optimiser steps, at most four times a second."""
        if self._panel is not None:
            self._panel.push_steps(columns)

    def progress(self, split: str, epoch: int, step: int, batch: int, n_batches: int | None) -> None:
        """Show which batch is running."""
        if self._panel is not None:
            self._panel.push_progress(split, epoch, step, batch, n_batches)

    def passed(self, recording: Callable[[], Recording]) -> None:
        """Draw the new point, at most four times a second; the conclusions follow when they are ready."""
        now = time.monotonic()
        if self._panel is not None and now - self._drawn >= INTERVAL:
            self._drawn = now
            so_far = recording()
            self._panel.push_curves(curves(so_far, Positions(so_far)))

    def update(self, findings: Findings) -> None:
        """Show the curves and cards as of now."""
        if self._panel is not None:
            self._panel.push_state(_state(findings))

    def close(self, findings: Findings | None, notes: tuple[str, ...]) -> None:
        """Swap the live panel for its frozen copy, in the same place."""
        if self._panel is None:
            return
        if findings is None:
            self._handle.update(_notes_bundle(notes), raw=True)
        else:
            state = _state(findings)
            self._panel.push_state(state)
            self._panel.answer_with(answers(findings))
            self._handle.update(bundle_of(findings, self._save, uid=self._panel.run), raw=True)
            keep_answering(self._panel)
            return
        self._panel.close()


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

    return {"pair": pair}


def keep_answering(panel: Panel) -> None:
    """Leave the widget of a finished run open, and close the oldest one beyond `MAX_ANSWERING`."""
    _answering.append(panel)
    while len(_answering) > MAX_ANSWERING:
        _answering.popleft().close()


def bundle_of(findings: Findings, save: str, uid: str = "") -> dict[str, Any]:
    """Return what stays in the notebook for a finished run; `uid` is that of its live panel."""
    png = figure_png(findings.recording, findings.episodes, findings.diagnoses, findings.advice)
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
