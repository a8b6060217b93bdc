"""The options of ``%%lossacc`` and `record`: one place that checks them and says what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["CHOICES", "DEFAULT_STORE", "Options"]

DEFAULT_STORE = Path("lossacc_runs")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "keep": ("val", "all", "none"),
    "keep_weights": ("none", "best"),
    "view": ("panel", "figure", "text", "none"),
    "save": ("html", "static", "none"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Checked options of one recording; see `record` for their meaning.

    Raises
    ------
    ValueError
        For a value that is not one of the choices, or a name that cannot be a folder.
    TypeError
        For a `split` that is not a mapping or `classes` that are not names.
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
        for name, choices in CHOICES.items():
            got = getattr(self, name)
            if got not in choices:
                near = get_close_matches(str(got), choices, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"Expected {name} to be one of {', '.join(choices)}, got {got!r}.{hint}")
        if set(self.name) & set('/\\:*?"<>|\0') or self.name.startswith("."):
            raise ValueError(f"Expected a run name that can be part of a folder name, got {self.name!r}.")
        if not isinstance(self.split, Mapping):
            raise TypeError(
                f"Expected split as a mapping of name to loader or dataset, got {type(self.split).__name__}."
            )
        if isinstance(self.classes, str) or not all(isinstance(c, str) for c in self.classes):
            raise TypeError(f"Expected classes as a sequence of names, got {self.classes!r}.")
        if self.keep_weights == "best" and self.store_dir is None:
            raise ValueError(
                "Expected a store to keep weights in, got store='none'. Leave out one of the two options."
            )

    @property
    def store_dir(self) -> Path | None:
        """The directory that holds the runs; None when runs stay in memory."""
        if self.store is None:
            return DEFAULT_STORE
        return None if str(self.store) == "none" else Path(self.store)
