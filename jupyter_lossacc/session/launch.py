"""Processes that a recorded cell starts: what records in each of them, and what shows them here."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import uuid
import warnings
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_lossacc import store as runs_store
from jupyter_lossacc.diagnosis.ranks import RankMerger
from jupyter_lossacc.errors import LossAccError, LossAccWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.records import PassKey, Predictions, Recording
    from jupyter_lossacc.session.options import Options

__all__ = ["Launch", "Launcher", "Recorded"]

INTERVAL = 1.0  # seconds between two looks at what the processes have written


@dataclass(frozen=True)
class Launch:
    """What a started process is told about the recording it takes part in."""

    options: Options
    cell: str
    token: str


class Recorded:
    """What a started process runs: the user's function, recorded. It pickles if the function does."""

    def __init__(self, entry: Callable[..., Any], launch: Launch) -> None:
        self.entry = entry
        self.launch = launch

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the user's function; a recorder that cannot start costs it nothing."""
        recorder = self._start()
        error: BaseException | None = None
        try:
            return self.entry(*args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if recorder is not None:
                recorder.finish(error)

    def _start(self) -> Any:
        from jupyter_lossacc.session.recorder import Recorder
        from jupyter_lossacc.views.plain import NoView

        handler = signal.getsignal(signal.SIGINT)
        if str(getattr(handler, "__module__", "")).startswith("jupyter_lossacc."):
            signal.signal(signal.SIGINT, signal.default_int_handler)  # ours stayed with the notebook
        launch = self.launch
        try:
            recorder = Recorder(launch.options, view=lambda _: NoView(), cell=launch.cell, token=launch.token)
            recorder.start()
        except Exception as failure:  # a failure of ours never reaches the training
            warnings.warn(
                f"lossacc does not record this process: {type(failure).__name__}: {failure}",
                LossAccWarning,
                2,
            )
            return None
        return recorder


class Launcher:
    """Makes started processes record, and follows what they write.

    Parameters
    ----------
    options : Options
        Of the recorder of this process.
    cell : str
    deliver : callable
        Takes the folder of a run and what is recorded of it so far, each time there is more.
    """

    def __init__(self, options: Options, cell: str, deliver: Callable[[Path, Recording], None]) -> None:
        self._deliver = deliver
        self._token = uuid.uuid4().hex
        self._memory = options.store_dir is None
        folder = options.store_dir
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="lossacc-"))
        self._folder = folder.absolute()
        self._since = "" if options.resume is not None else f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
        self._options = replace(options, split={}, store=self._folder, view="none")
        self._forked = replace(self._options, split=options.split)
        self._cell = cell
        self._mergers: dict[Path, RankMerger] = {}
        self._seen: dict[Path, object] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="lossacc-follower", daemon=True)
        self._thread.start()

    def wrap(self, entry: Callable[..., Any], start_method: str) -> Callable[..., Any]:
        """Return `entry`, recorded; see `capture.taps.processes.Wrap`."""
        # Only a fork shares the user's objects, which --split may name.
        options = self._forked if start_method == "fork" else self._options
        return Recorded(entry, Launch(options, self._cell, self._token))

    def close(self) -> None:
        """Deliver what is there now, for the last time."""
        self._end.set()
        self._thread.join(timeout=30.0)
        self._look(last=True)
        if self._memory:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _follow(self) -> None:
        while not self._end.wait(INTERVAL):
            try:
                self._look()
            except (LossAccError, OSError):  # a file that is being written: the next look may succeed
                continue

    def _look(self, *, last: bool = False) -> None:
        for path in runs_store.find_group(self._folder, self._token, self._since):
            trace = tuple(sorted(p.name for p in (path / "metrics").glob("part-*.parquet")))
            if trace == self._seen.get(path) and not last:
                continue
            self._seen[path] = trace
            merger = self._mergers.setdefault(path, RankMerger())
            recording = merger.merge(*runs_store.open_parts(path))
            self._deliver(path, _in_memory(recording) if last and self._memory else recording)


def _in_memory(recording: Recording) -> Recording:
    """Return the recording with all its samples read: its files are about to go."""
    kept: dict[PassKey, Predictions] = {}
    for summary in recording.summaries:
        try:
            kept[summary.key] = recording.load(summary.key)
        except KeyError:  # not kept
            continue
    return replace(recording, load=kept.__getitem__)
