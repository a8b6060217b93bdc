"""A sample as a person can see it: a picture, a text, or a row of numbers."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.errors import DiagnosisError
from jupyter_lossacc.views.words import class_name, number, percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_lossacc.records import Predictions, Recording

__all__ = ["Portrait", "Portraits", "no_data", "portraits", "portray"]

MAX_SIDE = 160  # pixels of a thumbnail
MAX_TEXT = 800
MAX_VALUES = 16
MIN_SIDE = 4  # smaller arrays are rows of numbers, not pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """One sample for display.

    Parameters
    ----------
    sample_id : int
    kind : {"image", "text", "row", "other", "missing"}
    text : str
        What it is in words: its text, its first values, or why it cannot be shown.
    png : bytes
        The picture, for kind "image".
    caption : str
        What is recorded about it: class, prediction, loss.
    """

    sample_id: int
    kind: str
    text: str
    png: bytes = b""
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Portraits(Sequence[Portrait]):
    """Several portraits, shown side by side in a notebook."""

    items: tuple[Portrait, ...]

    def __getitem__(self, index: Any) -> Any:
        """Return one portrait, or several."""
        return self.items[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.items)

    def __repr__(self) -> str:
        """One line per sample."""
        return "\n".join(f"sample {p.sample_id}: {p.caption}; {p.text}" for p in self.items)

    def _repr_html_(self) -> str:
        style = "display:flex;flex-wrap:wrap;gap:12px"
        return f'<div style="{style}">{"".join(map(_figure, self.items))}</div>'


def _figure(portrait: Portrait) -> str:
    words = f'<p dir="auto" style="margin:0;white-space:pre-wrap">{escape(portrait.text)}</p>'
    if portrait.png:
        source = base64.b64encode(portrait.png).decode()
        words = (
            f'<img alt="{escape(portrait.text)}" src="data:image/png;base64,{source}" '
            'style="width:112px;image-rendering:pixelated">'
        )
    caption = f"<strong>sample {portrait.sample_id}</strong><br>{escape(portrait.caption)}"
    style = f"margin:0;width:{128 if portrait.png else 300}px"
    return f'<figure style="{style}">{words}<figcaption dir="auto">{caption}</figcaption></figure>'


def portray(sample_id: int, item: Any, caption: str = "") -> Portrait:
    """Describe what a dataset gave for one index.

    Parameters
    ----------
    sample_id : int
    item : object
        A tensor, an array, a picture, a text, or a tuple or mapping of such; an exception says why
        there is none.
    caption : str
    """
    if isinstance(item, BaseException):
        why = f"The dataset gave no sample {sample_id}: {type(item).__name__}: {item}"
        return Portrait(sample_id=sample_id, kind="missing", text=why[:MAX_TEXT], caption=caption)
    parts = _parts(item)
    for describe in (_as_image, _as_text, _as_row):
        found = [shown for name, part in parts if (shown := describe(name, part)) is not None]
        if found:
            kind, text, png = found[0]
            if kind == "text":  # a sample may consist of several, as question and answer do
                text = "\n".join(shown[1] for shown in found)
            return Portrait(sample_id=sample_id, kind=kind, text=text, png=png, caption=caption)
    text = f"{type(item).__name__}: {item!r}"[:MAX_TEXT]
    return Portrait(sample_id=sample_id, kind="other", text=text, caption=caption)


def portraits(recording: Recording, predictions: Predictions, items: Mapping[int, Any]) -> Portraits:
    """Show what a dataset gave, with what is recorded about it.

    Parameters
    ----------
    recording : Recording
    predictions : Predictions
        Of the pass whose predictions stand below the samples.
    items : mapping of int to object
        By sample id.

    Raises
    ------
    DiagnosisError
        When the ids are not known.
    """
    if not predictions.ids_known:
        raise DiagnosisError(
            "It is not known which samples these are (run.limits says why): what stands beside a number "
            "here is not what your dataset has under it, so nothing is shown."
        )
    rows = {int(i): n for n, i in enumerate(predictions.sample_ids)}
    return Portraits(
        tuple(
            portray(int(i), item, _caption(recording, predictions, rows.get(int(i)), item))
            for i, item in items.items()
        )
    )


def _caption(recording: Recording, predictions: Predictions, row: int | None, item: Any) -> str:
    """Say what is recorded about a sample: class, prediction, confidence and loss."""
    if row is None:
        return "not in this pass"
    target = int(predictions.targets[row])
    predicted = class_name(recording, int(predictions.predicted[row]))
    taken = "recognised" if predictions.correct[row] >= 0.5 else f"taken for {predicted}"
    changed = "" if _same_label(item, target) else "; its label is another one now"
    return (
        f"{class_name(recording, target)}, {taken} ({percent(float(predictions.confidence[row]))} sure), "
        f"loss {number(float(predictions.nll[row]))} nats{changed}"
    )


def no_data(split: str, *, known: bool) -> str:
    """Say why samples cannot be fetched, and what to do."""
    way = f"run.look(ids, {split!r}, data=dataset) or `%lossacc samples --look --data EXPR`"
    if known:
        return (
            f"The dataset of split {split!r} no longer exists. Keep it in a variable of the notebook, or "
            f"hand one over: {way}."
        )
    return (
        f"It is not known which dataset split {split!r} was read from: the run was loaded from the store, or "
        f"its loop used no DataLoader. Hand the dataset over: {way}."
    )


def _same_label(item: Any, target: int) -> bool:
    """Whether a sample carries the recorded label; True where it carries none that can be read."""
    label: Any = None
    if isinstance(item, Mapping):
        label = item.get("label", item.get("labels"))
    elif isinstance(item, (tuple, list)) and len(item) == 2:
        label = item[1]
    try:
        return label is None or np.ndim(label) > 0 or float(label) == target
    except (TypeError, ValueError):  # a name, say
        return True


def _parts(item: Any) -> list[tuple[str, Any]]:
    if isinstance(item, Mapping):
        return [(str(name), part) for name, part in item.items()]
    if isinstance(item, (tuple, list)) and not all(isinstance(v, (int, float)) for v in item):
        return [("", part) for part in item]
    return [("", item)]


def _array(part: Any) -> NDArray[Any] | None:
    """Return numbers as an array: of a tensor, an array, a list of numbers or a PIL picture."""
    try:
        if hasattr(part, "detach"):
            part = part.detach().cpu()
            part = part.float() if part.is_floating_point() else part
            return np.asarray(part.numpy())
        listed = isinstance(part, (list, tuple)) and all(isinstance(v, (int, float)) for v in part)
        if not listed and not hasattr(part, "__array_interface__"):
            return None
        found = np.asarray(part)
    except Exception:  # an exotic tensor: the next way of telling it comes
        return None
    return found if found.dtype.kind in "biuf" else None


def _as_image(_name: str, part: Any) -> tuple[str, str, bytes] | None:
    pixels = _array(part)
    if pixels is None or pixels.ndim not in (2, 3):
        return None
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[-1] not in (3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4):
        return None
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        return None
    shown, how = _to_bytes(pixels[:: -(-height // MAX_SIDE), :: -(-width // MAX_SIDE)])
    return "image", f"picture of {width} × {height} pixels{how}", _png(shown)


def _to_bytes(pixels: NDArray[Any]) -> tuple[NDArray[np.uint8], str]:
    """Scale to 0..255; values that are no grey levels are stretched to their own range."""
    if pixels.dtype == np.uint8:
        return pixels, ""
    values = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return np.round(255 * values).astype(np.uint8), ""
    if pixels.dtype.kind in "iu" and low >= 0 and high <= 255:
        return values.astype(np.uint8), ""
    stretched = (values - low) / (high - low or 1.0)
    how = f", values {number(low)} to {number(high)} drawn from black to white"
    return np.round(255 * stretched).astype(np.uint8), how


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode grey, RGB or RGBA pixels of shape (height, width[, channels])."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    kind = {1: 0, 3: 2, 4: 6}[channels]
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()

    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


def _as_text(name: str, part: Any) -> tuple[str, str, bytes] | None:
    if isinstance(part, bytes):
        part = part.decode("utf-8", "replace")
    if not isinstance(part, str):
        return None
    text = part if len(part) <= MAX_TEXT else f"{part[:MAX_TEXT]} …"
    return "text", f"{name}: {text}" if name else text, b""


def _as_row(name: str, part: Any) -> tuple[str, str, bytes] | None:
    values = _array(part)
    if values is None or values.ndim == 0:
        return None
    flat = values.ravel()
    first = ", ".join(number(float(v)) for v in flat[:MAX_VALUES])
    more = f" and {len(flat) - MAX_VALUES:,} more" if len(flat) > MAX_VALUES else ""
    shape = " × ".join(map(str, values.shape))
    said = f"{shape} values: {first}{more}"
    return "row", f"{name}: {said}" if name else said, b""
