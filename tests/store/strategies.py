"""Hypothesis strategies for records, and what it means that two of them are the same."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jupyter_lossacc.records import Accumulators, ClassTable, EpochSummary, LossInfo, Predictions

any_float = st.floats(allow_nan=True, allow_infinity=True)
float32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
names = st.text(max_size=12)
split_names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


def floats(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, shape, elements=any_float)


@st.composite
def predictions(draw: st.DrawFn, max_size: int = 40) -> Predictions:
    ids = np.array(sorted(draw(st.sets(st.integers(0, 2**40), max_size=max_size))), np.int64)
    n, largest = len(ids), draw(st.sampled_from([1, 9, 300, 2**31 - 1]))
    labels = hnp.arrays(np.int32, n, elements=st.integers(-1, largest))
    columns = {name: draw(hnp.arrays(np.float32, n, elements=float32)) for name in ("nll", "reported_loss")}
    columns |= {name: draw(hnp.arrays(np.float32, n, elements=float32)) for name in ("confidence", "margin")}
    correct = hnp.arrays(np.float32, n, elements=st.sampled_from(np.float32([0, 1, 0.25])))
    return Predictions(
        sample_ids=ids,
        targets=draw(labels),
        predicted=draw(labels),
        correct=draw(correct),
        ids_known=draw(st.booleans()),
        **columns,
    )


@st.composite
def losses(draw: st.DrawFn, n_classes: int) -> LossInfo:
    return LossInfo(
        name=draw(names),
        inputs=draw(st.sampled_from(["logits", "log_probabilities", "probabilities"])),
        on_simplex=draw(st.booleans()),
        class_weights=draw(st.none() | floats(n_classes)),
        label_smoothing=draw(any_float),
        ignore_index=draw(st.none() | st.integers(-100, 10)),
    )


@st.composite
def class_tables(draw: st.DrawFn, n: int) -> ClassTable:
    counts = hnp.arrays(np.int64, n, elements=st.integers(0, 2**40))
    ratios = {name: draw(floats(n)) for name in ("recall", "precision", "f1", "nll")}
    return ClassTable(support=draw(counts), predicted=draw(counts), **ratios)


@st.composite
def accumulators(draw: st.DrawFn, n_classes: int) -> Accumulators:
    return Accumulators(
        betas=draw(floats(4)),
        count=draw(floats(5)),
        nll=draw(floats(5, 4)),
        slope=draw(floats(5, 4)),
        etas=draw(floats(3)),
        noise_nll=draw(floats(4, 3)),
        score_sum=draw(any_float),
        score_square=draw(any_float),
        bins=draw(floats(15, 3)),
        n_classes=n_classes,
    )


@st.composite
def summaries(draw: st.DrawFn, split: str, epoch: int, step: int) -> EpochSummary:
    n_classes = draw(st.integers(1, 5))
    numbers = ("reported_loss", "nll", "accuracy", "balanced_accuracy", "macro_f1", "temperature")
    numbers += ("calibrated_nll", "ece", "seconds")
    return EpochSummary(
        split=split,
        epoch=epoch,
        step=step,
        complete=draw(st.booleans()),
        training=draw(st.booleans()),
        n_samples=draw(st.integers(0, 2**40)),
        name=draw(names),
        ids_known=draw(st.booleans()),
        n_classes=n_classes,
        loss=draw(losses(n_classes)),
        order_runs=draw(st.none() | st.tuples(any_float, any_float)),
        classes=draw(st.none() | class_tables(n_classes)),
        accumulators=draw(st.none() | accumulators(n_classes)),
        **{name: draw(any_float) for name in numbers},
    )


def same(left: Any, right: Any) -> bool:
    """Equal in type, shape, dtype and every value, NaN being equal to itself."""
    if type(left) is not type(right):
        return False
    if is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in fields(left))
    if isinstance(left, np.ndarray):
        equal_nan = left.dtype.kind == "f"
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=equal_nan)
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right or (left != left and right != right))
