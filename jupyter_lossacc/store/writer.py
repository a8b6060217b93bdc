"""A run on its way to disk, pass by pass."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.errors import StoreError
from jupyter_lossacc.store import tables, weights
from jupyter_lossacc.store.catalogue import read_head, require_stopped
from jupyter_lossacc.store.files import (
    FORMAT_VERSION,
    ignore_in_git,
    predictions_path,
    rank_head,
    write_head,
)
from jupyter_lossacc.store.process import this_process
from jupyter_lossacc.store.reader import joined, metrics_parts, read_metrics
from jupyter_lossacc.store.screen import shown_to_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from jupyter_lossacc.records import Episode, EpochSummary, Predictions, RunInfo

__all__ = ["RunWriter"]

STEPS_IN_MEMORY = 20_000  # rows kept back at most before they are written without waiting for the pass to end
SECONDS_OF_STEPS = 1.0  # rows of steps that a killed kernel may lose
PARTS_BEFORE_MERGE = 64
SIGN_OF_LIFE = 30.0  # seconds between touches of run.json


class RunWriter:
    """Writes one run into a folder of its own.

    When `append` returns, the pass is on disk. All methods are called from one thread and raise
    `StoreError` when the disk refuses; the writer stays usable, so later passes may still succeed.

    Parameters
    ----------
    store_dir : Path
        The folder that holds all runs; made when missing.
    info : RunInfo
        `info.run_id` names the run's folder; when that exists, a number is added (see `info`).
    resume : Path, optional
        Folder of an earlier run to go on with; `info` then only adds what is new (versions, cell).
    rank, ranks : int
        Distributed training: which of how many processes this is, so which part of each pass it
        writes. Another rank than 0 writes into the folder that rank 0 made, given as `resume`.
    group : str
        What the ranks of one training have in common and no other training has.
    """

    def __init__(
        self,
        store_dir: Path,
        info: RunInfo,
        resume: Path | None = None,
        *,
        rank: int = 0,
        ranks: int = 1,
        group: str = "",
    ) -> None:
        self.rank = rank
        self._steps: list[dict[str, NDArray[np.float64]]] = []
        self._steps_written = -math.inf
        self._unmerged: list[pa.Table] = []  # metrics that lie in parts of their own
        self._touched = time.monotonic()
        self.made_store = not store_dir.exists()
        """Whether this writer made the store directory: said once to the user."""
        if resume is None:
            self.path = _make_run_dir(store_dir, info.run_id)
            self.info = replace(info, run_id=self.path.name, format_version=FORMAT_VERSION)
            self._next_pass = self._next_steps = 0
            self._merged: pa.Table | None = None
            self._head: dict[str, Any] = {}
            ignore_in_git(store_dir, self.path, made=self.made_store)
        else:
            self._continue(Path(resume).absolute(), info)
        self._set(
            **_head_of(self.info),
            status="running",
            limits=self._head.get("limits", []),
            process=this_process(),
            **({"ranks": ranks, "group": group} if group else {}),
        )

    @property
    def limits(self) -> tuple[str, ...]:
        """What could not be recorded, as last set (a resumed run starts with its old ones)."""
        return tuple(self._head["limits"])

    def append(self, summary: EpochSummary, predictions: Predictions | None = None) -> None:
        """Write a finished pass: its steps, its per-sample records (if given), then its row of metrics."""
        self.append_all([(summary, predictions)])

    def append_all(self, passes: Sequence[tuple[EpochSummary, Predictions | None]]) -> None:
        """Write several finished passes at once: three files cost more than many rows."""
        if time.monotonic() - self._steps_written >= SECONDS_OF_STEPS:
            self._flush_steps()
        for summary, predictions in passes:
            if predictions is not None:
                table, options = tables.predictions_table(self.info.run_id, predictions)
                tables.write_table(predictions_path(self.path, summary.key, self.rank), table, **options)
        summaries = [summary for summary, _ in passes]
        first, self._next_pass = self._next_pass, self._next_pass + len(passes)
        table = tables.summaries_table(self.info.run_id, range(first, self._next_pass), summaries)
        tables.write_table(self._part("metrics", first, self._next_pass - 1), table, **tables.UNPACKED)
        self._unmerged.append(table)
        # Of several ranks each knows its own part only, which is not the run's number.
        alone = self._head.get("ranks", 1) == 1
        evaluated = [s for s in summaries if not s.training and alone]
        self._set(
            epochs=max(self._head.get("epochs", 0), *(s.epoch if s.complete else 0 for s in summaries)),
            steps=max(self._head.get("steps", 0), *(s.step for s in summaries)),
            passes=self._next_pass,
            splits=list(dict.fromkeys([*self._head.get("splits", ()), *(s.split for s in summaries)])),
            **({"last": _glance(evaluated[-1])} if evaluated else {}),
        )
        if len(self._unmerged) > PARTS_BEFORE_MERGE:
            self._merge_metrics()

    def append_steps(self, columns: Mapping[str, NDArray[np.float64]]) -> None:
        """Take rows of optimiser steps: written with a pass, but not every second, or when there are many."""
        self._steps.append({name: np.asarray(values, np.float64) for name, values in columns.items()})
        if sum(len(chunk["step"]) for chunk in self._steps) >= STEPS_IN_MEMORY:
            self._flush_steps()
        if time.monotonic() - self._touched > SIGN_OF_LIFE:
            self._touched = time.monotonic()
            os.utime(rank_head(self.path, self.rank))

    def rename(self, name: str) -> None:
        """Give the run another name; its id and its folder stay."""
        self.info = replace(self.info, name=name)
        self._set(name=name)

    def set_limits(self, sentences: Sequence[str]) -> None:
        """Replace the sentences that say what could not be recorded."""
        self._set(limits=list(sentences))

    def set_shown(self, shown: Sequence[Episode]) -> None:
        """Replace the episodes that are on the screen, withdrawn ones included."""
        self._set(shown=shown_to_rows(shown))

    def set_status(self, status: str) -> None:
        """Write the run's status: running, finished, interrupted or failed."""
        self._set(status=status)

    def save_weights(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Keep a model's ``state_dict`` as safetensors; what is no tensor is left out (and said).

        All ranks hold the same weights: rank 0 keeps them.
        """
        if self.rank > 0:
            return
        left_out = weights.write_weights(self.path, epoch, state)
        if left_out:
            sentence = f"Not kept with the weights, because they are no tensors: {', '.join(left_out)}."
            if sentence not in self._head["limits"]:
                self._set(limits=[*self._head["limits"], sentence])

    def keep_weights(self, epochs: Sequence[int]) -> None:
        """Delete the stored weights of all other epochs."""
        for epoch, path in weights.stored_weights(self.path).items():
            if epoch not in epochs and self.rank == 0:
                path.unlink(missing_ok=True)

    def close(self, status: str | None = None) -> None:
        """Write what is still in memory and pack the metrics into one file; may be called again."""
        self._flush_steps()
        if status is not None:
            self._set(status=status)
        self._merge_metrics()

    def _set(self, **values: Any) -> None:
        head = {**self._head, **values}
        self._head = head  # also when writing fails: the next success makes the file right again
        write_head(rank_head(self.path, self.rank), head)

    def _continue(self, run_dir: Path, info: RunInfo) -> None:
        self.path = run_dir
        self._head = read_head(run_dir)
        if self.rank == 0:
            require_stopped(run_dir, self._head, "be resumed")
        else:
            self._head = {**self._head, "limits": []}
        self.info = replace(
            info,
            run_id=run_dir.name,
            name=self._head["name"],
            started=self._head["started"],
            class_names=info.class_names or tuple(self._head["class_names"]),
            format_version=FORMAT_VERSION,
        )
        self._merged = read_metrics(run_dir, self.rank)
        self._next_pass = 1 + max(
            (int(path.stem.rpartition("-")[2]) for path in metrics_parts(run_dir, self.rank)), default=-1
        )
        self._next_steps = 1 + max(
            (
                int(path.stem.rpartition("-")[2])
                for path in (run_dir / "steps").glob(f"part-{self.rank}-*.parquet")
            ),
            default=-1,
        )

    def _part(self, kind: str, first: int, last: int) -> Path:
        return self.path / kind / f"part-{self.rank}-{first:07d}-{last:07d}.parquet"

    def _flush_steps(self) -> None:
        chunks = [chunk for chunk in self._steps if len(chunk["step"])]
        if not chunks:
            return
        names = list(dict.fromkeys(name for chunk in chunks for name in chunk))
        columns = {
            name: np.concatenate([c.get(name, np.full(len(c["step"]), np.nan)) for c in chunks])
            for name in names
        }
        table, options = tables.steps_table(self.info.run_id, columns)
        tables.write_table(self._part("steps", self._next_steps, self._next_steps), table, **options)
        # Only after the write: a full disk must not lose rows that a later try could save.
        self._steps_written = time.monotonic()
        self._next_steps += 1
        self._steps.clear()

    def _merge_metrics(self) -> None:
        """Pack the parts into one: the footer of a file weighs more than its row."""
        parts = metrics_parts(self.path, self.rank)
        if len(parts) < 2:
            return
        merged = joined([table for table in (self._merged, *self._unmerged) if table is not None])
        tables.write_table(self._part("metrics", 0, self._next_pass - 1), merged, **tables.METRICS_PACKING)
        self._merged, self._unmerged = merged, []
        # A kill between here and the last unlink leaves rows twice; readers take each key once.
        for path in parts:
            path.unlink(missing_ok=True)


def _make_run_dir(store_dir: Path, wanted: str) -> Path:
    try:
        store_dir.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            path = store_dir / (wanted if number == 1 else f"{wanted}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path.absolute()  # the cell may change the working directory
    except OSError as error:
        raise StoreError(
            f"Expected a folder for the run, but {store_dir} cannot be used: {error.strerror or error}. "
            "Choose another place with --store DIR, or --store none."
        ) from error
    raise StoreError(
        f"There are already a thousand runs called {wanted} in {store_dir}: choose another name."
    )


def _head_of(info: RunInfo) -> dict[str, Any]:
    try:
        written_by = version("jupyter_lossacc")
    except PackageNotFoundError:  # run from a folder that was never installed
        written_by = "unknown"
    return {**asdict(replace(info, versions=dict(info.versions))), "written_by": written_by}


def _glance(summary: EpochSummary) -> dict[str, Any]:
    """Return the numbers of the last evaluation that a list of runs shows."""
    names = ("split", "epoch", "reported_loss", "nll", "accuracy")
    values = {name: getattr(summary, name) for name in names}
    # NaN and infinity are no JSON: null stands for them.
    return {k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in values.items()}
