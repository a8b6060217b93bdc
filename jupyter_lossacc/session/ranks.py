"""Distributed training: which part of a run a process records, and where the parts meet.

Rank 0 makes the run's folder as ever; the other ranks find it in the store and write their own
files into it. Processes never talk to each other, and none waits for another while it trains.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from jupyter_lossacc import store as runs_store
from jupyter_lossacc.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from jupyter_lossacc.records import Episode, EpochSummary, Floats, PassKey, Predictions, RunInfo

__all__ = ["PartWriter", "group_name", "is_other_rank", "make_writer", "read_back", "wait_for_parts"]

PATIENCE = 5.0  # seconds that a process waits for others after its training has ended
LOOK = 0.05  # seconds between two looks
MARGIN = timedelta(minutes=10)  # processes of one training begin to record within this time


def is_other_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a process of a launcher like torchrun, and not its first."""
    return environment.get("RANK", "0") != "0" and environment.get("WORLD_SIZE", "1") != "1"


def group_name(token: str, recording: int, run: int) -> str:
    """Return what all processes of one training call it, and no other training at the same time.

    Parameters
    ----------
    token : str
        Given by the recorder that started these processes; "" when something else did.
    recording, run : int
        Counts the recordings of this process and the runs of this recording: alike in all of them.
    """
    if token:
        return f"{token}/{run}"
    where = [
        os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
    ]
    meeting = ":".join(where) if all(where[:2]) else f"{socket.gethostname()}:{os.getppid()}"
    return f"{meeting}/{recording}/{run}"


class PartWriter:
    """Writes the part of a rank other than 0, and keeps it in memory until rank 0 has made the folder.

    Parameters
    ----------
    store_dir : Path
    info : RunInfo
    rank : int
    find : callable
        Looks for the folder of rank 0's run.
    """

    made_store = False

    def __init__(self, store_dir: Path, info: RunInfo, rank: int, find: Callable[[], Path | None]) -> None:
        self.info = info
        self.rank = rank
        self._store_dir, self._find = store_dir, find
        self._writer: runs_store.RunWriter | None = None
        self._waiting: list[Callable[[runs_store.RunWriter], None]] = []

    @property
    def path(self) -> Path | None:
        """Folder of the run; None as long as it is not found."""
        return None if self._writer is None else self._writer.path

    def append_all(self, passes: Sequence[tuple[EpochSummary, Predictions | None]]) -> None:
        """Write finished passes."""
        self._do(lambda writer: writer.append_all(passes))

    def append_steps(self, columns: Mapping[str, Floats]) -> None:
        """Take rows of optimiser steps."""
        self._do(lambda writer: writer.append_steps(columns))

    def rename(self, name: str) -> None:
        """Give this part another name, as rank 0 does with the run."""
        self.info = replace(self.info, name=name)
        self._do(lambda writer: writer.rename(name))

    def set_limits(self, sentences: Sequence[str]) -> None:
        """Replace the sentences that say what this process could not record."""
        self._do(lambda writer: writer.set_limits(sentences))

    def set_shown(self, shown: Sequence[Episode]) -> None:
        """Do nothing: what is on the screen is rank 0's."""

    def set_status(self, status: str) -> None:
        """Write how this process ended."""
        self._do(lambda writer: writer.set_status(status))

    def save_weights(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Do nothing: all ranks hold the same weights, and rank 0 keeps them."""

    def keep_weights(self, epochs: Sequence[int]) -> None:
        """Do nothing."""

    def close(self, status: str | None = None) -> None:
        """Write what is still in memory.

        Raises
        ------
        StoreError
            When rank 0 made no run.
        """
        until = time.monotonic() + PATIENCE
        self._do(lambda writer: writer.close(status))
        while self._writer is None and time.monotonic() < until:
            time.sleep(LOOK)
            self._do(None)
        if self._writer is None:
            raise StoreError(
                f"Expected a run of rank 0 in {self._store_dir} for rank {self.rank}, found none. "
                "Record in every process, with the same store."
            )

    def _do(self, job: Callable[[runs_store.RunWriter], None] | None) -> None:
        if job is not None:
            self._waiting.append(job)
        if self._writer is None:
            found = self._find()
            if found is None:
                return
            self._writer = runs_store.RunWriter(self._store_dir, self.info, resume=found, rank=self.rank)
        while self._waiting:
            self._waiting.pop(0)(self._writer)


def make_writer(
    store_dir: Path,
    info: RunInfo,
    resume: Path | None,
    processes: tuple[int, int],
    token: str,
    number: tuple[int, int],
) -> runs_store.RunWriter | PartWriter:
    """Return what writes this process's part of a run.

    Parameters
    ----------
    store_dir : Path
    info : RunInfo
    resume : Path, optional
        Folder of the run to continue.
    processes : tuple of (rank, ranks)
    token, number
        See `group_name`.

    Raises
    ------
    StoreError
        When the folder cannot be made.
    """
    rank, ranks = processes
    if ranks == 1 and not token:
        return runs_store.RunWriter(store_dir, info, resume=resume)
    group = group_name(token, *number)
    if ranks == 1:  # started by a recorded cell, but training on its own
        return runs_store.RunWriter(store_dir, info, resume=resume, group=f"{group}/{os.getpid()}")
    if rank == 0:
        return runs_store.RunWriter(store_dir, info, resume=resume, ranks=ranks, group=group)
    began = datetime.fromisoformat(info.started) - MARGIN
    since = runs_store.run_id("", began)[: len("20260101T000000Z")] if resume is None else resume.name

    def find() -> Path | None:
        found = runs_store.find_group(store_dir, group, since, live=not token)
        return found[-1] if found else None

    return PartWriter(store_dir, info, rank, find)


def read_back(writer: runs_store.RunWriter | PartWriter, key: PassKey) -> Predictions:
    """Read the samples of a pass that this process has written.

    Raises
    ------
    KeyError
        When it has written none.
    """
    if writer.path is None:
        raise KeyError(key)
    return runs_store.open_part(writer.path, writer.rank).load(key)


def wait_for_parts(run_dir: Path, patience: float = PATIENCE) -> None:
    """Wait until all processes have ended their parts, or `patience` seconds.

    A process that has not begun by half of that time records nothing.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < patience:
        statuses, ranks = runs_store.part_statuses(run_dir)
        others = [status for rank, status in statuses.items() if rank > 0]
        if "running" not in others and (len(statuses) == ranks or waited > patience / 2):
            return
        time.sleep(LOOK)
