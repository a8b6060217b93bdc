"""What the data of a pass is called: train, val, test, train_eval, or the user's own name.

A lone loader that is evaluated every epoch has the role ``val``, whatever it is called. A name once
given to some data stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_lossacc.capture.rules.assembly import OpenPass
    from jupyter_lossacc.capture.taps.loaders import LoaderPass

__all__ = ["Group", "Splits", "name_of_set", "speaks_of_a_set"]

_VAL = re.compile(r"(^|_)(val|valid|validation|dev|eval|evaluate|holdout|oof)", re.IGNORECASE)
_TEST = re.compile(r"(^|_)(test|te)(_|$|\d|loader|dl|ing|set)", re.IGNORECASE)
_TRAIN = re.compile(r"tr|train(ing)?(_?set)?", re.IGNORECASE)  # what code calls the split it evaluates
_TRAINED = re.compile(r"(^|_)(train|tr)(_|$)", re.IGNORECASE)
_KNOWN_SHARE = 0.9  # of an evaluation's samples that were trained on, to call it train_eval


def speaks_of_a_set(names: tuple[str, ...]) -> bool:
    """Whether one of the user's names for some data speaks of validation or of a test."""
    return any(_VAL.search(name) or _TEST.search(name) for name in names)


def name_of_set(names: tuple[str, ...]) -> str:
    """Return the one of the user's names for an index that tells which set it stands for; else ""."""
    for name in names:
        if _VAL.search(name) or _TEST.search(name):
            return name
    return "train" if any(_TRAINED.search(name) for name in names) else ""


@dataclass(slots=True)
class Group:
    """One piece of data that is evaluated in a run."""

    names: tuple[str, ...]
    first_epoch: int
    split: str | None = None
    during: bool = False  # training went on after its first evaluation
    n_passes: int = 0
    late: bool = False  # first evaluated when others had been before, and not as the last of all

    @property
    def val_named(self) -> bool:
        """Whether the user's name for it speaks of validation."""
        return any(_VAL.search(name) for name in self.names)

    @property
    def test_named(self) -> bool:
        """Whether the user's name for it speaks of a test."""
        return not self.val_named and any(_TEST.search(name) for name in self.names)


@dataclass(slots=True)
class Splits:
    """The groups of one run, and the names they have.

    Parameters
    ----------
    explicit : mapping of str to object
        Loaders, datasets or tensors that the user named.
    """

    explicit: Mapping[str, object]
    groups: dict[tuple[Any, ...], Group] = field(default_factory=dict)
    taken: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    trained: dict[int, np.ndarray[Any, np.dtype[np.bool_]]] = field(default_factory=dict)
    trained_groups: set[tuple[Any, ...]] = field(default_factory=set)

    def named(self, source: LoaderPass | None, storage: int | None) -> str | None:
        """Name that the user gave explicitly to what a pass reads."""
        for name, thing in self.explicit.items():
            if source is not None and id(thing) in source.data.objects:
                return name
            if (
                storage is not None
                and isinstance(thing, Tensor)
                and thing.untyped_storage()._cdata == storage
            ):
                return name
        return None

    def train_on(
        self, root: int, ids: np.ndarray[Any, np.dtype[np.int64]] | None, group: tuple[Any, ...]
    ) -> None:
        """Note which samples were trained on."""
        self.trained_groups.add(group)
        if ids is None or not len(ids) or ids.min() < 0:
            return
        seen = self.trained.get(root)
        top = int(ids.max()) + 1
        if seen is None or len(seen) < top:
            grown = np.zeros(max(top, 2 * (len(seen) if seen is not None else 0)), dtype=bool)
            if seen is not None:
                grown[: len(seen)] = seen
            seen = self.trained[root] = grown
        seen[ids] = True

    def is_new(self, root: int, sample: int) -> bool:
        """Whether a sample was never trained on."""
        seen = self.trained.get(root)
        return seen is not None and not (sample < len(seen) and seen[sample])

    def on_trained(
        self, root: int, ids: np.ndarray[Any, np.dtype[np.int64]] | None, group: tuple[Any, ...]
    ) -> bool:
        """Whether an evaluation was made on samples that were trained on."""
        if ids is None:
            return group in self.trained_groups
        seen = self.trained.get(root)
        if seen is None or not len(ids):
            return False
        known = ids[(ids >= 0) & (ids < len(seen))]
        return float(seen[known].sum()) >= _KNOWN_SHARE * len(ids)

    def enter(self, group: tuple[Any, ...], names: tuple[str, ...], epoch: int) -> Group:
        """Return the group of an evaluation, new or known."""
        found = self.groups.get(group)
        if found is None:
            found = self.groups[group] = Group(names, epoch)
        return found

    def training_goes_on(self) -> None:
        """Note that training went on after all evaluations so far."""
        for group in self.groups.values():
            group.during = True

    def name(self, opened: OpenPass, *, root: int, explicit: str | None, final: bool) -> str:
        """Name of an evaluation pass that has ended (`final`: and nothing follows)."""
        group = self.groups[opened.group]
        group.n_passes += 1
        if group.split is not None:
            return group.split
        ids = opened.all_ids() if opened.ids_known else None
        if explicit is not None:
            split = explicit
        elif self.on_trained(root, ids, opened.group) or _TRAIN.fullmatch(next(iter(group.names), "")):
            split = "train_eval"
        else:
            split = self._role(opened.group, group, final=final)
        if split in self.taken and self.taken[split] != opened.group and explicit is None:
            split = self._free(group.names, split)
        group.split = split
        self.taken.setdefault(split, opened.group)
        return split

    def guess(self, opened: OpenPass) -> str:
        """Name of an evaluation pass that is still going on, for display."""
        group = self.groups.get(opened.group)
        if group is None or group.split is None:
            names = () if group is None else group.names
            again = next((g.split for g in self.groups.values() if g.split and g.names == names), None)
            return again or ("val" if "val" not in self.taken else opened.name or "test")
        return group.split

    def _role(self, key: tuple[Any, ...], group: Group, *, final: bool) -> str:
        others = [g for k, g in self.groups.items() if k != key and g.split not in ("train_eval",)]
        holder = self.groups.get(self.taken.get("val", ()))
        if group.test_named and (holder is None or not holder.test_named):
            # Of several sets named so, and no other, the one that is evaluated first stands for validation.
            alone = not any(g.split != "test" and not g.test_named for g in others)
            return "val" if alone and (group.during or not final) else "test"
        if holder is None:
            return "val"
        group.late = group.first_epoch > holder.first_epoch and (group.during or any(g.late for g in others))
        return "val" if group.during or group.late or group.val_named else "test"

    def _free(self, names: tuple[str, ...], split: str) -> str:
        """Return a name not yet taken: the user's own for these data alone, or a numbered one."""
        shared = [name for group in self.groups.values() for name in group.names]
        for name in names:
            known = name in self.taken or name in ("train", "val", "test", "train_eval")
            if not known and shared.count(name) == 1:
                return name
        n = 2
        while f"{split}_{n}" in self.taken:
            n += 1
        return f"{split}_{n}"
