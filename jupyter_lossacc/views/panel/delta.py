"""What changed between two panel states, so that a live update costs what is new.

Curves grow at their end: of them only the new points travel. Everything else travels whole when it
changed. `apply_delta` is the reference that the browser's copy is tested against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["apply_delta", "delta"]

_COLUMNS = ("x", "epoch", "loss", "accuracy", "calibrated")


def delta(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what turns `before` into `after`.

    The thinned step curve is left out: a live panel has the steps from their own messages.

    Returns
    -------
    dict
        ``set`` holds the keys that travel whole; ``grow`` maps a split to its new points and the
        position where they begin.
    """
    changed = {k: v for k, v in after.items() if k not in ("curves", "steps") and before.get(k) != v}
    grown = _growth(before.get("curves", []), after["curves"])
    if grown is None:
        return {"set": {**changed, "curves": after["curves"]}, "grow": {}}
    return {"set": changed, "grow": grown}


def _growth(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Find the new points per split, or None when anything but the end changed."""
    if [c["id"] for c in before] != [c["id"] for c in after]:
        return None
    grown = {}
    for old, new in zip(before, after, strict=True):
        n = len(old["x"])
        fixed = {k: v for k, v in new.items() if k not in _COLUMNS}
        if fixed != {k: v for k, v in old.items() if k not in _COLUMNS}:
            return None
        if any(new[k][: len(old[k])] != old[k] for k in _COLUMNS):
            return None
        if len(new["x"]) > n:
            if len(old["calibrated"]) not in (n, len(new["calibrated"])):
                return None
            grown[new["id"]] = {"from": n, **{k: new[k][len(old[k]) :] for k in _COLUMNS}}
    return grown


def apply_delta(state: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a delta to a state."""
    result = {**state, **change["set"]}
    curves = []
    for curve in result.get("curves", []):
        more = change["grow"].get(curve["id"], {})
        curves.append({**curve, **{k: curve[k] + more[k] for k in _COLUMNS if k in more}})
    result["curves"] = curves
    return result
