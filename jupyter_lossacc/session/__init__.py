"""Wires capture to records, store, diagnosis and view: `Recorder`, and the runs it made."""

from jupyter_lossacc.session.recorder import Recorder, last_recorder, last_run
from jupyter_lossacc.session.runs import delete_run, list_runs, load_run
from jupyter_lossacc.session.start import record

__all__ = ["Recorder", "delete_run", "last_recorder", "last_run", "list_runs", "load_run", "record"]
