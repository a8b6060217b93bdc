"""A run as a folder of JSON and Parquet, readable by any data-frame engine.

::

    lossacc_runs/                                   the store; ignores itself in git
    └── 20260101T120000Z-baseline/                  one run; its name is the run's id
        ├── run.json                                who, when, status, limits
        ├── metrics/part-*.parquet                  a row per pass
        ├── steps/part-*.parquet                    a row per optimiser step
        ├── predictions/split=val/epoch=00007/step=420/part-0.parquet
        ├── weights/epoch=00007.safetensors         only with --keep-weights
        └── ranks/rank-1.json                       only where several processes train together

In distributed training each process writes the parts of its own rank and nothing else, so none
waits for another; `open_parts` reads them one by one and `diagnosis.ranks` makes them one run.

Every file is written under a temporary name and renamed, so a reader sees whole files only and a
killed kernel loses at most the pass it was in and the steps of the last second. Facts are stored,
conclusions never: a better test re-reads old runs. All runs of a store are one table to pandas,
Polars, DuckDB or Spark::

    SELECT run, epoch, avg(nll) FROM read_parquet('lossacc_runs/*/predictions/**/*.parquet',
        hive_types = {'epoch': INT}) GROUP BY ALL
"""

from jupyter_lossacc.store.catalogue import (
    delete_run,
    end_run,
    find_group,
    find_run,
    list_runs,
    part_statuses,
)
from jupyter_lossacc.store.files import FORMAT_VERSION, run_id
from jupyter_lossacc.store.reader import open_part, open_parts, open_run
from jupyter_lossacc.store.weights import load_weights, restore_weights, stored_weights
from jupyter_lossacc.store.writer import RunWriter

__all__ = [
    "FORMAT_VERSION",
    "RunWriter",
    "delete_run",
    "end_run",
    "find_group",
    "find_run",
    "list_runs",
    "load_weights",
    "open_part",
    "open_parts",
    "open_run",
    "part_statuses",
    "restore_weights",
    "run_id",
    "stored_weights",
]
