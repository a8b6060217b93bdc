"""Records ↔ Arrow tables, and how their columns are packed on disk."""

from __future__ import annotations

import types
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jupyter_lossacc.errors import StoreError
from jupyter_lossacc.records import (
    STEP_COLUMNS,
    Accumulators,
    ClassTable,
    EpochSummary,
    LossInfo,
    Predictions,
    UnitShare,
)
from jupyter_lossacc.store.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "METRICS_PACKING",
    "predictions_from_table",
    "predictions_table",
    "read_table",
    "steps_from_table",
    "steps_table",
    "summaries_from_table",
    "summaries_table",
    "write_table",
]

Floats = NDArray[np.float64]
# Parts of a summary, each spread over columns with this prefix: loss_name, class_recall, sums_nll, ...
PARTS: dict[str, tuple[str, type]] = {
    "loss": ("loss_", LossInfo),
    "classes": ("class_", ClassTable),
    "accumulators": ("sums_", Accumulators),
}
MATRICES = {"nll", "slope", "noise_nll", "bins"}  # of Accumulators: stored as lists of lists
SAMPLE_COLUMNS: dict[str, tuple[str, Any]] = {  # attribute of Predictions: column, dtype
    "sample_ids": ("sample_id", np.int64),
    "targets": ("target", np.int32),
    "predicted": ("predicted", np.int32),
    "correct": ("correct", np.float32),
    "nll": ("nll", np.float32),
    "reported_loss": ("reported_loss", np.float32),
    "confidence": ("confidence", np.float32),
    "margin": ("margin", np.float32),
}
# The sums over calibration grids are smooth and never repeat: byte planes save a fifth.
_SUMS = [f"sums_{name}.list.element.list.element" for name in ("nll", "slope", "noise_nll")]
METRICS_PACKING: dict[str, Any] = {
    "use_dictionary": ["run"],
    "column_encoding": dict.fromkeys(_SUMS, "BYTE_STREAM_SPLIT"),
}
# Parts are packed when they are merged: packing forty columns of one row takes longer than writing them.
UNPACKED: dict[str, Any] = {"use_dictionary": False, "compression": "none"}
SMALL_VOCABULARY = 256  # up to so many classes a dictionary packs labels better than deltas


def write_table(path: Path, table: pa.Table, **options: Any) -> None:
    """Write a Parquet file whole; `options` go to ``pyarrow.parquet.write_table``."""
    options.setdefault("compression", "zstd" if pa.Codec.is_available("zstd") else "gzip")
    # The footer weighs more than the data of a small pass: no statistics, no copy of the schema.
    write_whole(
        path, lambda p: pq.write_table(table, p, write_statistics=False, store_schema=False, **options)
    )


def read_table(path: Path) -> pa.Table:
    """Read one Parquet file as it is, whatever its folders are called."""
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"Could not read {path}: {str(error).rstrip('.')}. It may be damaged: without it, the rest of "
            "the run can be read."
        ) from error


# --- per-sample records -------------------------------------------------------------------------


def predictions_table(run: str, predictions: Predictions) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table of a pass and the encodings that pack it (16 to 20 bytes per sample)."""
    n = len(predictions)
    columns = {"run": _constant(run, n)}
    for attribute, (name, dtype) in SAMPLE_COLUMNS.items():
        columns[name] = pa.array(np.asarray(getattr(predictions, attribute), dtype))
    largest = int(max(predictions.targets.max(), predictions.predicted.max())) if n else 0
    floats = ("nll", "reported_loss", "confidence", "margin")
    # Bytes of equal weight stand together: exponents repeat, so zstd finds something in noise.
    encoding = dict.fromkeys(floats, "BYTE_STREAM_SPLIT") | {"sample_id": "DELTA_BINARY_PACKED"}
    packed = ["run", "correct"]
    if largest < SMALL_VOCABULARY:
        packed += ["target", "predicted"]
    else:
        encoding |= {"target": "DELTA_BINARY_PACKED", "predicted": "DELTA_BINARY_PACKED"}
    return pa.table(columns), {"use_dictionary": packed, "column_encoding": encoding}


def predictions_from_table(table: pa.Table, *, ids_known: bool) -> Predictions:
    """Return the per-sample records of a pass."""
    columns: dict[str, Any] = {
        attribute: table.column(name).to_numpy().astype(dtype)
        for attribute, (name, dtype) in SAMPLE_COLUMNS.items()
    }
    return Predictions(**columns, ids_known=ids_known)


def _constant(value: str, n: int) -> pa.Array:
    return pa.array([value], pa.string()).take(pa.array(np.zeros(n, np.int32)))


# --- optimiser steps ----------------------------------------------------------------------------


def steps_table(run: str, columns: Mapping[str, Floats]) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table of a chunk of optimiser steps, and its encodings."""
    n = len(next(iter(columns.values()), ()))
    arrays = {"run": _constant(run, n)}
    whole = ("epoch", "step")
    for name, values in columns.items():
        kind = np.int64 if name in whole else np.float64
        arrays[name] = pa.array(np.asarray(values).astype(kind))
    floats = [name for name in columns if name not in whole]
    encoding = dict.fromkeys(floats, "BYTE_STREAM_SPLIT") | dict.fromkeys(
        (name for name in whole if name in columns), "DELTA_BINARY_PACKED"
    )
    return pa.table(arrays), {"use_dictionary": ["run"], "column_encoding": encoding}


