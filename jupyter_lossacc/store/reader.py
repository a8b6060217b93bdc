"""Stored runs, opened again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import pyarrow as pa

from jupyter_lossacc.records import PassKey, Predictions, Recording, RunInfo
from jupyter_lossacc.store import tables
from jupyter_lossacc.store.catalogue import find_run, part_statuses, read_head, run_status
from jupyter_lossacc.store.files import predictions_path
from jupyter_lossacc.store.screen import shown_from_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["joined", "metrics_parts", "open_part", "open_parts", "open_run", "read_metrics"]

CACHE_BYTES = 64 * 2**20
BYTES_PER_ROW = 36  # of `Predictions` in memory


def open_run(reference: str | Path, store_dir: Path) -> Recording:
    """Open a stored run; per-sample records are read when asked for.

    Of a run that several processes recorded this is the part of rank 0 (see `open_parts`).

    Parameters
    ----------
    reference : str or Path
        A run's id, its name (then the latest of that name), the unique beginning of its id or
        name, or the path of its folder.
    store_dir : Path

    Raises
    ------
    RunNotFoundError, StoreVersionError, StoreError
    """
    return open_part(find_run(reference, store_dir), 0)


def open_parts(run_dir: Path) -> tuple[tuple[Recording, ...], int]:
    """Open what each process of a run recorded.

    Returns
    -------
    parts : tuple of Recording
        One per rank that left something; a run of one process has one.
    ranks : int
        How many processes took part.

    Raises
    ------
    StoreVersionError, StoreError
    """
    present, ranks = part_statuses(run_dir)
    return tuple(open_part(run_dir, rank) for rank in present), ranks


def open_part(run_dir: Path, rank: int) -> Recording:
    """Open what one process of a run recorded."""
    head = read_head(run_dir, rank)
    metrics = read_metrics(run_dir, rank)
    found = () if metrics is None else tables.summaries_from_table(metrics)
    summaries = tuple(s.with_loss() for s in found)
    return Recording(
        info=RunInfo(
            run_id=run_dir.name,
            name=head["name"],
            started=head["started"],
            class_names=tuple(head.get("class_names", ())),
            versions=head.get("versions", {}),
            format_version=head["format_version"],
            cell=head.get("cell", ""),
        ),
        summaries=summaries,
        steps=tables.steps_from_table(_read_parts(_parts(run_dir, "steps", rank))),
        limits=tuple(head.get("limits", ())),
        load=_Loader(run_dir, rank, {s.key: s.ids_known for s in summaries}),
        status=run_status(run_dir, head, rank),
        shown=shown_from_rows(head.get("shown", ())),
    )


def _parts(run_dir: Path, kind: str, rank: int) -> list[Path]:
    return sorted((run_dir / kind).glob(f"part-{rank}-*.parquet"))


def metrics_parts(run_dir: Path, rank: int = 0) -> list[Path]:
    """Return the files of a rank's metrics table."""
    return _parts(run_dir, "metrics", rank)


def read_metrics(run_dir: Path, rank: int = 0) -> pa.Table | None:
    """Return a rank's metrics table, each sequence number once; None before the first pass."""
    table = _read_parts(metrics_parts(run_dir, rank))
    if table is None:
        return None
    first = {number: row for row, number in reversed(list(enumerate(table.column("sequence").to_pylist())))}
    return table.take([first[number] for number in sorted(first)])


class _Loader:
    """Reads per-sample records on demand and keeps the last ones in memory."""

    def __init__(self, run_dir: Path, rank: int, ids_known: Mapping[PassKey, bool]) -> None:
        self.run_dir = run_dir
        self.rank = rank
        self.ids_known = ids_known
        self._kept: OrderedDict[PassKey, Predictions] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: PassKey) -> Predictions:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            path = predictions_path(self.run_dir, key, self.rank)
            if key not in self.ids_known or not path.exists():
                raise KeyError(f"the per-sample records of pass {key} were not kept (see --keep)")
            predictions = tables.predictions_from_table(
                tables.read_table(path), ids_known=self.ids_known[key]
            )
            self._kept[key] = predictions
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) * BYTES_PER_ROW > CACHE_BYTES:
                self._kept.popitem(last=False)
            return predictions


def _read_parts(paths: list[Path]) -> pa.Table | None:
    return joined([tables.read_table(path) for path in paths]) if paths else None


def joined(parts: list[pa.Table]) -> pa.Table:
    """Return the rows of several tables; a column that one of them does not have is null there."""
    names = list(dict.fromkeys(name for part in parts for name in part.column_names))
    fields = [next(part.schema.field(name) for part in parts if name in part.column_names) for name in names]
    schema = pa.schema([pa.field(field.name, field.type) for field in fields])
    return pa.concat_tables([_widened(part, schema) for part in parts])


def _widened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if table.schema.equals(schema):
        return table
    present = set(table.column_names)
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in present
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
