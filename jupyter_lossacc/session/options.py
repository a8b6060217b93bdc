"""The options of ``%%lossacc`` and `record`: one place that checks them and says what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = ["CHOICES", "DEFAULT_STORE", "Options", "is_data"]

DEFAULT_STORE = Path("lossacc_runs")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "keep": ("val", "all", "none"),
    "keep_weights": ("none", "best"),
    "view": ("panel", "figure", "text", "none"),
    "save": ("html", "static", "none"),
}


def is_data(value: object) -> bool:
    """Whether a value may be a loader, a dataset or a tensor."""
    plain = isinstance(value, str | int | float | None)
    return not plain and (hasattr(value, "__iter__") or hasattr(value, "__getitem__"))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Checked options of one recording; see `record` for their meaning.

    Raises
    ------
    ValueError
        For a value that is not one of the choices, or a name that cannot be a folder.
    TypeError
        For a `split` that is not a mapping of names to data, `classes` that are not names, and other
        values of the wrong kind.
    """

    name: str = ""
    store: str | PathLike[str] | None = None
    split: Mapping[str, Any] = field(default_factory=dict)
    classes: Sequence[str] = ()
    keep: str = "val"
    keep_weights: str = "none"
    resume: str | None = None
    view: str = "panel"
    save: str = "html"

    def __post_init__(self) -> None:
        """Check every option once, before anything is recorded."""
        self._check_kinds()
        for name, choices in CHOICES.items():
            got = getattr(self, name)
            if got not in choices:
                near = get_close_matches(str(got), choices, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"Expected {name} to be one of {', '.join(choices)}, got {got!r}.{hint}")
        if set(self.name) & set('/\\:*?"<>|\0') or self.name.startswith("."):
            raise ValueError(f"Expected a run name that can be part of a folder name, got {self.name!r}.")
        if self.keep_weights == "best" and self.store_dir is None:
            raise ValueError(
                "Expected a store to keep weights in, got store='none'. Leave out one of the two options."
            )

    def _check_kinds(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"Expected the name of the run as a string, got {self.name!r}.")
        if not isinstance(self.store, str | PathLike | None):
            raise TypeError(f'Expected store as a folder, None or "none" (memory only), got {self.store!r}.')
        if not isinstance(self.resume, str | None):
            raise TypeError(f"Expected resume as the id or name of a run, got {self.resume!r}.")
        names = not isinstance(self.classes, str) and isinstance(self.classes, Iterable)
        if not names or not all(isinstance(c, str) for c in self.classes):
            raise TypeError(f"Expected classes as a sequence of names, got {self.classes!r}.")
        if not isinstance(self.split, Mapping):
            raise TypeError(
                f"Expected split as a mapping of name to loader or dataset, got {type(self.split).__name__}."
            )
        for name, data in dict[Any, Any](self.split).items():
            if not isinstance(name, str) or not is_data(data):
                raise TypeError(
                    f"Expected split to give a loader or dataset for each name, got {name!r}: {data!r}."
                )

    @property
    def store_dir(self) -> Path | None:
        """The directory that holds the runs; None when runs stay in memory."""
        if self.store is None:
            return DEFAULT_STORE
        return None if str(self.store) == "none" else Path(self.store)
