"""Ordinary training loops in many styles, by theme."""

from tests.capture.loops import (
    choosing,
    criteria,
    custom,
    evaluating,
    graphs,
    in_memory,
    loaders,
    plain,
    stepping,
    targets,
)
from tests.capture.loops.registry import EXPECTED, LOOPS, WEIGHTS, evaluate, fit, loop, sgd, train_one

__all__ = [
    "EXPECTED",
    "LOOPS",
    "WEIGHTS",
    "choosing",
    "criteria",
    "custom",
    "evaluate",
    "evaluating",
    "fit",
    "graphs",
    "in_memory",
    "loaders",
    "loop",
    "plain",
    "sgd",
    "stepping",
    "targets",
    "train_one",
]