def steps_from_table(table: pa.Table | None) -> dict[str, Floats]:
    """Return the columns of all steps; a column that an older version did not write is NaN.

    Steps after the last pass of a run that was cut off are taken again when it is resumed: the later
    ones count.
    """
    if table is None:
        return {name: np.empty(0) for name in STEP_COLUMNS}
    found = {
        name: table.column(name).to_numpy().astype(np.float64) for name in table.column_names if name != "run"
    }
    if len(found.get("step", ())):
        following = np.minimum.accumulate(found["step"][::-1])[::-1]
        latest = np.append(found["step"][:-1] < following[1:], True)
        found = {name: column[latest] for name, column in found.items()}
    missing = np.full(len(found.get("step", ())), np.nan)
    return {name: found.pop(name, missing) for name in STEP_COLUMNS} | found


# --- passes -------------------------------------------------------------------------------------


def summaries_table(run: str, sequence: Sequence[int], summaries: Sequence[EpochSummary]) -> pa.Table:
    """Return one row per pass; `sequence` numbers them in order of time."""
    rows = [{"run": run, "sequence": number} | _row(s) for number, s in zip(sequence, summaries, strict=True)]
    return pa.Table.from_pylist(rows, schema=_schema())


def summaries_from_table(table: pa.Table) -> tuple[EpochSummary, ...]:
    """Return the passes in order of time; a later row replaces an earlier one of the same key."""
    rows = sorted(table.to_pylist(), key=lambda row: row.get("sequence", 0))
    passes = [_summary(row) for row in rows]
    last = {summary.key: summary for summary in passes}
    return tuple(summary for summary in passes if last[summary.key] is summary)


def _row(summary: EpochSummary) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in fields(EpochSummary):
        value = getattr(summary, field.name)
        if field.name in PARTS:
            prefix, part = PARTS[field.name]
            for inner in fields(part):
                row[prefix + inner.name] = None if value is None else _plain(getattr(value, inner.name))
        else:
            row[field.name] = _plain(value)
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple):
        return [asdict(item) if isinstance(item, UnitShare) else item for item in value]
    return value


def _summary(row: Mapping[str, Any]) -> EpochSummary:
    values: dict[str, Any] = {}
    for field in fields(EpochSummary):
        if field.name in PARTS:
            prefix, part = PARTS[field.name]
            values[field.name] = _part(part, prefix, row)
        elif field.name in row:
            values[field.name] = row[field.name]
    if values.get("order_runs") is not None:
        values["order_runs"] = tuple(values["order_runs"])
    values["units"] = tuple(UnitShare(**units) for units in values.get("units") or ())
    return EpochSummary(**_known(EpochSummary, values))


def _part(part: type, prefix: str, row: Mapping[str, Any]) -> Any:
    hints = get_type_hints(part)
    values = {f.name: row[prefix + f.name] for f in fields(part) if prefix + f.name in row}
    if all(value is None for value in values.values()):
        return LossInfo() if part is LossInfo else None
    for name, value in values.items():
        dtype = _array_dtype(hints[name])
        if dtype is not None and value is not None:
            values[name] = np.array(value, dtype)
    return part(**_known(part, values))


def _known(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Leave to their default the fields that an older version did not write."""
    optional = {f.name for f in fields(cls) if f.default is not MISSING or f.default_factory is not MISSING}
    return {name: value for name, value in values.items() if value is not None or name not in optional}


@cache
def _schema() -> pa.Schema:
    """Columns of the metrics table, read from the types of the records themselves."""
    columns: list[tuple[str, pa.DataType]] = [("run", pa.string()), ("sequence", pa.int64())]
    hints = get_type_hints(EpochSummary)
    for field in fields(EpochSummary):
        if field.name in PARTS:
            prefix, part = PARTS[field.name]
            inner = get_type_hints(part)
            columns += [
                (
                    prefix + f.name,
                    _arrow_type(inner[f.name], matrix=part is Accumulators and f.name in MATRICES),
                )
                for f in fields(part)
            ]
        else:
            columns.append((field.name, _arrow_type(hints[field.name])))
    return pa.schema(columns)


def _arrow_type(hint: Any, *, matrix: bool = False) -> pa.DataType:
    hint = _without_none(hint)
    dtype = _array_dtype(hint)
    if dtype is not None:
        inner = pa.list_(pa.from_numpy_dtype(dtype))
        return pa.list_(inner) if matrix else inner
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    if is_dataclass(hint):
        inner_hints = get_type_hints(hint)
        return pa.struct([(f.name, _arrow_type(inner_hints[f.name])) for f in fields(hint)])
    scalars = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return scalars[hint]


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(argument for argument in get_args(hint) if argument is not type(None))
    return hint


def _array_dtype(hint: Any) -> np.dtype[Any] | None:
    """Return the dtype in ``NDArray[dtype]``, None for anything else."""
    hint = _without_none(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is np.ndarray:
        return np.dtype(get_args(arguments[1])[0])
    if origin is NDArray:  # an alias with a name of its own from NumPy 2.5 on
        return np.dtype(arguments[0])
    return None
